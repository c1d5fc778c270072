"""The browsers' stream against the back ends': per event name and day, differences marked.

Numbers are sums of `counts` without repeats and fraud. So that both streams call the same thing
by one name, page views of all protocols (rows of `page_views`) are `page view`, Zenovay's and
Scanova's `purchase` and Croct's `orderPlaced` are `purchase`, a goal is `goal` and its name;
everything else has its own name, else its type. A day is off when the streams differ by more than
the chosen share of the larger one.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from collections.abc import Sequence
from typing import Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import pieces
from collector.dashboard.answers import Records, panel
from collector.dashboard.frame import Figures, number, table
from collector.dashboard.html import Child, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import WITHIN, choice, picker, scope_of
from collector.panels import Question
from storage import views

PATH: Final = "/dashboard/reconciliation"
_NAMES_MAX: Final = 200
_DAYS_MAX: Final = 400
_OFF: Final = {"10": "10 %", "2": "2 %", "5": "5 %", "25": "25 %", "50": "50 %"}

_DAILY: Final = f"""\
WITH daily AS (
    SELECT
        date AS day,
        CASE
            WHEN {views.IS_PAGE_VIEW} THEN 'page view'
            WHEN {views.IS_GOAL} THEN 'goal ' || coalesce(event_name, '')
            WHEN protocol = 'zenovay' AND event_type = 'purchase' THEN 'purchase'
            WHEN protocol = 'croct' AND event_type = 'orderPlaced' THEN 'purchase'
            ELSE coalesce(event_name, event_type, '(no name)')
        END AS name,
        coalesce(sum(events) FILTER (WHERE source = 'browser'), 0)::BIGINT AS browser,
        coalesce(sum(events) FILTER (WHERE source = 'server'), 0)::BIGINT AS server
    FROM counts
    WHERE {WITHIN} AND is_duplicate = 0 AND is_fraud = 0
    GROUP BY ALL
),
judged AS (
    SELECT
        *,
        abs(browser - server) * 100 > greatest(browser, server) * $off AS is_off,
        sum(browser) OVER name > 0 AND sum(server) OVER name > 0 AS is_in_both
    FROM daily
    WINDOW name AS (PARTITION BY name)
)"""

_BY_NAME: Final = f"""\
{_DAILY}
SELECT
    name,
    any_value(is_in_both) AS is_in_both,
    sum(browser)::BIGINT AS browser,
    sum(server)::BIGINT AS server,
    count(*) FILTER (WHERE is_off) AS days_off,
    count(*) AS days
FROM judged
GROUP BY name
ORDER BY is_in_both DESC, sum(browser) + sum(server) DESC, name
LIMIT {_NAMES_MAX}"""

_BY_DAY: Final = f"""\
{_DAILY}
SELECT day, name, browser, server, is_off
FROM judged
WHERE CASE WHEN $name = '' THEN is_off AND is_in_both ELSE name = $name END
ORDER BY day DESC, abs(browser - server) DESC, name
LIMIT {_DAYS_MAX}"""


class Reconciliation:
    """Shows where the streams differ."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        query = {
            "off": pieces.text_member("per cent by which a day may differ: " + ", ".join(_OFF)),
            "name": pieces.text_member("the name whose days are shown; days that are off without"),
        }
        summary = "Browser against server events"
        return [pieces.page_route(PATH, "dashboard_reconciliation", summary, self._show, query)]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        off = pieces.chosen(visit, "off", _OFF)
        name = visit.query.get("name", "")[: pieces.TEXT_CHARS_MAX]
        names, days = await self._known.panels.ask(
            Question(_BY_NAME, scope.values(off=int(off))),
            Question(_BY_DAY, scope.values(off=int(off), name=name)),
        )
        query = {**scope.query, "off": off}
        return pieces.shown(
            "Reconciliation",
            visit,
            PATH,
            picker(
                PATH,
                scope,
                self._known.sites,
                choice("A day is off by more than", "off", _OFF, off),
            ),
            panel("In both streams", names, lambda rows: _both(rows, query)),
            panel(
                "Days that are off" if not name else "Day by day",
                days,
                lambda rows: _days(rows, name, query),
            ),
            panel("In one stream only", names, _single),
        )


def _both(rows: Records, query: dict[str, str]) -> Child:
    lines = [
        (
            pieces.link(row["name"], PATH, {**query, "name": row["name"]}),
            row["browser"],
            row["server"],
            _signed(row["server"] - row["browser"]),
            pieces.share(row["browser"], row["server"]),
            _marked(f"{row['days_off']} of {row['days']}", is_off=row["days_off"] > 0),
        )
        for row in rows
        if row["is_in_both"]
    ]
    names = ("name", "browsers", "back ends", "difference", "browsers of back ends", "days off")
    return [
        pieces.rule(
            "Events that are neither repeats nor fraud, by what they are: page views, purchases "
            "and goals of all protocols by one name, others by their own. Browsers lose events to "
            "blockers and closed tabs; back ends tell only what was built in."
        ),
        table("Names in both streams", names, lines),
    ]


def _single(rows: Records) -> Child:
    lines = [
        (row["name"], "browsers" if row["browser"] else "back ends", row["browser"] + row["server"])
        for row in rows
        if not row["is_in_both"]
    ]
    return table("Names in one stream only", ("name", "sent by", "events"), lines)


def _days(rows: Records, name: str, query: dict[str, str]) -> Child:
    lines = [
        (
            pieces.day(row["day"]),
            row["name"],
            row["browser"],
            row["server"],
            _signed(row["server"] - row["browser"]),
            _marked("off" if row["is_off"] else "", is_off=row["is_off"]),
        )
        for row in rows
    ]
    names = ("day", "name", "browsers", "back ends", "difference", "")
    if not name:
        return table("Days that are off, newest first", names[:-1], [line[:-1] for line in lines])
    return [
        table(f"{name}, day by day", (*names[:-1], "mark"), lines),
        tag("p", pieces.link("All days that are off", PATH, query)),
    ]


def _signed(value: int) -> Figures:
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return Figures(f"{sign}{number(abs(value))}")


def _marked(text: str, *, is_off: bool) -> Child:
    return tag("span", text, attributes={"class": "mark"}) if is_off else text
