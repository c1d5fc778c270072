"""The floor: a bare ASGI handler under the server the collector runs on, with the same settings.

It reads the body and answers 200, nothing else. What the collector costs is its distance from this,
measured with the same requests in the same minutes. `python -m bench.floor PORT` runs it.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from collector.config import Server
from collector.supervisor import make_server

# As long as the answer to a single Scanova event.
_BODY: Final = b'{"event_id":"00000000-0000-4000-8000-000000000000"}'
_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_BODY)),
    ],
}
_ANSWER: Final = {"type": "http.response.body", "body": _BODY}

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Read the body, answer 200."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body", False):
        pass
    await send(_START)
    await send(_ANSWER)


def load() -> Callable[..., Awaitable[None]]:
    """What the worker serves."""
    return app


def serve(port: int) -> None:
    """Serve on loopback until told to stop, in the very server that the collector runs in."""
    settings = Server(port=port, log_level="error", interface="asgi")
    make_server(settings).serve(target_loader=load, wrap_loader=False)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("usage: python -m bench.floor PORT")
    serve(int(sys.argv[1]))
