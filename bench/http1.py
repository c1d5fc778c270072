"""As much of HTTP/1.1 as a load generator needs: request heads, whole answers. Pure.

An answer says how long it is (`Content-Length`), comes in chunks, or has no body by rule (204,
304). What else HTTP allows is an error here, not a guess, so that a measurement never counts what
it misread.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)[ \r]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
# Its size in hexadecimal, and extensions that nobody uses.
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_CHUNK_HEAD_BYTES_MAX: Final = 1_024
_BODYLESS: Final = frozenset({204, 304})
_HEAD_BYTES_MAX: Final = 65_536
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024


class ProtocolError(ValueError):
    """The peer sent what this parser does not take."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One whole answer; `size` is the number of bytes it took, `closes`: the last one here."""

    status: int
    body: bytes
    size: int
    closes: bool = False


class _Head(msgspec.Struct, frozen=True, gc=False):
    """What a head says; `body_bytes` is None where the body comes in chunks."""

    status: int
    body_bytes: int | None
    closes: bool


def maybe_answer(data: bytes) -> Answer | None:
    """The answer that `data` begins with, None while it is not whole. Raises `ProtocolError`."""
    start = data.find(b"\r\n\r\n") + 4
    if start < 4:
        if len(data) > _HEAD_BYTES_MAX:
            raise ProtocolError("an answer's head never ends")
        return None
    head = _read_head(data[:start])
    if head.body_bytes is None:
        return _maybe_chunked(head, data, start)
    end = start + head.body_bytes
    if len(data) < end:
        return None
    return Answer(head.status, data[start:end], end, head.closes)


# A server's heads are the same for a second at a time: to remember the last ones halves the cost.
@lru_cache(maxsize=64)
def _read_head(data: bytes) -> _Head:
    """What `data`, a head with the empty line at its end, says. Raises `ProtocolError`."""
    status = _STATUS.match(data)
    if status is None:
        raise ProtocolError("not an HTTP/1.1 answer")
    code = int(status[1])
    closes = _CLOSE.search(data) is not None
    if code in _BODYLESS:
        return _Head(code, 0, closes)
    if _CHUNKED.search(data):
        return _Head(code, None, closes)
    length = _LENGTH.search(data)
    if length is None:
        raise ProtocolError(f"an answer with status {code} has no Content-Length")
    if int(length[1]) > _ANSWER_BYTES_MAX:
        raise ProtocolError(f"an answer of {int(length[1]):,} bytes")
    return _Head(code, int(length[1]), closes)


def _maybe_chunked(head: _Head, data: bytes, at: int) -> Answer | None:
    """The answer whose chunks begin at `at`; trailers are an error. Raises `ProtocolError`."""
    if len(data) > _ANSWER_BYTES_MAX:
        raise ProtocolError("an answer's chunks never end")
    pieces: list[bytes] = []
    while True:
        chunk = _CHUNK.match(data, at)
        if chunk is None:
            if b"\r\n" in data[at : at + _CHUNK_HEAD_BYTES_MAX] or (
                len(data) - at > _CHUNK_HEAD_BYTES_MAX
            ):
                raise ProtocolError("a chunk without a size")
            return None
        size = int(chunk[1], 16)
        end = chunk.end() + size
        if len(data) < end + 2:
            return None
        if data[end : end + 2] != b"\r\n":
            raise ProtocolError("a chunk does not end where it says")
        if size == 0:
            return Answer(head.status, b"".join(pieces), end + 2, head.closes)
        pieces.append(data[chunk.end() : end])
        at = end + 2


def request_head(
    method: str, path: str, headers: Iterable[tuple[str, str]], body_bytes: int | None = None
) -> bytes:
    """A request's head, with `Content-Length` when there is a body of `body_bytes`."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body_bytes is not None:
        lines.append(f"Content-Length: {body_bytes}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
