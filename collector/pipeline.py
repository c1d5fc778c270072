"""The only place where the steps of ingestion stand in order. Names no protocol.

Invariants:

1. A success answer is made only from a `Receipt`, or for repeats of rows that are on disk.
2. Keys are looked up after every other check, so that a refused event never uses up its key.
3. Between looking keys up and putting them in flight there is no await.
4. Every event of a request that was read is counted exactly once: accepted, duplicate, rejected or
   dropped.
5. Nothing that could be personal reaches a row without having passed `privacy` (`facts`).
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from collector.access import Access, Caller, Refused
from collector.adapters.contract import Budget, Endpoint, Request, Response
from collector.config import Site
from collector.dedup import Dedup
from collector.event import Batch, Event, Outcome, Verdict
from collector.facts import Facts
from collector.normalise import Clock
from collector.quarantine import Quarantine
from collector.refusal import (
    QUARANTINED,
    Kind,
    Refusal,
)
from collector.tally import Counts, Tally
from collector.unavailable import unavailable
from storage import (
    Receipt,
    Row,
    StorageError,
    Store,
    Unavailable,
    encode,
)

ReadBody = Callable[[int], Awaitable[bytes | Refusal]]

_log: Final = logging.getLogger("collector")
_LEVELS: Final = {"debug": logging.DEBUG, "warning": logging.WARNING}
_ANSWERS_MAX: Final = 1_024


class Pipeline:
    """Takes a request from its head to the answer."""

    def __init__(
        self,
        *,
        access: Access,
        store: Store,
        clock: Clock,
        facts: Facts,
        counts: Counts,
        now_us: Callable[[], int],
        body_bytes_max: int,
        quarantine: Quarantine,
    ) -> None:
        self._access = access
        self._store = store
        self._clock = clock
        self._facts = facts
        self._counts = counts
        self._now_us = now_us
        self._body_bytes_max = body_bytes_max
        self._quarantine = quarantine
        self._dedup = Dedup(store.keys, store.warm)
        self._answers: dict[tuple[str, str, str, int], Response] = {}

    def admit(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Response:
        """Judge a request that comes from a good address by its head: who sends it, or a refusal.

        `Access.address_refusal` was asked before.
        """
        caller = self._access.head(endpoint, request, address)
        if not isinstance(caller, Refused):
            return caller
        if endpoint.refusals_vary:
            return self.refuse(endpoint, request, caller.refusal, caller.budget, caller.site)
        return self.refuse_alike(endpoint, caller.refusal, caller.site)

    async def ingest(
        self, endpoint: Endpoint, request: Request, caller: Caller, read_body: ReadBody
    ) -> Response:
        """Answer a request that was admitted."""
        body = await read_body(endpoint.body_bytes_max or self._body_bytes_max)
        if isinstance(body, Refusal):
            return self.refuse(endpoint, request, body, caller.budget, caller.site)
        request.body = body
        request.now_us = self._now_us()
        batch = endpoint.decode(request)
        if isinstance(batch, Refusal):
            refusal = await self._set_aside(endpoint, request, batch, caller)
            return self.refuse(endpoint, request, refusal, caller.budget, caller.site)
        tally = self._counts.open(endpoint.protocol, request.now_us)
        try:
            response = await self._take(endpoint, request, caller, batch, tally)
            tally.is_answered = True
        finally:
            tally.close()
        return response

    async def _take(
        self, endpoint: Endpoint, request: Request, caller: Caller, batch: Batch, tally: Tally
    ) -> Response:
        """Answer a request whose events could be read."""
        items = batch.items
        for item in items:
            if isinstance(item, Event):
                self._clock.correct(item, request.now_us)
        sites = self._authorise(endpoint, caller, batch)
        if isinstance(sites, Refused):
            of_all = [sites.site or caller.site] * len(items)
            tally.receive(of_all)
            budget = sites.budget or caller.budget
            return self._refuse_all(endpoint, request, sites.refusal, budget, (tally, of_all))
        tally.receive(sites)
        outcomes = await self._store_batch(endpoint, request, caller, batch, sites, tally)
        if isinstance(outcomes, Refusal):
            return self._refuse_all(endpoint, request, outcomes, caller.budget, (tally, sites))
        has_refusal = self._decide(endpoint, outcomes, sites, tally)
        if has_refusal:
            self._quarantine.keep_items(endpoint, request, caller, outcomes, sites)
        return endpoint.respond(request, batch, outcomes, caller.budget)

    async def store_again(
        self, endpoint: Endpoint, request: Request, caller: Caller, item: Event, site: Site
    ) -> Outcome:
        """Store an event that was kept aside as if it came now; no limit is asked.

        It counts as received again if it becomes a row or is a duplicate, which is not stored.
        """
        tally = self._counts.open(endpoint.protocol, request.now_us)
        tally.receive([site])
        once = msgspec.structs.replace(endpoint, stores_duplicates=False)
        batch = Batch(items=[item])
        outcomes = await self._store_batch(once, request, caller, batch, [site], tally)
        if isinstance(outcomes, Refusal):
            return outcomes
        self._decide(once, outcomes, [site], tally)
        tally.is_answered = True
        tally.close()
        return outcomes[0]

    # --- body phase

    def _authorise(
        self, endpoint: Endpoint, caller: Caller, batch: Batch
    ) -> "list[Site | None] | Refused":
        """The site of each item; items that may not go there become refusals.

        Item by item where each names its own site, at once where the head or batch names it.
        """
        items = batch.items
        if batch.site or caller.site is not None:
            site = caller.site or self._access.batch_site(caller, batch.site)
            if isinstance(site, Refusal):
                return Refused(site)
            if endpoint.check is not None:
                endpoint.check(batch, site)
            refused = self._access.batch_refused(endpoint, caller, site, items)
            return [site] * len(items) if refused is None else refused
        sites: list[Site | None] = []
        for index, item in enumerate(items):
            if isinstance(item, Refusal):
                sites.append(None)
                continue
            found = self._access.item_site(caller, item.row.site_id)
            if isinstance(found, Refusal):
                items[index] = found
                sites.append(None)
                continue
            sites.append(found)
        return self._access.within_limits(caller, items, sites)

    async def _store_batch(
        self,
        endpoint: Endpoint,
        request: Request,
        caller: Caller,
        batch: Batch,
        sites: "list[Site | None]",
        tally: Tally,
    ) -> "list[Outcome] | Refusal":
        """Look up, encode, commit; the outcome of each item, or why none could be stored."""
        now_us = request.now_us
        done = self._facts.complete(endpoint.protocol, request, caller, batch.items, sites)
        rows, keys = done.rows, done.keys
        if not rows:
            return list(batch.items)  # type: ignore[arg-type]  # refusals only
        verdicts = await self._verdicts(keys, now_us)
        if isinstance(verdicts, Refusal):
            return verdicts
        refusal = await self._commit(endpoint, rows, keys, verdicts, now_us, tally=tally)
        if refusal is not None:
            return refusal
        repeats = iter(verdicts)
        return [
            item
            if isinstance(item, Refusal)
            else (Verdict.DUPLICATE if next(repeats) else Verdict.ACCEPTED)
            for item in batch.items
        ]

    async def _verdicts(self, keys: list[bytes | None], now_us: int) -> list[bool] | Refusal:
        """Which keys are repeats. Whoever goes on with the answer must not await before it does."""
        tries = 0
        try:
            while not isinstance(found := self._dedup.find(keys, now_us, tries), list):
                await found
                tries += 1
        except Unavailable as error:
            return unavailable(error)
        return found

    async def _commit(
        self,
        endpoint: Endpoint,
        rows: list[Row],
        keys: list[bytes | None],
        verdicts: list[bool],
        now_us: int,
        *,
        tally: Tally,
    ) -> Refusal | None:
        """Put the rows on disk; None when they are."""
        fresh = [
            key
            for key, is_repeat in zip(keys, verdicts, strict=True)
            if key is not None and not is_repeat
        ]
        if True in verdicts:
            if endpoint.stores_duplicates:
                self._facts.mark_repeats(rows, keys, verdicts)
            else:
                rows = [row for row, is_repeat in zip(rows, verdicts, strict=True) if not is_repeat]
                if not rows:
                    return None
        lines = encode(rows)
        counts: dict[str, list[int]] = {}
        for row in rows:
            counts.setdefault(row.site_id, [0, 0])[row.is_duplicate] += 1
        decide = tally.submit(counts)
        settle = partial(self._settle, fresh, now_us, decide)
        try:
            commit = self._store.submit(lines, len(rows), now_us, settle)
        except StorageError as error:
            decide(None)
            return unavailable(error)
        self._dedup.hold(fresh, commit)
        result = await commit
        return None if isinstance(result, Receipt) else unavailable(result)

    def _settle(
        self,
        keys: list[bytes],
        now_us: int,
        decide: Callable[[int | None], None],
        receipt: Receipt | None,
    ) -> None:
        """A group is on disk, or is not: its keys are known and its rows counted in one step."""
        self._dedup.settle(keys, now_us, receipt)
        decide(receipt.segment if receipt else None)

    # --- answers

    def refuse(
        self,
        endpoint: Endpoint,
        request: Request,
        refusal: Refusal,
        budget: Budget | None = None,
        site: Site | None = None,
    ) -> Response:
        """Count one event as received and refused, and say so."""
        self._tell(endpoint, refusal.kind)
        self._counts.refused_at_once(refusal.kind, site, endpoint.protocol, request.now_us)
        return endpoint.refuse(request, refusal, budget)

    def _refuse_all(
        self,
        endpoint: Endpoint,
        request: Request,
        refusal: Refusal,
        budget: Budget | None,
        counted: "tuple[Tally, list[Site | None]]",
    ) -> Response:
        """Refuse a request whose events were read, each of a site that is known or is not."""
        tally, sites = counted
        self._tell(endpoint, refusal.kind)
        for site in sites:
            tally.refuse(refusal.kind, site)
        return endpoint.refuse(request, refusal, budget)

    def refuse_alike(
        self, endpoint: Endpoint, refusal: Refusal, site: Site | None = None
    ) -> Response:
        """Refuse before the body is read, where the answer is the same for everybody: it is kept.

        Nothing that a client sent is in such a refusal, so there are few of them.
        """
        said = (endpoint.name, refusal.kind.code, refusal.message, refusal.retry_after_s)
        answer = self._answers.get(said)
        if answer is None:
            if len(self._answers) >= _ANSWERS_MAX:
                self._answers.clear()
            nobody = Request(method=endpoint.method, path=endpoint.path, query=b"", headers={})
            answer = self._answers[said] = endpoint.refuse(nobody, refusal, None)
            answer.starts = {}
        self._tell(endpoint, refusal.kind)
        self._counts.refused_at_once(refusal.kind, site, endpoint.protocol, self._now_us())
        return answer

    def _tell(self, endpoint: Endpoint, kind: Kind) -> None:
        if kind.log != "none":
            # Never what the client sent: neither its words nor its address.
            _log.log(_LEVELS[kind.log], "%s: refused, %s", endpoint.name, kind.code)

    async def _set_aside(
        self, endpoint: Endpoint, request: Request, refusal: Refusal, caller: Caller
    ) -> Refusal:
        """Keep a body that is malformed as a whole.

        Where its site wants it, the sender is told that all is well, once the bytes are on disk.
        """
        site = caller.site
        if site is None or not site.quarantines_invalid:
            self._quarantine.keep_body(endpoint, request, caller, refusal)
            return refusal
        is_kept = await self._quarantine.keep_for_good(endpoint, request, caller, refusal)
        return msgspec.structs.replace(refusal, kind=QUARANTINED) if is_kept else refusal

    def _decide(
        self,
        endpoint: Endpoint,
        outcomes: list[Outcome],
        sites: "list[Site | None]",
        tally: Tally,
    ) -> bool:
        """Account for what is not stored; whether there are refusals. Rows were, as stored."""
        has_refusal = False
        for outcome, site in zip(outcomes, sites, strict=True):
            if isinstance(outcome, Refusal):
                has_refusal = True
                tally.refuse(outcome.kind, site)
            elif outcome is Verdict.DUPLICATE and not endpoint.stores_duplicates:
                assert site is not None, "an event without a site is refused"
                tally.repeat(site.id)
        return has_refusal
