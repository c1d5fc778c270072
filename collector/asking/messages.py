"""What the collector and the process that answers questions say to each other.

Each message is its length (4 bytes, big end first) and MessagePack. Values of rows keep their
types: what MessagePack does not know is an extension of ours.
"""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, BinaryIO, Final, TypeAlias
from uuid import UUID

import msgspec

from collector.panels import Found, Question

_LENGTH_BYTES: Final = 4
_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})
# Codes of extensions, and how the value is written and read.
_DATE: Final = 1
_MOMENT: Final = 2
_SPAN: Final = 3
_DECIMAL: Final = 4
_JSON: Final = 5
_UUID: Final = 6
_TIME: Final = 7
_MICROSECOND: Final = timedelta(microseconds=1)


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Answer this question. `number`: counts up."""

    number: int
    question: Question


class End(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for the answer to question `number` any more."""

    number: int


class Progress(msgspec.Struct, frozen=True, tag=True):
    """`share` of the question is done, 0 to 1."""

    share: float


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The answer, with values as `packed` makes them."""

    found: Found


class Trouble(msgspec.Struct, frozen=True, tag=True):
    """There is no answer, and why.

    `is_given_up`: because nobody waits for it any more. `is_bug`: because of a fault of ours; then
    `why` is where it happened.
    """

    why: str
    is_given_up: bool = False
    is_bug: bool = False


Said: TypeAlias = Ask | End
Replied: TypeAlias = Progress | Answer | Trouble


def packed(value: Any) -> Any:
    """A value of a row, of types that keep theirs on the way; also inside lists and structs."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in {list, tuple}:
        return [packed(one) for one in value]
    if kind is dict:
        return {name: packed(one) for name, one in value.items()}
    pack = _PACKED.get(kind)
    if pack is None:
        raise TypeError(f"a row with a value of type {kind.__name__}")
    code, data = pack(value)
    return msgspec.msgpack.Ext(code, data)


_PACKED: Final[dict[type, Callable[[Any], tuple[int, bytes]]]] = {
    date: lambda value: (_DATE, value.isoformat().encode()),
    datetime: lambda value: (_MOMENT, value.isoformat().encode()),
    timedelta: lambda value: (_SPAN, str(value // _MICROSECOND).encode()),
    Decimal: lambda value: (_DECIMAL, str(value).encode()),
    msgspec.Raw: lambda value: (_JSON, bytes(value)),
    UUID: lambda value: (_UUID, value.bytes),
    time: lambda value: (_TIME, value.isoformat().encode()),
}
_UNPACKED: Final[dict[int, Callable[[bytes], Any]]] = {
    _DATE: lambda data: date.fromisoformat(data.decode()),
    _MOMENT: lambda data: datetime.fromisoformat(data.decode()),
    _SPAN: lambda data: timedelta(microseconds=int(data)),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _JSON: msgspec.Raw,
    _UUID: lambda data: UUID(bytes=data),
    _TIME: lambda data: time.fromisoformat(data.decode()),
}


def _unpacked(code: int, data: memoryview) -> Any:
    return _UNPACKED[code](bytes(data))


_encoder: Final = msgspec.msgpack.Encoder()
_said: Final[msgspec.msgpack.Decoder[Said]] = msgspec.msgpack.Decoder(Ask | End)
_replied: Final[msgspec.msgpack.Decoder[Replied]] = msgspec.msgpack.Decoder(
    Progress | Answer | Trouble, ext_hook=_unpacked
)


def answer(found: Found) -> Answer:
    """What tells `found`. Raises `TypeError` for a value of a type that no page shows."""
    rows = [tuple(packed(value) for value in row) for row in found.rows]
    return Answer(msgspec.structs.replace(found, rows=rows))


def encoded(message: Said | Replied) -> bytes:
    """One message. Raises `OverflowError` for a number beyond 64 bits."""
    data = _encoder.encode(message)
    return len(data).to_bytes(_LENGTH_BYTES) + data


def send(stream: BinaryIO, message: Said | Replied) -> None:
    """Write one message. Raises OSError."""
    stream.write(encoded(message))
    stream.flush()


def said(stream: BinaryIO) -> Said:
    """The next message to the process. Raises `EOFError` at the end, and `msgspec.DecodeError`."""
    return _said.decode(_next(stream))


def replied(stream: BinaryIO) -> Replied:
    """The next message of the process. Raises `EOFError` at the end, and `msgspec.DecodeError`."""
    return _replied.decode(_next(stream))


def _next(stream: BinaryIO) -> bytes:
    length = int.from_bytes(_all(stream, _LENGTH_BYTES))
    return _all(stream, length)


def _all(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError("the other end is gone")
    return data
