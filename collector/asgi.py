"""The front for the standard interface, ASGI: turns its messages into the shapes of `edge`.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from collector.edge import Edge, Lifecycle
from collector.http import Disconnected
from collector.streams import Stream, at_signals

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class AsgiHeaders:
    """Header fields of bytes as texts; what is not UTF-8 comes with replacement characters."""

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields = [
            (name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in fields
        ]
        self._first = dict(reversed(self._fields))

    def get(self, key: str, default: Any = None) -> Any:
        """See `headers.Headers`."""
        return self._first.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._first

    def items(self) -> Iterable[tuple[str, str]]:
        """See `headers.Headers`."""
        return self._fields


class AsgiScope:
    """The head of a request in the shape of RSGI."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.http_version: str = scope.get("http_version", "1.1")
        host, port = scope.get("client") or ("", 0)
        self.client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.headers = AsgiHeaders(scope["headers"])


class AsgiBody:
    """The body of a request in the shape of RSGI."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_over = False

    def __call__(self) -> "asyncio.Task[bytes]":
        """All of it."""
        return asyncio.ensure_future(self._whole())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> "asyncio.Task[bytes]":
        if self._is_over:
            raise StopAsyncIteration
        return asyncio.ensure_future(self._piece())

    async def _whole(self) -> bytes:
        pieces = []
        while not self._is_over:
            pieces.append(await self._piece())
        return b"".join(pieces)

    async def _piece(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        self._is_over = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


class AsgiApp:
    """The ASGI application."""

    def __init__(self, lifecycle: Lifecycle, on_start_failed: Callable[[Exception], None]) -> None:
        self._lifecycle = lifecycle
        self._on_start_failed = on_start_failed
        self._edge: Edge | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "http":
            assert self._edge is not None, "requests come after start-up"
            await serve(self._edge, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._edge = await self._lifecycle.start()
        except Exception as error:  # noqa: BLE001 whatever it is, the server must stop
            # Raising would not do: granian then serves the application all the same.
            self._on_start_failed(error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        at_signals(asyncio.get_running_loop(), self._edge.told_to_stop)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._lifecycle.stop()
        await send({"type": "lifespan.shutdown.complete"})


async def serve(edge: Edge, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Have `edge` answer one HTTP request."""
    status, fields, body = await edge.answer(AsgiScope(scope), AsgiBody(receive))
    headers = [(name.encode("latin-1"), value.encode()) for name, value in fields]
    if not isinstance(body, bytes):
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await _stream(body, start, receive, send)
        return
    if body or status not in {202, 204}:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(stream: Stream, start: dict[str, Any], receive: Receive, send: Send) -> None:
    def piece_of(body: bytes) -> Awaitable[None]:
        return send({"type": "http.response.body", "body": body, "more_body": True})

    gone = asyncio.ensure_future(_gone(receive))
    try:
        await send(start)
        if await stream.send_to(piece_of, gone):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        stream.close()
        gone.cancel()


async def _gone(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
