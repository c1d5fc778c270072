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
from collections.abc import Callable
from typing import Final

import msgspec

from collector.access import Access, Caller, Refused
from collector.adapters.contract import Budget, Endpoint, Request, Response
from collector.config import Site
from collector.dedup import Dedup
from collector.event import Batch, Event, Outcome, Verdict
from collector.facts import Facts
from collector.flight import Flights
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
        quarantine: Quarantine,
    ) -> None:
        self._access = access
        self._store = store
        self._clock = clock
        self._facts = facts
        self._counts = counts
        self._now_us = now_us
        self._quarantine = quarantine
        self._flights = Flights(store.keys, counts.stored)
        self._dedup = Dedup(store.keys, self._flights, store.warm)
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
        self, endpoint: Endpoint, request: Request, caller: Caller, body: bytes | Refusal
    ) -> Response:
        """Answer a request that was admitted; `body`: as it was read, or why it was not."""
        if isinstance(body, Refusal):
            return self.refuse(endpoint, request, body, caller.budget, caller.site)
        request.body = body
        request.now_us = now_us = self._now_us()
        batch = endpoint.decode(request)
        if isinstance(batch, Refusal):
            refusal = await self._set_aside(endpoint, request, batch, caller)
            return self.refuse(endpoint, request, refusal, caller.budget, caller.site)
        tally = self._counts.open(endpoint.protocol, now_us)
        try:
            items = batch.items
            self._clock.correct_all(items, now_us)
            sites = self._authorise(endpoint, caller, batch)
            if isinstance(sites, Refused):
                of_all = [sites.site or caller.site] * len(items)
                tally.receive(of_all)
                budget = sites.budget or caller.budget
                answer = self._refuse_all(endpoint, request, sites.refusal, budget, (tally, of_all))
            else:
                tally.receive(sites)
                outcomes = await self._store_batch(endpoint, request, caller, items, sites, tally)
                if isinstance(outcomes, Refusal):
                    budget, counted = caller.budget, (tally, sites)
                    answer = self._refuse_all(endpoint, request, outcomes, budget, counted)
                else:
                    if self._decide(endpoint, outcomes, sites, tally):
                        self._quarantine.keep_items(endpoint, request, caller, outcomes, sites)
                    answer = endpoint.respond(request, batch, outcomes, caller.budget)
            tally.is_answered = True
        finally:
            tally.close()
        return answer

    async def store_again(
        self, endpoint: Endpoint, request: Request, caller: Caller, item: Event, site: Site
    ) -> Outcome:
        """Store an event that was kept aside as if it came now; no limit is asked.

        It counts as received again if it becomes a row or is a duplicate, which is not stored.
        """
        tally = self._counts.open(endpoint.protocol, request.now_us)
        tally.receive([site])
        once = msgspec.structs.replace(endpoint, stores_duplicates=False)
        outcomes = await self._store_batch(once, request, caller, [item], [site], tally)
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
        items: list[Event | Refusal],
        sites: "list[Site | None]",
        tally: Tally,
    ) -> "list[Outcome] | Refusal":
        """Look up, encode, commit; the outcome of each item, or why none could be stored."""
        now_us = request.now_us
        rows, keys = self._facts.complete(endpoint.protocol, request, caller, items, sites)
        if not rows:
            return list(items)  # type: ignore[arg-type]  # refusals only
        tries = 0
        try:
            # From the last look-up to the flight there must be no await.
            while not isinstance(verdicts := self._dedup.find(keys, now_us, tries), list):
                await verdicts
                tries += 1
        except Unavailable as error:
            return unavailable(error)
        stored = rows
        if True in verdicts:
            if endpoint.stores_duplicates:
                self._facts.mark_repeats(rows, keys, verdicts)
            else:
                stored = [r for r, is_repeat in zip(rows, verdicts, strict=True) if not is_repeat]
        if stored:
            counts = _count(stored)
            try:
                commit = self._store.submit(encode(stored), len(stored), now_us)
            except StorageError as error:
                return unavailable(error)
            flight = self._flights.of(commit)
            flight.board(_fresh(keys, verdicts), now_us)
            tally.submit(counts)
            for site, (new, repeats) in counts.items():
                flight.count(site, endpoint.protocol, now_us, new, repeats)
            result = await commit
            if not isinstance(result, Receipt):
                tally.fail(counts)
                return unavailable(result)
        return _outcomes(items, verdicts)

    def _decide(
        self,
        endpoint: Endpoint,
        outcomes: list[Outcome],
        sites: "list[Site | None]",
        tally: Tally,
    ) -> bool:
        """Account for what is not stored; whether there are refusals. Rows were, as stored."""
        if outcomes.count(Verdict.ACCEPTED) == len(outcomes):
            return False
        has_refusal = False
        for outcome, site in zip(outcomes, sites, strict=True):
            if isinstance(outcome, Refusal):
                has_refusal = True
                tally.refuse(outcome.kind, site)
            elif outcome is Verdict.DUPLICATE and not endpoint.stores_duplicates:
                assert site is not None, "an event without a site is refused"
                tally.repeat(site.id)
        return has_refusal

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
            nobody = Request(method=endpoint.method, path=endpoint.path, query="", headers={})
            answer = self._answers[said] = endpoint.refuse(nobody, refusal, None)
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


def _count(rows: list[Row]) -> dict[str, list[int]]:
    """Per site how many rows are new, and how many are repeats."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        site = counts.get(row.site_id)
        if site is None:
            site = counts[row.site_id] = [0, 0]
        site[row.is_duplicate] += 1
    return counts


def _fresh(keys: list[bytes | None], verdicts: list[bool]) -> list[bytes]:
    """The keys that are not repeats; a row without a key has none to remember."""
    if None in keys or True in verdicts:
        return [
            key
            for key, is_repeat in zip(keys, verdicts, strict=True)
            if key is not None and not is_repeat
        ]
    return keys  # type: ignore[return-value]  # there is no None


def _outcomes(items: list[Event | Refusal], verdicts: list[bool]) -> list[Outcome]:
    """The outcome of each of `items`; `verdicts` are of those that are no refusals."""
    if len(verdicts) == len(items) and True not in verdicts:
        return [Verdict.ACCEPTED] * len(items)
    repeats = iter(verdicts)
    return [
        item
        if isinstance(item, Refusal)
        else (Verdict.DUPLICATE if next(repeats) else Verdict.ACCEPTED)
        for item in items
    ]
