"""HTTP as far as the server leaves it to us: bounded bodies, preflights, CORS."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Protocol

from collector.adapters.contract import Header, Response
from collector.headers import Headers
from collector.refusal import (
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    MALFORMED_BODY,
    OVERLOADED,
    UNSUPPORTED_ENCODING,
    Refusal,
)

_PREFLIGHT_MAX_AGE: Final = "7200"  # the most that browsers honour everywhere
_VARY: Final = ("vary", "Origin")
_EXPOSED: Final = (
    "access-control-expose-headers",
    (
        "Retry-After, X-Suspension-Reason, X-Request-Id, X-RateLimit-Limit, "
        "X-RateLimit-Remaining, X-RateLimit-Reset, X-Usage-Monthly, X-Usage-Limit, "
        "X-Usage-Reset, X-Usage-Total"
    ),
)
_CREDENTIALS: Final = ("access-control-allow-credentials", "true")
# Far above any sensible batch, so that whoever sends one by mistake learns why it is refused.
_DISCARDED_BYTES_MAX: Final = 67_108_864
_DISCARDED_WHOLE_BYTES_MAX: Final = 1_048_576
UNKNOWN_LENGTH: Final = -1
_LENGTH_DIGITS_MAX: Final = 18  # enough to be too many; int() refuses thousands of digits
_ENDLESS: Final = 1 << 60
_GZIP_MEMBERS_MAX: Final = 64  # each copies what follows it: without a limit the cost is quadratic
# More origins than a flood comes from, and none as long as it likes.
_KEPT_ORIGINS_MAX: Final = 64
_KEPT_ORIGIN_CHARS_MAX: Final = 128
_UNREADABLE: Final = "?"  # no encoding has bytes outside of ASCII in its name
# A body that is still not there after so long may be given up for others.
_SLOW_S: Final = 1.0
_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Disconnected(Exception):
    """The client went away before its body was whole; there is nobody to answer."""


class Reading(Awaitable[bytes], Protocol):
    """Bytes that are being received; whoever awaits them is told of `cancel`."""

    def cancel(self) -> object:
        """Give up."""


class Body(Protocol):
    """The body of one request, as RSGI hands it over: read it whole, or piece by piece."""

    def __call__(self) -> Reading:
        """All of it."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Its pieces; the awaitables that `__anext__` returns are `Reading`."""


class BodyReader:
    """Reads bodies with a limit in bytes and in time, and one in bytes for all together.

    One sweep per second cancels what is overdue: a timer per request would cost more than the rest
    of the reading. `closed`: what awaiting a body raises when the client went away.
    `reading_bytes_max`: of all bodies that are being read, as announced; where a newcomer does not
    fit in, the largest of the slow ones is given up. 0: no limit. `refuses_inflation` is asked
    before a body is made larger.
    """

    def __init__(
        self,
        *,
        timeout_ms: int,
        monotonic_s: Callable[[], float],
        closed: type[Exception] = Disconnected,
        reading_bytes_max: int = 0,
        refuses_inflation: Callable[[], Refusal | None] = lambda: None,
    ) -> None:
        self._timeout_s = timeout_ms / 1000
        self._monotonic_s = monotonic_s
        self._closed = closed
        self._reading_bytes_max = reading_bytes_max or sys.maxsize
        self._refuses_inflation = refuses_inflation
        # Until when each has to be there, and what it takes of the room for all.
        self._reading: dict[Reading, tuple[float, int]] = {}
        self._overdue: set[Reading] = set()
        self.reading_bytes = 0

    def read(
        self, body: Body, headers: Headers, bytes_max: int, length: int
    ) -> Awaitable[bytes | Refusal]:
        """The body, inflated, at most `bytes_max` long. Awaiting it raises `Disconnected`.

        `length`: see `body_length`.
        """
        if (
            0 <= length <= bytes_max
            and self.reading_bytes + length <= self._reading_bytes_max
            and "content-encoding" not in headers
        ):
            # Most of all: one coroutine less.
            return self._received(body(), self._monotonic_s() + self._timeout_s, length)
        return self._read(body, headers, bytes_max, length)

    async def _read(
        self, body: Body, headers: Headers, bytes_max: int, length: int
    ) -> bytes | Refusal:
        if length == UNKNOWN_LENGTH:
            found = await self._read_pieces(body, bytes_max)
        elif length > bytes_max:
            await self.discard(body, headers)
            return _too_large(bytes_max)
        elif not self._has_room(length) and not self._make_room(length):
            await self.discard(body, headers)
            return _NO_ROOM
        else:
            found = await self._received(body(), self._monotonic_s() + self._timeout_s, length)
        encoding = headers.get("content-encoding")
        if isinstance(found, Refusal):
            return found
        if encoding is None:
            if "content-encoding" not in headers:
                return found
            encoding = _UNREADABLE
        refusal = self._refuses_inflation()
        if refusal is not None:
            return refusal
        return inflate(found, encoding, bytes_max)

    async def _read_pieces(self, body: Body, bytes_max: int) -> bytes | Refusal:
        """A body whose length was not announced; what is too much is taken in and forgotten.

        One that is cut short looks whole. What is cut out of JSON or gzip cannot be read, though.
        """
        pieces: list[bytes] = []
        size = kept = 0
        has_room = True
        deadline_s = self._monotonic_s() + self._timeout_s
        arriving = body.__aiter__()
        while (piece := await self._next_piece(arriving, deadline_s, kept)) is not None:
            if isinstance(piece, Refusal):
                return piece
            size += len(piece)
            if size > _DISCARDED_BYTES_MAX:
                break
            if size <= bytes_max:
                pieces.append(piece)
                kept = size
                if not self._has_room(kept) and not self._make_room(kept):
                    # What is still to come is forgotten.
                    pieces.clear()
                    bytes_max = kept = 0
                    has_room = False
        if not has_room:
            return _NO_ROOM
        return b"".join(pieces) if size <= bytes_max else _too_large(bytes_max)

    async def _next_piece(
        self, arriving: AsyncIterator[bytes], deadline_s: float, kept: int
    ) -> bytes | Refusal | None:
        """One more piece, None at the end; `kept` bytes are there already."""
        try:
            reading: Reading = arriving.__anext__()  # type: ignore[assignment]  # see `Body`
        except StopAsyncIteration:
            return None
        try:
            return await self._received(reading, deadline_s, kept)
        except StopAsyncIteration:
            return None

    async def _received(self, reading: Reading, deadline_s: float, size: int) -> bytes | Refusal:
        """What `reading` gives, unless it is overdue or given up. Raises `Disconnected`.

        Meanwhile `size` bytes of the room for all are taken.
        """
        self._reading[reading] = (deadline_s, size)
        self.reading_bytes += size
        try:
            return await reading
        except asyncio.CancelledError:
            if not self._is_overdue(reading):
                raise
            return _TOO_SLOW
        except self._closed:
            raise Disconnected from None
        finally:
            self.reading_bytes -= self._reading.pop(reading)[1]

    async def discard(self, body: Body, headers: Headers) -> None:
        """Take in, and forget, what is still to come of a body that is not wanted.

        To answer and close while the client still sends would reset the connection, and with it
        the answer: the client would see a failing network where it should read a refusal. Who asks
        before it sends (`Expect`) is not encouraged; who sends without end is cut off.
        """
        length = body_length(headers)
        if length == 0 or (length == UNKNOWN_LENGTH and "transfer-encoding" not in headers):
            return
        if "expect" in headers or length > _DISCARDED_BYTES_MAX:
            return
        try:
            if 0 < length <= _DISCARDED_WHOLE_BYTES_MAX and self._has_room(length):
                # One await instead of one per piece: most of what a refusal costs is receiving.
                await self._received(body(), self._monotonic_s() + self._timeout_s, length)
            else:
                await self._read_pieces(body, 0)
        except Disconnected:
            return  # of a client that went away there is no more either

    def _is_overdue(self, reading: Reading) -> bool:
        """Whether it was the sweep that cancelled it, and not a server that stops."""
        if reading not in self._overdue:
            return False
        self._overdue.discard(reading)
        return True

    def gauges(self) -> dict[str, Callable[[], float]]:
        """Present values by name; see docs/METRICS.md."""
        return {"collector_reading_bytes": lambda: self.reading_bytes}

    def sweep(self) -> None:
        """Cancel what is overdue; call it about once a second."""
        now_s = self._monotonic_s()
        for reading, (deadline_s, _) in list(self._reading.items()):
            if deadline_s <= now_s and reading not in self._overdue:
                self._give_up(reading)

    def _has_room(self, size: int) -> bool:
        return self.reading_bytes + size <= self._reading_bytes_max

    def _make_room(self, size: int) -> bool:
        """Give up slow bodies, the largest first, until `size` bytes more fit in."""
        slow_s = self._monotonic_s() + self._timeout_s - _SLOW_S
        while not self._has_room(size):
            arriving = self._reading.items()
            slow = [(held, one) for one, (end_s, held) in arriving if held and end_s <= slow_s]
            if not slow:
                return False
            self._give_up(max(slow, key=lambda pair: pair[0])[1])
        return True

    def _give_up(self, reading: Reading) -> None:
        deadline_s, held = self._reading[reading]
        self.reading_bytes -= held
        self._reading[reading] = (deadline_s, 0)
        self._overdue.add(reading)
        reading.cancel()


_TOO_SLOW: Final = Refusal(BODY_TOO_SLOW, "the body did not arrive in time")
_NO_ROOM: Final = Refusal(OVERLOADED, "too many bodies are being received", retry_after_s=2)


def body_length(headers: Headers) -> int:
    """How long the body is, as announced (without `Content-Encoding` undone), or `UNKNOWN_LENGTH`.

    The server has refused what is no number.
    """
    length = headers.get("content-length")
    if length is None:
        return UNKNOWN_LENGTH
    if not length.isdecimal():
        return 0
    return int(length) if len(length) <= _LENGTH_DIGITS_MAX else _ENDLESS


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(BODY_TOO_LARGE, f"the body is larger than {bytes_max} bytes")


def inflate(body: bytes, encoding: str, bytes_max: int) -> bytes | Refusal:
    """Undo `Content-Encoding`; never produces more than `bytes_max` bytes and one block."""
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        return Refusal(UNSUPPORTED_ENCODING, "Content-Encoding must be gzip, deflate or identity")
    try:
        return _inflate(body, bits, bytes_max)
    except zlib.error:
        pass
    if name == "deflate":
        # Some senders mean the bare format of RFC 1951 by "deflate".
        try:
            return _inflate(body, -15, bytes_max)
        except zlib.error:
            pass
    return Refusal(MALFORMED_BODY, f"the body is not valid {name}")


def _inflate(body: bytes, bits: int, bytes_max: int) -> bytes | Refusal:
    out: list[bytes] = []
    size = 0
    rest = body
    for _ in range(_GZIP_MEMBERS_MAX):
        stream = zlib.decompressobj(bits)
        out.append(stream.decompress(rest, bytes_max + 1 - size))
        size += len(out[-1])
        if size > bytes_max:
            return _too_large(bytes_max)
        if not stream.eof:
            return Refusal(MALFORMED_BODY, "the compressed body ends too early")
        rest = stream.unused_data
        if not rest:
            return b"".join(out)
        if bits != 31:
            raise zlib.error("trailing bytes")
    return Refusal(MALFORMED_BODY, f"the body has more than {_GZIP_MEMBERS_MAX} gzip members")


def preflight(headers: Headers, methods: str) -> Response:
    """The answer to OPTIONS: any origin may ask; the real request is the one that is judged."""
    return Response(
        204,
        [
            ("access-control-allow-methods", methods),
            (
                "access-control-allow-headers",
                headers.get("access-control-request-headers", "Content-Type"),
            ),
            ("access-control-max-age", _PREFLIGHT_MAX_AGE),
            ("allow", methods),
        ],
    )


class Cors:
    """The fields that let a browser's script read an answer.

    Every answer to a request with an Origin echoes it, refusals too: a browser that may not read a
    refusal takes it for a network failure and tries for ever.
    """

    def __init__(self) -> None:
        self._kept: dict[str, list[Header]] = {}

    def fields(self, headers: Headers, *, allows_credentials: bool = False) -> Sequence[Header]:
        """What is added to the answer to a request with `headers`."""
        origin = headers.get("origin")
        if origin is None:
            return ()
        fields = self._kept.get(origin)
        if fields is None:
            fields = [("access-control-allow-origin", origin), _VARY, _EXPOSED]
            if len(origin) <= _KEPT_ORIGIN_CHARS_MAX:
                if len(self._kept) >= _KEPT_ORIGINS_MAX:
                    self._kept.clear()
                self._kept[origin] = fields
        return [*fields, _CREDENTIALS] if allows_credentials else fields
