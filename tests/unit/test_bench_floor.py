"""The floor: bare handlers, decoding alone, writing alone."""

import asyncio
import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import bare
from bench.corpus import Traffic
from bench.decoding import CHECKED, PLAIN, bodies, decoded_per_s
from bench.floor import written
from bench.target import ADDRESS, Floor

TRAFFIC: list[tuple[Traffic, int]] = [
    ("scanova", 1),
    ("scanova_server", 1),
    ("croct", 1),
    ("zenovay", 100),
]


def _asked(handler: bare.Handler, path: str, pieces: list[bytes]) -> list[dict[str, Any]]:
    """What an ASGI handler answers to a body that comes in `pieces`."""
    waiting = [
        {"type": "http.request", "body": piece, "more_body": index + 1 < len(pieces)}
        for index, piece in enumerate(pieces)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(_awaited(handler, {"type": "http", "path": path}, receive, send))
    assert waiting == []
    return sent


async def _awaited(handler: bare.Handler, *arguments: Any) -> None:
    await handler(*arguments)


@pytest.mark.parametrize("handler", [bare.read, bare.decode])
def test_a_bare_handler_takes_all_of_the_body(handler: bare.Handler) -> None:
    """It answers 200 only when the last piece is there, with as many bytes as it says."""
    (body,) = bodies("scanova", 1, seed=1)[:1]
    start, answer = _asked(handler, "/ct", [body[:100], body[100:]])
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(answer["body"])


def test_answers_to_batches_can_be_counted() -> None:
    """Nothing was accepted: rates of bare handlers are those of requests."""
    body = bodies("zenovay", 100, seed=1)[0]
    _, answer = _asked(bare.read, "/api/v1/events", [body])
    found = msgspec.json.decode(answer["body"])
    assert found == {"acceptedCount": 0, "dedupedCount": 0, "rejectedCount": 0, "errors": []}


@pytest.mark.parametrize("path", ["/ct", "/server-events", "/client/web/track", "/api/v1/events"])
def test_one_of_them_decodes(path: str) -> None:
    """A body of the wrong shape does not pass it, whatever the protocol."""
    with pytest.raises(msgspec.ValidationError):
        _asked(bare.decode, path, [b"[1,", b"2]"])
    assert _asked(bare.read, path, [b"[1,", b"2]"])[0]["status"] == 200


@pytest.mark.parametrize(("traffic", "size"), TRAFFIC)
@pytest.mark.parametrize("decoders", [PLAIN, CHECKED], ids=["plain", "checked"])
def test_every_body_is_decoded_with_all_its_events(
    traffic: Traffic, size: int, decoders: dict[Traffic, msgspec.json.Decoder[Any]]
) -> None:
    """What decoding alone is measured with fits the corpus."""
    for body in bodies(traffic, size, seed=1):
        found = decoders[traffic].decode(body)
        if traffic == "zenovay":
            assert len(found.events) == size


def test_decoding_is_counted_in_events() -> None:
    """A batch of ten counts ten times a single."""
    decoder = msgspec.json.Decoder(Any)
    once = decoded_per_s(decoder, [b"[1]"] * 64, 1, 0.02)
    tenfold = decoded_per_s(decoder, [b"[1]"] * 64, 10, 0.02)
    assert tenfold > 2 * once > 0


def test_writing_is_synced_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each group is written whole and synced before the next; the file is gone at the end."""
    calls: list[str] = []
    monkeypatch.setattr("os.fdatasync", lambda _descriptor: calls.append("sync"))
    monkeypatch.setattr("os.pwrite", _counting(calls))
    found = written(1_000, 0.01, tmp_path)
    # Half a group at a time.
    assert calls[: 3 * 2] == ["write 0", "write 500", "sync", "write 1000", "write 1500", "sync"]
    assert calls.count("sync") * 2 == len(calls) - calls.count("sync")
    assert found.per_s > 0
    assert 0 < found.p50_ms <= found.p99_ms
    assert list(tmp_path.iterdir()) == []


def _counting(calls: list[str]) -> Callable[[int, memoryview, int], int]:
    def pwrite(_descriptor: int, view: memoryview, offset: int) -> int:
        calls.append(f"write {offset}")
        return min(500, len(view))

    return pwrite


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", ["decode", "read-rsgi"])
def test_bare_handlers_are_served(tmp_path: Path, name: str) -> None:
    """Either interface answers over HTTP, and nothing is left behind."""
    with Floor(tmp_path, name) as floor:
        floor.start()
        connection = http.client.HTTPConnection(ADDRESS, floor.port, timeout=5)
        connection.request("POST", "/ct", body=bodies("scanova", 1, seed=1)[0])
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (200, "application/json")
        assert b"event_id" in answer.read()
        connection.close()
        assert floor.cpu_s() > 0
    assert list(tmp_path.iterdir()) == []
