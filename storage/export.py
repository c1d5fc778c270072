"""Rows as files for somebody else: CSV, JSON lines, Parquet, by site and time.

Rows are those of one moment. A date of receipt that is over never gets another row, so dates may
be written one after the other, each by a query of its own: the result is that of the moment when
the last one was read, for all dates there were at the beginning. Files that are joined meanwhile
make a query begin anew, unnoticed. Whatever is written gets its name when it is whole.
"""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from storage import partlayout
from storage.errors import StorageError
from storage.files import Files
from storage.parquet import quote
from storage.query import Lake
from storage.schema import COLUMNS, Column

Format = Literal["csv", "jsonl", "parquet"]
# Called with the rows written so far, of so many as were found at first.
Progress = Callable[[int, int], None]

DATE: Final = Column(name="date", type="DATE", line_type="DATE", meaning="UTC date of receipt")
_BY_NAME: Final = {column.name: column for column in (*COLUMNS, DATE)}
_TIMES: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
# RFC 4180: CRLF between lines, quotes doubled. NULL is an empty field, an empty text is "".
_CSV: Final = r"""FORMAT csv, DELIMITER ',', QUOTE '"', ESCAPE '"', NULLSTR '', NEW_LINE '\r\n'"""
_BYTES_AT_ONCE: Final = 1 << 20


class ExportError(StorageError):
    """An export that cannot be made; the message is for whoever asked."""


# No methods: see storage/query.py, at `Listing`.
class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows, and which of their columns in which order.

    `since_us` and `until_us` are microseconds since the epoch, the latter excluded; None: no end.
    They are about the column `by`. Without `sites` rows of all; without `columns` those of the
    published files. `valid_only`: no repeats, no fraud.
    """

    sites: tuple[str, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    by: Literal["event_time", "received_time"] = "event_time"
    columns: tuple[str, ...] = ()
    valid_only: bool = False


def check(selection: Selection) -> None:
    """Raises `ExportError` when a column is unknown or named twice, or no time can be meant."""
    for number, name in enumerate(selection.columns):
        if name not in _BY_NAME:
            raise ExportError(f"no such column: {name!r}; there are {', '.join(_BY_NAME)}")
        if name in selection.columns[:number]:
            raise ExportError(f"column {name} is named twice")
    since_us, until_us = selection.since_us, selection.until_us
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise ExportError("no time lies at or after the beginning and before the end")


def to_file(
    lake: Lake, files: Files, selection: Selection, form: Format, output: Path, tell: Progress
) -> int:
    """Write the rows to the file `output`, replacing it; returns how many.

    Raises `StorageError` and OSError; then `output` is what it was.
    """
    output = output.resolve()
    if output.exists() and not output.is_file():
        raise ExportError(f"{output}: is no file; `-` means standard output")
    total = sum(count for _, count in _found(lake, selection))
    with files.beside(output) as folder:
        part = folder / output.name
        rows = lake.copy(
            _query(selection, form), part, _options(form, True), _share(tell, 0, total, total)
        )
        files.hand_over(part, output)
    tell(rows, rows)
    return rows


def to_folder(
    lake: Lake, files: Files, selection: Selection, form: Format, output: Path, tell: Progress
) -> int:
    """Write `events-<date>.<form>` per date of receipt that has rows; returns how many rows.

    `output` must not be there, or be an empty folder. Raises `StorageError` and OSError; then
    `output` is what it was.
    """
    output = output.resolve()
    if output.exists() and not (output.is_dir() and next(output.iterdir(), None) is None):
        raise ExportError(f"{output}: is there already, and no empty folder")
    with files.beside(output) as folder:
        whole = folder / output.name
        files.make_folder(whole)
        rows = 0
        for _day, _path, written in _dates(lake, selection, form, whole, tell, header=True):
            rows += written
        files.hand_over(whole, output)
    return rows


def to_stream(
    lake: Lake,
    files: Files,
    selection: Selection,
    form: Format,
    out: BinaryIO,
    tell: Progress,
) -> int:
    """Write the rows to `out`, date by date; returns how many.

    Raises `StorageError` and OSError; the rows of whole dates may have been written then.
    """
    if form == "parquet":
        raise ExportError("Parquet is written to files only")
    with files.scratch() as folder:
        rows = 0
        if form == "csv":
            out.write(",".join(_columns(selection)).encode() + b"\r\n")
        for _day, path, written in _dates(lake, selection, form, folder, tell, header=False):
            rows += written
            with path.open("rb") as source:
                while data := source.read(_BYTES_AT_ONCE):
                    out.write(data)
            files.remove(path)
        out.flush()
    return rows


def _dates(
    lake: Lake,
    selection: Selection,
    form: Format,
    folder: Path,
    tell: Progress,
    *,
    header: bool,
) -> Iterator[tuple[date, Path, int]]:
    """One file in `folder` per date with rows; yields each when it is whole, and its rows."""
    found = _found(lake, selection)
    total = sum(count for _, count in found)
    rows = 0
    for day, count in found:
        path = folder / f"events-{day.isoformat()}.{form}"
        query = _query(selection, form, day)
        written = lake.copy(query, path, _options(form, header), _share(tell, rows, count, total))
        rows += written
        tell(rows, max(rows, total))
        yield day, path, written


def _share(tell: Progress, before: int, count: int, total: int) -> Callable[[float], None]:
    return lambda share: tell(before + int(share * count), total)


def _found(lake: Lake, selection: Selection) -> list[tuple[date, int]]:
    """The dates that have rows, and how many."""
    query = f"SELECT date, count(*) {_from(selection)} GROUP BY date ORDER BY date"
    return [(day, count) for day, count in lake.run(query).rows()]


# --- SQL


def _query(selection: Selection, form: Format, day: date | None = None) -> str:
    chosen = ", ".join(
        f"{_expression(_BY_NAME[name], form)} AS {name}" for name in _columns(selection)
    )
    return f"SELECT {chosen}\n{_from(selection, day)}"


def _columns(selection: Selection) -> tuple[str, ...]:
    return selection.columns or tuple(column.name for column in COLUMNS)


def _from(selection: Selection, day: date | None = None) -> str:
    conditions = []
    if day is not None:
        conditions.append(f"date = DATE '{day.isoformat()}'")
    if selection.sites:
        conditions.append(f"site_id IN ({', '.join(quote(site) for site in selection.sites)})")
    if selection.since_us is not None:
        conditions.append(f"{selection.by} >= make_timestamptz({selection.since_us})")
    if selection.until_us is not None:
        conditions.append(f"{selection.by} < make_timestamptz({selection.until_us})")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"FROM {'valid_events' if selection.valid_only else 'events'}{where}"


def _expression(column: Column, form: Format) -> str:
    """SQL for a column as it is written."""
    if form == "parquet":
        return column.name
    if column.type == "TIMESTAMPTZ":
        # Whatever zone the session has.
        return f"strftime({column.name} AT TIME ZONE 'UTC', '{_TIMES}')"
    if column.type == "VARCHAR[]" and form == "csv":
        return f"to_json({column.name})"
    if column.type == "DOUBLE" and form == "jsonl":
        # JSON has no infinity and no NaN.
        return f"CASE WHEN isfinite({column.name}) THEN {column.name} END"
    return column.name


def _options(form: Format, header: bool) -> str:
    if form == "csv":
        return f"{_CSV}, HEADER {str(header).lower()}"
    return "FORMAT json, ARRAY false" if form == "jsonl" else partlayout.COPY_OPTIONS
