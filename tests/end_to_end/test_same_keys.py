"""Many connections send the same events at once, to a real collector that is killed meanwhile."""

import http.client
import random
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from collector.keys import DEMO_KEY
from tests.support.process import CollectorProcess

pytestmark = pytest.mark.end_to_end

CONNECTIONS = 64
KEYS = [f"key-{number}" for number in range(1_000)]
IDS = [str(uuid.UUID(int=number + 1)) for number in range(1_000)]
ZENOVAY = {"Authorization": f"Bearer {DEMO_KEY}", "Content-Type": "application/json"}
SCANOVA = {"X-API-Key": DEMO_KEY, "Content-Type": "application/json"}


class Sender:
    """One connection, kept alive, that sends until there is a success, as senders do."""

    def __init__(self, collector: CollectorProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=30)

    def __enter__(self) -> Self:
        """Connects with the first request."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def post(self, path: str, body: Any, headers: dict[str, str]) -> Any:
        """The answer that says 200. Raises TimeoutError."""
        data = msgspec.json.encode(body)
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            try:
                status, content = self._once(path, data, headers)
            except (OSError, http.client.HTTPException):
                self._connection.close()  # the next request opens it again
                time.sleep(0.05)
                continue
            if status == 200:
                return msgspec.json.decode(content)
            assert status in {429, 503}, content
            time.sleep(0.05)
        raise TimeoutError("never accepted")

    def _once(self, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        self._connection.request("POST", path, data, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def at_once(collector: CollectorProcess, work: Callable[[int, Sender], None]) -> None:
    """Run `work` on as many threads as there are connections, from the same moment on."""
    gate = threading.Barrier(CONNECTIONS)
    failures: list[BaseException] = []

    def play(number: int) -> None:
        gate.wait()
        try:
            with Sender(collector) as sender:
                work(number, sender)
        except BaseException as failure:  # noqa: BLE001 told below
            failures.append(failure)

    threads = [threading.Thread(target=play, args=(n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("kills", [0, 3])
def test_batches_with_the_same_keys(tmp_path: Path, kills: int) -> None:
    """64 connections, 1,000 keys each in an order of its own: 1,000 rows, every answer adds up.

    An answer that says "deduped" is an acknowledgement: killed at any moment, nothing is missing.
    """
    counts: list[tuple[int, int]] = []

    def send(number: int, sender: Sender) -> None:
        keys = random.Random(number).sample(KEYS, len(KEYS))
        now_ms = time.time_ns() // 1_000_000
        for start in range(0, len(keys), 250):
            events = [
                {"type": "event", "ts": now_ms, "props": {"name": "n"}, "idempotencyKey": key}
                for key in keys[start : start + 250]
            ]
            body = {"trackingCode": "ZV_demo", "events": events}
            verdict = sender.post("/api/v1/events", body, ZENOVAY)
            counts.append((verdict["acceptedCount"], verdict["dedupedCount"]))

    with CollectorProcess(tmp_path, storage={"publish_interval_ms": 150}) as collector:
        killer = threading.Thread(target=_kill, args=(collector, kills))
        killer.start()
        at_once(collector, send)
        killer.join()
        with Sender(collector) as sender:
            send(CONNECTIONS, sender)
        assert counts[-4:] == [(0, 250)] * 4
        assert all(accepted + deduped == 250 for accepted, deduped in counts)
        if not kills:
            # An answer that was lost with a kill cannot be counted.
            assert sum(accepted for accepted, _ in counts) == 1_000
        assert collector.terminate() == 0
        rows = collector.published("SELECT idempotency_key AS key FROM events")
    assert sorted(row["key"] for row in rows) == sorted(KEYS)


def test_singles_with_the_same_ids(tmp_path: Path) -> None:
    """64 connections send the same 1,000 ids one by one: each is stored once as new.

    Scanova's repeats are stored again and marked, so there are 64,000 rows, 1,000 of them valid.
    """

    def send(number: int, sender: Sender) -> None:
        for event_id in random.Random(number).sample(IDS, len(IDS)):
            body = {"site_id": "demo", "event_name": "purchase", "event_id": event_id}
            body["scan_session_id"] = IDS[0]
            assert sender.post("/server-events", body, SCANOVA)["event_id"] == event_id

    with CollectorProcess(tmp_path, storage={"publish_interval_ms": 500}) as collector:
        at_once(collector, send)
        assert collector.terminate() == 0
        [row] = collector.published(
            "SELECT count(*) AS n, count(DISTINCT event_id) AS ids, "
            "count(*) FILTER (is_duplicate = 0) AS new, "
            "count(DISTINCT event_id) FILTER (is_duplicate = 0) AS new_ids FROM events"
        )
    assert row == {"n": 64_000, "ids": 1_000, "new": 1_000, "new_ids": 1_000}


def _kill(collector: CollectorProcess, times: int) -> None:
    for _ in range(times):
        time.sleep(0.15)
        collector.kill()
        collector.start()
