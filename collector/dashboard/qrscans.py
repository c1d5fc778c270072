"""QR scans and what came of them: per code, and the newest, with links to their timelines.

A scan is a distinct scan session with a valid browser event in the range; it converted when a valid
server event of the range belongs to it, too. Conversions are those server events, as in
`scan_conversions`. A scan's code is that of any of its rows. Values are never added up across
currencies. Of a conversion that withholds consent nothing else is told of the scan.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import pieces
from collector.dashboard.answers import Records, panel
from collector.dashboard.frame import Figures, number, table
from collector.dashboard.html import Child, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import WITHIN, Scope, picker, scope_of
from collector.dashboard.visitor_questions import WITHHELD
from collector.panels import Question

PATH: Final = "/dashboard/scans"
_CODES_MAX: Final = 200
_NEWEST: Final = 25
# How long before the range the first event of a scan is looked for.
_LOOK_BACK_DAYS: Final = 30

# How many of the newest browser events are looked at for the newest scans.
_SAMPLE: Final = 2_000

# `scan_days` has a number for each scan: there may be millions of them.
_BY_CODE: Final = f"""\
WITH rows AS NOT MATERIALIZED (
    SELECT scan, site_id, source, qr_code_id, events, amount, currency
    FROM scan_days
    WHERE {WITHIN}
),
scans AS (
    SELECT
        scan,
        any_value(site_id) AS site_id,
        min(qr_code_id) AS code,
        coalesce(sum(events) FILTER (WHERE source = 'browser'), 0)::BIGINT AS browser_events,
        coalesce(sum(events) FILTER (WHERE source = 'server'), 0)::BIGINT AS conversions
    FROM rows
    GROUP BY scan
),
values AS (
    SELECT scan, currency, sum(amount) AS total
    FROM rows
    WHERE source = 'server' AND amount IS NOT NULL
    GROUP BY scan, currency
),
sums AS (
    SELECT site_id, code, list({{'currency': currency, 'value': total}} ORDER BY currency) AS sums
    FROM (
        SELECT site_id, code, currency, sum(total) AS total
        FROM values JOIN scans USING (scan)
        GROUP BY site_id, code, currency
    )
    GROUP BY site_id, code
),
codes AS (
    SELECT
        site_id,
        code,
        count(*) FILTER (WHERE browser_events > 0) AS scans,
        sum(browser_events)::BIGINT AS browser_events,
        count(*) FILTER (WHERE browser_events > 0 AND conversions > 0) AS converted,
        sum(conversions)::BIGINT AS conversions
    FROM scans
    GROUP BY site_id, code
)
SELECT codes.*, sums.sums
FROM codes LEFT JOIN sums
    ON sums.site_id = codes.site_id AND sums.code IS NOT DISTINCT FROM codes.code
ORDER BY scans DESC, conversions DESC, codes.site_id, codes.code NULLS LAST
LIMIT {_CODES_MAX}"""

_NEWEST_SCANS: Final = f"""\
WITH newest AS (
    SELECT site_id, scan_session_id
    FROM valid_events
    WHERE {WITHIN} AND scan_session_id IS NOT NULL AND source = 'browser'
    ORDER BY event_time DESC, event_id DESC
    LIMIT {_SAMPLE}
)
SELECT
    site_id,
    scan_session_id,
    min(qr_code_id) AS code,
    min(event_time) FILTER (WHERE source = 'browser') AS began,
    max(event_time) FILTER (WHERE source = 'browser') AS ended,
    count(*) FILTER (WHERE source = 'browser') AS browser_events,
    count(*) FILTER (WHERE source = 'server' AND NOT {WITHHELD}) AS conversions
FROM valid_events SEMI JOIN newest USING (site_id, scan_session_id)
WHERE {WITHIN}
GROUP BY site_id, scan_session_id
ORDER BY ended DESC, site_id, scan_session_id
LIMIT {_NEWEST}"""

# As the published view has it, for few conversions: it would look for the first event of each scan
# among all rows of all dates.
_CONVERSIONS: Final = f"""\
WITH newest AS (
    SELECT *, {WITHHELD} AS is_withheld
    FROM valid_events
    WHERE {WITHIN} AND source = 'server' AND scan_session_id IS NOT NULL
    ORDER BY event_time DESC, event_id DESC
    LIMIT {_NEWEST}
),
near AS (
    SELECT *
    FROM valid_events SEMI JOIN newest USING (site_id, scan_session_id)
    WHERE date BETWEEN $earliest::DATE AND $until::DATE
),
openings AS (
    SELECT site_id, scan_session_id, event_time, page_url
    FROM near
    WHERE source = 'browser'
    QUALIFY row_number() OVER (
        PARTITION BY site_id, scan_session_id ORDER BY event_time, received_time, event_id
    ) = 1
),
codes AS (
    SELECT site_id, scan_session_id, min(qr_code_id) AS code
    FROM near
    GROUP BY site_id, scan_session_id
)
SELECT
    newest.event_time,
    newest.site_id,
    newest.scan_session_id,
    coalesce(newest.event_name, newest.event_type) AS name,
    newest.conversion_value AS value,
    newest.conversion_currency AS currency,
    newest.is_withheld,
    coalesce(newest.qr_code_id, codes.code) AS code,
    CASE WHEN NOT newest.is_withheld THEN openings.page_url END AS first_page,
    CASE WHEN NOT newest.is_withheld THEN newest.event_time - openings.event_time END AS after
FROM newest
LEFT JOIN openings USING (site_id, scan_session_id)
LEFT JOIN codes USING (site_id, scan_session_id)
ORDER BY newest.event_time DESC, newest.event_id DESC"""


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
        earliest = str(scope.since - timedelta(days=_LOOK_BACK_DAYS))
        codes, conversions, scans = await self._known.panels.ask(
            Question(_BY_CODE, scope.values()),
            Question(_CONVERSIONS, scope.values(earliest=earliest)),
            Question(_NEWEST_SCANS, scope.values()),
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
    at_most = f" At most {_CODES_MAX} codes." if len(rows) == _CODES_MAX else ""
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
            f"{_LOOK_BACK_DAYS} days before the range. After: how long after that event."
        ),
        table(f"The newest conversions, at most {_NEWEST}", names, lines),
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
        pieces.rule(
            f"Those of the newest {number(_SAMPLE)} browser events of scans, latest first. "
            "Conversions that withhold consent are not told."
        ),
        table(f"The newest scans, at most {_NEWEST}", names, lines),
    ]
