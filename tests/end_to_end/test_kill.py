"""Kill -9 under load, again and again: nothing acknowledged is lost, nothing is there twice."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support import glob_reader
from tests.support.ledger import STORED_ID, Client, Ledger
from tests.support.process import CollectorProcess

pytestmark = pytest.mark.end_to_end

ROUNDS = 30


def test_thirty_rounds_of_kill_9(tmp_path: Path) -> None:
    """30 rounds of load, kill -9 and restart while a second process reads the glob all the time."""
    chance = random.Random(20_261_121)
    ledger = Ledger()
    stop = tmp_path / "stop"
    with (
        CollectorProcess(tmp_path / "c", storage={"publish_interval_ms": 150}) as collector,
        glob_reader.reading(collector.data / "events", stop) as reader,
    ):
        kinds = ["zenovay", "zenovay", "croct", "croct"]
        clients = [Client(collector.port, ledger, n, kind) for n, kind in enumerate(kinds)]
        for client in clients:
            client.start()
        for round_number in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 0.6))
            if round_number % 3 == 2:
                collector.kill_main()
            collector.kill()
            collector.start()
        time.sleep(0.3)
        for client in clients:
            client.finish()
        assert collector.terminate() == 0
        stop.touch()
        report = json.loads(reader.communicate(timeout=30)[0])
        stored = Counter(
            row["id"]
            for row in collector.published(f"SELECT {STORED_ID} AS id FROM events")  # noqa: S608
        )
        assert not list((collector.data / "wal").glob("*.ndjson")), "a stop leaves no segment"
    assert ledger.surprises == []
    lost = ledger.acknowledged - stored.keys()
    doubled = [one for one, count in stored.items() if count > 1]
    assert (len(lost), len(doubled)) == (0, 0), (len(ledger.acknowledged), len(stored))
    assert stored.keys() <= ledger.sent
    assert len(ledger.acknowledged) > 1_000
    assert report["complaints"] == []
    assert report["queries"] > 20
    assert report["last"] <= len(stored)


def test_sigterm_under_load_leaves_everything_in_parts(tmp_path: Path) -> None:
    """SIGTERM under load: exit 0 within 10 s, every acknowledged event in Parquet, no segment."""
    ledger = Ledger()
    with CollectorProcess(tmp_path, storage={"publish_interval_ms": 60_000}) as collector:
        kinds = ["zenovay", "croct", "zenovay"]
        clients = [Client(collector.port, ledger, n, kind) for n, kind in enumerate(kinds)]
        for client in clients:
            client.start()
        time.sleep(2)
        started_s = time.monotonic()
        assert collector.terminate(timeout_s=15) == 0
        assert time.monotonic() - started_s < 10
        for client in clients:
            client.finish()
        ids = collector.published(f"SELECT {STORED_ID} AS id FROM events")  # noqa: S608
        assert not list((collector.data / "wal").glob("*.ndjson"))
    stored = Counter(row["id"] for row in ids)
    assert ledger.acknowledged
    assert ledger.acknowledged <= stored.keys()
    assert max(stored.values()) == 1
    assert ledger.surprises == []


def test_repeat_after_kill_9_is_a_duplicate(tmp_path: Path) -> None:
    """What was acknowledged before a crash is recognised after it."""
    with CollectorProcess(tmp_path) as collector:
        ledger = Ledger()
        client = Client(collector.port, ledger, 1, "zenovay")
        ids, path, headers, body = client._zenovay()
        answers = []
        for _ in range(2):
            answer = collector.request("POST", path, body=json.dumps(body), headers=headers)
            answers.append(json.loads(answer.body))
            collector.kill()
            collector.start()
        assert [a["acceptedCount"] for a in answers] == [len(ids), 0]
        assert [a["dedupedCount"] for a in answers] == [0, len(ids)]


def test_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    """The supervisor replaces a worker that was killed; nothing acknowledged is lost."""
    with CollectorProcess(tmp_path) as collector:
        client = Client(collector.port, Ledger(), 1, "zenovay")
        ids, path, headers, body = client._zenovay()
        first = collector.request("POST", path, body=json.dumps(body), headers=headers)
        assert json.loads(first.body)["acceptedCount"] == len(ids)
        before = collector.pids
        collector.kill_worker()
        collector.wait_another_worker(before)
        again = collector.request("POST", path, body=json.dumps(body), headers=headers)
        assert json.loads(again.body)["dedupedCount"] == len(ids)


_ORPHAN = """
import os, sys, time
from collector import supervisor
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.01)
    supervisor._end_with_parent(parent)
    print("an orphan serves", flush=True)
os._exit(0)
"""


def test_worker_whose_supervisor_died_at_once_ends() -> None:
    """A worker that is being started while its supervisor is killed does not serve alone."""
    result = subprocess.run(
        [sys.executable, "-c", _ORPHAN], capture_output=True, text=True, timeout=60, check=True
    )
    # Its output ends when the worker has ended, too.
    assert (result.stdout, result.stderr) == ("", "")
