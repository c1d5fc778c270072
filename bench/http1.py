"""As much of HTTP/1.1 as a load generator needs: request heads, whole answers. Pure.

Answers must say how long they are (`Content-Length`) or have no body by rule (204, 304). What else
HTTP allows is an error here, not a guess, so that a measurement never counts what it misread.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)[ \r]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
_BODYLESS: Final = frozenset({204, 304})
_HEAD_BYTES_MAX: Final = 65_536


class ProtocolError(ValueError):
    """The peer sent what this parser does not take."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One whole answer; `size` is the number of bytes it took, `closes`: the last one here."""

    status: int
    body: bytes
    size: int
    closes: bool = False


def maybe_answer(data: bytes) -> Answer | None:
    """The answer that `data` begins with, None while it is not whole. Raises `ProtocolError`."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        if len(data) > _HEAD_BYTES_MAX:
            raise ProtocolError("an answer's head never ends")
        return None
    status = _STATUS.match(data)
    if status is None:
        raise ProtocolError("not an HTTP/1.1 answer")
    code = int(status[1])
    start = head_end + 4
    closes = _CLOSE.search(data, 0, head_end + 2) is not None
    if code in _BODYLESS:
        return Answer(code, b"", start, closes)
    length = _LENGTH.search(data, 0, head_end + 2)
    if length is None:
        raise ProtocolError(f"an answer with status {code} has no Content-Length")
    end = start + int(length[1])
    if len(data) < end:
        return None
    return Answer(code, data[start:end], end, closes)


def request_head(
    method: str, path: str, headers: Iterable[tuple[str, str]], body_bytes: int | None = None
) -> bytes:
    """A request's head, with `Content-Length` when there is a body of `body_bytes`."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body_bytes is not None:
        lines.append(f"Content-Length: {body_bytes}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
