"""The first page: is it well, what comes in, does it add up, and the newest events.

Every number is of memory and of this process, but for the line of the audit and the newest events,
which are of the files. Events per minute are those that were received, by what became of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from collector.adapters.contract import Response
from collector.admin import OVERVIEW, Route, Visit, html
from collector.admin_api import Audit, Trouble
from collector.admin_state import State
from collector.admin_stream import PATH as STREAM
from collector.admin_stream import Told
from collector.audit import Line
from collector.dashboard import charts, eventlist, pieces
from collector.dashboard.answers import PENDING, section
from collector.dashboard.frame import notice, number, size, table, whole_page
from collector.dashboard.html import Child, Html, tag
from collector.dashboard.known import Known
from collector.rates import by_outcome
from collector.reload import Configuration

OUTCOMES: Final = ("accepted", "duplicate", "rejected", "dropped")
_CHART: Final = "per-minute"


class Overview:
    """Shows the state of this moment, and goes on telling it (`live`)."""

    def __init__(self, known: Known) -> None:
        self._known = known

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

    def live(self) -> Told:
        """What of the page changes from second to second, by the names that it has there."""
        return Told(self._texts(self._known.api.state()), {_CHART: self._minutes()})

    async def _show(self, visit: Visit) -> Response:
        state = self._known.api.state()
        watch = self._known.watch
        audit, newest = await asyncio.gather(watch.audit.told(), watch.newest.told())
        trouble = state.trouble
        text = whole_page(
            "Overview",
            visit,
            notice(
                f"Events are not taken: {trouble}" if trouble else "Events are taken.",
                is_bad=bool(trouble),
            ),
            section("Now", self._now(state)),
            section("Events per minute", self._chart()),
            section("Nothing is lost", _conservation(audit)),
            section("Since the start", _since(state)),
            section("Configuration", _configuration(state.configuration)),
            eventlist.show("Newest events", newest),
            path=OVERVIEW,
        )
        return html(text)

    def _minutes(self) -> list[list[int]]:
        """Events of the last 60 minutes, a list for each of `OUTCOMES`."""
        found = [by_outcome(one) for one in self._known.watch.rates.minutes(self._known.now_us())]
        return [[one[outcome] for one in found] for outcome in OUTCOMES]

    def _texts(self, state: State) -> dict[str, str]:
        numbers = state.numbers
        received = [sum(values) for values in zip(*self._minutes(), strict=True)]
        age_s = self._known.watch.rates.unflushed_age_s(self._known.now_us())
        return {
            **{f"sum-{name}": number(count) for name, count in sums(state).items()},
            "rate": number(received[-2]),
            "unflushed": number(numbers["unflushed_rows"]),
            "freshness": f"{age_s:.0f} s" if age_s < 600 else f"{age_s / 60:.0f} min",
            "queue": size(numbers["queue_bytes"]),
            "log": size(numbers["wal_bytes"]),
            "disk": size(numbers["disk_free_bytes"]),
            "parts": number(numbers["parts"]),
            "keys": number(numbers["keys"]),
            "quarantine": size(numbers["quarantine_bytes"]),
        }

    def _now(self, state: State) -> Html:
        texts = self._texts(state)
        return _tiles("Now", {name: (meaning, texts[name]) for name, meaning in _NOW.items()})

    def _chart(self) -> Html:
        minutes = self._minutes()
        return charts.columns(
            "minutes",
            "Events received in each of the last 60 minutes, by what became of them",
            [_ago(charts.MINUTES - 1 - place) for place in range(charts.MINUTES)],
            [charts.Series(name, one) for name, one in zip(OUTCOMES, minutes, strict=True)],
            live=_CHART,
        )


_NOW: Final[Mapping[str, str]] = {
    "rate": "events in the last whole minute",
    "freshness": "age of the oldest row that is in no file yet",
    "unflushed": "rows in the log, not yet in files",
    "queue": "waiting to be written",
    "disk": "free on the disk",
    "log": "in the log",
    "parts": "files of events",
    "keys": "events remembered for duplicates",
    "quarantine": "in quarantine",
}


def _ago(minutes: int) -> str:
    return f"{minutes} min ago" if minutes else "now"


def sums(state: State) -> dict[str, int]:
    """Events since the start by what became of them."""
    found = dict.fromkeys(OUTCOMES, 0)
    for count in state.events:
        found[count.outcome] = found.get(count.outcome, 0) + count.events
    return found


def _tiles(label: str, values: Mapping[str, tuple[str, str]]) -> Html:
    """Numbers with their meaning; those of a name are brought up to date by the stream."""
    tiles = [
        tag(
            "li",
            tag("strong", text, attributes={"data-live": name}),
            tag("span", meaning),
        )
        for name, (meaning, text) in values.items()
    ]
    # A list that changes by itself is not read out: it would never end.
    attributes = {"class": "tiles", "aria-label": label, "data-stream": STREAM}
    return tag("ul", tiles, attributes={**attributes})


def _since(state: State) -> Child:
    rows: list[Sequence[Child]] = [
        (c.site, c.protocol, c.outcome, c.reason, c.events) for c in state.events
    ]
    values = {f"sum-{name}": (name, number(count)) for name, count in sums(state).items()}
    return [
        tag("p", f"Since {state.started[:19]}Z (now {state.now[:19]}Z), version {state.version}."),
        _tiles("Events since the start", values),
        table(
            "Events since the start, by site, protocol and reason",
            ("site", "protocol", "outcome", "reason", "events"),
            rows,
        ),
    ]


# --- the audit


def _conservation(audit: Audit | Trouble | None) -> Child:
    """Whether every event of today is accounted for, over restarts and crashes."""
    if audit is None:
        return tag("p", "Rows are being counted.", attributes={"class": PENDING})
    if isinstance(audit, Trouble):
        return notice(audit.why, is_bad=True)
    total = audit.total
    names = ("received", "stored", "duplicate", "rejected", "dropped", "rows", "difference")
    headings = (*names[:-1], "too new", names[-1])
    return [
        pieces.rule(
            "Of today (UTC): received = stored + duplicate + rejected + dropped, and as many rows "
            "on the disk as were stored, but for those that were erased or have expired. Events "
            "whose rows are still in the log are too new to count."
        ),
        notice(_verdict(total), is_bad=bool(total.difference)),
        table(
            "Today, by site and protocol",
            ("site", "protocol", *headings),
            [
                (
                    *(one.site, one.protocol),
                    *(getattr(one, name) for name in names[:-1]),
                    *(one.not_counted, one.difference),
                )
                for one in audit.lines
            ],
        ),
    ]


def _verdict(total: Line) -> str:
    right = total.stored + total.duplicate + total.rejected + total.dropped
    parts = " + ".join(
        number(value) for value in (total.stored, total.duplicate, total.rejected, total.dropped)
    )
    sign = "=" if right == total.received else "\N{NOT EQUAL TO}"
    return (
        f"{number(total.received)} {sign} {parts}; difference {number(total.difference)}"
        f"{'' if total.difference else ': nothing is lost'}."
    )


# --- the configuration


def _configuration(told: Configuration) -> Child:
    name = told.file or "Built-in example values"
    return [
        notice(
            f"{name} is not obeyed as it is now: {told.refused}. In force is what was read before, "
            f"at {told.loaded[:19]}Z.",
            is_bad=True,
        )
        if told.refused
        else notice(f"{name}, in force since {told.loaded[:19]}Z."),
        tag("p", "Waits for SIGHUP or the next start: ", ", ".join(told.waiting))
        if told.waiting
        else None,
    ]
