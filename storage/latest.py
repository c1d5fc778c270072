"""The newest rows, with all their columns, without reading more than it takes.

Only reads, takes no lock. From the end of the log backwards, then from the newest parts: with
events coming in, no part is opened at all. Rows whose clocks or files overlap may stand a little
out of order where the rows end that are told. Must not run SQL but its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from storage import layout, parquet, query, recovery, segment
from storage.deadline import Deadline
from storage.errors import StorageError
from storage.files import Files
from storage.layout import Part
from storage.schema import COLUMNS

_TRIES: Final = 9
_THREADS: Final = 1
_MEMORY_MB: Final = 256
# Parts looked into at first, and how many times as many with each further look.
_PARTS_FIRST: Final = 4
_PARTS_GROWTH: Final = 4
# A large part is looked into by itself: its rows are all read, and those before it are older.
_BYTES_FIRST: Final = 4 * 1024 * 1024

# Values by name of column: times are microseconds, JSON is `msgspec.Raw`, NULL is left out.
Values = dict[str, Any]

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value: Final = msgspec.json.Decoder[object]()
_JSON: Final = frozenset(column.name for column in COLUMNS if column.type == "JSON")
_CHOSEN: Final = ", ".join(
    {
        "TIMESTAMPTZ": f"epoch_us({column.name})",
        "UUID": f"{column.name}::VARCHAR",
        "JSON": f"{column.name}::VARCHAR",
    }.get(column.type, column.name)
    for column in COLUMNS
)


def latest(directory: Path, files: Files, count: int, deadline: Deadline) -> list[Values]:
    """The `count` newest rows, newest first. Raises `StorageError`."""
    for _ in range(_TRIES):
        listing = query.look(directory)
        try:
            rows = _in_log(directory, files, listing, count, deadline)
            if len(rows) < count:
                rows += _in_parts(directory, listing.parts, count - len(rows), deadline)
        except (FileNotFoundError, duckdb.Error) as error:
            events = directory / layout.EVENTS
            is_stale = isinstance(error, FileNotFoundError) or not all(
                (events / part.name).exists() for part in listing.parts
            )
            if not is_stale:
                raise StorageError(f"the newest rows cannot be read: {error}") from None
        else:
            return sorted(rows, key=lambda row: row["received_time"], reverse=True)[:count]
    raise StorageError(f"{directory}: files kept changing while they were read; ask again")


def _in_log(
    directory: Path, files: Files, listing: query.Listing, count: int, deadline: Deadline
) -> list[Values]:
    rows: list[Values] = []
    for number in sorted(listing.segments, reverse=True):
        deadline.check()
        data = files.read(directory / layout.WAL / layout.segment_name(number))
        state, scan = recovery.judge_bytes(number, data)
        if state.date is None or layout.is_covered(number, state.date, listing.parts):
            continue
        for group in reversed(scan.groups):
            lines = list(segment.row_lines(data, (group,)))
            rows += map(_of_line, reversed(lines[-count:]))
            if len(rows) >= count:
                return rows
    return rows


def _of_line(line: bytes) -> Values:
    members = _members.decode(line)
    return {
        name: raw if name in _JSON else _value.decode(raw)
        for name, raw in members.items()
        if bytes(raw) != b"null"
    }


def _in_parts(
    directory: Path, parts: Sequence[Part], count: int, deadline: Deadline
) -> list[Values]:
    """Rows of the newest parts; more of them where those hold too few rows."""
    newest = sorted(parts, key=lambda part: part.last, reverse=True)
    looked_at = _first_look(directory, newest)
    rows: list[Values] = []
    while newest:
        paths = [directory / layout.EVENTS / part.name for part in newest[:looked_at]]
        rows = _in_files(paths, count, deadline)
        if len(rows) >= count or looked_at >= len(newest):
            break
        looked_at *= _PARTS_GROWTH
    return rows


def _first_look(directory: Path, newest: Sequence[Part]) -> int:
    """How many parts to look into at first, one at least."""
    events, size = directory / layout.EVENTS, 0
    for number, part in enumerate(newest[:_PARTS_FIRST]):
        size += (events / part.name).stat().st_size
        if size > _BYTES_FIRST:
            return max(1, number)
    return _PARTS_FIRST


def _in_files(paths: Sequence[Path], count: int, deadline: Deadline) -> list[Values]:
    sql = (
        f"SELECT {_CHOSEN} FROM read_parquet({parquet.listed(paths)}, "  # noqa: S608  our own text
        "hive_partitioning = false, union_by_name = true) ORDER BY received_time DESC LIMIT ?"
    )
    with (
        parquet.connect(threads=_THREADS, memory_limit_mb=_MEMORY_MB) as connection,
        deadline.over(connection),
    ):
        found = connection.execute(sql, [count]).fetchall()
    return [
        {
            column.name: msgspec.Raw(value.encode()) if column.type == "JSON" else value
            for column, value in zip(COLUMNS, row, strict=True)
            if value is not None
        }
        for row in found
    ]
