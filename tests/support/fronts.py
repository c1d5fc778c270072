"""The two fronts of the collector, called as the server calls them, without a server.

Owns the shapes of RSGI and ASGI; must not know what is asked.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, NamedTuple

from collector import asgi
from collector.edge import Edge
from collector.rsgi import RsgiApp
from tests.support.headers import Fields

Front = Literal["rsgi", "asgi"]


class Asked(NamedTuple):
    """One request: header names in lower case; the body in the pieces in which it arrives."""

    method: str
    target: str
    headers: Sequence[tuple[str, bytes]]
    pieces: Sequence[bytes] = (b"",)
    address: str = "203.0.113.9"
    http_version: str = "1.1"


class Answered(NamedTuple):
    """What came back, and how many pieces of the body were not taken."""

    status: int
    headers: dict[str, str]
    body: bytes
    left: int


class _Lifecycle:
    """Runs already."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def start(self) -> Edge:
        """See `edge.Lifecycle`."""
        return self._edge

    async def stop(self) -> None:
        """See `edge.Lifecycle`."""


def has_told(piece: bytes) -> bool:
    """Whether a piece of an answer that goes on is a message, and no remark on the connection."""
    return piece.startswith(b"data:")


class RsgiScope:
    """The head of a request; the server makes no texts of values outside of ASCII."""

    def __init__(self, asked: Asked) -> None:
        self.method = asked.method
        self.path, _, self.query_string = asked.target.partition("?")
        host = asked.address
        self.client = f"[{host}]:40000" if ":" in host else f"{host}:40000"
        self.http_version = asked.http_version
        self.headers = Fields(
            [(name, value.decode()) for name, value in asked.headers if value.isascii()],
            {name for name, _ in asked.headers},
        )


class Exchange:
    """The body of one request that arrives in `pieces`, and the answer to it.

    Each wait for the network is a turn of the event loop.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = list(pieces)
        self.answers: list[tuple[int, list[tuple[str, str]], bytes]] = []
        self._gone = asyncio.Event()

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> "Exchange":
        """Begin an answer that goes on."""
        self.response_bytes(status, headers, b"")
        return self

    async def send_bytes(self, data: bytes) -> None:
        """One piece of it. This client goes away when it was told something."""
        [(status, headers, body)] = self.answers
        self.answers = [(status, headers, body + data)]
        if has_told(data):
            self._gone.set()

    async def client_disconnect(self) -> None:
        """Until the client goes away."""
        await self._gone.wait()

    def __call__(self) -> "asyncio.Task[bytes]":
        """All of it."""
        return asyncio.ensure_future(self._whole())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> "asyncio.Task[bytes]":
        if not self.pieces:
            raise StopAsyncIteration
        return asyncio.ensure_future(self._piece())

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer. The server tells the length itself."""
        assert isinstance(status, int)
        assert isinstance(body, bytes)
        assert all(type(name) is type(value) is str for name, value in headers), headers
        self.answers.append((status, headers, body))

    async def _whole(self) -> bytes:
        return b"".join([await self._piece() for _ in range(len(self.pieces))])

    async def _piece(self) -> bytes:
        await asyncio.sleep(0)
        return self.pieces.pop(0)


async def ask(front: Front, edge: Edge, asked: Asked) -> Answered:
    """Have `edge` answer through one of its fronts."""
    return await (_ask_rsgi if front == "rsgi" else _ask_asgi)(edge, asked)


async def _ask_rsgi(edge: Edge, asked: Asked) -> Answered:
    app = RsgiApp(_Lifecycle(edge), _never)
    app._edge = edge
    exchange = Exchange(asked.pieces)
    await app.__rsgi__(RsgiScope(asked), exchange)
    [(status, fields, body)] = exchange.answers
    headers = dict(fields)
    assert "content-length" not in headers, "the server adds it"
    if status != 204 and headers.get("content-type") != "text/event-stream":
        headers["content-length"] = str(len(body))
    return Answered(status, headers, body, len(exchange.pieces))


async def _ask_asgi(edge: Edge, asked: Asked) -> Answered:
    path, _, query = asked.target.partition("?")
    scope = {
        "type": "http",
        "method": asked.method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value) for name, value in asked.headers],
        "client": (asked.address, 40_000),
    }
    pieces = list(asked.pieces)
    sent: list[dict[str, Any]] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        if not pieces:
            await gone.wait()
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if has_told(message.get("body", b"")):
            gone.set()

    await asgi.serve(edge, scope, receive, send)
    head, *bodies = sent
    assert head["type"] == "http.response.start"
    assert {message["type"] for message in bodies} == {"http.response.body"}
    assert [one.get("more_body", False) for one in bodies] == [True] * (len(bodies) - 1) + [False]
    fields = {name.decode(): value.decode() for name, value in head["headers"]}
    return Answered(head["status"], fields, b"".join(m["body"] for m in bodies), len(pieces))


def _never(error: Exception) -> None:
    raise AssertionError(error)
