"""Backup, restore and move, by the commands that docs/OPERATIONS.md shows, under load."""

import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support import pages
from tests.support.dialects import DIALECTS
from tests.support.ledger import STORED_ID, Client, Ledger
from tests.support.process import CollectorProcess, wait_until

pytestmark = pytest.mark.end_to_end

# Where the page has what; here it is elsewhere.
HOME: Final = "/var/lib/collector"
CONFIG: Final = "/etc/collector/config.toml"
# What only a machine with systemd and the user has.
OF_THE_MACHINE: Final = ("systemctl ", "chown ")
SETTINGS: Final = {"publish_interval_ms": 150, "join_parts_min": 4}


def shown(title: str) -> list[str]:
    """The commands of the first shell block of a section of the page."""
    section = pages.section(pages.page("docs/OPERATIONS.md"), title)
    return pages.blocks(section, "sh")[0].text.splitlines()


def carry_out(title: str, collector: CollectorProcess) -> None:
    """Do what the page says, with the folder of a test for the machine's."""
    for line in shown(title):
        words = line.replace(CONFIG, str(collector.config_path)).split()
        if line.startswith("collector "):
            arguments = [word.replace(HOME, str(collector.directory)) for word in words[1:]]
            at = arguments.index("--config")
            del arguments[at : at + 2]
            result = collector.run(*arguments)
            assert result.returncode == 0, (line, result.stdout, result.stderr)
        elif not line.startswith(OF_THE_MACHINE):
            assert words[0] in {"mv", "cp"}, f"what is {line!r}?"
            subprocess.run(
                [word.replace(HOME, str(collector.directory)) for word in words], check=True
            )


def stored(collector: CollectorProcess) -> Counter[str]:
    """How many rows each event has, the copies that are stored marked left out."""
    sql = f"SELECT {STORED_ID} AS id FROM events WHERE is_duplicate = 0"  # noqa: S608
    return Counter(row["id"] for row in collector.query(sql))


def assert_balanced(collector: CollectorProcess) -> None:
    """The audit finds no difference, and nothing that is not counted."""
    result = collector.run("audit", "--all", "--format", "json")
    lines = json.loads(result.stdout)
    assert (result.returncode, [line for line in lines if line["difference"]]) == (0, [])


def assert_repeats_are_known(collector: CollectorProcess, ids: set[str]) -> None:
    """What was acknowledged is a duplicate, what was not is new."""
    [zenovay] = [one for one in DIALECTS if one.event("x").path == "/api/v1/events"]
    sent = zenovay.event("x")
    template = sent.body["events"][0]
    known = sorted(ids)[:40]
    assert known
    new = [f"new-{number}" for number in range(3)]
    sent.body["events"] = [{**template, "idempotencyKey": one} for one in [*known, *new]]
    answer = collector.request("POST", sent.path, body=json.dumps(sent.body), headers=sent.headers)
    told = json.loads(answer.body)
    assert (told["dedupedCount"], told["acceptedCount"]) == (len(known), len(new))


def load(collector: CollectorProcess, ledger: Ledger) -> list[Client]:
    """Clients of every protocol, at work; no faster on a fast machine than what is copied."""
    kinds = ("zenovay", "zenovay", "scanova", "croct")
    clients = [
        Client(collector.port, ledger, n, kind, pause_s=0.02) for n, kind in enumerate(kinds)
    ]
    for client in clients:
        client.start()
    return clients


def zenovay_ids(collector: CollectorProcess, ids: set[str]) -> set[str]:
    """Those of `ids` that are idempotency keys."""
    rows = collector.query("SELECT idempotency_key AS id FROM events WHERE protocol = 'zenovay'")
    return ids & {row["id"] for row in rows}


def test_a_backup_made_under_load_restores_every_acknowledged_event(tmp_path: Path) -> None:
    """Each once, with its identity, and with books that balance: for every backup of several."""
    ledger = Ledger()
    promised: list[set[str]] = []
    with CollectorProcess(tmp_path / "old", storage=SETTINGS) as collector:
        clients = load(collector, ledger)
        for number in range(3):
            time.sleep(0.9)
            promised.append(set(ledger.acknowledged))
            carry_out("Backup", collector)
            new = tmp_path / f"new-{number}"
            new.mkdir()
            (collector.directory / "backup").rename(new / "backup")
            # By itself it looks every 10 s whether there is something to join.
            assert collector.run("compact").returncode == 0
        for client in clients:
            client.finish()
        assert ledger.surprises == []
        joined = [
            path for path in collector.data.rglob("part-*") if path.stem[5:17] != path.stem[18:30]
        ]
        assert joined, "files were joined meanwhile"
    assert len(promised[0]) > 100
    for number, acknowledged in enumerate(promised):
        restored = CollectorProcess(tmp_path / f"new-{number}", storage=SETTINGS)
        restored.data.mkdir()  # of a collector that was there before
        with restored:
            assert restored.terminate() == 0
            carry_out("Restore", restored)
            restored.start()
            rows = stored(restored)
            assert acknowledged <= rows.keys(), len(acknowledged - rows.keys())
            assert rows.keys() <= ledger.sent
            assert max(rows.values()) == 1
            assert_balanced(restored)
            assert_repeats_are_known(restored, zenovay_ids(restored, acknowledged))
            assert restored.terminate() == 0
            assert_balanced(restored)
    assert not list(tmp_path.glob("new-*/backup/state/salt-*"))


def test_an_hourly_backup_takes_only_what_is_new(tmp_path: Path) -> None:
    """On another file system, files of the copy before stay, and the copy is of now."""
    memory = Path("/dev/shm")  # noqa: S108  another file system, where there is one
    if not (os.access(memory, os.W_OK) and memory.stat().st_dev != tmp_path.stat().st_dev):
        memory = tmp_path
    target = memory / f"collector-backup-{os.getpid()}"
    try:
        with CollectorProcess(tmp_path, storage={"publish_interval_ms": 100}) as collector:
            sent = DIALECTS[0].event
            told = []
            for number in range(3):
                one = sent(str(number))
                body = json.dumps(one.body)
                assert (
                    collector.request("POST", one.path, body=body, headers=one.headers).status
                    == 200
                )
                wait_until(
                    lambda n=number: len(list(collector.data.rglob("part-*.parquet"))) > n,
                    timeout_s=10,
                    what="a file for each event",
                )
                result = collector.run("backup", "--json", str(target))
                assert result.returncode == 0, result.stderr
                told.append(json.loads(result.stdout))
            assert [one["parts"] for one in told] == [1, 2, 3]
            if memory != tmp_path:
                assert [one["kept"] for one in told] == [0, 1, 2]
                assert [one["copied"] for one in told] == [1, 1, 1]
            erased = collector.run("backup", str(collector.data))
            assert (erased.returncode, "nor hold it" in erased.stderr) == (1, True)
    finally:
        subprocess.run(["rm", "-rf", str(target)], check=True)


def test_a_collector_that_moves_takes_everything_along(tmp_path: Path) -> None:
    """Stopped, copied whole and started elsewhere: rows, identities, counts, hashes of today."""
    ledger = Ledger()
    event = DIALECTS[0].event("before")
    body = json.dumps(event.body)
    hashes = "SELECT DISTINCT ip_hash FROM events WHERE protocol = 'scanova'"
    with CollectorProcess(tmp_path / "old", storage=SETTINGS) as old:
        clients = load(old, ledger)
        old.request("POST", event.path, body=body, headers=event.headers)
        time.sleep(1)
        # In the middle of the load: what nobody acknowledged is not promised.
        assert old.terminate() == 0
        for client in clients:
            client.finish()
        assert ledger.surprises == []
        new = CollectorProcess(tmp_path / "new", storage=SETTINGS)
        new.directory.mkdir()
        moved = [line for line in shown("Moving to another machine") if line.startswith("rsync")]
        assert moved[-1].split()[-2:] == [f"{HOME}/data/", f"new.example.com:{HOME}/data/"]
        assert "--exclude lock" in moved[-1]
        # What `rsync -a` does between two machines.
        subprocess.run(["cp", "-a", str(old.data), str(new.data)], check=True)
        (new.data / "lock").unlink()
        assert not list((new.data / "wal").glob("*.ndjson"))
        before = old.query(hashes)
        with new:
            rows = stored(new)
            assert ledger.acknowledged <= rows.keys()
            assert max(rows.values()) == 1
            later = DIALECTS[0].event("after")
            new.request("POST", later.path, body=json.dumps(later.body), headers=later.headers)
            assert new.query(hashes) == before
            assert len(before) == 1
            assert_repeats_are_known(new, zenovay_ids(new, ledger.acknowledged))
            assert_balanced(new)
