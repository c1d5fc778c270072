"""HTTP as far as ASGI leaves it to us: bounded bodies, client address, CORS, one way to answer."""

import asyncio
import ipaddress
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

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
T = TypeVar("T")

_PREFLIGHT_MAX_AGE: Final = b"7200"  # the most that browsers honour everywhere
_EXPOSED: Final = (
    b"Retry-After, X-Suspension-Reason, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, "
    b"X-RateLimit-Reset, X-Usage-Monthly, X-Usage-Limit, X-Usage-Reset, X-Usage-Total"
)
# Far above any sensible batch, so that whoever sends one by mistake learns why it is refused.
_DISCARDED_BYTES_MAX: Final = 67_108_864
_LENGTH_DIGITS_MAX: Final = 18  # enough to be too many; int() refuses thousands of digits
_GZIP_MEMBERS_MAX: Final = 64  # each copies what follows it: without a limit the cost is quadratic
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
        received = await self._in_time(_receive_body(receive, bytes_max))
        if received is None:
            return Refusal(BODY_TOO_SLOW, "the body did not arrive in time")
        body, is_whole = received
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
        is_chunked = b"transfer-encoding" in headers
        if b"expect" in headers or not (is_chunked or _announced_bytes(headers)):
            return
        if _announced_bytes(headers) <= _DISCARDED_BYTES_MAX:
            await self._in_time(_receive_rest(receive))

    async def _in_time(self, receiving: Coroutine[Any, Any, T]) -> T | None:
        """What `receiving` returns, None when the sweep found it overdue."""
        task = asyncio.current_task()
        assert task is not None, "requests run in tasks"
        self._reading[task] = self._monotonic_s() + self._timeout_s
        try:
            return await receiving
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            self._overdue.discard(task)
            task.uncancel()
            return None
        finally:
            del self._reading[task]

    def sweep(self) -> None:
        """Cancel the readers whose time is up; call it about once a second."""
        now_s = self._monotonic_s()
        for task, deadline_s in list(self._reading.items()):
            if deadline_s <= now_s and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()


def _announced_bytes(headers: dict[bytes, bytes]) -> int:
    """The value of Content-Length; 0 without one. The server has refused what is no number."""
    length = headers.get(b"content-length", b"")
    return int(length[:_LENGTH_DIGITS_MAX]) if length.isdigit() else 0


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


async def _receive_rest(receive: Receive) -> None:
    """Everything up to the end of a body, and no more than `_DISCARDED_BYTES_MAX`."""
    size = 0
    while size <= _DISCARDED_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        size += len(message.get("body", b""))


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


class AddressReader:
    """Finds the client's address: the peer's, or what trusted proxies say of it."""

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        self._trusted = [ipaddress.ip_network(cidr, strict=False) for cidr in trusted_proxies]

    def read(self, scope: dict[str, Any]) -> str:
        """The address of the client, "" when the server does not know it.

        With a trusted peer it is the right-most address of X-Forwarded-For that is not itself
        trusted; what stands further left was written by nobody we know.
        """
        client = scope.get("client")
        peer: str = client[0] if client else ""
        if not self._trusted or not self._is_trusted(peer):
            return peer
        values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        hops = b",".join(values).decode("latin-1").split(",")
        for hop in reversed(hops):
            address = _bare_address(hop)
            if not address:
                return peer
            if not self._is_trusted(address):
                return address
            peer = address
        return peer

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._trusted)


def _bare_address(hop: str) -> str:
    """The address in one member of X-Forwarded-For, without port or brackets; "" if none."""
    text = hop.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


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


async def write_response(
    send: Send, response: Response, origin: bytes | None, *, allows_credentials: bool = False
) -> None:
    """Answer. Every answer to a request with an Origin echoes it, refusals too: a browser that may
    not read a refusal takes it for a network failure and tries for ever.
    """
    headers: list[Header] = response.headers
    if response.body or response.status not in {202, 204}:
        headers = [*headers, (b"content-length", b"%d" % len(response.body))]
    if origin is not None:
        headers = [
            *headers,
            (b"access-control-allow-origin", origin),
            (b"vary", b"Origin"),
            (b"access-control-expose-headers", _EXPOSED),
        ]
        if allows_credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
