"""The collector as HTTP sees it: faults of ours, clients that go away, and a stop in good order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from collector.asgi import AsgiApp
from collector.http import Disconnected
from collector.pipeline import Pipeline
from collector.rsgi import RsgiApp
from tests.support import fronts
from tests.support.app import Collector, running
from tests.support.dialects import DIALECTS, Dialect

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)


def _run(tmp_path: Path, play: Callable[[Collector], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(tmp_path) as collector:
            await play(collector)

    asyncio.run(asyncio.wait_for(main(), 30))


async def _send(collector: Collector, dialect: Dialect) -> Any:
    sent = dialect.event("a")
    return await collector.request("POST", sent.path, headers=sent.headers, body=sent.body)


async def _turn_often() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def _counted(collector: Collector, status: int) -> int:
    lines = collector.service._metrics.render({}).decode().splitlines()
    found = [one for one in lines if f'status="{status}"' in one]
    return sum(int(one.rpartition(" ")[2]) for one in found)


@every_dialect
def test_a_fault_of_ours_is_told_and_logged(
    dialect: Dialect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """500 in the dialect, readable by scripts, counted; in the log with where it happened."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError("nobody must read this")

    async def play(collector: Collector) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Pipeline, "ingest", fail)
            answer = await _send(collector, dialect)
        assert answer.status == 500
        assert dialect.code_of(500, answer.body)
        assert b"nobody" not in answer.body
        assert ("access-control-allow-origin" in answer.headers) == dialect.origin
        assert _counted(collector, 500) == 1
        [record] = [one for one in caplog.records if one.levelno >= logging.ERROR]
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError
        again = await _send(collector, dialect)
        assert dialect.is_success(again.status, again.body)

    caplog.set_level(logging.INFO, "collector")
    _run(tmp_path, play)


def test_a_client_that_goes_away_is_counted(tmp_path: Path) -> None:
    """As 499, and not as a fault of ours; its event is nowhere."""

    class Gone(fronts.Exchange):
        async def _piece(self) -> bytes:
            raise Disconnected

    async def play(collector: Collector) -> None:
        for dialect in DIALECTS:
            sent = dialect.event("a")
            fields = [(name.lower(), value.encode()) for name, value in sent.headers.items()]
            asked = fronts.Asked("POST", sent.path, [*fields, ("content-length", b"9")])
            await collector.edge.answer(fronts.RsgiScope(asked), Gone([b"{"]))
        assert (_counted(collector, 499), _counted(collector, 500)) == (len(DIALECTS), 0)
        assert collector.rows() == []

    _run(tmp_path, play)


def test_a_stop_waits_for_requests_in_flight(tmp_path: Path) -> None:
    """They are answered, newcomers are refused, and then nothing more is waited for."""

    async def play(collector: Collector) -> None:
        commit = collector.service._store._commit
        commit._is_writing = True  # so that what is submitted waits
        asked = asyncio.ensure_future(_send(collector, DIALECTS[0]))
        await _turn_often()
        assert commit._groups
        stopping = asyncio.ensure_future(collector.edge.drain(60))
        await _turn_often()
        refused = await _send(collector, DIALECTS[0])
        is_over = stopping.done()
        commit._is_writing = False
        commit._drain()
        assert not is_over
        assert refused.status == 503
        assert (await asked).status == 200
        await stopping
        await collector.edge.drain(60)
        assert len(collector.rows()) == 1

    _run(tmp_path, play)


def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A request that never ends holds nothing up for longer than the time that is given."""

    class Endless(fronts.Exchange):
        async def _piece(self) -> bytes:
            return await asyncio.Event().wait() and b""  # type: ignore[return-value]

    async def play(collector: Collector) -> None:
        headers = [("origin", b"http://localhost"), ("content-length", b"9")]
        asked = fronts.Asked("POST", "/ct", headers)
        endless = asyncio.ensure_future(
            collector.edge.answer(fronts.RsgiScope(asked), Endless([b"{"]))
        )
        await asyncio.sleep(0)
        await collector.edge.drain(0.01)
        assert not endless.done()
        endless.cancel()
        await asyncio.wait({endless})

    _run(tmp_path, play)


# --- the fronts' own start and stop


class _Life:
    """Starts, or cannot; remembers what it was told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.told: list[str] = []

    async def start(self) -> Any:
        """See `edge.Lifecycle`."""
        self.told.append("start")
        if self.error is not None:
            raise self.error
        return self

    async def stop(self) -> None:
        """See `edge.Lifecycle`."""
        self.told.append("stop")

    def told_to_stop(self) -> None:
        """See `edge.Edge`."""


def test_rsgi_starts_and_stops_with_the_server() -> None:
    """Everything is there before the first request, and put away after the last one."""
    life = _Life()
    loop = asyncio.new_event_loop()
    app = RsgiApp(life, lambda _error: pytest.fail("it has started"))
    app.__rsgi_init__(loop)
    assert life.told == ["start"]
    app.__rsgi_del__(loop)
    assert life.told == ["start", "stop"]
    loop.close()


def test_rsgi_that_cannot_start_ends_the_worker() -> None:
    """Whatever keeps it from starting is told; nothing is stopped that did not start."""
    error = OSError("no such disk")
    life = _Life(error)
    failed: list[Exception] = []
    loop = asyncio.new_event_loop()
    app = RsgiApp(life, failed.append)
    with pytest.raises(SystemExit):
        app.__rsgi_init__(loop)
    app.__rsgi_del__(loop)
    assert (failed, life.told) == ([error], ["start"])
    loop.close()


def _live(life: _Life, failed: list[Exception]) -> list[str]:
    """What an ASGI server is told over one life."""
    sent: list[str] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    asyncio.run(AsgiApp(life, failed.append)({"type": "lifespan"}, receive, send))
    return sent


def test_asgi_starts_and_stops_with_the_server() -> None:
    """The same by messages."""
    life, failed = _Life(), list[Exception]()
    assert _live(life, failed) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert (life.told, failed) == (["start", "stop"], [])
    life = _Life(OSError("no such disk"))
    assert _live(life, failed) == ["lifespan.startup.failed"]
    assert (life.told, failed) == (["start"], [life.error])
