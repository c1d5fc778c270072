"""The first page: is it well, what came in, what became of one event, the newest events."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.adapters.contract import Response
from collector.admin import OVERVIEW, Member, Route, Visit, html
from collector.admin_api import Api, Trouble
from collector.admin_lookups import ID_CHARS_MAX
from collector.admin_state import State
from collector.dashboard.frame import notice, number, pairs, size, table, whole_page
from collector.dashboard.html import Child, Html, Link, tag
from collector.receipt import Told, ToldKept, ToldRow
from collector.reload import Configuration

_ROWS: Final = 20
_FIELD: Final = "id"
_NUMBERS: Final[Mapping[str, str]] = {
    "queue_bytes": "waiting to be written",
    "unflushed_rows": "rows in the log, not yet in files",
    "parts": "files of events",
    "keys": "events remembered for duplicates",
    "quarantine_bytes": "in quarantine",
    "disk_free_bytes": "free on the disk",
}
_MEANINGS: Final = {
    "accepted": "Accepted: it is a row.",
    "duplicate": "Duplicate: only marked repeats of it are there.",
    "refused": "Refused, and kept in quarantine.",
    "unknown": "Unknown: never seen, refused and not kept, erased, or expired.",
}
_encoder: Final = msgspec.json.Encoder()


class Overview:
    """Shows what `Api` knows."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        return (
            Route(
                path=OVERVIEW,
                name="dashboard_overview",
                kind="page",
                summary="The overview",
                query={_FIELD: Member("look this event up, by any of its ids", {"type": "string"})},
                answer=self._show,
                answers={200: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        state = self._api.state()
        wanted = visit.query.get(_FIELD, "").strip()[:ID_CHARS_MAX]
        # One after the other: each is a question to the disk.
        found = await self._api.receipt(wanted) if wanted else None
        newest = await self._api.newest(_ROWS)
        text = whole_page(
            "Overview",
            visit,
            _state(state),
            _configuration(state.configuration),
            _look_up(wanted, found),
            _newest(newest),
            path=OVERVIEW,
        )
        return html(text)


# --- the state


def _state(state: State) -> Html:
    sums = dict.fromkeys(("accepted", "duplicate", "rejected", "dropped"), 0)
    for count in state.events:
        sums[count.outcome] = sums.get(count.outcome, 0) + count.events
    tiles = [
        tag("li", tag("strong", number(events)), tag("span", outcome))
        for outcome, events in sums.items()
    ]
    rows = [(c.events, c.site, c.protocol, c.outcome, c.reason) for c in state.events]
    numbers = {
        meaning: (size if name.endswith("_bytes") else number)(state.numbers[name])
        for name, meaning in _NUMBERS.items()
        if name in state.numbers
    }
    trouble = state.trouble
    return _section(
        "State",
        notice(
            f"Events are not taken: {trouble}" if trouble else "Events are taken.",
            is_bad=bool(trouble),
        ),
        tag("p", f"Since {state.started[:19]}Z (now {state.now[:19]}Z), version {state.version}."),
        tag("ul", tiles, attributes={"class": "tiles", "aria-label": "Events since the start"}),
        table("Events since the start", ("events", "site", "protocol", "outcome", "reason"), rows),
        pairs(numbers),
    )


# --- the configuration


def _configuration(told: Configuration) -> Html:
    name = told.file or "Built-in example values"
    return _section(
        "Configuration",
        notice(f"{name}, in force since {told.loaded[:19]}Z.", is_bad=False)
        if not told.refused
        else notice(
            f"{name} is not obeyed as it is now: {told.refused}. In force is what was read before, "
            f"at {told.loaded[:19]}Z.",
            is_bad=True,
        ),
        tag("p", "Waits for SIGHUP or the next start: ", ", ".join(told.waiting))
        if told.waiting
        else None,
    )


# --- one event


def _look_up(wanted: str, found: Told | Trouble | None) -> Html:
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
    asking = tag("form", label, field, button, attributes={"action": Link(OVERVIEW)})
    return _section("One event", asking, _receipt(found))


def _receipt(found: Told | Trouble | None) -> Child:
    if found is None:
        return None
    if isinstance(found, Trouble):
        return notice(found.why, is_bad=True)
    rows = [pairs(_texts(_members(row))) for row in found.rows]
    kept = [pairs(_texts(_members(one))) for one in found.quarantine]
    return [notice(_MEANINGS[found.verdict], is_bad=found.verdict == "unknown"), rows, kept]


def _members(told: ToldRow | ToldKept) -> dict[str, Any]:
    return {
        field.name: getattr(told, field.name)
        for field in msgspec.structs.fields(told)
        if getattr(told, field.name) is not None
    }


# --- the newest events


def _newest(found: Sequence[Mapping[str, Any]] | Trouble) -> Html:
    if isinstance(found, Trouble):
        return _section("Newest events", notice(found.why, is_bad=True))
    if not found:
        return _section("Newest events", tag("p", "There are none yet."))
    return _section("Newest events", tag("ol", map(_event, found), attributes={"class": "events"}))


def _event(row: Mapping[str, Any]) -> Html:
    kind = " ".join(str(row[name]) for name in ("event_type", "event_name") if name in row)
    summary = tag(
        "summary",
        tag("time", str(row["received_time"]), attributes={"datetime": str(row["received_time"])}),
        " ",
        tag("strong", kind or "event"),
        " ",
        tag("span", f"{row.get('site_id', '')}, {row.get('protocol', '')}"),
        tag("span", " repeat", attributes={"class": "mark"}) if row.get("is_duplicate") else None,
        tag("span", " marked", attributes={"class": "mark"}) if row.get("is_fraud") else None,
    )
    link = tag("a", "its receipt", attributes={"href": Link(OVERVIEW, id=str(row["event_id"]))})
    return tag("li", tag("details", summary, pairs(_texts(row)), tag("p", link)))


def _texts(row: Mapping[str, Any]) -> dict[str, Child]:
    """Each value as text; JSON as it was kept."""
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> Child:
    if isinstance(value, msgspec.Raw):
        return tag("pre", bytes(value).decode("utf-8", "replace"))
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ", ".join(map(str, value))
    return _encoder.encode(value).decode()


def _section(title: str, *children: Child) -> Html:
    name = title.lower().replace(" ", "-")
    return tag(
        "section",
        tag("h2", title, attributes={"id": name}),
        children,
        attributes={"aria-labelledby": name},
    )
