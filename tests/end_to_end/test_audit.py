"""The audit over a real collector: load of every kind, kill -9 again and again, no difference."""

import json
import random
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from tests.support.dialects import DIALECTS, Dialect, Sent
from tests.support.ledger import Client, Ledger
from tests.support.process import CollectorProcess, example_site

pytestmark = pytest.mark.end_to_end

ROUNDS = 6


class Troublemaker(threading.Thread):
    """Sends what is refused, dropped, repeated, limited and not to be read, until stopped."""

    def __init__(self, collector: CollectorProcess, seed: int) -> None:
        super().__init__(daemon=True)
        self._collector = collector
        self._random = random.Random(seed)
        self._stop_it = threading.Event()
        self.statuses: set[int] = set()

    def finish(self) -> None:
        """Stop after the request under way."""
        self._stop_it.set()
        self.join()

    def run(self) -> None:
        """Until `finish`."""
        while not self._stop_it.is_set():
            sent, headers = self._one()
            body = sent.body if isinstance(sent.body, bytes) else msgspec.json.encode(sent.body)
            try:
                answer = self._collector.request(
                    "POST", sent.path, body=body, headers={**sent.headers, **headers}
                )
                self.statuses.add(answer.status)
            except OSError:
                time.sleep(0.02)
            except Exception:  # noqa: BLE001 killed in the middle of an answer
                time.sleep(0.02)

    def _one(self) -> tuple[Sent, dict[str, str]]:
        chance = self._random
        dialect: Dialect = chance.choice(DIALECTS)
        identity = f"{chance.randrange(50)}"
        kind = chance.randrange(7)
        if kind == 0:
            return dialect.broken(identity), {}
        if kind == 1:
            return dialect.event(identity), {"Sec-GPC": "1"}
        if kind == 2:
            return Sent(dialect.event(identity).path, dialect.event(identity).headers, b"\xff{"), {}
        if kind == 3:
            return dialect.event(identity), {"Origin": "http://evil.example"}
        if kind == 4:
            return self._batch(), {}
        if kind == 5:
            return Sent("/collect/batch", DIALECTS[0].event("").headers, self._browsers()), {}
        return dialect.event(identity), {}

    def _batch(self) -> Sent:
        sent = DIALECTS[3].event(uuid.uuid4().hex)
        good = sent.body["events"][0]
        sent.body["events"] = [
            good,
            {**good, "idempotencyKey": uuid.uuid4().hex},
            good,
            {**good, "consent": "opt-out"},
            {**good, "ts": 1},
            {**good, "type": "goal", "props": {"name": "unknown"}},
        ]
        return sent

    def _browsers(self) -> Any:
        good = {"event_type": "click", "event_id": str(uuid.uuid4())}
        sites = ["demo", "demo", "demo", "second", "unknown", "elsewhere"]
        events = [{**good, "site_id": site} for site in sites]
        return {"events": [*events, {"site_id": "demo"}, 7]}


def _audit(collector: CollectorProcess, *options: str) -> tuple[int, list[dict[str, Any]]]:
    result = collector.run("audit", "--format", "json", *options)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


def test_received_is_stored_or_told_over_kill_9(tmp_path: Path) -> None:
    """Under load of all kinds and kill -9: no difference at any time, in whichever time zone."""
    sites = [example_site(), {"id": "second", "allowed_domains": ["localhost"]}]
    chance = random.Random(4)
    with CollectorProcess(
        tmp_path,
        sites=sites,
        environment={"TZ": "America/St_Johns"},
        storage={"publish_interval_ms": 150, "quarantine_bytes_max": 200_000},
        limits={"browser_requests_per_minute": 3_000},
    ) as collector:
        ledger = Ledger()
        clients: list[Any] = [
            Client(collector.port, ledger, n, kind)
            for n, kind in enumerate(("zenovay", "scanova", "croct"))
        ]
        clients += [Troublemaker(collector, n) for n in range(2)]
        for client in clients:
            client.start()
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.4, 1.5))
            code, lines = _audit(collector)  # while it works
            assert (code, [line for line in lines if line["difference"]]) == (0, [])
            collector.kill()
            code, lines = _audit(collector)  # over what was left
            assert (code, [line for line in lines if line["difference"]]) == (0, [])
            collector.start()
        for client in clients:
            client.finish()
        assert {200, 204, 400, 403, 422} <= clients[-1].statuses | clients[-2].statuses
        assert 500 not in clients[-1].statuses | clients[-2].statuses
        assert collector.terminate() == 0
        code, lines = _audit(collector, "--all")
        assert code == 0
        rows = collector.published(
            "SELECT site_id AS site, protocol, strftime(date_trunc('hour', received_time), "
            "'%Y-%m-%dT%H:00Z') AS hour, count(*) AS rows FROM events GROUP BY ALL"
        )
        found = {(row["site"], row["protocol"], row["hour"]): row["rows"] for row in rows}
        told = {(x["site"], x["protocol"], x["time"]): x["stored"] for x in lines if x["stored"]}
        assert told == found
        assert sum(line["not_counted"] for line in lines) == 0
        for name in ("received", "stored", "duplicate", "rejected", "dropped"):
            assert sum(line[name] for line in lines) > 20, name
        _break_it(collector)


def _break_it(collector: CollectorProcess) -> None:
    """A row too many, a file too few: each is told, exit code 1."""
    parts = sorted((collector.data / "events").rglob("*.parquet"))
    part, bytes_before = parts[0], parts[0].read_bytes()
    rows = duckdb.read_parquet(str(part)).fetchall()
    copy = part.with_suffix(".copy")
    duckdb.sql(
        f"COPY (FROM read_parquet('{part}', hive_partitioning = false) UNION ALL "
        f"(FROM read_parquet('{part}', hive_partitioning = false) LIMIT 1)) "
        f"TO '{copy}' (FORMAT parquet)"
    )
    copy.replace(part)
    code, lines = _audit(collector)
    assert (code, sum(line["difference"] for line in lines)) == (1, -1)
    part.unlink()
    code, lines = _audit(collector)
    assert (code, sum(line["difference"] for line in lines)) == (1, len(rows))
    assert "unaccounted for" in collector.run("audit").stderr
    part.write_bytes(bytes_before)
    assert _audit(collector)[0] == 0


def test_joined_expired_and_erased_rows_are_accounted_for(tmp_path: Path) -> None:
    """Files that are joined, and rows that leave on purpose, make no difference."""
    with CollectorProcess(tmp_path) as collector:
        headers = {"Origin": "http://localhost", "Content-Type": "application/json"}
        visitors = [str(uuid.UUID(int=n)) for n in range(3)]
        for number in range(12):
            event = {
                "site_id": "demo",
                "event_type": "click",
                "visitor_id": visitors[number % 3],
                "timestamp": "not a time" if number > 8 else None,
            }
            body = json.dumps(event)
            collector.request("POST", "/ct", body=body, headers=headers)
            time.sleep(0.25)
        assert collector.run("compact").returncode == 0
        result = collector.run("erase", "--site", "demo", "--visitor", visitors[0], "--json")
        assert result.returncode == 0, result.stderr
        receipt = json.loads(result.stdout)
        assert sum(receipt["quarantine"].values()) == 1
        code, lines = _audit(collector)
        assert (code, sum(line["erased"] for line in lines)) == (0, 3)
        left = collector.run("quarantine", "list", "--format", "json")
        assert len(json.loads(left.stdout)) == 2
        assert visitors[0] not in left.stdout
        collector.kill()
        assert _audit(collector)[0] == 0
        collector.start()
        assert _audit(collector)[0] == 0


def test_replay_by_command_beside_a_collector_and_without_one(tmp_path: Path) -> None:
    """`quarantine list`, `show`, `replay` and `receipt` tell the story of one event."""
    goal = DIALECTS[3].event("k1")
    goal.body["events"][0].update(
        type="goal", props={"name": "new"}, visitorId="v\x1b[31m", sessionId="s"
    )
    body = msgspec.json.encode(goal.body)
    for beside in (True, False):
        directory = tmp_path / str(beside)
        with CollectorProcess(directory) as collector:
            answer = collector.request("POST", goal.path, body=body, headers=goal.headers)
            assert json.loads(answer.body)["errors"][0]["reason"] == "unknown_goal"
            time.sleep(1.5)
            receipt = collector.run("receipt", "k1")
            assert (receipt.returncode, "refused" in receipt.stdout) == (0, True)
            [entry] = json.loads(collector.run("quarantine", "list", "--format", "json").stdout)
            shown = collector.run("quarantine", "show", entry["id"])
            assert "\x1b" not in shown.stdout
            assert json.loads(shown.stdout.strip().splitlines()[-1]) == goal.body["events"][0]
            raw = collector.run("quarantine", "show", entry["id"], "--format", "raw").stdout
            assert json.loads(raw) == goal.body["events"][0]
            collector.terminate()
        site = example_site(goals=["new"])
        with CollectorProcess(directory, sites=[site]) as collector:
            if not beside:
                collector.terminate()
            report = json.loads(collector.run("quarantine", "replay", "--json").stdout)
            assert (report["accepted"], report["stays"]) == (1, {})
            again = json.loads(collector.run("quarantine", "replay", "--json").stdout)
            assert again["seen"] == 0
            receipt = collector.run("receipt", "k1", "--format", "json")
            found = json.loads(receipt.stdout)
            assert (receipt.returncode, found["verdict"]) == (0, "accepted")
            assert found["rows"][0]["flags"] == ["replayed"]
            assert _audit(collector)[0] == 0
            missing = collector.run("quarantine", "replay", str(uuid.UUID(int=1)))
            assert (missing.returncode, "not in quarantine" in missing.stderr) == (1, True)
            assert collector.run("receipt", "never").returncode == 1
            assert collector.run("quarantine", "show", "never").returncode == 1
