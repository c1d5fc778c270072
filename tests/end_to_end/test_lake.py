"""Joining, retention and erasure by a real collector, under load, killed, and read from outside."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.keys import DEMO_KEY
from tests.support import glob_reader
from tests.support.lake import DataDirectory
from tests.support.ledger import STORED_ID, Client, Ledger
from tests.support.process import CollectorProcess, example_site, wait_until
from tests.support.rows import make_row

pytestmark = pytest.mark.end_to_end

_PERSON = "11111111-2222-4333-8444-555555555555"
# Every join of everything takes longer than the one before, the more so the more comes meanwhile.
_PAUSE_S = 0.03


def _load(collector: CollectorProcess, ledger: Ledger) -> list[Client]:
    kinds = ["zenovay", "croct", "zenovay"]
    clients = [
        Client(collector.port, ledger, n, kind, pause_s=_PAUSE_S) for n, kind in enumerate(kinds)
    ]
    for client in clients:
        client.start()
    return clients


def _stored(collector: CollectorProcess) -> Counter[str]:
    sql = f"SELECT {STORED_ID} AS id FROM events"  # noqa: S608
    return Counter(row["id"] for row in collector.published(sql))


def _json(collector: CollectorProcess, *command: str, code: int = 0) -> Any:
    done = collector.run(*command, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_joined_under_load_killed_and_read(tmp_path: Path) -> None:
    """Files are joined again and again while a plain glob is read, with kill -9 in between.

    No row is lost or doubled, and the reader meets nothing but files that are gone.
    """
    chance = random.Random(4)
    ledger = Ledger()
    stop = tmp_path / "stop"
    storage = {"publish_interval_ms": 100, "join_parts_min": 2}
    with (
        CollectorProcess(tmp_path / "c", storage=storage) as collector,
        glob_reader.reading(collector.data / "events", stop, "joins") as reader,
    ):
        events = collector.data / "events"
        clients = _load(collector, ledger)
        most = joins = 0
        for number in range(8):
            time.sleep(chance.uniform(0.4, 0.8))
            most = max(most, len(list(events.glob("*/*.parquet"))))
            if number % 4 == 3:
                collector.kill()
                collector.start()
            joins += len(_json(collector, "compact"))
        for client in clients:
            client.finish()
        assert collector.terminate() == 0
        stop.touch()
        report = json.loads(reader.communicate(timeout=30)[0])
        assert _json(collector, "compact"), "without a running collector, too"
        stored = _stored(collector)
        assert len(list(events.glob("*/*.parquet"))) <= 2, "one per date"
    assert ledger.surprises == []
    assert ledger.acknowledged <= stored.keys()
    assert max(stored.values()) == 1
    assert report["complaints"] == []
    assert report["queries"] > 10
    assert most > 4
    assert joins >= 6


def _identify(collector: CollectorProcess, number: int) -> None:
    events = [
        {
            "type": "event",
            "ts": time.time_ns() // 1_000_000,
            "visitorId": _PERSON,
            "props": {"name": "x"},
            "idempotencyKey": f"person-{n:06d}",
        }
        for n in range(number, number + 5)
    ]
    answer = collector.request(
        "POST",
        "/api/v1/events",
        body=json.dumps({"trackingCode": "ZV_demo", "events": events}),
        headers={"Authorization": f"Bearer {DEMO_KEY}"},
    )
    assert json.loads(answer.body)["acceptedCount"] == 5


def test_erased_under_load(tmp_path: Path) -> None:
    """A person goes everywhere, the log included, and nobody else's row changes."""
    ledger = Ledger()
    with CollectorProcess(tmp_path, storage={"publish_interval_ms": 2_000}) as collector:
        _identify(collector, 0)
        wait_until(
            lambda: list((collector.data / "events").glob("*/*")), timeout_s=10, what="a part"
        )
        clients = _load(collector, ledger)
        time.sleep(1)
        _identify(collector, 100)
        command = ("erase", "--site", "demo", "--visitor", _PERSON.upper())
        planned = _json(collector, *command, "--dry-run")
        assert planned["erased"]["rows"] == planned["rows_left"] == 10
        receipt = _json(collector, *command)
        assert receipt["erased"]["rows"] == 10
        assert receipt["rows_left"] == 0
        assert sum(one["rows"] for one in receipt["erased"]["files"]) == 10
        assert collector.query(receipt["query"]) == [{"count_star()": 0}]
        for client in clients:
            client.finish()
        _identify(collector, 200)
        assert collector.terminate() == 0
        stored = _stored(collector)
        bytes_left = [path.read_bytes() for path in collector.data.rglob("*") if path.is_file()]
        sql = f"SELECT idempotency_key AS id FROM events WHERE visitor_id = '{_PERSON}'"  # noqa: S608
        later = {row["id"] for row in collector.published(sql)}
    assert later == {f"person-{n:06d}" for n in range(200, 205)}, "what came later is new"
    assert ledger.acknowledged <= stored.keys()
    assert max(stored.values()) == 1
    assert not any(b"person-000100" in data for data in bytes_left), "not in the log, nor anywhere"


def test_an_erasure_is_finished_after_a_crash(tmp_path: Path) -> None:
    """Killed while it is under way, the collector goes on with it at the next start."""
    with CollectorProcess(tmp_path, storage={"publish_interval_ms": 100}) as collector:
        for number in range(0, 100, 5):
            _identify(collector, number)
        order = subprocess.Popen(
            [
                *(sys.executable, "-m", "collector", "erase", "--json", "--site", "demo"),
                *("--visitor", _PERSON, "--config", str(tmp_path / "config.toml")),
            ],
            stdout=subprocess.PIPE,
        )
        orders = collector.data / "orders"
        wait_until(lambda: list(orders.glob("*.order.json")), timeout_s=20, what="an order")
        collector.kill()
        time.sleep(0.5)
        collector.start()
        out, _ = order.communicate(timeout=60)
        assert order.returncode == 0
        assert json.loads(out)["rows_left"] == 0
        assert list(orders.iterdir()) == []


def _old(path: Path, days: int) -> datetime:
    """One row for each of two sites, received so many days ago, in a part of its own."""
    directory = DataDirectory(path)
    at = datetime.now(UTC) - timedelta(days=days)
    time_us = int(at.timestamp() * 1_000_000)
    rows = [
        make_row(2 * days + n, site_id=site, received_time=time_us, event_time=time_us)
        for n, site in enumerate(("demo", "kept"))
    ]
    number = 1_000 - days
    directory.publish(number, number, *rows, day=at.date())
    return at


def test_retention_at_start_and_by_hand(tmp_path: Path) -> None:
    """What is too old goes at the start; a site of its own rule keeps its rows."""
    for days in (40, 31, 30, 2):
        _old(tmp_path / "data", days)
    sites = [example_site(), {"id": "kept", "retention_days": 0}]
    tables = {"storage": {"retention_days": 30}, "sites": sites}
    with CollectorProcess(tmp_path, **tables) as collector:
        wait_until(
            lambda: len(list((collector.data / "events").iterdir())) == 4,
            timeout_s=20,
            what="all dates are there",
        )
        left = "SELECT site_id, count(*) AS n FROM events GROUP BY 1 ORDER BY 1"
        wait_until(
            lambda: (
                collector.query(left) == [{"site_id": "demo", "n": 2}, {"site_id": "kept", "n": 4}]
            ),
            timeout_s=20,
            what="what is too old is gone",
        )
        assert collector.terminate() == 0
        assert _json(collector, "retention") == []
        for days in (50, 45):
            _old(tmp_path / "data", days)
        planned = _json(collector, "retention", "--dry-run")
        assert _json(collector, "retention") == planned
        assert [(one["rows"], one["is_whole"], one["sites"]) for one in planned] == [
            (1, False, ["demo"])
        ] * 2
        rows = collector.published(left)
        assert rows == [{"site_id": "demo", "n": 2}, {"site_id": "kept", "n": 6}]
