"""The front that granian serves by default: RSGI, its own interface, in which a request costs less.

The specification is part of granian's documentation.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from collector.edge import Edge, Lifecycle, Scope
from collector.http import Body


class Exchange(Body, Protocol):
    """One request: its body, and where the answer goes."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""


class RsgiApp:
    """The RSGI application."""

    def __init__(self, lifecycle: Lifecycle, on_start_failed: Callable[[Exception], None]) -> None:
        self._lifecycle = lifecycle
        self._on_start_failed = on_start_failed
        self._edge: Edge | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called before the first request, while the loop stands still."""
        try:
            self._edge = loop.run_until_complete(self._lifecycle.start())
        except Exception as error:  # noqa: BLE001 whatever it is, the server must stop
            self._on_start_failed(error)
            raise SystemExit(str(error)) from None

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called after the last request."""
        if self._edge is not None:
            loop.run_until_complete(self._lifecycle.stop())

    async def __rsgi__(self, scope: Scope, protocol: Exchange) -> None:
        """Serve one request."""
        assert self._edge is not None, "requests come after start-up"
        protocol.response_bytes(*await self._edge.answer(scope, protocol))
