"""The views that the dashboard's pages count from: per date, without anybody's events in them.

Owns their SQL on top of the published views, and that of summaries, which are what one part, or one
date, adds to them, kept (`summaries`). A date is that of receipt, as the folders have it, so that a
range of dates opens no other folder. Only what DuckDB 1.5 and 2.0 share.

What a question costs: `counts` and `tops` next to nothing, whatever the range; visitors about
0.1 us for each visitor and date in the range. Count those of each date by `count(*)` of
`day_visitors`, which is cheaper; those of a whole range by `count(DISTINCT visitor)` of
`sightings`. `approx_count_distinct(visitor)`, which is right within a few percent and must be
called "about", costs a fifth: over more than a week of all sites it is what does not take long.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

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
    "number": "BIGINT",
}
_PLACES: Final = "hour, site_id, protocol, source, event_type, event_name, is_duplicate, is_fraud"

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
SELECT date, site_id, hash(visitor_id) AS visitor
FROM (
    SELECT DISTINCT date, site_id, visitor_id
    FROM valid_events
    WHERE visitor_id IS NOT NULL
)"""

_PUBLISHED: Final = {view.name: view.sql for view in views.VIEWS}


def _over(rows: str, query: str) -> str:
    """`query`, with `rows` in the place of all events."""
    return f"""\
WITH events AS NOT MATERIALIZED ({rows}),
valid_events AS NOT MATERIALIZED ({_PUBLISHED["valid_events"]}),
page_views AS NOT MATERIALIZED ({_PUBLISHED["page_views"]})
{query}"""


# --- summaries


def part_sql(part: Path) -> str:
    """A query for the rows of the summary of `part`, in their order."""
    rows = (
        f"SELECT *, NULL::DATE AS date FROM read_parquet({parquet.listed([part])}, "
        "hive_partitioning = false)"
    )
    return _over(rows, _summary(_COUNTS, _TOPS, _SIGHTINGS))


def date_sql(summaries: Sequence[Path]) -> str:
    """A query for the rows of one summary instead of these, which are of one date."""
    kept = f"FROM read_parquet({parquet.listed(summaries)}, hive_partitioning = false) WHERE kind ="
    return _summary(
        f"SELECT {_PLACES}, sum(number) AS events {kept} 'count' GROUP BY ALL",
        f"SELECT site_id, dimension, value, sum(number) AS views {kept} 'top' GROUP BY ALL",
        f"SELECT DISTINCT site_id, visitor {kept} 'visitor'",
    )


def _summary(counts: str, tops: str, visitors: str) -> str:
    """The rows of a summary, of three queries."""
    chosen_counts = _select({"kind": "'count'", "number": "events"} | _own(_PLACES))
    chosen_tops = _select(
        {"kind": "'top'", "site_id": "site_id", "dimension": "dimension"}
        | {"value": f"CASE WHEN place <= {VALUES_KEPT} THEN value ELSE {parquet.quote(OTHERS)} END"}
        | {"number": "sum(views)"}
    )
    chosen_visitors = _select({"kind": "'visitor'", "site_id": "site_id", "visitor": "visitor"})
    return f"""\
{chosen_counts} FROM ({counts})
UNION ALL
{chosen_tops} FROM (
    SELECT
        *,
        -- What is not known has a place of its own, whatever else there is.
        row_number() OVER (
            PARTITION BY site_id, dimension ORDER BY value IS NOT NULL, views DESC, value
        ) AS place
    FROM ({tops})
)
GROUP BY ALL
UNION ALL
{chosen_visitors} FROM ({visitors})
ORDER BY kind, dimension, site_id"""


def _own(names: str) -> dict[str, str]:
    return {name: name for name in names.split(", ")}


def _select(values: Mapping[str, str]) -> str:
    """The columns of a summary: these expressions, and NULL for all others."""
    chosen = ", ".join(
        f"({values.get(name, 'NULL')})::{kind} AS {name}" for name, kind in _COLUMNS.items()
    )
    return f"SELECT {chosen}"


def panel_views(rows: str, alone: Sequence[Path], others: Sequence[Path]) -> list[View]:
    """The views, of these summaries and of `rows`, a query for all rows that are in none of them.

    `alone`: those that say all there is of their dates. `counts`, `tops` and `sightings` say the
    same as often as there are files with it.
    """
    found = [
        View(name, _union([*_kept(name, [*alone, *others]), _fresh(name, rows)]), meaning)
        for name, meaning in _MEANINGS.items()
    ]
    several = _union([*_kept("sightings", others), _fresh("sightings", rows)])
    once = _union([*_kept("sightings", alone), f"SELECT DISTINCT * FROM ({several})"])
    return [*found, View("day_visitors", once, _DAY_VISITORS)]


def _kept(name: str, summaries: Sequence[Path]) -> list[str]:
    """What summaries say to a view; no query where there are none."""
    if not summaries:
        return []
    kind, columns = _CHOSEN[name]
    files = (
        f"read_parquet({parquet.listed(summaries)}, hive_partitioning = true, "
        "hive_types = {'date': DATE})"
    )
    return [f"SELECT date, {columns} FROM {files} WHERE kind = '{kind}'"]


def _fresh(name: str, rows: str) -> str:
    return f"SELECT * FROM ({_over(rows, _FRESH[name])})"


def _union(queries: Sequence[str]) -> str:
    return "\nUNION ALL BY NAME\n".join(queries)


# Of each view: the kind of the rows of a summary, their columns, and the query over rows.
_CHOSEN: Final = {
    "counts": ("count", f"{_PLACES}, number AS events"),
    "tops": ("top", "site_id, dimension, value, number AS views"),
    "sightings": ("visitor", "site_id, visitor"),
}
_FRESH: Final = {"counts": _COUNTS, "tops": _TOPS, "sightings": _SIGHTINGS}
_MEANINGS: Final = {
    "counts": "events per date, hour, site, protocol, source, type, name and marks",
    "tops": "page views per date, site and value of a dimension; NULL: not known",
    "sightings": "who was there, per date and site, as a number; some of them several times",
}
_DAY_VISITORS: Final = "who was there, per date and site, as a number, once"
