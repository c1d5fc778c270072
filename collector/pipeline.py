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
from collector.metrics import Metrics
from collector.normalise import Clock
from collector.privacy import gpc_sent
from collector.refusal import (
    INVALID_PAYLOAD,
    MALFORMED_BODY,
    QUARANTINED,
    QUEUE_FULL,
    SHUTTING_DOWN,
    STORAGE_UNAVAILABLE,
    Kind,
    Refusal,
)
from storage import (
    Closed,
    QueueFull,
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
_UNKNOWN_SITE: Final = "unknown"
_ANSWERS_MAX: Final = 1_024
# A full queue drains in well under a second; a full or failing disk takes an operator.
_RETRY_AFTER_S: Final = {QUEUE_FULL: 1, STORAGE_UNAVAILABLE: 10, SHUTTING_DOWN: 5}


class Pipeline:
    """Takes a request from its head to the answer."""

    def __init__(
        self,
        *,
        access: Access,
        store: Store,
        clock: Clock,
        facts: Facts,
        metrics: Metrics,
        now_us: Callable[[], int],
        body_bytes_max: int,
        quarantine: Callable[[Request, Refusal, Site], bool],
    ) -> None:
        self._access = access
        self._store = store
        self._clock = clock
        self._facts = facts
        self._metrics = metrics
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
            batch = self._set_aside(request, batch, caller.site)
            return self.refuse(endpoint, request, batch, caller.budget, caller.site)
        count = len(batch.items)
        for item in batch.items:
            if isinstance(item, Event):
                self._clock.correct(item, request.now_us)
        sites = self._authorise(endpoint, caller, batch)
        if isinstance(sites, Refused):
            site, budget = sites.site or caller.site, sites.budget or caller.budget
            return self.refuse(endpoint, request, sites.refusal, budget, site, count=count)
        outcomes = await self._store_batch(endpoint, request, caller, batch, sites)
        if isinstance(outcomes, Refusal):
            site = sites[0] if sites else None
            return self.refuse(endpoint, request, outcomes, caller.budget, site, count=count)
        self._count(endpoint, outcomes, sites)
        return endpoint.respond(request, batch, outcomes, caller.budget)

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
        return self._within_limits(caller, items, sites)

    def _within_limits(
        self, caller: Caller, items: list[Event | Refusal], sites: "list[Site | None]"
    ) -> "list[Site | None] | Refused":
        """One request of each site's limit; the items of one that is over it become refusals."""
        asked: dict[str, Refusal | None] = {}
        for index, site in enumerate(sites):
            if site is None:
                continue
            if site.id not in asked:
                asked[site.id] = self._access.site_refusal(site)
            refusal = asked[site.id]
            if refusal is not None:
                items[index] = refusal
        if len(asked) == 1:
            site = next(site for site in sites if site is not None)
            refusal = asked[site.id]
            if refusal is not None:
                return self._access.over_site_limit(caller, refusal, site)
        return sites

    async def _store_batch(
        self,
        endpoint: Endpoint,
        request: Request,
        caller: Caller,
        batch: Batch,
        sites: "list[Site | None]",
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
        refusal = await self._commit(endpoint, rows, keys, verdicts, now_us)
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
            return _unavailable(error)
        return found

    async def _commit(
        self,
        endpoint: Endpoint,
        rows: list[Row],
        keys: list[bytes | None],
        verdicts: list[bool],
        now_us: int,
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
        try:
            commit = self._store.submit(
                lines, len(rows), now_us, partial(self._dedup.settle, fresh, now_us)
            )
        except StorageError as error:
            return _unavailable(error)
        self._dedup.hold(fresh, commit)
        result = await commit
        return None if isinstance(result, Receipt) else _unavailable(result)

    # --- answers

    def refuse(
        self,
        endpoint: Endpoint,
        request: Request,
        refusal: Refusal,
        budget: Budget | None = None,
        site: Site | None = None,
        *,
        count: int = 1,
    ) -> Response:
        """Count `count` events as refused, and say so."""
        self._tell(endpoint, refusal.kind, site.id if site else _UNKNOWN_SITE, count)
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
        self._tell(endpoint, refusal.kind, site.id if site else _UNKNOWN_SITE, 1)
        return answer

    def _tell(self, endpoint: Endpoint, kind: Kind, site_id: str, count: int) -> None:
        self._metrics.count_event((site_id, endpoint.protocol, kind.outcome, kind.code), count)
        if kind.log != "none":
            # Never what the client sent: neither its words nor its address.
            _log.log(_LEVELS[kind.log], "%s: refused, %s", endpoint.name, kind.code)

    def _set_aside(self, request: Request, refusal: Refusal, site: Site | None) -> Refusal:
        """Keep an invalid body for inspection where the site asks for it.

        Never one whose sender objects to being tracked: it would be kept as it was sent.
        """
        if site is None or not site.quarantines_invalid:
            return refusal
        objects = site.honour_gpc and gpc_sent(request.headers)
        if objects or refusal.kind not in {INVALID_PAYLOAD, MALFORMED_BODY}:
            return refusal
        if not self._quarantine(request, refusal, site):
            return refusal
        return msgspec.structs.replace(refusal, kind=QUARANTINED)

    def _count(
        self, endpoint: Endpoint, outcomes: list[Outcome], sites: "list[Site | None]"
    ) -> None:
        counts: dict[tuple[str, str, str, str], int] = {}
        for outcome, site in zip(outcomes, sites, strict=True):
            site_id = site.id if site else _UNKNOWN_SITE
            labels: tuple[str, str, str, str]
            if isinstance(outcome, Refusal):
                kind = outcome.kind
                labels = (site_id, endpoint.protocol, kind.outcome, kind.code)
            else:
                name = "accepted" if outcome is Verdict.ACCEPTED else "duplicate"
                labels = (site_id, endpoint.protocol, name, "")
            counts[labels] = counts.get(labels, 0) + 1
        for labels, count in counts.items():
            self._metrics.count_event(labels, count)


def _unavailable(error: StorageError) -> Refusal:
    kind: Kind
    if isinstance(error, QueueFull):
        kind, message = QUEUE_FULL, "too many events are waiting to be written"
    elif isinstance(error, Closed):
        kind, message = SHUTTING_DOWN, "the collector is stopping"
    else:
        kind, message = STORAGE_UNAVAILABLE, "events cannot be stored at present"
    return Refusal(kind, message, retry_after_s=_RETRY_AFTER_S[kind])
