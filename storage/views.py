"""The published views: what the three products call a page view, a session, a payment, an order.

Owns the SQL of every view on top of `events`, for query sessions and for `views.sql` alike; knows
no file of its own and runs nothing. Only what DuckDB 1.5 and 2.0 share. docs/QUERYING.md tells
people what each view means. All views but `events` see valid rows only.
"""
# ruff: noqa: S608  every piece of this SQL is our own text, paths excepted, which are quoted

from pathlib import Path
from typing import Final

import msgspec

from storage import parquet
from storage.parquet import quote
from storage.schema import COLUMNS

# A single-page application changes its address without loading a page; the Croct SDK then sends
# `tabUrlChanged`, once per change and never for the page it started on. `pageLoaded` follows the
# `pageOpened` of the same page, so that counting it too would count that page twice.
IS_PAGE_VIEW: Final = """\
    (protocol = 'scanova' AND event_type IN ('pageview', 'page_view'))
    OR (protocol = 'croct' AND event_type IN ('pageOpened', 'tabUrlChanged'))
    OR (protocol = 'zenovay' AND event_type = 'pageview')"""

# Events may share a time: those of one request then stand in the order of their ids, which is
# arbitrary but the same every time somebody asks.
_IN_ORDER: Final = "event_time, received_time, event_id"

_VALID_EVENTS: Final = """\
SELECT *
FROM events
WHERE is_duplicate = 0 AND is_fraud = 0"""

_PAGE_VIEWS: Final = f"""\
SELECT *
FROM valid_events
WHERE
{IS_PAGE_VIEW}"""

# Denied, not decided yet, or the GPC signal: what else that person did is not joined to it.
IS_WITHHELD: Final = (
    "(coalesce(consent, '') IN ('denied', 'pending') "
    "OR coalesce(list_contains(flags, 'gpc'), false))"
)

_VISITORS: Final = f"""\
SELECT
    site_id,
    visitor_id,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen,
    count(DISTINCT session_id) AS sessions,
    count(*) FILTER (WHERE
{IS_PAGE_VIEW}) AS page_views,
    count(*) AS events
FROM valid_events
WHERE visitor_id IS NOT NULL
GROUP BY site_id, visitor_id"""

# The referrer belongs to the entry: one that a later page has says where that page was reached
# from, which is mostly the site itself.
_SESSIONS: Final = f"""\
SELECT
    site_id,
    session_id,
    arg_min(visitor_id, event_time) AS visitor_id,
    min(event_time) AS started,
    max(event_time) AS ended,
    count(*) FILTER (WHERE
{IS_PAGE_VIEW}) AS page_views,
    count(*) AS events,
    first(page_url ORDER BY {_IN_ORDER}) FILTER (WHERE page_url IS NOT NULL) AS entry_url,
    last(page_url ORDER BY {_IN_ORDER}) FILTER (WHERE page_url IS NOT NULL) AS exit_url,
    first(referrer ORDER BY {_IN_ORDER}) FILTER (WHERE page_url IS NOT NULL) AS referrer
FROM valid_events
WHERE session_id IS NOT NULL
GROUP BY site_id, session_id"""

IS_CUSTOM: Final = """\
    (protocol = 'scanova' AND source = 'browser' AND event_type NOT IN (
        'pageview', 'page_view', 'click', 'form_submit', 'scroll'))
    OR (protocol = 'scanova' AND source = 'server' AND event_name IS NOT NULL)
    OR (protocol = 'croct' AND event_type = 'eventOccurred')
    OR (protocol = 'zenovay' AND event_type = 'event')"""

_CUSTOM_EVENTS: Final = f"""\
SELECT *
FROM valid_events
WHERE
{IS_CUSTOM}"""

# Attributes that have a column of their own in `identified_users`.
NAMED: Final = ("email", "name", "customer_id", "phone", "company")
_LATEST_NAMED: Final = ",\n".join(
    f"        arg_max(nullif(metadata->>'$.{name}', ''), place) AS {name}" for name in NAMED
)

IS_IDENTIFY: Final = "protocol = 'zenovay' AND event_type = 'identify'"


def identified_users(source: str) -> str:
    """A query for the view `identified_users`, of the identify events that `source` is.

    `source`: what follows a FROM, up to and with the condition.
    """
    # An attribute that is null or absent leaves the earlier value standing. json_each and not a
    # cast to MAP: a client may send a member twice, on which the cast, and with it the view, would
    # fail.
    return f"""\
WITH identifications AS (
    SELECT
        site_id,
        visitor_id,
        event_time,
        metadata,
        row_number() OVER (
            PARTITION BY site_id, visitor_id ORDER BY {_IN_ORDER}
        ) AS place
    FROM {source}
),
users AS (
    SELECT
        site_id,
        visitor_id,
{_LATEST_NAMED},
        min(event_time) AS first_identified,
        max(event_time) AS last_identified
    FROM identifications
    GROUP BY site_id, visitor_id
),
latest AS (
    SELECT site_id, visitor_id, member.key AS key, arg_max(member.value, place) AS value
    FROM identifications, json_each(metadata) AS member
    WHERE member.type <> 'NULL'
        AND member.key NOT IN ({", ".join(quote(name) for name in NAMED)})
    GROUP BY site_id, visitor_id, member.key
),
others AS (
    SELECT
        site_id,
        visitor_id,
        to_json(map_from_entries(list((key, value) ORDER BY key))) AS attributes
    FROM latest
    GROUP BY site_id, visitor_id
)
SELECT
    site_id,
    visitor_id,
    {", ".join(NAMED)},
    coalesce(attributes, '{{}}'::JSON) AS attributes,
    first_identified,
    last_identified
FROM users
LEFT JOIN others USING (site_id, visitor_id)"""


IS_GOAL: Final = """\
    (protocol = 'zenovay' AND event_type = 'goal')
    OR (protocol = 'croct' AND event_type = 'goalCompleted')"""

_GOAL_COMPLETIONS: Final = f"""\
SELECT *, event_name AS goal, conversion_value AS value
FROM valid_events
WHERE
{IS_GOAL}"""

# Croct SDKs up to 0.22.1 say `complete` where the published format says `completed`. What a back
# end reports to Scanova is a payment when it is named so: a lead or a sign-up has a value, too.
IS_PAYMENT: Final = """\
    (protocol = 'zenovay' AND event_type = 'purchase')
    OR (protocol = 'croct' AND event_type = 'orderPlaced')
    OR (protocol = 'scanova' AND source = 'server' AND event_name = 'purchase'
        AND conversion_value IS NOT NULL)"""

_PAYMENT_EVENTS: Final = f"""\
SELECT
    *,
    conversion_value AS amount,
    conversion_currency AS currency,
    coalesce(CASE protocol
        WHEN 'zenovay' THEN nullif(metadata->>'$.payment_provider', '')
    END, 'server') AS payment_provider,
    coalesce(CASE protocol
        WHEN 'zenovay' THEN nullif(metadata->>'$.status', '')
        WHEN 'croct' THEN CASE metadata->>'$.order.status'
            WHEN 'complete' THEN 'completed'
            ELSE metadata->>'$.order.status'
        END
    END, 'succeeded') AS status,
    CASE protocol
        WHEN 'zenovay' THEN metadata->>'$.provider_event_id'
        WHEN 'croct' THEN metadata->>'$.order.orderId'
    END AS provider_event_id,
    CASE protocol
        WHEN 'zenovay' THEN metadata->>'$.plan_name'
    END AS plan_name
FROM valid_events
WHERE
{IS_PAYMENT}"""

_OF_THE_FIRST: Final = (
    "event_id",
    "event_time",
    "event_type",
    "page_url",
    "page_title",
    "referrer",
    "visitor_id",
    "session_id",
    "device_type",
    "browser_family",
    "os_family",
    "country_code",
    "city",
)
_FIRST_COLUMNS: Final = ",\n".join(f"    opening.{name} AS first_{name}" for name in _OF_THE_FIRST)

# One code per scan session, from whichever of its rows knows it: the table of scan sessions may
# have come later than the first of them.
_CODES: Final = """\
    SELECT site_id, scan_session_id, min(qr_code_id) AS qr_code_id
    FROM valid_events
    WHERE qr_code_id IS NOT NULL AND scan_session_id IS NOT NULL
    GROUP BY site_id, scan_session_id"""

# Of a conversion whose person denies, has not decided yet, or sends the GPC signal it is not told
# where else that person was. In the key of the join, which stays one that can be hashed.
_SCAN_CONVERSIONS: Final = f"""\
WITH openings AS (
    SELECT site_id, scan_session_id, {", ".join(_OF_THE_FIRST)}
    FROM valid_events
    WHERE source = 'browser' AND scan_session_id IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY site_id, scan_session_id ORDER BY {_IN_ORDER}
    ) = 1
),
codes AS (
{_CODES}
)
SELECT
    conversion.* REPLACE (coalesce(conversion.qr_code_id, code.qr_code_id) AS qr_code_id),
{_FIRST_COLUMNS}
FROM valid_events AS conversion
LEFT JOIN openings AS opening
    ON opening.site_id = conversion.site_id
    AND opening.scan_session_id = CASE
        WHEN conversion.consent IN ('denied', 'pending') THEN NULL
        WHEN list_contains(conversion.flags, 'gpc') THEN NULL
        ELSE conversion.scan_session_id
    END
LEFT JOIN codes AS code
    ON code.site_id = conversion.site_id
    AND code.scan_session_id = conversion.scan_session_id
WHERE conversion.source = 'server' AND conversion.scan_session_id IS NOT NULL"""

_IDENTITIES: Final = """\
SELECT
    site_id,
    visitor_id,
    user_id,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM valid_events
WHERE visitor_id IS NOT NULL AND user_id IS NOT NULL
GROUP BY site_id, visitor_id, user_id"""

# A device may pass from one user to another. So an event belongs to whom the visitor was last known
# to be; what came before anybody was known, to the first; what comes after a sign-out, to nobody.
# Who denies, has not decided yet, or sends the GPC signal is not made known by what others sent.
# An empty text stands for nobody, because arg_max passes NULL over.
_STITCHED_EVENTS: Final = f"""\
WITH identifications AS (
    SELECT
        site_id,
        visitor_id,
        event_time,
        arg_max(
            CASE event_type WHEN 'userSignedOut' THEN '' ELSE user_id END,
            (received_time, event_id)
        ) AS user_id
    FROM valid_events
    WHERE visitor_id IS NOT NULL AND user_id IS NOT NULL
    GROUP BY site_id, visitor_id, event_time
),
firsts AS (
    SELECT site_id, visitor_id, arg_min(user_id, event_time) AS user_id
    FROM identifications
    WHERE user_id <> ''
    GROUP BY site_id, visitor_id
),
codes AS (
{_CODES}
)
SELECT
    event.* REPLACE (
        CASE
            WHEN event.user_id IS NOT NULL THEN event.user_id
            WHEN event.consent IN ('denied', 'pending') THEN NULL
            WHEN list_contains(event.flags, 'gpc') THEN NULL
            ELSE nullif(coalesce(known.user_id, initial.user_id), '')
        END AS user_id,
        coalesce(event.qr_code_id, code.qr_code_id) AS qr_code_id
    )
FROM valid_events AS event
ASOF LEFT JOIN identifications AS known
    ON known.site_id = event.site_id
    AND known.visitor_id = event.visitor_id
    AND known.event_time <= event.event_time
LEFT JOIN firsts AS initial
    ON initial.site_id = event.site_id AND initial.visitor_id = event.visitor_id
LEFT JOIN codes AS code
    ON code.site_id = event.site_id AND code.scan_session_id = event.scan_session_id"""


# No methods: see storage/query.py, at `Listing`.
class View(msgspec.Struct, frozen=True):
    """A view, by the query that makes it."""

    name: str
    sql: str
    meaning: str


# In an order in which each needs only those before it.
VIEWS: Final = (
    View("valid_events", _VALID_EVENTS, "events without repeats and without fraud"),
    View("page_views", _PAGE_VIEWS, "pages seen"),
    View("visitors", _VISITORS, "one row per site and visitor"),
    View("sessions", _SESSIONS, "one row per site and session, where the protocol has sessions"),
    View("custom_events", _CUSTOM_EVENTS, "events that the site itself named"),
    View(
        "identified_users",
        identified_users(f"valid_events\n    WHERE {IS_IDENTIFY}"),
        "one row per site and identified visitor",
    ),
    View("goal_completions", _GOAL_COMPLETIONS, "goals reached"),
    View("payment_events", _PAYMENT_EVENTS, "purchases and orders"),
    View("scan_conversions", _SCAN_CONVERSIONS, "server events that a QR scan led to"),
    View("identities", _IDENTITIES, "one row per site, visitor and user that were seen together"),
    View("stitched_events", _STITCHED_EVENTS, "valid events with the user that their visitor is"),
)


def statement(view: View) -> str:
    """SQL that defines `view`, or defines it anew."""
    return f"CREATE OR REPLACE VIEW {view.name} AS\n{view.sql}"


def events_view(sql: str) -> View:
    """The view `events`, given a query for its rows."""
    return View("events", sql, "every row")


def parquet_sql(listed: str) -> str:
    """A query for the rows of parts; `listed` is a pattern or a list of them, as SQL."""
    columns = ",\n    ".join(column.name for column in COLUMNS)
    return (
        f"SELECT\n    {columns},\n    date\n"
        f"FROM read_parquet({listed}, hive_partitioning = true, hive_types = {{'date': DATE}})"
    )


def empty_sql() -> str:
    """A query for no rows with all columns of `events`."""
    columns = ", ".join(f"NULL::{column.type} AS {column.name}" for column in COLUMNS)
    return f"SELECT {columns}, NULL::DATE AS date WHERE false"


def views_sql(events_folder: Path) -> str:
    """The text of `views.sql`: every view, over a plain glob below `events_folder`."""
    events = events_view(parquet_sql(parquet.pattern(events_folder.absolute(), "/**/*.parquet")))
    views = "\n\n".join(
        f"-- {view.name}: {view.meaning}\n{statement(view)};" for view in (events, *VIEWS)
    )
    return f"{_HEADER}\n{views}\n"


_HEADER: Final = """\
-- Views over the published files, for any DuckDB from 1.5 on. Written by the collector at each
-- start; changes made here are lost. docs/QUERYING.md tells what the views mean.
--
--   DuckDB's command line:  .read views.sql
--   Python:                 connection.execute(open("views.sql").read())
--
-- DuckDB must find at least one published file; before the first event it says "No files found".
-- What was acknowledged in the last few seconds is not in a file yet; `collector query` sees it.

-- Days, hours and printed times are those of UTC.
SET TimeZone = 'UTC';
"""
