"""The admin API: the state, the newest events, a receipt, an audit; JSON for programs.

Turns what `admin_state` and `admin_lookups` know into answers, for the pages too. Must not decide
who may ask, and runs no question but those of `Lookups`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeVar

import msgspec

from collector import audit as auditing
from collector.adapters.contract import Response
from collector.admin import Failure, Member, Route, Visit, failure, json
from collector.admin_lookups import ID_CHARS_MAX, ROWS_MAX, Busy, Lookups, Stock
from collector.admin_state import State, StateReader
from collector.audit import Line
from collector.receipt import Told, time_text, told
from storage import COLUMNS, StorageError, TookTooLong

T = TypeVar("T")

_ROWS: Final = 20
_RETRY_AFTER: Final = ("retry-after", "1")
_TIMES: Final = frozenset(column.name for column in COLUMNS if column.type == "TIMESTAMPTZ")
_TROUBLE: Final[Mapping[int, Any]] = {503: Failure}


class Events(msgspec.Struct):
    """The newest rows, newest first: columns of the events table, without those that are NULL."""

    events: list[dict[str, Any]]


class Audit(msgspec.Struct):
    """Lines per day, and per hour where there is a difference; their sum.

    `balanced`: no event is unaccounted for.
    """

    since: str
    balanced: bool
    total: Line
    lines: list[Line]


class Trouble(msgspec.Struct, frozen=True):
    """A question that was not answered, and whether it may be at another time."""

    status: int
    why: str


async def asked(question: Awaitable[T]) -> T | Trouble:
    """The answer to a question to `Lookups`, or why there is none, in words that tell no secret."""
    try:
        return await question
    except Busy:
        return Trouble(503, "other questions are being answered; ask again")
    except TookTooLong as error:
        return Trouble(503, f"this took too long: {error}")
    except (StorageError, OSError):
        # Its message may name a folder of this machine.
        return Trouble(503, "the files cannot be read at present; the log and `collector` say why")


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is told: times in ISO 8601, in the order of the columns."""
    return {
        column.name: time_text(row[column.name]) if column.name in _TIMES else row[column.name]
        for column in COLUMNS
        if column.name in row
    }


class Api:
    """Handlers of the admin API, and what the pages ask of it."""

    def __init__(self, state: StateReader, lookups: Lookups, *, today: Callable[[], date]) -> None:
        self._state = state
        self._lookups = lookups
        self._today = today

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        return (
            Route(
                path="/admin/v1/state",
                name="admin_state",
                kind="api",
                summary="How the collector is, and what it counted since it was started",
                answer=self._answer_state,
                answers={200: State},
            ),
            Route(
                path="/admin/v1/events",
                name="admin_events",
                kind="api",
                summary="The newest rows with all their columns",
                query={
                    "count": Member(
                        f"how many; {_ROWS} without it",
                        {"type": "integer", "minimum": 1, "maximum": ROWS_MAX},
                    )
                },
                answer=self._answer_events,
                answers={200: Events, 400: Failure, **_TROUBLE},
            ),
            Route(
                path="/admin/v1/receipt",
                name="admin_receipt",
                kind="api",
                summary="What became of one event",
                query={
                    "id": Member(
                        "event id, idempotency key, dedup_key, or an id in quarantine",
                        {"type": "string", "minLength": 1, "maxLength": ID_CHARS_MAX},
                        is_required=True,
                    )
                },
                answer=self._answer_receipt,
                answers={200: Told, 400: Failure, **_TROUBLE},
            ),
            Route(
                path="/admin/v1/audit",
                name="admin_audit",
                kind="api",
                summary="Received, compared with the rows on disk",
                query={
                    "since": Member(
                        "today (UTC) without it",
                        {"type": "string", "format": "date"},
                    )
                },
                answer=self._answer_audit,
                answers={200: Audit, 400: Failure, **_TROUBLE},
            ),
        )

    def state(self) -> State:
        """The state of this moment."""
        return self._state.read()

    async def newest(self, count: int) -> list[dict[str, Any]] | Trouble:
        """The newest rows, as they are told."""
        found = await asked(self._lookups.newest(count))
        return found if isinstance(found, Trouble) else [shown(row) for row in found]

    async def receipt(self, text: str) -> Told | Trouble:
        """What became of the event that `text` is an id of."""
        found = await asked(self._lookups.receipt(text))
        return found if isinstance(found, Trouble) else told(found)

    async def stock(self) -> Stock | Trouble:
        """What is on the disk, and which orders are under way."""
        return await asked(self._lookups.stock())

    async def audit(self, since: date) -> Audit | Trouble:
        """An audit from a date on, whole days first."""
        lines = await asked(self._lookups.audit(since))
        if isinstance(lines, Trouble):
            return lines
        # Hours before may be told in part.
        chosen = [line for line in lines if line.time[:10] >= since.isoformat()]
        total = auditing.total(chosen)
        return Audit(since.isoformat(), not total.difference, total, auditing.by_day(chosen))

    # --- handlers

    async def _answer_state(self, _visit: Visit) -> Response:
        return json(self.state())

    async def _answer_events(self, visit: Visit) -> Response:
        text = visit.query.get("count", str(_ROWS))
        count = int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else 0
        if not 1 <= count <= ROWS_MAX:
            return failure(400, f"count must be a number from 1 to {ROWS_MAX}")
        found = await self.newest(count)
        return _answered(found if isinstance(found, Trouble) else Events(found))

    async def _answer_receipt(self, visit: Visit) -> Response:
        text = visit.query.get("id", "")
        if not 0 < len(text) <= ID_CHARS_MAX:
            return failure(400, f"id must be a text of 1 to {ID_CHARS_MAX} characters")
        return _answered(await self.receipt(text))

    async def _answer_audit(self, visit: Visit) -> Response:
        since = self._today()
        text = visit.query.get("since")
        if text is not None:
            try:
                since = date.fromisoformat(text)
            except ValueError:
                return failure(400, "since must be a date such as 2026-01-31")
        return _answered(await self.audit(since))


def _answered(found: object) -> Response:
    if isinstance(found, Trouble):
        response = failure(found.status, found.why)
        return Response(response.status, [*response.headers, _RETRY_AFTER], response.body)
    return json(found)
