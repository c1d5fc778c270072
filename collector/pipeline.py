"""From the head of a request to its answer. Names no protocol.

Invariants:

1. A success answer is made only from a `Receipt`, or for repeats of rows that are on disk.
2. Every event of a request that was read is counted exactly once: accepted, duplicate, rejected or
   dropped.
3. Nothing that could be personal reaches a row without having passed `privacy` (`facts`).

What happens to events between body and disk is told by `turns`.
"""

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from collector.access import Access, Caller, Refused
from collector.adapters.contract import Budget, Endpoint, Request, Response
from collector.config import Site
from collector.event import Batch, Event, Outcome, Verdict
from collector.origin import request_host
from collector.quarantine import Quarantine
from collector.refusal import (
    QUARANTINED,
    Kind,
    Refusal,
)
from collector.tally import Counts, Tally
from collector.turns import Job, Turns

_log: Final = logging.getLogger("collector")
_LEVELS: Final = {"debug": logging.DEBUG, "warning": logging.WARNING}
_ANSWERS_MAX: Final = 1_024


class Pipeline:
    """Takes a request from its head to the answer."""

    def __init__(
        self,
        *,
        access: Access,
        turns: Turns,
        counts: Counts,
        now_us: Callable[[], int],
        quarantine: Quarantine,
    ) -> None:
        # The rules in force; a reload puts others in their place.
        self.access = access
        self._turns = turns
        self._counts = counts
        self._now_us = now_us
        self._quarantine = quarantine
        self._answers: dict[tuple[str, str, str, int], Response] = {}

    def admit(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Response:
        """Judge a request that comes from a good address by its head: who sends it, or a refusal.

        `Access.address_refusal` was asked before.
        """
        caller = self.access.head(endpoint, request, address)
        if not isinstance(caller, Refused):
            return caller
        self._note_origin(endpoint, request, caller.refusal)
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
        job = Job(endpoint, request, caller)
        try:
            await self._take(job)
            if isinstance(job.batch, Refusal):
                refusal = await self._set_aside(endpoint, request, job.batch, caller)
                return self.refuse(endpoint, request, refusal, caller.budget, caller.site)
            answer = self._answer(job)
            _tally_of(job).is_answered = True
        finally:
            if job.tally is not None:
                job.tally.close()
        return answer

    async def store_again(
        self, endpoint: Endpoint, request: Request, caller: Caller, item: Event, site: Site
    ) -> Outcome:
        """Store an event that was kept aside as if it came now; no limit is asked.

        It counts as received again if it becomes a row or is a duplicate, which is not stored.
        """
        once = msgspec.structs.replace(endpoint, stores_duplicates=False)
        job = Job(once, request, caller)
        job.batch, job.sites = Batch(items=[item]), [site]
        await self._take(job)
        tally = _tally_of(job)
        failure = job.failure
        if failure is not None:
            # Not received again: it stays where it is kept, and counts there.
            return failure
        outcome = _outcomes([item], job.verdicts)[0]
        self._decide(once, [outcome], [site], tally)
        tally.is_answered = True
        tally.close()
        return outcome

    async def _take(self, job: Job) -> None:
        """Return when it is decided what becomes of the job."""
        await self._turns.join(job)
        while job.waits_for is not None:
            await job.waits_for
            await self._turns.join(job)
        if job.error is not None:
            raise job.error

    def _answer(self, job: Job) -> Response:
        """The answer to a request whose events were read."""
        endpoint, request, caller, batch = job.endpoint, job.request, job.caller, job.batch
        assert isinstance(batch, Batch), "the caller has looked"
        if job.refused is not None:
            budget = job.refused.budget or caller.budget
            return self._refuse_all(job, job.refused.refusal, budget)
        failure = job.failure
        if failure is not None:
            return self._refuse_all(job, failure, caller.budget)
        outcomes = _outcomes(batch.items, job.verdicts)
        if self._decide(endpoint, outcomes, job.sites, _tally_of(job)):
            self._quarantine.keep_items(endpoint, request, caller, outcomes, job.sites)
        return endpoint.respond(request, batch, outcomes, caller.budget)

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

    def _note_origin(self, endpoint: Endpoint, request: Request, refusal: Refusal) -> None:
        """Have a head that was refused for where it comes from be told to the operator."""
        if endpoint.credentials == "key":
            return
        head = endpoint.read_head(request)
        asked = "" if isinstance(head, Refusal) else head.app_id
        host = request_host(request.headers)
        self._counts.origins.note(
            refusal.kind, endpoint.path, host, asked=asked, now_us=request.now_us
        )

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

    def _refuse_all(self, job: Job, refusal: Refusal, budget: Budget | None) -> Response:
        """Refuse a request whose events were read, each of a site that is known or is not."""
        self._tell(job.endpoint, refusal.kind)
        tally = _tally_of(job)
        for site in job.sites:
            tally.refuse(refusal.kind, site)
        return job.endpoint.refuse(job.request, refusal, budget)

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


def _tally_of(job: Job) -> Tally:
    assert job.tally is not None, "its events were read"
    return job.tally


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
