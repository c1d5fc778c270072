"""The questions of the visitor page: whose events belong together, and what they tell.

One person is found by a visitor id, a user id, a session id or the id of a QR scan. What joins
events are the rules of `stitched_events` and `scan_conversions`, for the few visitors in question:

1. An event is of its own user; else, unless it withholds consent, of whom its visitor was last
   known to be at that time, of the first one before anybody was known, of nobody after signing out.
2. A visitor with one user brings along that user's other visitors. A visitor with several is a
   shared device, or has several accounts: nothing is brought along.
3. Events without a visitor join by their scan, unless they withhold consent.
4. An event that withholds consent (denied, pending, or GPC) is found by its own visitor or session
   id only: no user and no scan leads to it.

Events are those within the range; who was known to be whom is asked of all dates, because a name
that was given before the range says whose the events in it are. That reads two columns of every
date, of which `user_id` is mostly NULL: over many million rows it takes seconds, and the page says
how far it is.
"""
# ruff: noqa: S608  every piece of this SQL is our own text; what people type is bound

from typing import Final

from collector.dashboard.ranges import WITHIN, Scope
from collector.panels import Question
from storage import views

# What an id can be of, with the words for it.
KINDS: Final = {
    "visitor": "visitor id",
    "user": "user id",
    "session": "session id",
    "scan": "QR scan (scan session id)",
}
EVENTS_MAX: Final = 200
# A pause that ends a visit: what Scanova's own sessions take for one.
PAUSE_MINUTES: Final = 30
_IDS_MAX: Final = 20

WITHHELD: Final = views.IS_WITHHELD
_OF_SITE: Final = "($site = '' OR site_id = $site)"

_SEEDS: Final = {
    "visitor": f"visitor_id = $id AND {WITHIN}",
    "session": f"session_id = $id AND visitor_id IS NOT NULL AND {WITHIN}",
    "scan": f"scan_session_id = $id AND visitor_id IS NOT NULL AND NOT {WITHHELD} AND {WITHIN}",
    # A user's visitors are those that were known as this user; see `visitors`.
    "user": f"false AND {WITHIN}",
}
# Events that the id itself names, though they name no visitor.
_OWN: Final = {
    "visitor": "false",
    "session": "session_id = $id",
    "scan": f"(scan_session_id = $id AND NOT {WITHHELD})",
    "user": "false",
}
_USERS_OF_SEEDS: Final = """\
    SELECT DISTINCT site_id, min(user_id) AS user_id
    FROM valid_events SEMI JOIN seeds USING (site_id, visitor_id)
    WHERE user_id IS NOT NULL
    GROUP BY site_id, visitor_id
    HAVING count(DISTINCT user_id) = 1"""
_USERS_ASKED: Final = f"""\
    SELECT DISTINCT site_id, user_id FROM valid_events WHERE user_id = $id AND {_OF_SITE}"""


def _people(kind: str) -> str:
    """The beginning of every question: `seeds`, `users`, `visitors`."""
    return f"""\
WITH seeds AS (
    SELECT DISTINCT site_id, visitor_id FROM valid_events WHERE {_SEEDS[kind]}
),
users AS (
{_USERS_ASKED if kind == "user" else _USERS_OF_SEEDS}
),
visitors AS (
    FROM seeds
    UNION
    SELECT site_id, visitor_id
    FROM valid_events SEMI JOIN users USING (site_id, user_id)
    WHERE visitor_id IS NOT NULL
)"""


_COLUMNS: Final = (
    *("event_id", "event_time", "received_time", "site_id", "protocol", "source", "event_type"),
    *("event_name", "visitor_id", "session_id", "scan_session_id", "user_id", "qr_code_id"),
    *("page_url", "page_title", "referrer", "device_type", "browser_family", "os_family"),
    *("country_code", "city", "conversion_value", "conversion_currency", "metadata"),
    *("consent", "flags"),
)
_PICKED: Final = ", ".join(_COLUMNS)

_ATTRIBUTION: Final = f"""\
identifications AS (
    SELECT
        site_id,
        visitor_id,
        event_time,
        arg_max(
            CASE event_type WHEN 'userSignedOut' THEN '' ELSE user_id END,
            (received_time, event_id)
        ) AS user_id
    FROM valid_events SEMI JOIN visitors USING (site_id, visitor_id)
    WHERE user_id IS NOT NULL
    GROUP BY site_id, visitor_id, event_time
),
firsts AS (
    SELECT site_id, visitor_id, arg_min(user_id, event_time) AS user_id
    FROM identifications
    WHERE user_id <> ''
    GROUP BY site_id, visitor_id
),
owned AS (
    SELECT
        mine.*,
        {WITHHELD} AS is_withheld,
        CASE
            WHEN mine.user_id IS NOT NULL THEN mine.user_id
            WHEN {WITHHELD} THEN NULL
            ELSE nullif(coalesce(known.user_id, initial.user_id), '')
        END AS owner
    FROM mine
    ASOF LEFT JOIN identifications AS known
        ON known.site_id = mine.site_id
        AND known.visitor_id = mine.visitor_id
        AND known.event_time <= mine.event_time
    LEFT JOIN firsts AS initial
        ON initial.site_id = mine.site_id AND initial.visitor_id = mine.visitor_id
)"""


def _events(kind: str) -> str:
    """What follows `_people`: `everything`, the person's events within the range, each once."""
    is_asked = f"NOT {WITHHELD}" if kind == "scan" else "true"
    return f"""\
mine AS (
    SELECT {_PICKED}
    FROM valid_events SEMI JOIN visitors USING (site_id, visitor_id)
    WHERE {WITHIN}
    UNION ALL
    SELECT {_PICKED}
    FROM valid_events SEMI JOIN users USING (site_id, user_id)
    WHERE visitor_id IS NULL AND {WITHIN}
    UNION ALL
    SELECT {_PICKED} FROM valid_events WHERE visitor_id IS NULL AND {_OWN[kind]} AND {WITHIN}
),
{_ATTRIBUTION},
chosen AS (
    SELECT owned.*
    FROM owned
    LEFT JOIN seeds
        ON seeds.site_id = owned.site_id AND seeds.visitor_id = owned.visitor_id
    LEFT JOIN users ON users.site_id = owned.site_id AND users.user_id = owned.owner
    WHERE users.user_id IS NOT NULL
        OR (seeds.visitor_id IS NOT NULL AND {is_asked})
        OR {_OWN[kind]}
),
scans AS (
    SELECT DISTINCT site_id, scan_session_id
    FROM chosen
    WHERE scan_session_id IS NOT NULL AND NOT is_withheld
),
by_scan AS (
    SELECT {_PICKED}, false AS is_withheld, user_id AS owner
    FROM valid_events SEMI JOIN scans USING (site_id, scan_session_id)
    WHERE visitor_id IS NULL AND NOT {WITHHELD} AND {WITHIN}
),
everything AS (
    SELECT *
    FROM (FROM chosen UNION ALL BY NAME FROM by_scan)
    QUALIFY row_number() OVER (
        PARTITION BY site_id, event_id, received_time ORDER BY owner NULLS LAST
    ) = 1
)"""


# Purchases with what the published view knows of them.
_PAID: Final = f"""\
paid AS (
    SELECT site_id, event_id, received_time, amount, currency, status, payment_provider,
        plan_name, provider_event_id
    FROM payment_events SEMI JOIN everything USING (site_id, event_id, received_time)
    WHERE {WITHIN}
)"""

# A visit: no pause longer than `PAUSE_MINUTES`, whatever protocol its events came by.
_VISITS: Final = f"""\
placed AS (
    SELECT *, coalesce(
        event_time - lag(event_time) OVER (
            PARTITION BY site_id ORDER BY event_time, received_time, event_id
        ) > INTERVAL {PAUSE_MINUTES} MINUTE,
        true
    ) AS begins,
    coalesce(
{views.IS_PAGE_VIEW}, false) AS is_page_view
    FROM everything
),
numbered AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (
        PARTITION BY site_id ORDER BY event_time, received_time, event_id
        ROWS UNBOUNDED PRECEDING
    ) AS visit
    FROM placed
),
visits AS (
    SELECT
        site_id,
        visit,
        min(event_time) AS visit_started,
        max(event_time) AS visit_ended,
        count(*) AS visit_events,
        count(*) FILTER (WHERE is_page_view) AS visit_pages,
        arg_min(page_url, (event_time, received_time, event_id)) AS visit_entry,
        first(referrer ORDER BY event_time, received_time, event_id)
            FILTER (WHERE page_url IS NOT NULL) AS visit_referrer,
        list(DISTINCT session_id ORDER BY session_id)
            FILTER (WHERE session_id IS NOT NULL) AS visit_sessions
    FROM numbered
    GROUP BY site_id, visit
)"""

_OUTSIDE: Final = (
    "regexp_extract(referrer, '^[a-z+.-]+://([^/?#]*)', 1) NOT IN "
    "('', coalesce(regexp_extract(page_url, '^[a-z+.-]+://([^/?#]*)', 1), ''))"
)


def _ids(column: str) -> str:
    return (
        f"list(DISTINCT {column} ORDER BY {column}) FILTER (WHERE {column} IS NOT NULL)"
        f"[:{_IDS_MAX}] AS {column}s"
    )


# One row with everything about the person that is no single event.
_PROFILE: Final = f"""\
profile AS (
    SELECT
        count(*) AS events,
        count(*) FILTER (WHERE is_page_view) AS page_views,
        count(*) FILTER (WHERE begins) AS visits,
        count(*) FILTER (WHERE is_withheld) AS withheld,
        min(event_time) AS first_seen,
        max(event_time) AS last_seen,
        arg_min(referrer, (event_time, event_id)) FILTER (WHERE {_OUTSIDE}) AS first_referrer,
        arg_max(referrer, (event_time, event_id)) FILTER (WHERE {_OUTSIDE}) AS last_referrer,
        arg_max(device_type, event_time) AS device_type,
        arg_max(browser_family, event_time) AS browser_family,
        arg_max(os_family, event_time) AS os_family,
        arg_max(country_code, event_time) AS country_code,
        arg_max(city, event_time) AS city,
        {_ids("visitor_id")},
        {_ids("owner")},
        {_ids("scan_session_id")},
        (
            SELECT list({{'currency': currency, 'status': status, 'payments': payments,
                'amount': total}} ORDER BY currency, status)
            FROM (
                SELECT currency, status, count(*) AS payments, sum(amount) AS total
                FROM paid
                GROUP BY currency, status
            )
        ) AS purchases
    FROM placed
)"""


def timeline(kind: str, key: str, scope: Scope, before: tuple[int, str]) -> Question:
    """Events, newest first, one more than are shown; each with its visit and the `profile`.

    `before`: event time in microseconds and event id of the last one that was shown; (0, "") from
    the newest on.
    """
    sql = f"""\
{_people(kind)},
{_events(kind)},
{_PAID},
{_VISITS},
{_PROFILE}
SELECT
    numbered.*,
    visits.* EXCLUDE (site_id, visit),
    paid.* EXCLUDE (site_id, event_id, received_time),
    epoch_us(numbered.event_time) AS time_us,
    (SELECT profile FROM profile) AS profile
FROM numbered
JOIN visits ON visits.site_id = numbered.site_id AND visits.visit = numbered.visit
LEFT JOIN paid ON paid.site_id = numbered.site_id
    AND paid.event_id = numbered.event_id
    AND paid.received_time = numbered.received_time
WHERE $time_us = 0 OR (epoch_us(event_time), numbered.event_id::VARCHAR) < ($time_us, $event)
ORDER BY event_time DESC, numbered.event_id::VARCHAR DESC
LIMIT {EVENTS_MAX + 1}"""
    time_us, event = before
    return Question(sql, scope.values(id=key, time_us=time_us, event=event))


def attributes(kind: str, key: str, scope: Scope) -> Question:
    """What `identify` told of the person: rows of `identified_users`, latest first.

    Of the visitor that was asked for; and of others that were never known as anybody else.
    """
    sql = f"""\
{_people(kind)},
names AS (
    SELECT site_id, visitor_id, min(user_id) AS user_id
    FROM valid_events SEMI JOIN visitors USING (site_id, visitor_id)
    WHERE user_id IS NOT NULL
    GROUP BY site_id, visitor_id
    HAVING count(DISTINCT user_id) = 1
),
shown AS (
    FROM seeds
    UNION
    SELECT site_id, visitor_id FROM names SEMI JOIN users USING (site_id, user_id)
)
SELECT identified_users.*
FROM identified_users SEMI JOIN shown USING (site_id, visitor_id)
ORDER BY last_identified DESC, site_id, visitor_id
LIMIT 5"""
    return Question(sql, scope.values(id=key))
