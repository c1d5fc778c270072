"""QR scans and what came of them: per code, and the newest, with links to their timelines.

A scan is a distinct scan session with a valid browser event in the range; it converted when a valid
server event of the range belongs to it, too. Conversions are those server events, as in
`scan_conversions`. A scan's code is that of any of its rows. Values are never added up across
currencies. Of a conversion that withholds consent nothing else is told of the scan.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import pieces, qrscan_questions
from collector.dashboard.answers import Records, panel
from collector.dashboard.frame import Figures, table
from collector.dashboard.html import Child, tag
from collector.dashboard.known import Known
from collector.dashboard.qrscan_questions import CODES_MAX, LOOK_BACK_DAYS, NEWEST_MAX
from collector.dashboard.ranges import Scope, picker, scope_of

PATH: Final = "/dashboard/scans"


class QrScans:
    """Shows scans and conversions."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        summary = "QR scans and their conversions"
        return [pieces.page_route(PATH, "dashboard_scans", summary, self._show, {})]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        codes, conversions, scans = await self._known.panels.ask(
            qrscan_questions.by_code(scope),
            qrscan_questions.conversions(scope),
            qrscan_questions.newest(scope),
        )
        return pieces.shown(
            "QR scans",
            visit,
            PATH,
            picker(PATH, scope, self._known.sites),
            panel("By QR code", codes, _codes),
            panel("Newest conversions", conversions, lambda rows: _conversions(rows, scope)),
            panel("Newest scans", scans, lambda rows: _scans(rows, scope)),
        )


def _code(row: Mapping[str, Any]) -> str:
    return row["code"] or "(unknown)"


def _sums(sums: Sequence[Mapping[str, Any]] | None) -> Figures:
    return Figures(", ".join(pieces.money(one["value"], one["currency"]) for one in sums or ()))


def _codes(rows: Records) -> Child:
    if not rows:
        return tag("p", "No QR scans in this range.")
    most = max(row["scans"] for row in rows)
    lines = [
        (
            _code(row),
            row["site_id"],
            pieces.bar(row["scans"], most),
            row["browser_events"],
            row["converted"],
            pieces.share(row["converted"], row["scans"]),
            row["conversions"],
            _sums(row["sums"]),
        )
        for row in rows
    ]
    names = (
        *("QR code", "site", "scans", "browser events", "converted", "rate", "conversions"),
        "value",
    )
    at_most = f" At most {CODES_MAX} codes." if len(rows) == CODES_MAX else ""
    return [
        pieces.rule(
            "Scans: scan sessions with a browser event. Converted: those that a back end reported "
            "something of, too; conversions: all that back ends reported of scans, with their "
            f"value. Codes come from the settings (enrich.scan_sessions).{at_most}"
        ),
        table("Scans and conversions by QR code", names, lines),
    ]


def _conversions(rows: Records, scope: Scope) -> Child:
    lines = [
        (
            pieces.moment(row["event_time"])
            if row["is_withheld"]
            else pieces.timeline_link(
                "scan",
                row["scan_session_id"],
                row["site_id"],
                scope,
                pieces.moment(row["event_time"]),
            ),
            row["name"],
            pieces.money(row["value"], row["currency"]),
            _code(row),
            row["site_id"],
            "consent withheld" if row["is_withheld"] else pieces.page_of(row["first_page"]),
            pieces.length(row["after"]),
        )
        for row in rows
    ]
    names = ("time (UTC)", "event", "value", "QR code", "site", "first page", "after")
    return [
        pieces.rule(
            "First page: of the scan's first browser event, looked for up to "
            f"{LOOK_BACK_DAYS} days before the range. After: how long after that event."
        ),
        table(f"The newest conversions, at most {NEWEST_MAX}", names, lines),
    ]


def _scans(rows: Records, scope: Scope) -> Child:
    lines = [
        (
            pieces.timeline_link(
                "scan",
                row["scan_session_id"],
                row["site_id"],
                scope,
                pieces.moment(row["began"]),
            ),
            _code(row),
            row["site_id"],
            row["browser_events"],
            row["conversions"],
            pieces.length(row["ended"] - row["began"]),
        )
        for row in rows
    ]
    names = ("began (UTC)", "QR code", "site", "browser events", "conversions", "length")
    return [
        pieces.rule("Latest browser event first. Conversions that withhold consent are not told."),
        table(f"The newest scans, at most {NEWEST_MAX}", names, lines),
    ]
