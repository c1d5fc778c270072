"""Pages, referrers, devices, countries: what was seen most, compared with as many days before.

Every number is of `page_views`: valid rows that are a page view, counted by the value that a
dimension has in them (`storage.panelviews`: a page is its host and path, a referrer its host). The
share is of all page views of the range, those of unknown value included. "Before" is the range of
as many days that ends where this one begins. Visitors are counted about, within a few percent.

One value leads to the same page about it: its page views over time, and what else its page views
have in common. That is counted from the rows of the range, and takes the longer the more there are.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people choose is bound

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import msgspec

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import charts, pieces
from collector.dashboard.answers import Records, panel
from collector.dashboard.charts import Series
from collector.dashboard.frame import number, table
from collector.dashboard.html import Child, Html, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import WITHIN, Scope, picker, scope_of
from collector.panels import Question
from storage import panelviews, views

_VALUES_MAX: Final = 100
_BESIDE_MAX: Final = 10
_BY: Final = "by"
_VALUE: Final = "value"
# Up to so many days, hours are shown instead of two or three points.
_HOURS_DAYS_MAX: Final = 2
_AND_BEFORE: Final = (
    "date BETWEEN $earliest::DATE AND $until::DATE AND ($site = '' OR site_id = $site)"
)


class Subject(msgspec.Struct, frozen=True):
    """What one page is about: dimensions of `panelviews.DIMENSIONS` with their headings."""

    path: str
    title: str
    name: str
    summary: str
    headings: Mapping[str, str]


SUBJECTS: Final = (
    Subject(
        "/dashboard/pages",
        "Pages",
        "dashboard_pages",
        "Pages that were seen, and how often",
        {"page": "Pages"},
    ),
    Subject(
        "/dashboard/referrers",
        "Referrers",
        "dashboard_referrers",
        "Where visitors came from",
        {"referrer": "Referrers"},
    ),
    Subject(
        "/dashboard/devices",
        "Devices",
        "dashboard_devices",
        "Devices, browsers and operating systems",
        {"device": "Devices", "browser": "Browsers", "os": "Operating systems"},
    ),
    Subject(
        "/dashboard/countries",
        "Countries",
        "dashboard_countries",
        "Countries and cities",
        {"country": "Countries", "city": "Cities"},
    ),
)
_PAGE_OF: Final = {name: one.path for one in SUBJECTS for name in one.headings}
_HEADINGS: Final = {name: text for one in SUBJECTS for name, text in one.headings.items()}
_UNKNOWN: Final[Mapping[str, str]] = {"referrer": "(none: direct, or withheld)"}

_TOP: Final = f"""\
WITH counted AS (
    SELECT
        value,
        coalesce(sum(views) FILTER (WHERE date >= $since::DATE), 0)::BIGINT AS views,
        coalesce(sum(views) FILTER (WHERE date < $since::DATE), 0)::BIGINT AS earlier
    FROM tops
    WHERE dimension = $dimension AND {_AND_BEFORE}
    GROUP BY value
)
SELECT value, views, earlier, (sum(views) OVER ())::BIGINT AS total
FROM counted
WHERE views > 0 OR earlier > 0
ORDER BY views DESC, earlier DESC, value
LIMIT {_VALUES_MAX}"""

_BY_DAY: Final = f"""\
SELECT date, sum(views)::BIGINT AS views
FROM tops
WHERE dimension = $dimension AND {WITHIN} AND ($value = '' OR value = $value)
GROUP BY date"""

_BY_HOUR: Final = f"""\
SELECT epoch_us(hour) // 3600000000 AS hour, sum(events)::BIGINT AS views
FROM counts
WHERE is_duplicate = 0 AND is_fraud = 0 AND ({views.IS_PAGE_VIEW}) AND {WITHIN}
GROUP BY hour"""

_VISITORS: Final = f"""\
SELECT
    coalesce(approx_count_distinct(visitor) FILTER (WHERE date >= $since::DATE), 0) AS visitors,
    coalesce(approx_count_distinct(visitor) FILTER (WHERE date < $since::DATE), 0) AS earlier
FROM sightings
WHERE {_AND_BEFORE}"""


def _beside(dimension: str) -> str:
    """What page views of one value of `dimension` have in the others, most frequent first.

    A scan of the page views of the range, once, whatever the value: no summary knows pairs.
    """
    others = [name for name in panelviews.DIMENSIONS if name != dimension]
    chosen = ", ".join(f"{panelviews.DIMENSIONS[name]} AS {name}" for name in others)
    sets = ", ".join(f"({name})" for name in others)
    names = " ".join(
        f"WHEN {2 ** len(others) - 1 - 2 ** (len(others) - 1 - place)} THEN '{name}'"
        for place, name in enumerate(others)
    )
    known = f"coalesce({', '.join(others)})"
    return f"""\
WITH seen AS (
    SELECT {chosen}
    FROM page_views
    WHERE {WITHIN} AND {panelviews.DIMENSIONS[dimension]} = $value
),
counted AS (
    SELECT
        CASE grouping_id({", ".join(others)}) {names} END AS dimension,
        {known} AS value,
        count(*) AS views
    FROM seen
    GROUP BY GROUPING SETS ({sets})
)
SELECT dimension, value, views, (sum(views) OVER (PARTITION BY dimension))::BIGINT AS total
FROM counted
QUALIFY row_number() OVER (PARTITION BY dimension ORDER BY views DESC, value) <= {_BESIDE_MAX}
ORDER BY dimension, views DESC, value"""


class Tops:
    """Shows one subject."""

    def __init__(self, known: Known, subject: Subject) -> None:
        self._known = known
        self._subject = subject

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        subject = self._subject
        query = {
            _BY: pieces.text_member(f"what `value` is a value of: {', '.join(subject.headings)}"),
            _VALUE: pieces.text_member("only about this value"),
        }
        return [pieces.page_route(subject.path, subject.name, subject.summary, self._show, query)]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        dimension = pieces.chosen(visit, _BY, self._subject.headings)
        value = visit.query.get(_VALUE, "")[:_VALUE_CHARS_MAX]
        parts = await (self._one(scope, dimension, value) if value else self._all(scope))
        subject = self._subject
        extra = (pieces.hidden(_BY, dimension), pieces.hidden(_VALUE, value)) if value else ()
        return pieces.shown(
            subject.title,
            visit,
            subject.path,
            picker(subject.path, scope, self._known.sites, *extra),
            parts,
        )

    async def _all(self, scope: Scope) -> Child:
        """The lists of all values."""
        subject = self._subject
        first = next(iter(subject.headings))
        told_days, told_visitors, *lists = await self._known.panels.ask(
            _over_time(scope, first, ""),
            Question(_VISITORS, _values(scope)),
            *(Question(_TOP, _values(scope, dimension=name)) for name in subject.headings),
        )
        return [
            panel("Page views", told_days, lambda rows: _time(rows, scope, "")),
            panel("Visitors", told_visitors, lambda rows: _visitors(rows, scope)),
            tag(
                "div",
                [
                    panel(text, told, partial(_list, scope=scope, dimension=name))
                    for (name, text), told in zip(subject.headings.items(), lists, strict=True)
                ],
                attributes={"class": "columns"},
            ),
        ]

    async def _one(self, scope: Scope, dimension: str, value: str) -> Child:
        """What is known of one value."""
        told_days, told_beside = await self._known.panels.ask(
            _over_time(scope, dimension, value),
            Question(_beside(dimension), scope.values(value=value)),
        )
        path = self._subject.path
        return [
            tag(
                "p",
                "Only ",
                tag("strong", value),
                ". ",
                pieces.link("Show all", path, scope.query),
            ),
            panel("Page views", told_days, lambda rows: _time(rows, scope, value)),
            panel("In the same page views", told_beside, lambda rows: _others(rows, scope)),
        ]


def _list(rows: Records, scope: Scope, dimension: str) -> Child:
    most = max((row["views"] for row in rows), default=0)
    lines: list[Sequence[Child]] = [
        (
            _cell(row["value"], dimension, scope),
            row["views"],
            charts.bar(row["views"], most),
            pieces.share(row["views"], row["total"]),
            row["earlier"],
            changed(row["views"], row["earlier"]),
        )
        for row in rows
    ]
    names = ("", "views", "", "share", "before", "change")
    return table(_caption(_HEADINGS[dimension], scope, len(rows)), names, lines)


# What stands in an address; values of the files may be longer than a name that is typed.
_VALUE_CHARS_MAX: Final = 2_048


def _values(scope: Scope, **more: str) -> tuple[tuple[str, str | int | float | None], ...]:
    return scope.values(earliest=str(scope.before.since), **more)


def _over_time(scope: Scope, dimension: str, value: str) -> Question:
    # Both ranges at once: what is bound is where the earlier one begins.
    whole = Scope(scope.site, scope.before.since, scope.until)
    if scope.days <= _HOURS_DAYS_MAX and not value:
        return Question(_BY_HOUR, whole.values())
    return Question(_BY_DAY, whole.values(dimension=dimension, value=value))


def _caption(heading: str, scope: Scope, count: int) -> str:
    cut = f", the first {count}" if count >= _VALUES_MAX else ""
    return f"{heading} by page views, compared with {_before(scope)}{cut}"


def _before(scope: Scope) -> str:
    return f"the {scope.days} days before" if scope.days > 1 else "the day before"


def _cell(value: str | None, dimension: str, scope: Scope) -> Child:
    """A value, which leads to the page about it; what stands for several values leads nowhere."""
    if value is None:
        return _UNKNOWN.get(dimension, "(not known)")
    if value == panelviews.OTHERS:
        return value
    query = {**scope.query, _BY: dimension, _VALUE: value}
    return pieces.link(value, _PAGE_OF[dimension], query)


def changed(now: int, before: int) -> Child:
    """How much more or less than before, in per cent, with an arrow."""
    text = pieces.change(now, before)
    if not text or now == before:
        return text
    up = now > before
    arrow = "\N{UPWARDS ARROW}" if up else "\N{DOWNWARDS ARROW}"
    return tag("span", f"{arrow} {text}", attributes={"class": "up" if up else "down"})


def _visitors(rows: Records, scope: Scope) -> Child:
    [row] = rows
    now, before = row["visitors"], row["earlier"]
    return tag(
        "p",
        "About ",
        tag("strong", number(now)),
        f" in the range, about {number(before)} in {_before(scope)}. ",
        changed(now, before),
    )


def _time(rows: Records, scope: Scope, value: str) -> Html:
    """The chart over time: days, or hours of a short range, beside those of the range before."""
    if (rows and "hour" in rows[0]) or (not rows and scope.days <= _HOURS_DAYS_MAX and not value):
        return _hours(rows, scope)
    views = {row["date"]: row["views"] for row in rows}
    days = [scope.since + timedelta(days=n) for n in range(scope.days)]
    now = [views.get(day, 0) for day in days]
    before = [views.get(day - timedelta(days=scope.days), 0) for day in days]
    return _compared([str(day) for day in days], now, before, "Page views per day")


def _hours(rows: Records, scope: Scope) -> Html:
    views = {row["hour"]: row["views"] for row in rows}
    epoch = scope.since.toordinal() - _EPOCH
    hours = range(epoch * 24, (epoch + scope.days) * 24)
    axis = [
        f"{scope.since + timedelta(days=(hour - hours[0]) // 24):%b %d}, {hour % 24:02d}:00"
        for hour in hours
    ]
    now = [views.get(hour, 0) for hour in hours]
    before = [views.get(hour - scope.days * 24, 0) for hour in hours]
    return _compared(axis, now, before, "Page views per hour (UTC)")


_EPOCH: Final = 719_163  # 1970-01-01 among the ordinals of dates


def _compared(axis: Sequence[str], now: Sequence[int], before: Sequence[int], title: str) -> Html:
    total, earlier = sum(now), sum(before)
    chart = charts.area(
        "views", title, axis, Series("in the range", now), Series("in that before", before)
    )
    words = tag(
        "p",
        tag("strong", number(total)),
        f" page views, {number(earlier)} in the range before. ",
        changed(total, earlier),
    )
    return tag("div", words, chart)


def _others(rows: Records, scope: Scope) -> Child:
    found: dict[str, list[Sequence[Child]]] = {}
    for row in rows:
        name = row["dimension"]
        most = max(one["views"] for one in rows if one["dimension"] == name)
        found.setdefault(name, []).append(
            (
                _cell(row["value"], name, scope),
                row["views"],
                charts.bar(row["views"], most),
                pieces.share(row["views"], row["total"]),
            )
        )
    names = ("", "views", "", "share")
    tables = [
        tag("div", table(_HEADINGS[name], names, found[name]))
        for name in panelviews.DIMENSIONS
        if name in found
    ]
    return tag("div", tables or tag("p", "none"), attributes={"class": "columns"})
