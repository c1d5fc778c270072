"""Finding the rows of one id: in the log and in the parts of one date after the other.

Only reads, takes no lock. Ids are random, so that a file tells nothing without being looked into;
the caller says in which order dates are worth it.
"""

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from storage import layout, parquet, query, recovery, segment
from storage.deadline import Deadline
from storage.errors import StorageError
from storage.files import Files
from storage.layout import Part

_TRIES: Final = 9
_THREADS: Final = 2
_HEX_KEY: Final = re.compile("[0-9a-fA-F]{32}")
_VERSION_7: Final = 7


# No methods: see storage/query.py, at `Listing`.
class Sought(msgspec.Struct, frozen=True):
    """One id, in each of its meanings; None where it cannot have that meaning."""

    text: str
    event_id: str | None
    dedup_key: str | None


class FoundRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One row and where it stands. Times are microseconds since the epoch.

    `file` is below the data directory. `row`: in Parquet the number that DuckDB calls
    `file_row_number`, from 0; in the log the line, from 1.
    """

    event_id: str = ""
    event_time: int = 0
    received_time: int = 0
    site_id: str = ""
    protocol: str = ""
    source: str = ""
    event_type: str | None = None
    event_name: str | None = None
    idempotency_key: str | None = None
    dedup_key: str | None = None
    key_id: str | None = None
    flags: tuple[str, ...] = ()
    is_duplicate: int = 0
    is_fraud: int = 0
    file: str = ""
    row: int = 0


_NAMES: Final = tuple(
    field.name for field in msgspec.structs.fields(FoundRow) if field.name not in {"file", "row"}
)
_CHOSEN: Final = ", ".join(
    {"event_time": "epoch_us(event_time)", "received_time": "epoch_us(received_time)"}.get(
        name, f"{name}::VARCHAR" if name == "event_id" else name
    )
    for name in _NAMES
)
_line_decoder: Final = msgspec.json.Decoder(FoundRow)


def sought(text: str) -> Sought:
    """What `text` may be the id of; what is no Unicode in it is the id of nothing."""
    text = text.encode("utf-8", "replace").decode()
    try:
        event_id: str | None = str(uuid.UUID(text))
    except ValueError:
        event_id = None
    key = text.lower() if _HEX_KEY.fullmatch(text) else None
    return Sought(text, event_id, key)


def maybe_day(one: Sought) -> date | None:
    """The date on which an id was made that tells it (UUID version 7), None for others."""
    if one.event_id is None:
        return None
    made = uuid.UUID(one.event_id)
    if made.version != _VERSION_7:
        return None
    try:
        return datetime.fromtimestamp((made.int >> 80) / 1000, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None


def dates(directory: Path) -> list[date]:
    """Dates that have parts, newest first. Raises `StorageError`."""
    return sorted({part.date for part in query.look(directory).parts}, reverse=True)


def in_log(directory: Path, files: Files, one: Sought) -> list[FoundRow]:
    """Rows in segments, also in those that a part holds too: the part then tells where.

    Raises `StorageError`.
    """
    for _ in range(_TRIES):
        listing = query.look(directory)
        try:
            return [
                row
                for number in listing.segments
                for row in _in_segment(directory, files, number, listing.parts, one)
            ]
        except FileNotFoundError:
            continue
    raise StorageError(f"{directory}: files kept changing while they were read; ask again")


def in_parts(
    directory: Path, day: date, one: Sought, deadline: Deadline | None = None
) -> list[FoundRow]:
    """Rows in the parts of one date. Raises `StorageError`, `TookTooLong` with a deadline."""
    events = directory / layout.EVENTS
    for _ in range(_TRIES):
        parts = [part for part in query.look(directory).parts if part.date == day]
        try:
            return _in_files(directory, [events / part.name for part in parts], one, deadline)
        except duckdb.Error as error:
            if all((events / part.name).exists() for part in parts):
                raise StorageError(f"{events}: {error}") from None
    raise StorageError(f"{directory}: files kept changing while they were read; ask again")


def _in_files(
    directory: Path, paths: Sequence[Path], one: Sought, deadline: Deadline | None
) -> list[FoundRow]:
    if not paths:
        return []
    sql = (
        f"SELECT {_CHOSEN}, filename, file_row_number "  # noqa: S608
        f"FROM read_parquet({parquet.listed(paths)}, "
        "hive_partitioning = false, filename = true, file_row_number = true) "
        "WHERE idempotency_key = ? OR event_id = ?::UUID OR dedup_key = ?"
    )
    with (
        parquet.connect(threads=_THREADS) as connection,
        nullcontext() if deadline is None else deadline.over(connection),
    ):
        rows = connection.execute(sql, [one.text, one.event_id, one.dedup_key]).fetchall()
    found = []
    for *values, path, number in rows:
        members = dict(zip(_NAMES, values, strict=True))
        members["flags"] = tuple(members["flags"] or ())
        place = str(Path(path).relative_to(directory))
        found.append(FoundRow(**members, file=place, row=number))
    return found


def _in_segment(
    directory: Path, files: Files, number: int, parts: Sequence[Part], one: Sought
) -> Iterator[FoundRow]:
    name = layout.segment_name(number)
    data = files.read(directory / layout.WAL / name)
    state, scan = recovery.judge_bytes(number, data)
    if state.date is None or layout.is_covered(number, state.date, parts):
        return
    line = 1  # the header
    for group in scan.groups:
        for text in segment.row_lines(data, (group,)):
            line += 1
            row = _line_decoder.decode(text)
            if _is_sought(row, one):
                yield msgspec.structs.replace(row, file=f"{layout.WAL}/{name}", row=line)
        line += 1  # the commit line


def _is_sought(row: FoundRow, one: Sought) -> bool:
    return (
        row.idempotency_key == one.text
        or (one.event_id is not None and row.event_id == one.event_id)
        or (one.dedup_key is not None and row.dedup_key == one.dedup_key)
    )
