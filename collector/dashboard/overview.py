"""The first page: is it well, what came in, the newest events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.adapters.contract import Response
from collector.admin import OVERVIEW, Route, Visit, html
from collector.admin_api import Api, Trouble
from collector.admin_state import State
from collector.dashboard.frame import notice, number, pairs, size, table, whole_page
from collector.dashboard.html import Child, Html, Link, tag
from collector.dashboard.receipt import RECEIPT, texts

_ROWS: Final = 20
_NUMBERS: Final[Mapping[str, str]] = {
    "queue_bytes": "waiting to be written",
    "unflushed_rows": "rows in the log, not yet in files",
    "parts": "files of events",
    "keys": "events remembered for duplicates",
    "quarantine_bytes": "in quarantine",
    "disk_free_bytes": "free on the disk",
}


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
                answer=self._show,
                answers={200: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        state = self._api.state()
        newest = await self._api.newest(_ROWS)
        text = whole_page(
            "Overview",
            visit,
            _state(state),
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
    link = tag("a", "its receipt", attributes={"href": Link(RECEIPT, id=str(row["event_id"]))})
    return tag("li", tag("details", summary, pairs(texts(row)), tag("p", link)))


def _section(title: str, *children: Child) -> Html:
    name = title.lower().replace(" ", "-")
    return tag(
        "section",
        tag("h2", title, attributes={"id": name}),
        children,
        attributes={"aria-labelledby": name},
    )
