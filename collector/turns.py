"""Requests that are ready in the same turn of the event loop are taken together, step by step.

One step for all of them, then the next: code and tables of a step are warm then, which halves what
a request costs; one look-up, one encoding and one submission serve them all.

Invariants:

1. Keys are looked up after every other check, so that a refused event never uses up its key.
2. Between looking keys up and putting them in flight there is no await.
3. A fault in one request's events is that request's alone.
4. Rows of requests that are taken together lie in one group: a repeat of one that is submitted
   beside it shares its fate.

One event loop.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

from collector.access import Caller, Refused
from collector.adapters.contract import Endpoint, Request
from collector.config import Site
from collector.dedup import Dedup
from collector.event import Batch
from collector.facts import Facts
from collector.flight import Flights
from collector.normalise import Clock
from collector.refusal import Refusal
from collector.tally import Counts, Tally
from collector.unavailable import unavailable
from storage import Commit, Receipt, Row, StorageError, Store, Unavailable, encode

# Bodies that are taken together: enough for a turn of singles, little enough that large batches
# are taken one by one and nobody waits long for others.
_TURN_BYTES_MAX: Final = 262_144


class Job:
    """One request on its way through a turn, and what is known of it so far.

    After `Turns.join` was awaited: `error` is a fault of ours; `batch` may be a refusal of the
    whole body; `refused` tells that none of its events may go where it wants; `waits_for` has to be
    awaited before the job joins once more; `refusal` tells that rows could not be stored. Otherwise
    the rows, but for repeats that are not stored, are on disk.
    """

    __slots__ = (
        *("batch", "caller", "commit", "counts", "endpoint", "error", "keys", "refusal"),
        *("refused", "request", "rows", "sites", "tally", "tries", "verdicts", "waits_for"),
    )

    def __init__(self, endpoint: Endpoint, request: Request, caller: Caller) -> None:
        self.endpoint = endpoint
        self.request = request
        self.caller = caller
        self.batch: Batch | Refusal | None = None
        self.sites: list[Site | None] = []
        self.tally: Tally | None = None
        self.rows: list[Row] | None = None
        self.keys: list[bytes | None] = []
        self.verdicts: list[bool] = []
        self.counts: dict[str, list[int]] = {}
        self.commit: Commit | None = None
        self.refused: Refused | None = None
        self.refusal: Refusal | None = None
        self.waits_for: Awaitable[object] | None = None
        self.error: Exception | None = None
        self.tries = 0

    @property
    def failure(self) -> Refusal | None:
        """Why the rows are not on disk."""
        if self.commit is None or isinstance(result := self.commit.result(), Receipt):
            return self.refusal
        return unavailable(result)


class _Turn(asyncio.Future[None]):
    """Waited for by every job in it, and over when their rows are on disk, or are known not to be.

    Nobody who is cancelled takes the others along.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.jobs: list[Job] = []
        self.bytes = 0

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 (part of the signature)
        """Not to be had."""
        return False

    def land(self, receipt: Receipt | None) -> None:
        """The group that holds its rows is decided."""
        if receipt is None:
            # Here, because who was cancelled meanwhile does not come to it any more.
            for job in self.jobs:
                if job.commit is not None:
                    assert job.tally is not None, "what was submitted was counted"
                    job.tally.fail(job.counts)
        self.set_result(None)


class _NextTurn:
    """Awaited: everything else that is ready goes first."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_NEXT_TURN: Final = _NextTurn()


class Turns:
    """Takes jobs from their body to the disk."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        facts: Facts,
        counts: Counts,
        now_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._facts = facts
        self._counts = counts
        self._now_us = now_us
        self._flights = Flights(store.keys, counts.stored)
        self._dedup = Dedup(store.keys, self._flights, store.warm)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Turn] = deque()

    def join(self, job: Job) -> "asyncio.Future[None]":
        """Take `job` in the next turn; await what is returned, then see what became of it."""
        job.waits_for = None
        size = len(job.request.body)
        turn = self._waiting[-1] if self._waiting else None
        if turn is None or turn.bytes + size > _TURN_BYTES_MAX:
            if turn is None:
                # Everything that is ready to run now still joins.
                self._loop.call_soon(self._run)
            turn = _Turn(self._loop)
            self._waiting.append(turn)
        turn.jobs.append(job)
        turn.bytes += size
        return turn

    def _run(self) -> None:
        turn = self._waiting.popleft()
        if self._waiting:
            self._loop.call_soon(self._run)
        try:
            commit = self._take(turn.jobs)
        except Exception as error:  # noqa: BLE001 those who wait must be told, whatever it is
            commit = None
            for job in turn.jobs:
                job.error = job.error or error
        if commit is None:
            turn.set_result(None)
        else:
            commit.on_done.append(turn.land)

    def _take(self, jobs: list[Job]) -> Commit | None:
        """Take `jobs` through all steps; the commit of their rows, None if there are none."""
        now_us = self._now_us()
        for job in jobs:
            if job.batch is None:
                job.request.now_us = now_us
        going = jobs
        for step in (self._decode, self._judge, self._complete):
            going = _each(going, step)
        going = self._look_up(going, now_us)
        return self._submit(going, now_us) if going else None

    # --- steps of one job; each tells whether it goes on

    def _decode(self, job: Job) -> bool:
        if job.batch is None:
            job.batch = job.endpoint.decode(job.request)
        return not isinstance(job.batch, Refusal)

    def _judge(self, job: Job) -> bool:
        """Find out where the events may go."""
        if job.tally is not None:
            return True
        batch, now_us = job.batch, job.request.now_us
        assert isinstance(batch, Batch), "others do not go on"
        job.tally = self._counts.open(job.endpoint.protocol, now_us)
        if job.sites:  # known before (a replay)
            job.tally.receive(job.sites)
            return True
        self._clock.correct_all(batch.items, now_us)
        sites = self._authorise(job.endpoint, job.caller, batch)
        if isinstance(sites, Refused):
            job.refused = sites
            job.sites = [sites.site or job.caller.site] * len(batch.items)
        else:
            job.sites = sites
        job.tally.receive(job.sites)
        return job.refused is None

    def _authorise(
        self, endpoint: Endpoint, caller: Caller, batch: Batch
    ) -> "list[Site | None] | Refused":
        """The site of each item; items that may not go there become refusals.

        Item by item where each names its own site, at once where the head or batch names it.
        """
        items, access = batch.items, caller.access
        if batch.site or caller.site is not None:
            site = caller.site or access.batch_site(caller, batch.site)
            if isinstance(site, Refusal):
                return Refused(site)
            if endpoint.check is not None:
                endpoint.check(batch, site)
            refused = access.batch_refused(endpoint, caller, site, items)
            return [site] * len(items) if refused is None else refused
        sites: list[Site | None] = []
        for index, item in enumerate(items):
            if isinstance(item, Refusal):
                sites.append(None)
                continue
            found = access.item_site(caller, item.row.site_id)
            if isinstance(found, Refusal):
                if caller.key is None:
                    self._counts.origins.note(
                        found.kind,
                        endpoint.path,
                        caller.origin,
                        asked=item.row.site_id,
                        now_us=self._now_us(),
                    )
                items[index] = found
                sites.append(None)
                continue
            sites.append(found)
        return access.within_limits(caller, items, sites)

    def _complete(self, job: Job) -> bool:
        """Have the rows completed."""
        if job.rows is None:
            assert isinstance(job.batch, Batch), "others do not go on"
            job.rows, job.keys = self._facts.complete(
                job.endpoint.protocol, job.request, job.caller, job.batch.items, job.sites
            )
        return bool(job.rows)

    # --- steps of all jobs

    def _look_up(self, jobs: list[Job], now_us: int) -> list[Job]:
        """Find out which events are repeats; the jobs of which that is known."""
        if len(jobs) > 1:
            try:
                found = self._dedup.find([key for job in jobs for key in job.keys], now_us)
            except Unavailable:
                found = None
            if isinstance(found, list):
                start = 0
                for job in jobs:
                    end = start + len(job.keys)
                    job.verdicts = found[start:end]
                    start = end
                return jobs
        # One of them has to wait, or is the only one.
        met: set[bytes | None] = set()
        return _each(jobs, lambda job: self._look_up_one(job, now_us, met))

    def _look_up_one(self, job: Job, now_us: int, met: set[bytes | None]) -> bool:
        if not met.isdisjoint(job.keys):
            # The next time it will be in flight.
            job.waits_for = _NEXT_TURN
            return False
        try:
            found = self._dedup.find(job.keys, now_us, job.tries)
        except Unavailable as error:
            job.refusal = unavailable(error)
            return False
        if not isinstance(found, list):
            job.waits_for = found
            job.tries += 1
            return False
        job.verdicts = found
        met.update(job.keys)
        met.discard(None)
        return True

    def _submit(self, jobs: list[Job], now_us: int) -> Commit | None:
        """Put the rows of `jobs` on their way to the disk."""
        rows: list[Row] = []
        for job in jobs:
            stored = self._rows_to_store(job)
            job.counts = _count(stored)
            rows += stored
        if not rows:
            return None
        try:
            lines = encode(rows)
        except Exception:  # noqa: BLE001 a fault of ours in one row; it is told to whose it is
            return self._submit_others(jobs, now_us)
        try:
            commit = self._store.submit(lines, len(rows), now_us)
        except StorageError as error:
            _refuse(jobs, unavailable(error))
            return None
        flight = self._flights.of(commit)
        for job in jobs:
            job.commit = commit
            received_us = job.request.now_us
            flight.board(_fresh(job), received_us)
            assert job.tally is not None, "a job that goes on has one"
            job.tally.submit(job.counts)
            flight.count(job.counts, job.endpoint.protocol, received_us)
        return commit

    def _submit_others(self, jobs: list[Job], now_us: int) -> Commit | None:
        """Leave out jobs with a row that cannot be encoded; then nobody repeats their events."""
        going = _each(jobs, _can_be_encoded)
        assert len(going) < len(jobs), "what can be encoded by itself can be with others"
        for job in going:
            for row in job.rows or []:
                row.is_duplicate = 0
        going = self._look_up(going, now_us)
        return self._submit(going, now_us) if going else None

    def _rows_to_store(self, job: Job) -> list[Row]:
        rows, verdicts = job.rows, job.verdicts
        assert rows is not None, "a job that goes on has some"
        if True not in verdicts:
            return rows
        if job.endpoint.stores_duplicates:
            self._facts.mark_repeats(rows, job.keys, verdicts)
            return rows
        return [row for row, is_repeat in zip(rows, verdicts, strict=True) if not is_repeat]


def _each(jobs: list[Job], step: Callable[[Job], bool]) -> list[Job]:
    """Do `step` with each job; those that go on."""
    going = []
    for job in jobs:
        try:
            if step(job):
                going.append(job)
        except Exception as error:  # noqa: BLE001 told to the one whose it is, as a fault of ours
            job.error = error
    return going


def _can_be_encoded(job: Job) -> bool:
    """Raises what encoding the rows to store raises."""
    assert job.rows is not None, "a job that goes on has some"
    stores_all = job.endpoint.stores_duplicates
    fates = zip(job.rows, job.verdicts, strict=True)
    encode([row for row, is_repeat in fates if stores_all or not is_repeat])
    return True


def _refuse(jobs: list[Job], refusal: Refusal) -> None:
    """Nothing of `jobs` is stored: refuse those with new events, and those that repeat them.

    What repeats events that are on disk may be told so all the same.
    """
    fresh = {key for job in jobs for key in _fresh(job)}
    for job in jobs:
        if job.counts or not fresh.isdisjoint(job.keys):
            job.refusal = refusal


def _count(rows: list[Row]) -> dict[str, list[int]]:
    """Per site how many rows are new, and how many are repeats."""
    if len(rows) == 1:
        repeats = rows[0].is_duplicate
        return {rows[0].site_id: [1 - repeats, repeats]}
    counts: dict[str, list[int]] = {}
    for row in rows:
        site = counts.get(row.site_id)
        if site is None:
            site = counts[row.site_id] = [0, 0]
        site[row.is_duplicate] += 1
    return counts


def _fresh(job: Job) -> list[bytes]:
    """The keys that are not repeats; a row without a key has none to remember."""
    keys, verdicts = job.keys, job.verdicts
    if None in keys or True in verdicts:
        return [
            key
            for key, is_repeat in zip(keys, verdicts, strict=True)
            if key is not None and not is_repeat
        ]
    return keys  # type: ignore[return-value]  # there is no None
