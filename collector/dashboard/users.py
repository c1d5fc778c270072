"""Users that were identified, and ids of users that were seen: who they are, when they came last.

The first list is `identified_users` of all dates, one row per site and visitor; the second groups
the valid events of the range by their own `user_id`, counted in `user_days`. Last seen and events
are those of the range.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from collections.abc import Sequence
from typing import Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard import pieces
from collector.dashboard.answers import Records, panel
from collector.dashboard.frame import number, table
from collector.dashboard.html import Child, tag
from collector.dashboard.known import Known
from collector.dashboard.ranges import WITHIN, Scope, picker, scope_of
from collector.panels import Question
from storage import views

PATH: Final = "/dashboard/users"
_ROWS: Final = 25
# As far as pages can be turned; who looks for somebody searches.
_PAGE_MAX: Final = 10_000

# What visitors of the list did in the range is counted already, by their numbers.
_SEEN: Final = f"""\
seen AS (
    SELECT site_id, visitor, max(last_seen) AS last_seen, sum(events)::BIGINT AS events
    FROM sightings SEMI JOIN listed USING (site_id, visitor)
    WHERE {WITHIN}
    GROUP BY site_id, visitor
)
SELECT listed.*, seen.last_seen, coalesce(seen.events, 0) AS events
FROM listed LEFT JOIN seen USING (site_id, visitor)
ORDER BY last_identified DESC, site_id, visitor_id"""

# Everybody's attributes, which takes a while where many were identified.
_FOUND: Final = f"""\
WITH listed AS (
    SELECT *, hash(visitor_id) AS visitor, count(*) OVER () AS users
    FROM identified_users
    WHERE ($site = '' OR site_id = $site) AND contains(
        lower(concat_ws(' ', visitor_id, email, name, customer_id, phone, company)), lower($search)
    )
    ORDER BY last_identified DESC, site_id, visitor_id
    LIMIT {_ROWS} OFFSET $skip
),
{_SEEN}"""

# Without a search it is counted already who is on the page, and of which dates the events are that
# tell their attributes: of several that tell the same ones, the latest. Only these are read.
_WHO: Final = f"""\
WITH everybody AS (
    SELECT site_id, visitor, max(last_seen) AS latest
    FROM identified_days
    WHERE $site = '' OR site_id = $site
    GROUP BY site_id, visitor
),
chosen AS (
    SELECT site_id, visitor
    FROM everybody
    ORDER BY latest DESC, site_id, visitor
    LIMIT {_ROWS} OFFSET $skip
),
latest AS (
    SELECT date, last_seen
    FROM identified_days AS day SEMI JOIN chosen
        ON chosen.site_id = day.site_id AND chosen.visitor IS NOT DISTINCT FROM day.visitor
    QUALIFY rank() OVER (
        PARTITION BY day.site_id, day.visitor, attributes ORDER BY last_seen DESC
    ) = 1
)
SELECT
    (SELECT list({{'site_id': site_id, 'visitor': visitor}}) FROM chosen) AS chosen,
    (SELECT count(*) FROM everybody) AS users,
    (SELECT list(DISTINCT date) FROM latest) AS dates,
    (SELECT min(last_seen) FROM latest) AS earliest"""

_LATEST: Final = f"""\
WITH chosen AS (
    SELECT unnest($chosen::STRUCT(site_id VARCHAR, visitor UBIGINT)[], recursive := true)
),
near AS (
    SELECT event.site_id, event.visitor_id, event_id, event_time, received_time, metadata
    FROM valid_events AS event SEMI JOIN chosen
        ON chosen.site_id = event.site_id
        AND chosen.visitor IS NOT DISTINCT FROM
            CASE WHEN event.visitor_id IS NOT NULL THEN hash(event.visitor_id) END
    WHERE {views.IS_IDENTIFY}
        AND list_contains($dates::DATE[], date)
        AND event_time >= $earliest::TIMESTAMPTZ
),
listed AS (
    SELECT
        * EXCLUDE (first_identified),  -- which only all of their events know
        hash(visitor_id) AS visitor,
        $users AS users
    FROM ({views.identified_users("near")})
),
{_SEEN}"""

_BY_ID: Final = f"""\
SELECT
    site_id,
    user_id,
    sum(events)::BIGINT AS events,
    count(DISTINCT visitor) AS visitors,
    min(first_seen) AS first_seen,
    max(last_seen) AS last_seen,
    count(*) OVER () AS users
FROM user_days
WHERE {WITHIN} AND contains(lower(user_id), lower($search))
GROUP BY site_id, user_id
ORDER BY last_seen DESC, site_id, user_id
LIMIT {_ROWS} OFFSET $skip"""


class Users:
    """Shows who is known."""

    def __init__(self, known: Known) -> None:
        self._known = known

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        query = {
            "search": pieces.text_member("part of an e-mail, name, id, phone or company"),
            "page": pieces.text_member("which page of the list, from 0 on"),
        }
        summary = "Identified users"
        return [pieces.page_route(PATH, "dashboard_users", summary, self._show, query)]

    async def _show(self, visit: Visit) -> Response:
        scope = scope_of(visit.query, self._known.today())
        search = pieces.asked_text(visit, "search")
        page = pieces.asked_number(visit, "page", at_most=_PAGE_MAX)
        values = scope.values(search=search, skip=page * _ROWS)
        listed = Question(_LATEST, scope.values(skip=page * _ROWS), first=(_WHO,))
        identified, seen = await self._known.panels.ask(
            Question(_FOUND, values) if search else listed, Question(_BY_ID, values)
        )
        label = "E-mail, name or id contains"
        return pieces.shown(
            "Users",
            visit,
            PATH,
            picker(PATH, scope, self._known.sites, pieces.text_field(label, "search", search)),
            panel(
                "Identified",
                identified,
                lambda rows: [_identified(rows, scope), _pages(rows, scope, search, page)],
            ),
            panel(
                "Seen by id",
                seen,
                lambda rows: [_by_id(rows, scope), _pages(rows, scope, search, page)],
            ),
        )


def _identified(rows: Records, scope: Scope) -> Child:
    lines = [
        (
            pieces.timeline_link(
                "visitor",
                row["visitor_id"],
                row["site_id"],
                scope,
                row["email"] or row["name"] or row["customer_id"] or "",
            ),
            row["name"],
            row["site_id"],
            pieces.moment(row["last_seen"]),
            row["events"],
            pieces.timeline_link("user", row["customer_id"], row["site_id"], scope),
            row["company"],
            row["phone"],
            pieces.moment(row["last_identified"]),
            pieces.json_text(row["attributes"]),
        )
        for row in rows
    ]
    names = (
        *("user", "name", "site", "last seen", "events", "customer id", "company", "phone"),
        *("identified", "further"),
    )
    return [
        pieces.rule(
            "Whom back ends named by an identify event, of all dates, latest first; last seen and "
            "events are those of the chosen range."
        ),
        table("Identified users", names, lines),
    ]


def _by_id(rows: Records, scope: Scope) -> Child:
    lines = [
        (
            pieces.timeline_link("user", row["user_id"], row["site_id"], scope),
            row["site_id"],
            row["events"],
            row["visitors"],
            pieces.moment(row["first_seen"]),
            pieces.moment(row["last_seen"]),
        )
        for row in rows
    ]
    names = ("user", "site", "events", "visitors", "first seen", "last seen")
    return [
        pieces.rule(
            "Ids of users that events of the range carry, also those that nobody identified: from "
            "sign-ins, tokens, and back ends."
        ),
        table("Users by id", names, lines),
    ]


def _pages(rows: Records, scope: Scope, search: str, page: int) -> Child:
    """Where one is in the list, and the way on."""
    if not rows:
        return None
    users, first = rows[0]["users"], page * _ROWS
    query = {**scope.query, "search": search}
    links: list[Child] = []
    if page:
        links += [pieces.link("Back", PATH, {**query, "page": str(page - 1)}), " "]
    links.append(f"{number(first + 1)} to {number(first + len(rows))} of {number(users)}")
    if first + len(rows) < users and page < _PAGE_MAX:
        links += [" ", pieces.link("Further", PATH, {**query, "page": str(page + 1)})]
    return tag("p", links)
