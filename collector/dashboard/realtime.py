"""Real time: who is there now, what they look at, and events as they come.

Of rows received within the last 30 minutes, valid ones only: active visitors are distinct visitor
ids with an event of the last 5 minutes, page views are rows of `page_views`. The newest events are
all rows, repeats and marked ones too. The page is made anew every few seconds.

A question about minutes opens the files of today, and yesterday's in the first half hour: their
row groups tell which times they hold, so that few of them are read.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit, html
from collector.dashboard import charts, eventlist, pieces
from collector.dashboard.answers import Records, panel
from collector.dashboard.charts import Series
from collector.dashboard.frame import number, table, whole_page
from collector.dashboard.html import Child, Link, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import SITE, choice
from collector.panels import Question, bound
from storage import panelviews, views

PATH: Final = "/dashboard/live"
_MINUTES: Final = 30
_ACTIVE_MINUTES: Final = 5
_PAGES_MAX: Final = 10
# So many sites are listed; all of them count.
_SITES_MAX: Final = 100
_REFRESH_S: Final = 5
_MINUTE_US: Final = 60_000_000

_RECENT: Final = f"""\
    date BETWEEN $first_day::DATE AND $last_day::DATE
    AND received_time >= make_timestamptz($now_us - {_MINUTES * _MINUTE_US})
    AND ($site = '' OR site_id = $site)"""

_SITES: Final = f"""\
SELECT
    site_id,
    count(DISTINCT visitor_id) FILTER (
        WHERE received_time >= make_timestamptz($now_us - {_ACTIVE_MINUTES * _MINUTE_US})
    ) AS active,
    count(DISTINCT visitor_id) AS visitors,
    count(*) FILTER (WHERE {views.IS_PAGE_VIEW}) AS page_views,
    count(*) AS events
FROM valid_events
WHERE
{_RECENT}
GROUP BY site_id
ORDER BY active DESC, events DESC, site_id"""

_MINUTES_SQL: Final = f"""\
SELECT epoch_us(received_time) // {_MINUTE_US} AS minute, count(*) AS events,
    count(DISTINCT visitor_id) AS visitors
FROM valid_events
WHERE
{_RECENT}
GROUP BY minute"""

_PAGES: Final = f"""\
SELECT
    {panelviews.DIMENSIONS["page"]} AS page,
    count(*) AS views,
    count(DISTINCT visitor_id) AS visitors,
    max(received_time) AS last_seen
FROM page_views
WHERE
{_RECENT}
GROUP BY page
ORDER BY views DESC, page
LIMIT {_PAGES_MAX}"""


class RealTime:
    """Shows the last half hour."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        return (
            Route(
                path=PATH,
                name="dashboard_live",
                kind="page",
                summary="The last half hour",
                query={SITE: pieces.text_member("id of a site; all sites without it")},
                answer=self._show,
                answers={200: None},
            ),
        )

    async def _show(self, visit: Visit) -> Response:
        site = pieces.asked_text(visit, SITE)
        now_us = self._known.now_us()
        # A question may be asked a moment later.
        values = bound(
            {
                "site": site,
                "first_day": _day(now_us - _MINUTES * _MINUTE_US),
                "last_day": _day(now_us + _MINUTE_US),
            }
        )
        (sites, minutes, pages), newest = await asyncio.gather(
            self._known.panels.ask(
                Question(_SITES, values),
                Question(_MINUTES_SQL, values),
                Question(_PAGES, values),
            ),
            self._known.watch.newest.told(),
        )
        text = whole_page(
            "Real time",
            visit,
            _picker(site, self._known.sites),
            panel("Visitors", sites, _sites),
            panel("Minute by minute", minutes, lambda rows: _minutes(rows, now_us // _MINUTE_US)),
            panel("Pages now", pages, _pages),
            eventlist.show("Newest events of all sites", newest),
            path=PATH,
            refresh_s=_REFRESH_S,
        )
        return html(text)


def _picker(site: str, sites: Sequence[str]) -> Child:
    known = [site] if site and site not in sites else []
    choices = {"": "all sites", **{one: one for one in (*known, *sites)}}
    return tag(
        "form",
        choice("Site", SITE, choices, site),
        tag("button", "Show", attributes={"type": "submit"}),
        attributes={"action": Link(PATH), "class": "picker"},
    )


def _day(time_us: int) -> str:
    return str(datetime.fromtimestamp(time_us / 1e6, UTC).date())


def _sites(rows: Records) -> Child:
    sums = {name: sum(row[name] for row in rows) for name in ("active", "page_views", "events")}
    meanings = {
        "active": f"visitors in the last {_ACTIVE_MINUTES} minutes",
        "page_views": f"page views in {_MINUTES} minutes",
        "events": f"events in {_MINUTES} minutes",
    }
    tiles = [
        tag("li", tag("strong", number(sums[name])), tag("span", text))
        for name, text in meanings.items()
    ]
    names = ("active", "visitors", "page_views", "events")
    cut = f", the first {_SITES_MAX}" if len(rows) > _SITES_MAX else ""
    return [
        tag("ul", tiles, attributes={"class": "tiles", "aria-label": "Now"}),
        table(
            f"By site: visitors of the last {_ACTIVE_MINUTES} minutes, the rest of {_MINUTES}{cut}",
            ("site", "active", "visitors", "page views", "events"),
            [(row["site_id"], *(row[name] for name in names)) for row in rows[:_SITES_MAX]],
        ),
    ]


def _minutes(rows: Records, last: int) -> Child:
    events = {row["minute"]: row["events"] for row in rows}
    visitors = {row["minute"]: row["visitors"] for row in rows}
    minutes = range(last - _MINUTES + 1, last + 1)
    axis = [datetime.fromtimestamp(60 * minute, UTC).strftime("%H:%M") for minute in minutes]
    return [
        charts.columns(
            f"live-{name}",
            f"{title} in each of the last {_MINUTES} minutes (UTC)",
            axis,
            [Series(name, [found.get(minute, 0) for minute in minutes])],
        )
        for name, title, found in (
            ("events", "Events", events),
            ("visitors", "Visitors", visitors),
        )
    ]


def _pages(rows: Records) -> Child:
    most = max((row["views"] for row in rows), default=0)
    return table(
        f"Pages of the last {_MINUTES} minutes",
        ("page", "views", "", "visitors", "last seen"),
        [
            (
                row["page"] or "(not known)",
                row["views"],
                charts.bar(row["views"], most),
                row["visitors"],
                pieces.moment(row["last_seen"]),
            )
            for row in rows
        ],
    )
