"""Parts sorted into one file in little memory, however large they are together.

A sort that does not fit into DuckDB's memory limit is slow, or fails. So it is cut: what is not
sorted yet becomes sorted **runs**, small enough each; the order is cut into **slices** by a sample
of it; a slice is sorted by itself, reading of the runs only those row groups that have something of
it; and the slices become one file without being decoded (`parquetmerge`). What fits at once is
sorted at once.

Knows how DuckDB is asked, by `run`, and nothing of what the rows mean.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from storage import memory, parquet, parquetmerge, partlayout
from storage.files import Files
from storage.schema import COLUMNS
from storage.thrift import Malformed

_log: Final = logging.getLogger("collector.storage")
# Else a column of which DuckDB knows that nothing is missing in a slice gets another type there
# ("required"), and slices cannot be merged.
SETTING: Final = "SET disabled_optimizers = 'statistics_propagation'"
# What is sorted at once: one row group, of rows of which so many bytes are left when values that
# are the same count once. Sorted and written that takes DuckDB about 100 MB.
ROWS_AT_ONCE: Final = partlayout.ROW_GROUP_ROWS
BYTES_AT_ONCE: Final = 32 * 1024 * 1024
# Cuts are the better, the more keys they are chosen from; per slice.
_SAMPLED: Final = 256
_COLUMNS: Final = ", ".join(column.name for column in COLUMNS)
# received_time and event_id: the same input always gives the same file.
_ORDER: Final = ", ".join((*partlayout.SORT_COLUMNS, "received_time", "event_id"))

# One statement of SQL; the rows it gives. Raises `StorageError`.
Run = Callable[[str], list[tuple[Any, ...]]]


class Source(msgspec.Struct, frozen=True):
    """A file to be sorted. `is_sorted`: it probably is; when not, it is only read more often."""

    path: Path
    is_sorted: bool
    rows: int = 0
    bytes: int = 0

    @property
    def pieces(self) -> float:
        """How many times what is sorted at once."""
        return max(self.rows / ROWS_AT_ONCE, self.bytes / BYTES_AT_ONCE)


class Cut(msgspec.Struct, frozen=True):
    """A place in the order: a row's values of `partlayout.SORT_COLUMNS`, the time in microseconds.

    None comes after everything else, as in the file.
    """

    site_id: str | None
    event_type: str | None
    event_time_us: int | None

    @property
    def values(self) -> tuple[str | None, ...]:
        """The three of them as SQL."""
        site, kind, time_us = self.site_id, self.event_type, self.event_time_us
        return (
            None if site is None else parquet.quote(site),
            None if kind is None else parquet.quote(kind),
            None if time_us is None else f"make_timestamptz({time_us})",
        )


def sort(sources: Sequence[Source], output: Path, run: Run, files: Files) -> None:
    """Write the rows of `sources`, sorted, to `output`; nothing else is left behind.

    `run` must be of a connection with `SETTING`. Raises what that raises, or OSError, with `output`
    unfinished.
    """
    weighed = _weighed(sources, run)
    if sum(one.pieces for one in weighed) <= 1:
        run(_copy(read([one.path for one in weighed]), output, partlayout.COPY_OPTIONS))
        return
    made: list[Path] = []

    def scratch() -> Path:
        made.append(output.with_name(f"{len(made)}-{output.name}"))
        return made[-1]

    try:
        runs = [_sorted_run(group, scratch, run) for group in grouped(weighed)]
        source = read(runs)
        bounds = [None, *_cuts(weighed, source, run), None]
        slices = []
        for low, high in pairwise(bounds):
            slices.append(scratch())
            of_it = f"{source} WHERE {between(low, high)}"
            run(_copy(of_it, slices[-1], partlayout.COPY_OPTIONS))
            memory.give_back()
        _concatenate(slices, output, run, files)
    finally:
        for path in made:
            files.remove(path)


def _concatenate(slices: Sequence[Path], output: Path, run: Run, files: Files) -> None:
    try:
        parquetmerge.merge(slices, output, files)
    except Malformed as error:
        # Another version of DuckDB may write what is not known here: a matter of speed only.
        _log.warning("sorted parts are written twice: %s", error)
        query = f"SELECT {_COLUMNS} FROM {read(slices)}"  # noqa: S608
        run(f"COPY ({query}) TO {parquet.quote(output)} ({partlayout.COPY_OPTIONS})")


def read(paths: Sequence[Path]) -> str:
    """A table expression: the rows of parts, older ones with columns that they lack as NULL."""
    return (
        f"read_parquet({parquet.listed(paths)}, hive_partitioning = false, union_by_name = true, "
        "filename = true)"
    )


def grouped(sources: Iterable[Source]) -> list[list[Source]]:
    """Neighbours that become one run, which fits at once if they do; sorted ones alone."""
    groups: list[list[Source]] = []
    pieces = 0.0
    for one in sources:
        if not groups or one.is_sorted or groups[-1][-1].is_sorted or pieces + one.pieces > 1:
            groups.append([])
            pieces = 0.0
        groups[-1].append(one)
        pieces += one.pieces
    return groups


def between(low: Cut | None, high: Cut | None) -> str:
    """An SQL condition: rows from `low` on, before `high`; None: without a bound."""
    conditions = _pruning(low, high)
    if low is not None:
        conditions.append(f"NOT {_before(low)}")
    if high is not None:
        conditions.append(_before(high))
    return " AND ".join(conditions) or "true"


def _before(cut: Cut) -> str:
    """Rows before `cut`; never NULL."""
    rest = "false"
    for column, value in reversed(tuple(zip(partlayout.SORT_COLUMNS, cut.values, strict=True))):
        if value is None:
            rest = f"({column} IS NOT NULL OR {rest})"
        else:
            rest = f"({column} < {value} OR ({column} = {value} AND {rest}))"
    return f"coalesce({rest}, false)"


def _pruning(low: Cut | None, high: Cut | None) -> list[str]:
    """Conditions that follow from both bounds, and by which row groups can be left out."""
    if low is None or high is None:
        return []
    conditions = []
    for column, start, end in zip(partlayout.SORT_COLUMNS, low.values, high.values, strict=True):
        if start is None or end is None:
            break
        conditions.append(f"{column} BETWEEN {start} AND {end}")
        if start != end:
            break
    return conditions


def _weighed(sources: Sequence[Source], run: Run) -> list[Source]:
    """`sources` with their rows and bytes, from their footers."""
    paths = parquet.listed(one.path for one in sources)
    found = run(
        "SELECT file_name, sum(row_group_num_rows) FILTER (WHERE column_id = 0)::BIGINT, "  # noqa: S608
        f"sum(total_uncompressed_size)::BIGINT FROM parquet_metadata({paths}) GROUP BY 1"
    )
    sizes = {str(name): (rows or 0, size or 0) for name, rows, size in found}
    weighed = []
    for one in sources:
        rows, size = sizes.get(str(one.path), (0, 0))
        weighed.append(msgspec.structs.replace(one, rows=rows, bytes=size))
    return weighed


def _sorted_run(group: Sequence[Source], scratch: Callable[[], Path], run: Run) -> Path:
    if group[0].is_sorted:
        return group[0].path
    path = scratch()
    run(_copy(read([one.path for one in group]), path, partlayout.RUN_COPY_OPTIONS))
    memory.give_back()
    return path


def _cuts(sources: Sequence[Source], source: str, run: Run) -> list[Cut]:
    """Where the order is cut into slices that fit at once, nearly all of the same size."""
    slices = int(sum(one.pieces for one in sources)) + 1
    rows = sum(one.rows for one in sources)
    every = max(1, rows // (slices * _SAMPLED))
    columns = ("site_id", "event_type", "epoch_us(event_time)")
    sample = run(
        f"SELECT {', '.join(columns)} FROM {source} WHERE hash(event_id) % {every} = 0 "  # noqa: S608
        f"ORDER BY {', '.join(partlayout.SORT_COLUMNS)}"
    )
    chosen = (sample[len(sample) * at // slices] for at in range(1, slices) if sample)
    return list(dict.fromkeys(Cut(*values) for values in chosen))


def _copy(source: str, output: Path, options: str) -> str:
    """A statement that writes what `source` gives, sorted."""
    query = f"SELECT {_COLUMNS} FROM {source} ORDER BY {_ORDER}"  # noqa: S608
    return f"COPY ({query}) TO {parquet.quote(output)} ({options})"
