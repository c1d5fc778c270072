"""HTTP as far as ASGI leaves it to us: bounded bodies, CORS, one way to answer."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from collector.adapters.contract import Header, Response
from collector.refusal import (
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    MALFORMED_BODY,
    UNSUPPORTED_ENCODING,
    Refusal,
)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_PREFLIGHT_MAX_AGE: Final = b"7200"  # the most that browsers honour everywhere
_VARY: Final = (b"vary", b"Origin")
_EXPOSED: Final = (
    b"access-control-expose-headers",
    (
        b"Retry-After, X-Suspension-Reason, X-Request-Id, X-RateLimit-Limit, "
        b"X-RateLimit-Remaining, X-RateLimit-Reset, X-Usage-Monthly, X-Usage-Limit, "
        b"X-Usage-Reset, X-Usage-Total"
    ),
)
# Far above any sensible batch, so that whoever sends one by mistake learns why it is refused.
_DISCARDED_BYTES_MAX: Final = 67_108_864
_DISCARDED_DIGITS: Final = len(str(_DISCARDED_BYTES_MAX))
_LENGTH_DIGITS_MAX: Final = 18  # enough to be too many; int() refuses thousands of digits
_GZIP_MEMBERS_MAX: Final = 64  # each copies what follows it: without a limit the cost is quadratic
# Of an answer that is kept: more origins than a flood comes from, and none as long as it likes.
_KEPT_ORIGINS_MAX: Final = 64
_KEPT_ORIGIN_BYTES_MAX: Final = 128
_WINDOW_BITS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


class Disconnected(Exception):
    """The client went away before its body was whole; there is nobody to answer."""


class BodyReader:
    """Reads bodies with a limit in bytes and in time.

    One sweep per second cancels the readers that are overdue: a timer per request would cost more
    than the rest of the reading.
    """

    def __init__(self, *, timeout_ms: int, monotonic_s: Callable[[], float]) -> None:
        self._timeout_s = timeout_ms / 1000
        self._monotonic_s = monotonic_s
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()

    async def read(
        self, receive: Receive, headers: dict[bytes, bytes], bytes_max: int
    ) -> bytes | Refusal:
        """The inflated body, at most `bytes_max` long. Raises `Disconnected`."""
        if _announced_bytes(headers) > bytes_max:
            await self.discard(receive, headers)
            return _too_large(bytes_max)
        task = self._begin()
        try:
            body, is_whole = await _receive_body(receive, bytes_max)
        except asyncio.CancelledError:
            if not self._is_overdue(task):
                raise
            return Refusal(BODY_TOO_SLOW, "the body did not arrive in time")
        finally:
            del self._reading[task]
        if len(body) > bytes_max:
            if not is_whole:
                await self.discard(receive, headers)
            return _too_large(bytes_max)
        encoding = headers.get(b"content-encoding")
        return body if encoding is None else inflate(body, encoding, bytes_max)

    async def discard(self, receive: Receive, headers: dict[bytes, bytes]) -> None:
        """Take in, and forget, what is still to come of a body that is not wanted.

        To answer and close while the client still sends would reset the connection, and with it
        the answer: the client would see a failing network where it should read a refusal. Who asks
        before it sends (`Expect`) is not encouraged; who sends without end is cut off.
        """
        length = headers.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in headers:
            return
        if b"expect" in headers or (
            len(length) >= _DISCARDED_DIGITS and _announced_bytes(headers) > _DISCARDED_BYTES_MAX
        ):
            return
        task = self._begin()
        size = 0
        try:
            while size <= _DISCARDED_BYTES_MAX:
                message = await receive()
                # Of a client that went away there is no more either.
                if not message.get("more_body", False):
                    return
                size += len(message.get("body", b""))
        except asyncio.CancelledError:
            if not self._is_overdue(task):
                raise
        finally:
            del self._reading[task]

    def _begin(self) -> asyncio.Task[Any]:
        """Have the sweep watch the current task, until it is taken out of `_reading`."""
        task = asyncio.current_task()
        assert task is not None, "requests run in tasks"
        self._reading[task] = self._monotonic_s() + self._timeout_s
        return task

    def _is_overdue(self, task: asyncio.Task[Any]) -> bool:
        """Whether it was the sweep that cancelled `task`, which then goes on."""
        if task not in self._overdue:
            return False
        self._overdue.discard(task)
        task.uncancel()
        return True

    def sweep(self) -> None:
        """Cancel the readers whose time is up; call it about once a second."""
        now_s = self._monotonic_s()
        for task, deadline_s in list(self._reading.items()):
            if deadline_s <= now_s and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()


def _announced_bytes(headers: dict[bytes, bytes]) -> int:
    """The value of Content-Length; 0 without one. The server has refused what is no number."""
    length = headers.get(b"content-length")
    return int(length[:_LENGTH_DIGITS_MAX]) if length is not None and length.isdigit() else 0


async def _receive_body(receive: Receive, bytes_max: int) -> tuple[bytes, bool]:
    """The body and True; of one larger than `bytes_max` its beginning, and whether that is all."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body, True
    chunks, size = [body], len(body)
    while message.get("more_body", False):
        if size > bytes_max:
            return b"".join(chunks), False
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks), True


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(BODY_TOO_LARGE, f"the body is larger than {bytes_max} bytes")


def inflate(body: bytes, encoding: bytes, bytes_max: int) -> bytes | Refusal:
    """Undo `Content-Encoding`; never produces more than `bytes_max` bytes and one block."""
    name = encoding.strip().lower()
    if name in {b"", b"identity"}:
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        return Refusal(UNSUPPORTED_ENCODING, "Content-Encoding must be gzip, deflate or identity")
    try:
        return _inflate(body, bits, bytes_max)
    except zlib.error:
        pass
    if name == b"deflate":
        # Some senders mean the bare format of RFC 1951 by "deflate".
        try:
            return _inflate(body, -15, bytes_max)
        except zlib.error:
            pass
    return Refusal(MALFORMED_BODY, f"the body is not valid {name.decode()}")


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


def preflight(headers: dict[bytes, bytes], methods: bytes) -> Response:
    """The answer to OPTIONS: any origin may ask; the real request is the one that is judged."""
    asked = headers.get(b"access-control-request-headers", b"Content-Type")
    return Response(
        204,
        [
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", _PREFLIGHT_MAX_AGE),
            (b"allow", methods),
        ],
    )


def start(
    response: Response, origin: bytes | None, *, allows_credentials: bool = False
) -> dict[str, object]:
    """The first message of an answer: its head.

    Every answer to a request with an Origin echoes it, refusals too: a browser that may not read a
    refusal takes it for a network failure and tries for ever.
    """
    if response.starts is not None:
        message = response.starts.get(origin)
        if message is not None:
            return message
    headers: list[Header] = response.headers.copy()
    if response.body or response.status not in {202, 204}:
        headers.append((b"content-length", b"%d" % len(response.body)))
    if origin is not None:
        headers += ((b"access-control-allow-origin", origin), _VARY, _EXPOSED)
        if allows_credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
    message = {"type": "http.response.start", "status": response.status, "headers": headers}
    if response.starts is not None and len(origin or b"") <= _KEPT_ORIGIN_BYTES_MAX:
        if len(response.starts) >= _KEPT_ORIGINS_MAX:
            response.starts.clear()
        response.starts[origin] = message
    return message
