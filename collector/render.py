"""Results as text: an aligned table, CSV, or JSON. Streams; owns how each kind of value is written.

Times with a zone are ISO 8601 in UTC, ending in `Z`. Values a client chose are data, never commands
for a terminal: control characters are shown escaped in a table. Knows no DuckDB: values are those
of Python, JSON is `msgspec.Raw`.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO, Final, Literal, Protocol
from uuid import UUID

import msgspec

Format = Literal["table", "csv", "json"]
FORMATS: Final[tuple[Format, ...]] = ("table", "csv", "json")

# A table's columns are as wide as the widest of this many rows; a later, wider value sticks out.
_ROWS_MEASURED_MAX: Final = 1000
_NUMBER: Final = re.compile("U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL.*|BIGNUM")
# Bidirectional marks reorder what is shown beside them; line separators break the table.
_UNSHOWN: Final = re.compile("[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Column(Protocol):
    """Name and type, as DuckDB calls them."""

    @property
    def name(self) -> str:
        """As in the query."""

    @property
    def type(self) -> str:
        """As `DESCRIBE` tells it."""


class Result(Protocol):
    """What can be written: columns, and rows in chunks."""

    @property
    def columns(self) -> Sequence[Column]:
        """In order."""

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows; read once."""


def write(result: Result, form: Format, out: BinaryIO) -> None:
    """Write `result` to `out` as `form`, in UTF-8. Raises what reading `result` raises."""
    _WRITERS[form](result, out)


# --- json


def _write_json(result: Result, out: BinaryIO) -> None:
    """One array of objects, one object per line."""
    names = _distinct([column.name for column in result.columns])
    out.write(b"[")
    separator = b"\n"
    for chunk in result.chunks():
        for row in chunk:
            out.write(separator + _encode(dict(zip(names, row, strict=True))))
            separator = b",\n"
    out.write(b"\n]\n")


def _distinct(names: Sequence[str]) -> list[str]:
    """`names`, those that stood before with a number behind: an object has each member once."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 0
        while candidate in found:
            number += 1
            candidate = f"{name}_{number}"
        found.append(candidate)
    return found


_encoder: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def _encode(value: object) -> bytes:
    """`value` as JSON; what is no finite number becomes null."""
    return _encoder.encode(value)


# --- csv


def _write_csv(result: Result, out: BinaryIO) -> None:
    """RFC 4180 with a header line; NULL is an empty field."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([column.name for column in result.columns])
    for chunk in result.chunks():
        writer.writerows([["" if v is None else _text(v) for v in row] for row in chunk])
        out.write(buffer.getvalue().encode())
        buffer.seek(0)
        buffer.truncate()
    out.write(buffer.getvalue().encode())


_QUOTED_IN_JSON: Final = (datetime, date, time, timedelta, UUID, bytes)


def _text(value: Any) -> str:
    """A value other than NULL as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, _QUOTED_IN_JSON):
        return _encode(value)[1:-1].decode()
    if isinstance(value, (Mapping, list, tuple)):
        return _encode(value).decode()
    return str(value)


# --- table


def _write_table(result: Result, out: BinaryIO) -> None:
    """Columns side by side, a line under the header, the number of rows below."""
    is_number = [_NUMBER.fullmatch(column.type) is not None for column in result.columns]
    header = [shown(column.name) for column in result.columns]
    chunks = ([[_cell(v) for v in row] for row in chunk] for chunk in result.chunks())
    rows = next(chunks, [])
    sample = rows[:_ROWS_MEASURED_MAX]
    widths = [max(map(_width, cells)) for cells in zip(header, *sample, strict=True)]
    out.write(_line(header, widths, is_number))
    out.write(("-+-".join("-" * width for width in widths) + "\n").encode())
    count = 0
    while rows:
        out.write(b"".join(_line(row, widths, is_number) for row in rows))
        count += len(rows)
        rows = next(chunks, [])
    out.write(b"(%d row%s)\n" % (count, b"" if count == 1 else b"s"))


def _line(cells: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> bytes:
    padded = []
    for cell, width, right in zip(cells, widths, is_number, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if right else cell + space)
    return (" | ".join(padded).rstrip() + "\n").encode()


def _cell(value: Any) -> str:
    return "NULL" if value is None else shown(_text(value))


def shown(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) == "Cc" or _UNSHOWN.match(character)
        else character
        for character in text
    )


def _width(text: str) -> int:
    """How many places of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(character) in {"Mn", "Me", "Cf"}
        else (2 if unicodedata.east_asian_width(character) in "WF" else 1)
        for character in text
    )


_WRITERS: Final[dict[Format, Callable[[Result, BinaryIO], None]]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
}
