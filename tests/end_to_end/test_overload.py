"""More than can be taken, on real sockets: nothing acknowledged is lost, nobody keeps others out.

Small counts, so that a busy machine takes seconds; `python -m bench.overload` has the large ones.
"""

import contextlib
import json
import selectors
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.http1 import maybe_answer
from tests.support import raw_http
from tests.support.asking import body_of, post
from tests.support.dialects import Scanova
from tests.support.process import CollectorProcess, wait_until
from tests.support.raw_http import Wire

pytestmark = pytest.mark.end_to_end

_CONNECTIONS = 300
_ROUNDS = 4
# A fast machine answers the first before it is found that there is too much.
_STORMS_MAX = 20
_IDLE = 250
_SLOW = 60


@contextlib.contextmanager
def _connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, closed at the end."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for _ in range(count)
        ]


def _storm(sockets: list[socket.socket]) -> tuple[Counter[int], set[str]]:
    """On every connection one request after the other, all at once: statuses, acknowledged ids.

    Raises if a connection breaks, or if a refusal does not say when to come back.
    """
    statuses: Counter[int] = Counter()
    acknowledged: set[str] = set()
    with selectors.DefaultSelector() as waiting:
        left = dict.fromkeys(sockets, _ROUNDS)

        def send(one: socket.socket) -> None:
            left[one] -= 1
            identity = str(uuid.uuid4())
            body = Scanova().event("x").body | {"event_id": identity}
            one.sendall(post(Scanova(), json.dumps(body).encode()))
            waiting.register(one, selectors.EVENT_READ, (identity, bytearray()))

        for one in sockets:
            send(one)
        while waiting.get_map():
            ready = waiting.select(timeout=30)
            assert ready, "answers within 30 s"
            for key, _ in ready:
                one, (identity, received) = key.fileobj, key.data
                assert isinstance(one, socket.socket)
                data = one.recv(65_536)
                assert data, "the connection stays up"
                received += data
                answer = maybe_answer(bytes(received))
                if answer is None:
                    continue
                statuses[answer.status] += 1
                if answer.status == 200:
                    acknowledged.add(identity)
                else:
                    assert b"\r\nretry-after: " in received.lower()
                    assert b"\r\naccess-control-allow-origin: " in received.lower()
                waiting.unregister(one)
                if left[one]:
                    send(one)
    return statuses, acknowledged


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Answers are 200 or 503; what was acknowledged is stored, once, and nothing else is."""
    overload = {"delay_target_ms": 1, "refusal_wait_ms_max": 300}
    storage = {"durability": "os"}
    with CollectorProcess(tmp_path, overload=overload, storage=storage) as collector:
        statuses: Counter[int] = Counter()
        acknowledged: set[str] = set()
        with _connected(collector.port, _CONNECTIONS) as sockets:
            for storm in range(1, _STORMS_MAX + 1):
                answered, taken = _storm(sockets)
                statuses += answered
                acknowledged |= taken
                assert statuses.total() == _CONNECTIONS * _ROUNDS * storm
                if statuses[503]:
                    break
        assert statuses.keys() == {200, 503}
        [row] = collector.query("SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events")
        stored = {one["event_id"] for one in collector.query("SELECT event_id FROM events")}
        assert stored == acknowledged
        assert row == {"n": len(acknowledged), "ids": len(acknowledged)}
        text = collector.request("GET", "/metrics").body.decode()
        assert f'status="503"}} {statuses[503]}' in text
        audit = collector.run("audit")
        assert audit.returncode == 0, audit.stdout
        log = collector.log_path.read_text(encoding="utf-8")
        assert "overload: requests are refused" in log


def test_idle_and_slow_connections_keep_nobody_out(tmp_path: Path) -> None:
    """Others are served as ever; who sends no whole head or body in time is cut off."""
    with (
        CollectorProcess(tmp_path, server={"body_timeout_ms": 1_500}) as collector,
        _connected(collector.port, _IDLE + 2 * _SLOW) as sockets,
    ):
        slow = sockets[_IDLE:]
        whole = post(Scanova(), body_of(Scanova()))
        for one in slow[:_SLOW]:
            one.sendall(whole[:50])
        for one in slow[_SLOW:]:
            one.sendall(whole[:-50])
        for _ in range(3):
            for one in slow:
                one.sendall(b" ")
            assert collector.request("GET", "/readyz").status == 200
            with Wire(collector.port) as wire:
                for _ in range(20):
                    wire.send(post(Scanova(), body_of(Scanova())))
                    assert wire.answer().status == 200
        # Idle connections end by the same limit, so none is left.
        end_s = time.monotonic() + 20
        for number, one in enumerate(sockets):
            one.settimeout(max(0.1, end_s - time.monotonic()))
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while data := one.recv(65_536):
                    received += data
                    if number >= _IDLE + _SLOW and maybe_answer(received):
                        break
            if number >= _IDLE + _SLOW:
                answer = maybe_answer(received)
                assert answer is not None
                assert answer.status == 408


def test_few_files_are_told_and_do_not_stop_it(tmp_path: Path) -> None:
    """With a limit of 256 files: fewer connections at a time, and no file of the log is missing."""
    with CollectorProcess(
        tmp_path,
        prefix=["prlimit", "--nofile=256:256"],
        server={"body_timeout_ms": 1_000},
    ) as collector:
        assert "at most 192 connections" in collector.log_tail()
        assert "256 files" in collector.log_tail()
        with _connected(collector.port, 400):

            def is_taken() -> bool:
                with contextlib.suppress(TimeoutError), Wire(collector.port, timeout_s=2) as wire:
                    wire.send(raw_http.request("GET", "/healthz"))
                    return wire.answer().status == 200
                return False

            # Those who waited in the kernel are taken when idle ones have been closed.
            wait_until(is_taken, timeout_s=30, what="a newcomer is served")
        with Wire(collector.port) as wire:
            wire.send(post(Scanova(), body_of(Scanova())))
            assert wire.answer().status == 200
        log = collector.log_path.read_text(encoding="utf-8")
        assert "Too many open files" not in log
        assert "Traceback" not in log
