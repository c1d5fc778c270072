"""Thrift's compact protocol, as far as the footers of Parquet files need it: bytes to fields, back.

Knows no names: a struct is its fields by number. What is read and written again unchanged has the
same bytes, so members that nobody here knows are kept.
"""

from typing import Final

import msgspec

# Types of the compact protocol; a truth value is in the type itself.
TRUE: Final = 1
FALSE: Final = 2
BYTE: Final = 3
I16: Final = 4
I32: Final = 5
I64: Final = 6
DOUBLE: Final = 7
BINARY: Final = 8
LIST: Final = 9
SET: Final = 10
STRUCT: Final = 12
_NUMBERS: Final = frozenset({I16, I32, I64})
_LONG_LIST: Final = 15
_DEEPEST: Final = 32


class Malformed(Exception):
    """The bytes are not what this protocol has, or not as far as it is known here."""


class Items(msgspec.Struct):
    """A list or a set: the type that all its members have, and these."""

    type: int
    values: list["Value"]


class Field(msgspec.Struct):
    """One field of a struct: its type and what it holds."""

    type: int
    value: "Value"


Fields = dict[int, Field]
# Doubles stay the eight bytes that they are.
Value = bool | int | bytes | Items | Fields


def decode(data: bytes) -> Fields:
    """The struct that `data` begins with. Raises `Malformed`."""
    try:
        return _Reader(data).fields(0)
    except IndexError:
        raise Malformed("it ends too early") from None


def encode(fields: Fields) -> bytes:
    """A struct as bytes; `decode` gives it back."""
    out = bytearray()
    _write_fields(out, fields)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fields(self, depth: int) -> Fields:
        """One struct, up to its end."""
        if depth > _DEEPEST:
            raise Malformed("it is too deep")
        found: Fields = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._number()
            found[number] = Field(kind, self._value(kind, depth))
        return found

    def _value(self, kind: int, depth: int) -> Value:
        if kind in {TRUE, FALSE}:
            return kind == TRUE
        if kind in _NUMBERS:
            return self._number()
        if kind == BINARY:
            return self._bytes(self._unsigned())
        if kind == STRUCT:
            return self.fields(depth + 1)
        if kind in {LIST, SET}:
            return self._items(depth + 1)
        if kind == BYTE:
            return self._byte()
        if kind == DOUBLE:
            return self._bytes(8)
        raise Malformed(f"type {kind} is not known")

    def _items(self, depth: int) -> Items:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == _LONG_LIST:
            count = self._unsigned()
        if kind in {TRUE, FALSE}:
            return Items(kind, [self._byte() == TRUE for _ in range(count)])
        return Items(kind, [self._value(kind, depth) for _ in range(count)])

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise IndexError
        return self._data[self._at - size : self._at]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _number(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)


def _write_fields(out: bytearray, fields: Fields) -> None:
    last = 0
    for number, field in sorted(fields.items()):
        kind = field.type
        if kind in {TRUE, FALSE}:
            kind = TRUE if field.value else FALSE
        if 0 < number - last < _LONG_LIST + 1:
            out.append((number - last) << 4 | kind)
        else:
            out.append(kind)
            _write_number(out, number)
        last = number
        if kind not in {TRUE, FALSE}:
            _write_value(out, kind, field.value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Value) -> None:
    if isinstance(value, Items):
        _write_items(out, value)
    elif isinstance(value, dict):
        _write_fields(out, value)
    elif isinstance(value, bytes):
        if kind == BINARY:
            _write_unsigned(out, len(value))
        out += value
    elif kind == BYTE:
        out.append(value)
    elif kind in {TRUE, FALSE}:
        out.append(TRUE if value else FALSE)
    else:
        _write_number(out, value)


def _write_items(out: bytearray, items: Items) -> None:
    count = len(items.values)
    out.append(min(count, _LONG_LIST) << 4 | items.type)
    if count >= _LONG_LIST:
        _write_unsigned(out, count)
    for value in items.values:
        _write_value(out, items.type, value)


def _write_unsigned(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _write_number(out: bytearray, value: int) -> None:
    _write_unsigned(out, value << 1 if value >= 0 else (-value << 1) - 1)
