"""Bare handlers under the server the collector runs on, with the same settings.

They read the body and answer 200; some also decode it. What the collector costs is its distance
from these, measured with the same requests in the same minutes. `python -m bench.bare NAME PORT`
runs one.
"""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Literal

from bench.decoding import CHECKED
from collector.config import Server
from collector.supervisor import make_server

# As long as the answer to a single Scanova event, and as an answer to a batch must look.
_SINGLE: Final = b'{"event_id":"00000000-0000-4000-8000-000000000000"}'
_BATCH: Final = b'{"acceptedCount":0,"dedupedCount":0,"rejectedCount":0,"errors":[]}'
_BATCH_PATH: Final = "/api/v1/events"
_DECODE: Final = {
    "/ct": CHECKED["scanova"].decode,
    "/server-events": CHECKED["scanova_server"].decode,
    "/client/web/track": CHECKED["croct"].decode,
    _BATCH_PATH: CHECKED["zenovay"].decode,
}

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def _messages(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    return start, {"type": "http.response.body", "body": body}


_SINGLE_MESSAGES: Final = _messages(_SINGLE)
_BATCH_MESSAGES: Final = _messages(_BATCH)
_RSGI_HEADERS: Final = [("content-type", "application/json")]


async def read(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """ASGI: read the body, answer 200."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    while (await receive()).get("more_body", False):
        pass
    await _answer(scope, send)


async def decode(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """ASGI: read the body, decode it by the type that goes with the path, answer 200."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    if decoder := _DECODE.get(scope["path"]):
        decoder(body)
    await _answer(scope, send)


async def read_rsgi(scope: Any, protocol: Any) -> None:
    """RSGI, the server's own interface: read the body, answer 200."""
    await protocol()
    body = _BATCH if scope.path == _BATCH_PATH else _SINGLE
    protocol.response_bytes(200, _RSGI_HEADERS, body)


async def _answer(scope: dict[str, Any], send: Send) -> None:
    start, body = _BATCH_MESSAGES if scope["path"] == _BATCH_PATH else _SINGLE_MESSAGES
    await send(start)
    await send(body)


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


Handler = Callable[..., Awaitable[None]]

HANDLERS: Final[dict[str, tuple[Literal["asgi", "rsgi"], Handler]]] = {
    "read": ("asgi", read),
    "decode": ("asgi", decode),
    "read-rsgi": ("rsgi", read_rsgi),
}


def _load(name: str) -> Handler:
    """What the worker serves."""
    return HANDLERS[name][1]


def serve(name: str, port: int) -> None:
    """Serve on loopback until told to stop, in the very server that the collector runs in."""
    settings = Server(port=port, log_level="error", interface=HANDLERS[name][0])
    make_server(settings).serve(target_loader=partial(_load, name), wrap_loader=False)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in HANDLERS or not sys.argv[2].isdigit():
        sys.exit(f"usage: python -m bench.bare {'|'.join(HANDLERS)} PORT")
    serve(sys.argv[1], int(sys.argv[2]))
