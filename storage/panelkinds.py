"""What summaries count: the kinds of rows in them, how each is made of events, and its view.

Owns the SQL of the kinds, over the published views. A date is that of receipt, as the folders have
it. Only what DuckDB 1.5 and 2.0 share.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

from collections.abc import Mapping
from typing import Final

import msgspec

from storage import touches, views

# What top lists are made of: name of the dimension, and the value of an event in it. A page is its
# host and path, a referrer its host: what follows a question mark is different for everybody.
DIMENSIONS: Final = {
    "page": r"nullif(regexp_extract(page_url, '^[a-z+.-]+://([^?#]*)', 1), '')",
    "referrer": f"nullif({touches.host('referrer')}, '')",
    "device": "device_type",
    "browser": "browser_family",
    "os": "os_family",
    "country": "country_code",
    "city": "city",
}
# The columns of a summary, and their types. Each row is of one kind, and has the columns of that.
COLUMNS: Final[Mapping[str, str]] = {
    "kind": "VARCHAR",
    "site_id": "VARCHAR",
    "hour": "TIMESTAMPTZ",
    "event_time": "TIMESTAMPTZ",
    "protocol": "VARCHAR",
    "source": "VARCHAR",
    "event_type": "VARCHAR",
    "event_name": "VARCHAR",
    "is_duplicate": "UTINYINT",
    "is_fraud": "UTINYINT",
    "dimension": "VARCHAR",
    "value": "VARCHAR",
    "visitor": "UBIGINT",
    "attributes": "UBIGINT",
    "user_id": "VARCHAR",
    "goal": "VARCHAR",
    "status": "VARCHAR",
    "payment_provider": "VARCHAR",
    "plan_name": "VARCHAR",
    "scan": "UBIGINT",
    "qr_code_id": "VARCHAR",
    "is_scanned": "BOOLEAN",
    "is_withheld": "BOOLEAN",
    "touch": "VARCHAR",
    "currency": "VARCHAR",
    "amount": "DOUBLE",
    "first_seen": "TIMESTAMPTZ",
    "first_view": "TIMESTAMPTZ",
    "last_seen": "TIMESTAMPTZ",
    "events": "BIGINT",
    "views": "BIGINT",
}

# --- from rows

_COUNTS: Final = """\
SELECT
    date,
    date_trunc('hour', received_time) AS hour,
    site_id,
    protocol,
    source,
    event_type,
    event_name,
    is_duplicate,
    is_fraud,
    count(*) AS events
FROM events
GROUP BY ALL"""

_TOPS: Final = "\nUNION ALL\n".join(
    f"SELECT date, site_id, '{name}' AS dimension, {value} AS value, count(*) AS views\n"
    "FROM page_views\n"
    "GROUP BY ALL"
    for name, value in DIMENSIONS.items()
)

# A number for each text, not each row: most visitors have several.
_SIGHTINGS: Final = f"""\
SELECT date, site_id, hash(visitor_id) AS visitor, events, first_view, last_seen
FROM (
    SELECT
        date,
        site_id,
        visitor_id,
        count(*) AS events,
        -- As any page of a funnel: one whose address is known.
        min(event_time) FILTER (WHERE page_url IS NOT NULL AND (
{views.IS_PAGE_VIEW})) AS first_view,
        max(event_time) AS last_seen
    FROM valid_events
    WHERE visitor_id IS NOT NULL
    GROUP BY ALL
)"""

# Of NULL there is a hash, too.
_VISITOR: Final = "CASE WHEN visitor_id IS NOT NULL THEN hash(visitor_id) END AS visitor"
_SCAN: Final = (
    "CASE WHEN scan_session_id IS NOT NULL THEN hash(site_id, scan_session_id) END AS scan"
)

# Which attributes an identify event tells, as a number: of two that tell the same ones, the later
# one says all that the earlier did (`views.identified_users`).
_ATTRIBUTES: Final = f"""\
hash(
            (
                SELECT list(DISTINCT member.key ORDER BY member.key)
                FROM json_each(metadata) AS member
                WHERE member.type <> 'NULL' AND member.key NOT IN {views.NAMED}
            ),
            {", ".join(f"nullif(metadata->>'$.{name}', '') IS NULL" for name in views.NAMED)}
        )"""

_IDENTIFIED: Final = f"""\
SELECT date, site_id, {_VISITOR}, attributes, max(event_time) AS last_seen
FROM (
    SELECT
        date,
        site_id,
        visitor_id,
        event_time,
        {_ATTRIBUTES} AS attributes
    FROM valid_events
    WHERE {views.IS_IDENTIFY}
)
GROUP BY ALL"""

_GOALS: Final = f"""\
SELECT
    date,
    site_id,
    goal,
    conversion_currency AS currency,
    {_VISITOR},
    event_time,
    count(*) AS events,
    sum(value) AS amount
FROM goal_completions
GROUP BY ALL"""

_PAYMENTS: Final = """\
SELECT
    date,
    site_id,
    protocol,
    source,
    status,
    payment_provider,
    plan_name,
    currency,
    count(*) AS events,
    sum(amount) AS amount
FROM payment_events
GROUP BY ALL"""

_TRANSACTIONS: Final = f"""\
SELECT
    date,
    site_id,
    event_time,
    protocol,
    status,
    currency,
    amount,
    {_VISITOR},
    {_SCAN},
    {views.IS_WITHHELD} AS is_withheld
FROM payment_events"""

_USERS: Final = f"""\
SELECT
    date,
    site_id,
    user_id,
    {_VISITOR},
    count(*) AS events,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM valid_events
WHERE user_id IS NOT NULL
GROUP BY ALL"""

_SCANS: Final = f"""\
SELECT
    date,
    site_id,
    {_SCAN},
    source,
    conversion_currency AS currency,
    {_VISITOR},
    {views.IS_WITHHELD} AS is_withheld,
    min(qr_code_id) AS qr_code_id,
    count(*) AS events,
    sum(conversion_value) AS amount,
    min(event_time) AS first_seen,
    max(event_time) AS last_seen
FROM valid_events
WHERE scan_session_id IS NOT NULL
GROUP BY ALL"""


# No methods: see storage/query.py, at `Listing`.
class Kind(msgspec.Struct, frozen=True):
    """Rows of one kind in summaries, and the view of them, which has their columns and `date`.

    `rows` makes them from events, one for each combination of `keys`. Where several say something
    of the same keys, `merges` names the function that puts a column together. Without any, each
    row is of one event, and none is put together with another.
    """

    view: str
    meaning: str
    rows: str
    keys: tuple[str, ...]
    merges: Mapping[str, str]


KINDS: Final[Mapping[str, Kind]] = {
    "count": Kind(
        "counts",
        "events per date, hour, site, protocol, source, type, name and marks",
        _COUNTS,
        (
            *("hour", "site_id", "protocol", "source", "event_type", "event_name"),
            *("is_duplicate", "is_fraud"),
        ),
        {"events": "sum"},
    ),
    "top": Kind(
        "tops",
        "page views per date, site and value of a dimension; NULL: not known",
        _TOPS,
        ("site_id", "dimension", "value"),
        {"views": "sum"},
    ),
    "visitor": Kind(
        "sightings",
        "who was there, per date and site, as a number, with how many events; some several times",
        _SIGHTINGS,
        ("site_id", "visitor"),
        {"events": "sum", "first_view": "min", "last_seen": "max"},
    ),
    "identified": Kind(
        "identified_days",
        "who was identified, per date and site, as a number, by which attributes, and when last",
        _IDENTIFIED,
        ("site_id", "visitor", "attributes"),
        {"last_seen": "max"},
    ),
    "goal": Kind(
        "goal_days",
        "goals reached per date, site, goal, currency, number of a visitor and time, their value",
        _GOALS,
        ("site_id", "goal", "currency", "visitor", "event_time"),
        {"events": "sum", "amount": "sum"},
    ),
    "payment": Kind(
        "payment_days",
        "payments per date and whatever is told of them, and their amount",
        _PAYMENTS,
        (
            *("site_id", "protocol", "source", "status", "payment_provider", "plan_name"),
            "currency",
        ),
        {"events": "sum", "amount": "sum"},
    ),
    "transaction": Kind(
        "transactions",
        "payments one by one, with the numbers of visitor and scan",
        _TRANSACTIONS,
        (
            *("site_id", "event_time", "protocol", "status", "currency", "amount"),
            *("visitor", "scan", "is_withheld"),
        ),
        {},
    ),
    "touch": Kind(
        "touches",
        "page views that may have led to a payment, with the numbers of visitor and scan",
        touches.SQL,
        ("site_id", "visitor", "event_time", "scan", "is_scanned", "touch", "qr_code_id"),
        {},
    ),
    "user": Kind(
        "user_days",
        "ids of users per date, site and number of a visitor, with how many events and when",
        _USERS,
        ("site_id", "user_id", "visitor"),
        {"events": "sum", "first_seen": "min", "last_seen": "max"},
    ),
    "scan": Kind(
        "scan_days",
        "events of QR scans per date, site, numbers of a scan and a visitor, source, currency and "
        "whether consent is withheld, with their value and when",
        _SCANS,
        ("site_id", "scan", "source", "currency", "visitor", "is_withheld"),
        {
            "qr_code_id": "min",
            "events": "sum",
            "amount": "sum",
            "first_seen": "min",
            "last_seen": "max",
        },
    ),
}
