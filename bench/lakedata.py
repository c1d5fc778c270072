"""Data directories for the query measurements: generated rows, laid out as joined parts are."""
# ruff: noqa: S608  every piece of this SQL is our own text

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from bench.lakerows import Shape, rows_sql
from storage import layout, parquet, partlayout
from storage.layout import Part

# Of a row in Parquet, as generated and compressed here: decides how many parts a day has.
ROW_BYTES: Final = 145
_MEMORY_MB: Final = 3_000
# A collector that publishes every 5 s fills so many segments a day; parts are named accordingly.
_SEGMENTS_PER_DAY: Final = 17_280


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How parts are written; the defaults are those of the product."""

    order_by: str = partlayout.ORDER_BY
    row_group_rows: int = partlayout.ROW_GROUP_ROWS
    part_bytes: int = partlayout.PART_BYTES_MAX
    compression: str = partlayout.COMPRESSION
    level: int | None = partlayout.COMPRESSION_LEVEL

    @property
    def options(self) -> str:
        """Options of DuckDB's COPY."""
        level = "" if self.level is None else f", COMPRESSION_LEVEL {self.level}"
        return (
            f"FORMAT parquet, COMPRESSION {self.compression}{level}, "
            f"ROW_GROUP_SIZE {self.row_group_rows}"
        )


class _Slice(msgspec.Struct, frozen=True):
    """The rows of one part: `first` to `last`, excluded, of day `day`."""

    part: Part
    day: int
    first: int
    last: int


def slices(shape: Shape, part_bytes: int) -> list[_Slice]:
    """The parts of all days: as many of each day as its bytes ask for."""
    found = []
    for day in range(shape.days):
        rows = shape.rows_of(day)
        count = max(1, math.ceil(rows * ROW_BYTES / part_bytes))
        for number in range(count):
            first_segment = day * _SEGMENTS_PER_DAY + number * _SEGMENTS_PER_DAY // count + 1
            last_segment = day * _SEGMENTS_PER_DAY + (number + 1) * _SEGMENTS_PER_DAY // count
            found.append(
                _Slice(
                    Part(shape.day(day), first_segment, last_segment),
                    day,
                    rows * number // count,
                    rows * (number + 1) // count,
                )
            )
    return found


def generate(directory: Path, shape: Shape, how: Layout, *, threads: int) -> Iterator[int]:
    """Make the data directory; yields the rows of each part when it is there."""
    wanted = slices(shape, how.part_bytes)
    for one in wanted:
        (directory / layout.EVENTS / one.part.name).parent.mkdir(parents=True, exist_ok=True)

    def write(one: _Slice) -> int:
        order = f"\nORDER BY {how.order_by}" if how.order_by else ""
        query = f"{rows_sql(shape, one.day, one.first, one.last)}{order}"
        with parquet.connect(threads=1, memory_limit_mb=_MEMORY_MB) as connection:
            connection.execute(f"SET temp_directory = {parquet.quote(directory / 'spill')}")
            _copy(connection, query, directory / layout.EVENTS / one.part.name, how.options)
        return one.last - one.first

    with ThreadPoolExecutor(threads) as pool:
        for done in as_completed([pool.submit(write, one) for one in wanted]):
            yield done.result()


def rewrite(source: Path, target: Path, shape: Shape, how: Layout) -> None:
    """The rows of `source`, whose parts are in order of receipt, laid out anew in `target`."""
    files = sorted((source / layout.EVENTS).glob("date=*/*.parquet"))
    by_day: dict[str, list[Path]] = {}
    for path in files:
        by_day.setdefault(path.parent.name, []).append(path)
    with parquet.connect(threads=2, memory_limit_mb=2 * _MEMORY_MB) as connection:
        connection.execute(f"SET temp_directory = {parquet.quote(target / 'spill')}")
        for one in slices(shape, how.part_bytes):
            path = target / layout.EVENTS / one.part.name
            path.parent.mkdir(parents=True, exist_ok=True)
            listed = ", ".join(parquet.quote(file) for file in by_day[path.parent.name])
            query = (
                f"SELECT * EXCLUDE (file_row_number) FROM read_parquet([{listed}], "
                "hive_partitioning = false, file_row_number = true) "
                f"WHERE file_row_number >= {one.first} AND file_row_number < {one.last}"
                + (f" ORDER BY {how.order_by}" if how.order_by else "")
            )
            _copy(connection, query, path, how.options)


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path, options: str) -> int:
    done = connection.execute(f"COPY ({query}) TO {parquet.quote(path)} ({options})").fetchall()
    return int(done[0][0])
