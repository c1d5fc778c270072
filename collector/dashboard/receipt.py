"""The page on one event: what became of it, in words, and everything that is kept of it.

Rows and quarantine are those that `collector receipt` finds. What a whole row holds is asked of the
files of the date of its receipt, so that no other folder is opened.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.adapters.contract import Response
from collector.admin import Member, Route, Visit, html
from collector.admin_api import Trouble
from collector.admin_lookups import ID_CHARS_MAX
from collector.dashboard.answers import Records, panel, section
from collector.dashboard.eventlist import RECEIPT, texts
from collector.dashboard.frame import notice, pairs, whole_page
from collector.dashboard.html import Child, Html, Link, tag
from collector.dashboard.known import Known
from collector.panels import Question, bound
from collector.receipt import Told, ToldKept, ToldRow

_FIELD: Final = "id"
_COPIES_MAX: Final = 20
_MEANINGS: Final = {
    "accepted": "Accepted: it is a row.",
    "duplicate": "Duplicate: only marked repeats of it are there.",
    "refused": "Refused, and kept in quarantine.",
    "unknown": "Unknown: never seen, refused and not kept, erased, or expired.",
}
_UNKNOWN: Final = (
    "Look at what the sender was answered: an event is there only if the answer was a success.",
    "A browser that was refused for where its page comes from is on the page Origins.",
    "Events that are refused for a key, a limit or for privacy are never kept.",
    "Beacons of Croct's SDK have no id of their own: look them up by the dedup key of a row.",
)
# What to do about what was refused for a reason, where more can be said than the message does.
ADVICE: Final[Mapping[str, str]] = {
    "malformed_body": "The body was cut short or is no JSON: the sender has to send it anew.",
    "missing_field": "The sender left out a member that is required.",
    "invalid_field": "The sender gave a member a value that it must not have.",
    "invalid_payload": "The sender's payload is not what the protocol describes.",
    "batch_size": "The sender has to send batches of the size that the protocol allows.",
    "field_too_large": "The sender has to shorten the member that the message names.",
    "field_too_deep": "The sender nests objects more deeply than the protocol allows.",
    "invalid_event_type": "The sender used a type of event that the protocol does not have.",
    "invalid_ts": "The time is too far from that of receipt: look at the sender's clock and queue.",
    "invalid_idempotency_key": "The sender's idempotency key is empty, too long or no text.",
    "invalid_visitor_id": "The sender's id of the visitor is not of the form the protocol asks.",
    "invalid_session_id": "The sender's id of the session is not of the form the protocol asks.",
    "invalid_props": "The sender's props are not what the protocol allows for this type.",
    "invalid_payment_provider": "The sender named a payment provider that the protocol has not.",
    "unknown_goal": "Add the goal to `goals` of the site, have the configuration read again, then "
    "replay the event.",
}
_ROW: Final = """\
SELECT COLUMNS(*)::VARCHAR FROM events WHERE date = $day::DATE AND event_id = $id::UUID
ORDER BY received_time LIMIT $copies"""


class Receipts:
    """Looks events up."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        return (
            Route(
                path=RECEIPT,
                name="dashboard_receipt",
                kind="page",
                summary="What became of one event",
                query={_FIELD: Member("look this event up, by any of its ids", {"type": "string"})},
                answer=self._show,
                answers={200: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        wanted = visit.query.get(_FIELD, "").strip()[:ID_CHARS_MAX]
        shown = await look_up(self._known, wanted) if wanted else None
        return html(whole_page("Receipt", visit, _asking(wanted), shown, path=RECEIPT))


async def look_up(known: Known, wanted: str) -> Child:
    """What became of an event, as sections of a page."""
    # One after the other: each is a question to the disk.
    found = await known.api.receipt(wanted)
    if isinstance(found, Trouble):
        return notice(found.why, is_bad=True)
    places = dict.fromkeys((row.received_time[:10], row.event_id) for row in found.rows)
    questions = [
        Question(_ROW, bound({"day": day, "id": one, "copies": _COPIES_MAX})) for day, one in places
    ]
    told = await known.panels.ask(*questions[:_COPIES_MAX]) if questions else []
    return [
        _verdict(found),
        [_row(_numbered("Row", at), row) for at, row in enumerate(found.rows)],
        [panel(_numbered("All columns", at), one, _columns) for at, one in enumerate(told)],
        [_kept(one) for one in found.quarantine],
    ]


def _asking(wanted: str) -> Html:
    label = tag("label", "Event id, idempotency key or dedup key", attributes={"for": "look-up"})
    field = tag(
        "input",
        attributes={
            "id": "look-up",
            "name": _FIELD,
            "type": "text",
            "value": wanted,
            "maxlength": str(ID_CHARS_MAX),
            "spellcheck": "false",
            "autocomplete": "off",
            "required": True,
        },
    )
    button = tag("button", "Look up", attributes={"type": "submit"})
    return tag("form", label, field, button, attributes={"action": Link(RECEIPT)})


def _verdict(found: Told) -> Child:
    if found.verdict == "unknown":
        return [
            notice(_MEANINGS[found.verdict], is_bad=True),
            tag("ul", [tag("li", one) for one in _UNKNOWN]),
        ]
    repeats = sum(row.is_duplicate for row in found.rows)
    others = [
        f"Repeats of it that were stored, marked as such: {repeats}." if repeats else "",
        f"Waiting in quarantine: {len(found.quarantine)}." if found.quarantine else "",
    ]
    is_bad = found.verdict == "refused"
    return [
        notice(_MEANINGS[found.verdict], is_bad=is_bad),
        [tag("p", text) for text in others if text],
    ]


def _numbered(title: str, at: int) -> str:
    """No two sections have one title."""
    return f"{title} {at + 1}" if at else title


def _row(title: str, row: ToldRow) -> Html:
    kind = "A repeat, marked as such" if row.is_duplicate else "Taken as new"
    where = "the log, not yet in a file" if row.file.startswith("wal/") else "a file of events"
    return section(
        title,
        tag("p", f"{kind}; it stands in {where}."),
        pairs(texts(_members(row))),
    )


def _columns(records: Records) -> Child:
    if not records:
        return tag("p", "The newest rows can be looked at after some seconds: load the page again.")
    return [
        pairs({name: value for name, value in record.items() if value is not None})
        for record in records
    ]


def _kept(one: ToldKept) -> Html:
    replay = f"collector quarantine replay {one.id}"
    return section(
        f"In quarantine {one.id}",
        tag("p", f"Refused: {one.message}"),
        tag("p", ADVICE.get(one.reason, "The message tells what the sender has to change.")),
        tag("p", "Its bytes, and how to have it judged again after a setting was changed:"),
        tag("pre", tag("code", f"collector quarantine show {one.id}\n{replay}")),
        pairs(texts(_members(one))),
    )


def _members(told: ToldRow | ToldKept) -> dict[str, Any]:
    return {
        field.name: getattr(told, field.name)
        for field in msgspec.structs.fields(told)
        if getattr(told, field.name) is not None
    }
