"""The front that granian serves by default: RSGI, its own interface, in which a request costs less.

The specification is part of granian's documentation.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from collector.edge import Edge, Lifecycle, Scope
from collector.http import Body, Disconnected
from collector.streams import Stream, at_signals


class Transport(Protocol):
    """Where the pieces of an answer go."""

    async def send_bytes(self, data: bytes) -> None:
        """Send one piece; raises when the connection is closed."""


class Exchange(Body, Protocol):
    """One request: its body, and where the answer goes."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Transport:
        """Begin an answer of pieces; it ends with the call of the application."""

    async def client_disconnect(self) -> None:
        """Returns when the client is gone."""


class RsgiApp:
    """The RSGI application."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        on_start_failed: Callable[[Exception], None],
        *,
        closed: type[Exception] = Disconnected,
    ) -> None:
        self._lifecycle = lifecycle
        self._on_start_failed = on_start_failed
        # What the server raises when a piece is sent to a client that is gone.
        self._closed = closed
        self._edge: Edge | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called before the first request, while the loop stands still."""
        try:
            self._edge = loop.run_until_complete(self._lifecycle.start())
        except Exception as error:  # noqa: BLE001 whatever it is, the server must stop
            self._on_start_failed(error)
            raise SystemExit(str(error)) from None
        at_signals(loop, self._edge.told_to_stop)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called after the last request."""
        if self._edge is not None:
            loop.run_until_complete(self._lifecycle.stop())

    async def __rsgi__(self, scope: Scope, protocol: Exchange) -> None:
        """Serve one request."""
        assert self._edge is not None, "requests come after start-up"
        status, fields, body = await self._edge.answer(scope, protocol)
        if isinstance(body, bytes):
            protocol.response_bytes(status, fields, body)
        else:
            await self._stream(body, protocol.client_disconnect(), protocol, status, fields)

    async def _stream(
        self,
        stream: Stream,
        disconnect: Any,
        protocol: Exchange,
        status: int,
        fields: list[tuple[str, str]],
    ) -> None:
        gone = asyncio.ensure_future(disconnect)
        try:
            transport = protocol.response_stream(status, fields)
            await stream.send_to(transport.send_bytes, gone)
        except self._closed:
            # Nobody is there to be told.
            pass
        finally:
            stream.close()
            gone.cancel()
