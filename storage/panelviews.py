"""The views that the dashboard's pages count from: per date, without anybody's events in them.

Owns their SQL on top of the published views, and that of summaries, which are what one part, or one
date, adds to them, kept (`summaries`). A date is that of receipt, as the folders have it, so that a
range of dates opens no other folder. Only what DuckDB 1.5 and 2.0 share.

What a question costs: `counts`, `tops` and `payment_days` next to nothing, whatever the range; the
others about 0.1 us for each of their rows in the range. Count the visitors of each date by
`count(*)` of `day_visitors`, which is cheaper; those of a whole range by `count(DISTINCT visitor)`
of `sightings`. `approx_count_distinct(visitor)`, which is right within a few percent and must be
called "about", costs a fifth: over more than a week of all sites it is what does not take long.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from storage import parquet, views
from storage.views import View

# What top lists are made of: name of the dimension, and the value of an event in it. A page is its
# host and path, a referrer its host: what follows a question mark is different for everybody.
DIMENSIONS: Final = {
    "page": r"nullif(regexp_extract(page_url, '^[a-z+.-]+://([^?#]*)', 1), '')",
    "referrer": r"nullif(regexp_extract(referrer, '^[a-z+.-]+://([^/?#]*)', 1), '')",
    "device": "device_type",
    "browser": "browser_family",
    "os": "os_family",
    "country": "country_code",
    "city": "city",
}
# A summary keeps so many values of a site and dimension by themselves, those with the most views.
VALUES_KEPT: Final = 1_000
# The value that stands for all others.
OTHERS: Final = "(others)"

# The columns of a summary, and their types. Each row is of one kind, and has the columns of that.
_COLUMNS: Final[Mapping[str, str]] = {
    "kind": "VARCHAR",
    "site_id": "VARCHAR",
    "hour": "TIMESTAMPTZ",
    "protocol": "VARCHAR",
    "source": "VARCHAR",
    "event_type": "VARCHAR",
    "event_name": "VARCHAR",
    "is_duplicate": "UTINYINT",
    "is_fraud": "UTINYINT",
    "dimension": "VARCHAR",
    "value": "VARCHAR",
    "visitor": "UBIGINT",
    "user_id": "VARCHAR",
    "goal": "VARCHAR",
    "status": "VARCHAR",
    "payment_provider": "VARCHAR",
    "plan_name": "VARCHAR",
    "scan": "UBIGINT",
    "qr_code_id": "VARCHAR",
    "currency": "VARCHAR",
    "amount": "DOUBLE",
    "first_seen": "TIMESTAMPTZ",
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
_SIGHTINGS: Final = """\
SELECT date, site_id, hash(visitor_id) AS visitor, events, last_seen
FROM (
    SELECT date, site_id, visitor_id, count(*) AS events, max(event_time) AS last_seen
    FROM valid_events
    WHERE visitor_id IS NOT NULL
    GROUP BY ALL
)"""

# Of NULL there is a hash, too.
_VISITOR: Final = "CASE WHEN visitor_id IS NOT NULL THEN hash(visitor_id) END AS visitor"

_GOALS: Final = f"""\
SELECT
    date,
    site_id,
    goal,
    conversion_currency AS currency,
    {_VISITOR},
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

_SCANS: Final = """\
SELECT
    date,
    site_id,
    hash(site_id, scan_session_id) AS scan,
    source,
    conversion_currency AS currency,
    min(qr_code_id) AS qr_code_id,
    count(*) AS events,
    sum(conversion_value) AS amount
FROM valid_events
WHERE scan_session_id IS NOT NULL
GROUP BY ALL"""

_PUBLISHED: Final = {view.name: view.sql for view in views.VIEWS}
# What the queries above are over, in an order in which each needs only those before it.
_BENEATH: Final = ("valid_events", "page_views", "goal_completions", "payment_events")


def _over(rows: str, query: str) -> str:
    """`query`, with `rows` in the place of all events."""
    beneath = "".join(f",\n{name} AS NOT MATERIALIZED ({_PUBLISHED[name]})" for name in _BENEATH)
    return f"WITH events AS NOT MATERIALIZED ({rows}){beneath}\n{query}"


# --- summaries


# No methods: see storage/query.py, at `Listing`.
class Kind(msgspec.Struct, frozen=True):
    """Rows of one kind in summaries, and the view of them, which has their columns and `date`.

    `rows` makes them from events, one for each combination of `keys`. Where several say something
    of the same keys, `merges` names the function that puts a column together.
    """

    view: str
    meaning: str
    rows: str
    keys: tuple[str, ...]
    merges: Mapping[str, str]


_KINDS: Final[Mapping[str, Kind]] = {
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
        {"events": "sum", "last_seen": "max"},
    ),
    "goal": Kind(
        "goal_days",
        "goals reached per date, site, goal, currency and number of a visitor, and their value",
        _GOALS,
        ("site_id", "goal", "currency", "visitor"),
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
    "user": Kind(
        "user_days",
        "ids of users per date, site and number of a visitor, with how many events and when",
        _USERS,
        ("site_id", "user_id", "visitor"),
        {"events": "sum", "first_seen": "min", "last_seen": "max"},
    ),
    "scan": Kind(
        "scan_days",
        "events of QR scans per date, site, number of a scan, source and currency, and their value",
        _SCANS,
        ("site_id", "scan", "source", "currency"),
        {"qr_code_id": "min", "events": "sum", "amount": "sum"},
    ),
}


def part_sql(part: Path) -> str:
    """A query for the rows of the summary of `part`, in their order."""
    rows = (
        f"SELECT *, NULL::DATE AS date FROM read_parquet({parquet.listed([part])}, "
        "hive_partitioning = false)"
    )
    return _over(rows, _summary({name: kind.rows for name, kind in _KINDS.items()}))


def date_sql(summaries: Sequence[Path]) -> str:
    """A query for the rows of one summary instead of these, which are of one date."""
    files = f"read_parquet({parquet.listed(summaries)}, hive_partitioning = false)"
    return _summary({name: _merged(name, files) for name in _KINDS})


def _merged(name: str, files: str) -> str:
    """The rows of one kind in `files`, each combination of keys once."""
    kind = _KINDS[name]
    keys = ", ".join(kind.keys)
    merged = ", ".join(f"{merge}({column}) AS {column}" for column, merge in kind.merges.items())
    return f"SELECT {keys}, {merged} FROM {files} WHERE kind = '{name}' GROUP BY {keys}"


def _summary(queries: Mapping[str, str]) -> str:
    """The rows of a summary, of a query for each kind, which are in order one after the other.

    Each is put in order by itself, before it has the columns of the others: much less to move.
    """
    ordered = []
    for name, query in queries.items():
        is_top = name == "top"
        rows = _most_seen(query) if is_top else query
        order = "dimension, site_id" if is_top else "site_id"
        ordered.append(f"{_select(name)} FROM (SELECT * FROM ({rows}) ORDER BY {order})")
    return "\nUNION ALL\n".join(ordered)


def _most_seen(tops: str) -> str:
    """The values with the most views of each site and dimension, and all others together."""
    return f"""\
SELECT
    site_id,
    dimension,
    CASE WHEN place <= {VALUES_KEPT} THEN value ELSE {parquet.quote(OTHERS)} END AS value,
    sum(views) AS views
FROM (
    SELECT
        *,
        -- What is not known has a place of its own, whatever else there is.
        row_number() OVER (
            PARTITION BY site_id, dimension ORDER BY value IS NOT NULL, views DESC, value
        ) AS place
    FROM ({tops})
)
GROUP BY ALL"""


def _select(name: str) -> str:
    """The columns of a summary: those of this kind, and NULL for all others."""
    kind = _KINDS[name]
    own = {"kind": f"'{name}'"} | {column: column for column in (*kind.keys, *kind.merges)}
    chosen = ", ".join(
        f"({own.get(column, 'NULL')})::{type_} AS {column}" for column, type_ in _COLUMNS.items()
    )
    return f"SELECT {chosen}"


# --- views


def panel_views(rows: str, alone: Sequence[Path], others: Sequence[Path]) -> list[View]:
    """The views, of these summaries and of `rows`, a query for all rows that are in none of them.

    `alone`: those that say all there is of their dates. Views but `day_visitors` say the same as
    often as there are files with it.
    """
    found = [
        View(kind.view, _union([*_kept(name, [*alone, *others]), _fresh(name, rows)]), kind.meaning)
        for name, kind in _KINDS.items()
    ]
    several = _union([*_kept("visitor", others), _fresh("visitor", rows)])
    once = _union(
        [
            *(f"SELECT date, site_id, visitor FROM ({kept})" for kept in _kept("visitor", alone)),
            f"SELECT DISTINCT date, site_id, visitor FROM ({several})",
        ]
    )
    return [*found, View("day_visitors", once, _DAY_VISITORS)]


def _kept(name: str, summaries: Sequence[Path]) -> list[str]:
    """What summaries say to the view of a kind; no query where there are none."""
    if not summaries:
        return []
    kind = _KINDS[name]
    columns = ", ".join((*kind.keys, *kind.merges))
    files = (
        f"read_parquet({parquet.listed(summaries)}, hive_partitioning = true, "
        "hive_types = {'date': DATE})"
    )
    return [f"SELECT date, {columns} FROM {files} WHERE kind = '{name}'"]


def _fresh(name: str, rows: str) -> str:
    return f"SELECT * FROM ({_over(rows, _KINDS[name].rows)})"


def _union(queries: Sequence[str]) -> str:
    return "\nUNION ALL BY NAME\n".join(queries)


_DAY_VISITORS: Final = "who was there, per date and site, as a number, once"
