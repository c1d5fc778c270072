"""Parquet files of one schema become one file: their row groups one behind the other.

Pages are copied as they are, and only the footer is made anew, in which every position moves by as
much as its file did. So it costs reading and writing, nothing is decoded, and memory is that of the
footers. Whoever calls proves that the result can be read, and holds what it must.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from storage import thrift
from storage.files import Files
from storage.thrift import Fields, Items, Malformed, Value

_MAGIC: Final = b"PAR1"
_LENGTH: Final = struct.Struct("<I")
_TAIL_BYTES: Final = _LENGTH.size + len(_MAGIC)
_COPY_BYTES: Final = 1 << 20

# Numbers of fields, from the format's parquet.thrift.
_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_START, _GROUP_ORDINAL = 1, 5, 7
_CHUNK_META: Final = 3
# Positions in the file: of a row group, of a column's chunk, of its description. What else these
# may hold is none; a member that is not known might be one, and is refused.
_GROUP_POSITIONS, _GROUP_KNOWN = frozenset({_GROUP_START}), frozenset(range(1, 8))
_CHUNK_POSITIONS, _CHUNK_KNOWN = frozenset({2, 4, 6}), frozenset(range(1, 8))
_META_POSITIONS, _META_KNOWN = frozenset({9, 10, 11, 14}), frozenset(range(1, 18))


class _Source(msgspec.Struct, frozen=True):
    path: Path
    # Bytes up to the footer.
    body_bytes: int
    footer: Fields


def merge(sources: Sequence[Path], output: Path, files: Files) -> int:
    """Write the row groups of `sources`, at least one, to `output`; returns how many rows.

    Raises `Malformed` when a file is not as expected, or OSError, with `output` unfinished.
    """
    found = [_read(path, files) for path in sources]
    merged = found[0].footer
    groups: list[Value] = []
    rows = 0
    files.remove(output)
    descriptor = files.create(output)
    try:
        files.write(descriptor, _MAGIC, 0)
        end = len(_MAGIC)
        for source in found:
            _check_alike(source, merged)
            rows += _number(source.footer, _FILE_ROWS)
            for group in _structs(source.footer, _FILE_GROUPS):
                _move_group(group, end - len(_MAGIC), len(groups))
                groups.append(group)
            for data in _body(source, files):
                files.write(descriptor, data, end)
                end += len(data)
        merged[_FILE_ROWS].value = rows
        merged[_FILE_GROUPS].value = Items(thrift.STRUCT, groups)
        footer = thrift.encode(merged)
        files.write(descriptor, footer + _LENGTH.pack(len(footer)) + _MAGIC, end)
    finally:
        files.close(descriptor)
    return rows


def _read(path: Path, files: Files) -> _Source:
    descriptor = files.open_for_reading(path)
    try:
        size = files.size(descriptor)
        tail = files.read_at(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        if tail[_LENGTH.size :] != _MAGIC:
            raise Malformed(f"{path} is no Parquet file")
        body_bytes = size - _TAIL_BYTES - _LENGTH.unpack_from(tail)[0]
        if body_bytes < len(_MAGIC):
            raise Malformed(f"{path} has a footer longer than itself")
        footer = files.read_at(descriptor, size - _TAIL_BYTES - body_bytes, body_bytes)
    finally:
        files.close(descriptor)
    return _Source(path, body_bytes, thrift.decode(footer))


def _check_alike(source: _Source, first: Fields) -> None:
    """Schema, and whatever else a footer says of the whole file, must be that of the first."""
    apart = {_FILE_ROWS, _FILE_GROUPS}
    if {k: v for k, v in source.footer.items() if k not in apart} != {
        k: v for k, v in first.items() if k not in apart
    }:
        raise Malformed(f"{source.path} has another schema than those before")


def _body(source: _Source, files: Files) -> Iterator[bytes]:
    descriptor = files.open_for_reading(source.path)
    try:
        for at in range(len(_MAGIC), source.body_bytes, _COPY_BYTES):
            yield files.read_at(descriptor, min(_COPY_BYTES, source.body_bytes - at), at)
    finally:
        files.close(descriptor)


def _move_group(group: Fields, by: int, ordinal: int) -> None:
    _move(group, by, _GROUP_POSITIONS, _GROUP_KNOWN)
    if _GROUP_ORDINAL in group:
        group[_GROUP_ORDINAL].value = ordinal
    for chunk in _structs(group, _GROUP_COLUMNS):
        _move(chunk, by, _CHUNK_POSITIONS, _CHUNK_KNOWN)
        meta = chunk.get(_CHUNK_META)
        if meta is None or not isinstance(meta.value, dict):
            raise Malformed("a column is not described where it should be")
        _move(meta.value, by, _META_POSITIONS, _META_KNOWN)


def _move(fields: Fields, by: int, positions: frozenset[int], known: frozenset[int]) -> None:
    if not known.issuperset(fields):
        raise Malformed(f"fields {sorted(set(fields) - known)} are not known")
    for number in positions.intersection(fields):
        at = _number(fields, number)
        # Some writers put 0 where they say nothing.
        if at:
            fields[number].value = at + by


def _number(fields: Fields, number: int) -> int:
    field = fields.get(number)
    if field is None or not isinstance(field.value, int):
        raise Malformed(f"field {number} should be a number")
    return field.value


def _structs(fields: Fields, number: int) -> list[Fields]:
    field = fields.get(number)
    items = field.value.values if field and isinstance(field.value, Items) else None
    if items is None:
        raise Malformed(f"field {number} should be a list")
    structs = [one for one in items if isinstance(one, dict)]
    if len(structs) != len(items):
        raise Malformed(f"field {number} should be a list of structs")
    return structs
