"""Events that the sites named themselves: how many of each, and what one of them looks like.

A name's number is the count of rows of `custom_events` in the range; "before" is that of as many
days before. Values of members are counted in the newest `_SAMPLE` events of a name only.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import pieces
from collector.dashboard.answers import Records, panel
from collector.dashboard.frame import number, table
from collector.dashboard.html import Child, Html, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import WITHIN, Scope, picker, scope_of
from collector.panels import Question
from storage import views

PATH: Final = "/dashboard/events"
_NAME: Final = "coalesce(event_name, event_type)"
_NAMES_MAX: Final = 200
_NEWEST: Final = 50
_SAMPLE: Final = 2_000
_MEMBERS_MAX: Final = 20
_VALUES_MAX: Final = 5

# `counts` has one row per hour and kind of event, so that this is not a look at every event.
_COUNTED: Final = f"""\
SELECT date, site_id, {_NAME} AS name, events
FROM counts
WHERE is_duplicate = 0 AND is_fraud = 0 AND (
{views.IS_CUSTOM})"""

_BY_NAME: Final = f"""\
SELECT
    name,
    sum(events) FILTER (WHERE date >= $since::DATE)::BIGINT AS events,
    coalesce(sum(events) FILTER (WHERE date < $since::DATE), 0)::BIGINT AS earlier
FROM ({_COUNTED})
WHERE date BETWEEN $earliest::DATE AND $until::DATE AND ($site = '' OR site_id = $site)
    AND contains(lower(name), lower($part))
GROUP BY name
HAVING sum(events) FILTER (WHERE date >= $since::DATE) > 0
ORDER BY events DESC, name
LIMIT {_NAMES_MAX}"""

_BY_DAY: Final = f"""\
SELECT day::DATE AS day, coalesce(sum(events), 0)::BIGINT AS events
FROM range($since::DATE, $until::DATE + INTERVAL 1 DAY, INTERVAL 1 DAY) AS days(day)
LEFT JOIN (
    SELECT * FROM ({_COUNTED}) WHERE {WITHIN} AND name = $name
) AS counted ON counted.date = day::DATE
GROUP BY day
ORDER BY day"""

_OF_NAME: Final = f"FROM custom_events WHERE {WITHIN} AND {_NAME} = $name"

_NEWEST_OF: Final = f"""\
SELECT event_time, site_id, protocol, source, visitor_id, user_id, page_url, metadata
{_OF_NAME}
ORDER BY received_time DESC, event_id DESC
LIMIT {_NEWEST}"""

# json_tree: a member of a member is named by its path; places in a list are one and the same.
_MEMBERS: Final = f"""\
WITH newest AS (
    SELECT metadata {_OF_NAME} AND metadata IS NOT NULL
    ORDER BY received_time DESC, event_id DESC
    LIMIT {_SAMPLE}
),
counted AS (
    SELECT
        regexp_replace(member.fullkey[3:], '\\[[0-9]+\\]', '[]', 'g') AS member,
        left(coalesce(member.atom->>'$', ''), 100) AS value,
        count(*) AS events
    FROM newest, json_tree(metadata) AS member
    WHERE member.atom IS NOT NULL AND member.type <> 'NULL' AND member.fullkey <> '$'
    GROUP BY ALL
),
ranked AS (
    SELECT
        *,
        sum(events) OVER member::BIGINT AS all_events,
        count(*) OVER member AS "values",
        row_number() OVER (PARTITION BY member ORDER BY events DESC, value) AS place
    FROM counted
    WINDOW member AS (PARTITION BY member)
)
SELECT member, value, events, all_events, "values"
FROM ranked
WHERE place <= {_VALUES_MAX}
QUALIFY dense_rank() OVER (ORDER BY all_events DESC, member) <= {_MEMBERS_MAX}
ORDER BY all_events DESC, member, place"""


class CustomEvents:
    """Shows the names, and one of them in detail."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        query = {
            "part": pieces.text_member("names with this in them"),
            "name": pieces.text_member("the name that is shown in detail"),
        }
        summary = "Custom events by name"
        return [pieces.page_route(PATH, "dashboard_events", summary, self._show, query)]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        part = pieces.asked_text(visit, "part")
        name = visit.query.get("name", "")[: pieces.TEXT_CHARS_MAX]
        earliest = str(scope.before.since)
        questions = [Question(_BY_NAME, scope.values(earliest=earliest, part=part))]
        if name:
            values = scope.values(name=name)
            questions += [Question(sql, values) for sql in (_BY_DAY, _NEWEST_OF, _MEMBERS)]
        names, *details = await self._known.panels.ask(*questions)
        shows = (_days, lambda rows: _newest(rows, scope), _members)
        titles = ("Per day", "Newest", "Most frequent values")
        return pieces.shown(
            "Custom events",
            visit,
            PATH,
            picker(
                PATH, scope, self._known.sites, pieces.text_field("Name contains", "part", part)
            ),
            panel("Names", names, lambda rows: _names(rows, scope, part)),
            tag("h2", f"Event {name}", attributes={"id": "one"}) if name else None,
            [
                panel(title, told, show)
                for title, told, show in zip(titles, details, shows, strict=False)
            ],
        )


def _names(rows: Records, scope: Scope, part: str) -> Child:
    if not rows:
        return tag("p", "No custom events in this range.")
    most = max(row["events"] for row in rows)
    query = {**scope.query, "part": part}
    lines = [
        (
            pieces.link(row["name"], PATH, {**query, "name": row["name"]}),
            pieces.bar(row["events"], most),
            row["earlier"],
            pieces.change(row["events"], row["earlier"]),
        )
        for row in rows
    ]
    at_most = f"At most {_NAMES_MAX} names. " if len(rows) == _NAMES_MAX else ""
    return [
        pieces.rule(
            f"{at_most}Events that are neither repeats nor fraud. Before: the "
            f"{scope.days} days up to {scope.before.until}."
        ),
        table("Custom events by name", ("name", "events", "before", "change"), lines),
    ]


def _days(rows: Records) -> Child:
    most = max((row["events"] for row in rows), default=0)
    lines = [(pieces.day(row["day"]), pieces.bar(row["events"], most)) for row in rows]
    return table("Events per day", ("day", "events"), lines)


def _newest(rows: Records, scope: Scope) -> Child:
    lines = [
        (
            pieces.moment(row["event_time"]),
            row["site_id"],
            f"{row['protocol']}, {row['source']}",
            pieces.timeline_link("visitor", row["visitor_id"], row["site_id"], scope),
            pieces.timeline_link("user", row["user_id"], row["site_id"], scope),
            row["page_url"],
            pieces.json_text(row["metadata"]),
        )
        for row in rows
    ]
    names = ("time (UTC)", "site", "sent by", "visitor", "user", "page", "data")
    return table(f"The newest events, at most {_NEWEST}", names, lines)


def _members(rows: Records) -> Child:
    if not rows:
        return tag("p", "These events carry no data.")
    return [
        pieces.rule(
            f"Of the newest {number(_SAMPLE)} events at most: {_MEMBERS_MAX} members of their "
            f"data, {_VALUES_MAX} values of each."
        ),
        [_member(key, list(values)) for key, values in groupby(rows, lambda row: row["member"])],
    ]


def _member(name: str, rows: Sequence[Mapping[str, Any]]) -> Html:
    whole = rows[0]["all_events"]
    more = rows[0]["values"] - len(rows)
    lines = [
        (row["value"], pieces.bar(row["events"], whole), pieces.share(row["events"], whole))
        for row in rows
    ]
    caption = f"{name}: {number(rows[0]['values'])} values" if more else name
    return table(caption, ("value", "events", "share"), lines)
