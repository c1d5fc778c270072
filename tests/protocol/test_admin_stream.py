"""The stream of the overview's numbers: who is told, what, and for how long."""

import asyncio
import http.client
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from collector import asgi
from collector.admin import GUARDS
from collector.keys import digest
from collector.streams import Streaming
from tests.support import app, fronts
from tests.support.app import Answer, Collector
from tests.support.dialects import Zenovay
from tests.support.process import CollectorProcess

PATH: Final = "/admin/v1/stream"
LOCAL: Final = {"Host": "localhost:8000"}
HERE: Final = "127.0.0.1"
_decoder: Final = msgspec.json.Decoder()


async def listen(collector: Collector, **headers: str) -> Answer:
    """Ask for the stream; the client goes after the first message."""
    return await collector.request("GET", PATH, headers=LOCAL | headers, address=HERE)


@pytest.mark.usefixtures("each_front")
def test_the_numbers_are_told(tmp_path: Path) -> None:
    """What came in, as JSON; the place is given back when the client goes."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            sent = Zenovay().event("a")
            await collector.request(
                "POST", sent.path, headers=sent.headers, body=msgspec.json.encode(sent.body)
            )
            for _ in range(3):
                answer = await listen(collector)
                assert answer.status == 200
                assert answer.headers["content-type"] == "text/event-stream"
                assert answer.headers["x-accel-buffering"] == "no"
                assert dict(GUARDS).items() <= answer.headers.items()
                hello, _, message = answer.body.partition(b"data: ")
                assert hello == b"retry: 3000\n\n"
                told = _decoder.decode(message)
                assert told["texts"]["sum-accepted"] == "1"
                assert [len(one) for one in told["minutes"]["per-minute"]] == [60] * 4
            assert len(collector.edge._admin.streams) == 0

    app.run(play())


@pytest.mark.usefixtures("each_front")
def test_a_head_holds_no_place_and_a_full_house_is_told(tmp_path: Path) -> None:
    """HEAD has the head only; the stream that is one too many is refused, and may come again."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            streams = collector.edge._admin.streams
            head = await collector.request("HEAD", PATH, headers=LOCAL, address=HERE)
            assert (head.status, head.body, len(streams)) == (200, b"", 0)
            while streams.begin(lambda: b"") is not None:
                pass
            full = await listen(collector)
            assert (full.status, full.headers["retry-after"]) == (503, "10")
            assert _decoder.decode(full.body) == {"error": "too many pages listen already"}

    app.run(play())


def test_a_client_that_is_gone_at_once_leaves_no_place_taken(tmp_path: Path) -> None:
    """Also where not even the head of the answer could be sent."""

    async def play() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            assert message["status"] == 200
            raise ConnectionResetError

        scope = {
            "type": "http",
            "method": "GET",
            "path": PATH,
            "query_string": b"",
            "headers": [(b"host", b"localhost:8000")],
            "client": (HERE, 40_000),
        }
        async with app.running(tmp_path) as collector:
            with pytest.raises(ConnectionResetError):
                await asgi.serve(collector.edge, scope, receive, send)
            assert len(collector.edge._admin.streams) == 0

    app.run(play())


def test_nobody_listens_longer_than_they_may(tmp_path: Path) -> None:
    """A stream of a session ends with it; a program without a token is told why it has none."""

    async def play() -> None:
        config = app.example(tmp_path)
        server = msgspec.structs.replace(config.server, admin_token_sha256=digest("admin_x"))
        config = msgspec.structs.replace(config, server=server)
        async with app.running(tmp_path, config) as collector:
            admin = collector.edge._admin
            session = admin._gate.log_in()
            fields = {"Cookie": f"collector_session={session}", "Host": "events.example.com"}
            refused = await collector.request("GET", PATH, headers={"Host": "events.example.com"})
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            heads = [(name.lower(), value.encode()) for name, value in fields.items()]
            scope = fronts.RsgiScope(fronts.Asked("GET", PATH, heads))
            response, _ = await admin.answer("GET", PATH, "", scope, fronts.Exchange([]))
            assert isinstance(response, Streaming)
            assert response.stream is not None
            admin.streams.every_s = 0.0
            # This browser stays.
            pieces = response.stream.pieces(asyncio.get_running_loop().create_future())
            assert [(await anext(pieces))[:5] for _ in range(2)] == [b"retry", b"data:"]
            admin._gate.sessions.close(session)
            assert [piece async for piece in pieces] == []
            response.stream.close()

    app.run(play())


@pytest.mark.end_to_end
@pytest.mark.parametrize("interface", ["rsgi", "asgi"])
def test_a_page_that_listens_does_not_hold_up_a_stop(tmp_path: Path, interface: str) -> None:
    """By a real server: messages come while they change, and a stop ends the stream at once."""
    with CollectorProcess(tmp_path, server={"interface": interface}) as collector:
        connection = http.client.HTTPConnection("localhost", collector.port, timeout=20)
        connection.request("GET", PATH)
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream")
        lines = iter(answer.readline, b"")
        messages = (line for line in lines if line.startswith(b"data:"))
        assert b'"sum-accepted":"0"' in next(messages)
        sent = Zenovay().event("a")
        reply = collector.request(
            "POST", sent.path, body=msgspec.json.encode(sent.body), headers=dict(sent.headers)
        )
        assert reply.status == 200
        assert any(b'"sum-accepted":"1"' in message for message in messages)
        # The server waits for answers without an end of its own: this one must not be one.
        assert collector.terminate() == 0
        assert not any(line.startswith(b"data:") for line in list(lines)[-1:])
        connection.close()
