"""The views that the dashboard's pages count from: per date, numbers instead of texts and ids.

Owns their SQL on top of the published views, and that of summaries, which are what one part, or one
date, adds to them, kept (`summaries`); `panelkinds` says what is counted. A date is that of
receipt, as the folders have it, so that a range of dates opens no other folder. Only what DuckDB
1.5 and 2.0 share.

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

from storage import panelkinds, parquet, views
from storage.panelkinds import COLUMNS, KINDS
from storage.views import View

DIMENSIONS: Final = panelkinds.DIMENSIONS
# A summary keeps so many values of a site and dimension by themselves, those with the most views.
VALUES_KEPT: Final = 1_000
# The value that stands for all others.
OTHERS: Final = "(others)"

_PUBLISHED: Final = {view.name: view.sql for view in views.VIEWS}
# What the queries of kinds are over, in an order in which each needs only those before it.
_BENEATH: Final = ("valid_events", "page_views", "goal_completions", "payment_events")


def _over(rows: str, query: str) -> str:
    """`query`, with `rows` in the place of all events."""
    beneath = "".join(f",\n{name} AS NOT MATERIALIZED ({_PUBLISHED[name]})" for name in _BENEATH)
    return f"WITH events AS NOT MATERIALIZED ({rows}){beneath}\n{query}"


def part_sql(part: Path) -> str:
    """A query for the rows of the summary of `part`, in their order."""
    rows = (
        f"SELECT *, NULL::DATE AS date FROM read_parquet({parquet.listed([part])}, "
        "hive_partitioning = false)"
    )
    return _over(rows, _summary({name: kind.rows for name, kind in KINDS.items()}))


def date_sql(summaries: Sequence[Path]) -> str:
    """A query for the rows of one summary instead of these, which are of one date."""
    files = f"read_parquet({parquet.listed(summaries)}, hive_partitioning = false)"
    return _summary({name: _merged(name, files) for name in KINDS})


def _merged(name: str, files: str) -> str:
    """The rows of one kind in `files`, put together where they have the same keys."""
    kind = KINDS[name]
    keys = ", ".join(kind.keys)
    if not kind.merges:
        return f"SELECT {keys} FROM {files} WHERE kind = '{name}'"
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
        if "visitor" in KINDS[name].keys:
            order += ", visitor"  # the same number again takes less room
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
    kind = KINDS[name]
    own = {"kind": f"'{name}'"} | {column: column for column in (*kind.keys, *kind.merges)}
    chosen = ", ".join(
        f"({own.get(column, 'NULL')})::{type_} AS {column}" for column, type_ in COLUMNS.items()
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
        for name, kind in KINDS.items()
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
    kind = KINDS[name]
    columns = ", ".join((*kind.keys, *kind.merges))
    files = (
        f"read_parquet({parquet.listed(summaries)}, hive_partitioning = true, "
        "hive_types = {'date': DATE})"
    )
    return [f"SELECT date, {columns} FROM {files} WHERE kind = '{name}'"]


def _fresh(name: str, rows: str) -> str:
    return f"SELECT * FROM ({_over(rows, KINDS[name].rows)})"


def _union(queries: Sequence[str]) -> str:
    return "\nUNION ALL BY NAME\n".join(queries)


_DAY_VISITORS: Final = "who was there, per date and site, as a number, once"
