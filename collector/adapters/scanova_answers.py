"""How Scanova answers: success bodies, results of a batch, errors.

An error is always JSON with the one member `detail`: a text, or for status 422 an array that says
what is wrong where (`loc`, `msg`, `type`, in the words of pydantic 1, as the vendor does). Must not
know how a body is read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from collector.adapters.contract import Budget, Header, Request, Response
from collector.event import Batch, Event, Outcome, Verdict
from collector.refusal import (
    METHOD_NOT_ALLOWED,
    MISSING_FIELD,
    UNKNOWN_KEY,
    UNKNOWN_SITE,
    Refusal,
)


class _Fault(msgspec.Struct):
    """One broken rule, in the words of pydantic 1."""

    loc: list[str | int]
    msg: str
    type: str


class Error(msgspec.Struct):
    """Why a request was refused: a text, with status 422 an array."""

    detail: str | list[_Fault]


class _Result(msgspec.Struct):
    """What became of one event of a batch; one that was rejected has no id."""

    index: int
    event_id: str | None
    status: str
    detail: str | list[_Fault] | UnsetType = UNSET


class BatchAnswer(msgspec.Struct):
    """What became of the events of a batch; `success`: none was rejected."""

    success: bool
    accepted: int
    duplicates: int
    rejected: int
    results: list[_Result]


class BrowserAnswer(msgspec.Struct):
    """Success, as `/ct` tells it."""

    event_id: str


class ServerAnswer(msgspec.Struct):
    """Success, as `/server-events` tells it: what two of the vendor's pages show, together."""

    event_id: str
    success: bool = True
    status: str = "accepted"
    message: str = "Event received"


_encoder: Final = msgspec.json.Encoder()
_JSON: Final = ("content-type", "application/json")
# Of every success; nobody changes it.
_HEADERS: Final[list[Header]] = [_JSON]


class Answers:
    """Answers one source. `statuses`: its own, by the code of a refusal, where it has its own."""

    def __init__(
        self, success: Callable[[str], msgspec.Struct], statuses: Mapping[str, int]
    ) -> None:
        # The id of an event is a checked or a fresh UUID: nothing in it wants escaping.
        self._before_id, self._after_id = _encoder.encode(success("|")).split(b"|")
        self._statuses = statuses

    def respond_event(
        self, request: Request, batch: Batch, outcomes: Sequence[Outcome], budget: Budget | None
    ) -> Response:
        """Answer a single event; a repeat is a plain success."""
        outcome, item = outcomes[0], batch.items[0]
        # Of a class of its own something is found out at once; that it is of none takes longer.
        if not isinstance(outcome, Verdict):
            return self.refuse(request, outcome, budget)
        assert isinstance(item, Event), "what has a verdict was an event"
        body = self._before_id + item.row.event_id.encode() + self._after_id
        return Response(200, _HEADERS, body)

    def respond_batch(
        self, _request: Request, batch: Batch, outcomes: Sequence[Outcome], _budget: Budget | None
    ) -> Response:
        """Answer 200 with one result per event, even if every one of them was rejected."""
        results = [
            self._result(index, item, outcome)
            for index, (item, outcome) in enumerate(zip(batch.items, outcomes, strict=True))
        ]
        accepted = outcomes.count(Verdict.ACCEPTED)
        duplicates = outcomes.count(Verdict.DUPLICATE)
        rejected = len(outcomes) - accepted - duplicates
        answer = BatchAnswer(not rejected, accepted, duplicates, rejected, results)
        return Response(200, _HEADERS, _encoder.encode(answer))

    def refuse(self, _request: Request, refusal: Refusal, _budget: Budget | None) -> Response:
        """Answer that the request as a whole was refused."""
        headers: list[Header] = [_JSON]
        status = self._status(refusal)
        if status in {429, 503}:
            headers.append(("retry-after", str(refusal.retry_after_s or 1)))
        if status == 401:
            headers.append(("www-authenticate", "Bearer"))
        return Response(status, headers, _encoder.encode(Error(self._detail(refusal))))

    def _status(self, refusal: Refusal) -> int:
        return self._statuses.get(refusal.kind.code, refusal.kind.status)

    def _result(self, index: int, item: Event | Refusal, outcome: Outcome) -> _Result:
        if isinstance(outcome, Refusal):
            return _Result(index, None, "rejected", self._detail(outcome))
        assert isinstance(item, Event), "what has a verdict was an event"
        return _Result(index, item.row.event_id, _STATUS_TEXTS[outcome])

    def _detail(self, refusal: Refusal) -> str | list[_Fault]:
        if refusal.kind is METHOD_NOT_ALLOWED:
            return "Method Not Allowed"
        if self._status(refusal) != 422:
            return refusal.message
        if refusal.violations:
            return [
                _Fault(_loc(violation.path), violation.reason, refusal.rule)
                for violation in refusal.violations
            ]
        return [_Fault(list(refusal.path) or ["body"], refusal.message, refusal.rule)]


_STATUS_TEXTS: Final = {Verdict.ACCEPTED: "accepted", Verdict.DUPLICATE: "duplicate"}


def _loc(pointer: str) -> list[str | int]:
    """A JSON pointer into the body, the way pydantic tells it."""
    return ["body", *(int(step) if step.isdigit() else step for step in pointer.split("/")[1:])]


BROWSER: Final = Answers(BrowserAnswer, {MISSING_FIELD.code: 400})
# A key is told that a site is not its own, whether or not there is such a site.
SERVER: Final = Answers(ServerAnswer, {UNKNOWN_KEY.code: 403, UNKNOWN_SITE.code: 403})
