"""What trouble with the disk and with starting looks like from outside, with a real server."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dialects import DIALECTS, Scanova, Zenovay
from tests.support.ledger import STORED_ID, Client, Ledger
from tests.support.process import Answer, CollectorProcess, wait_until

pytestmark = pytest.mark.end_to_end


def _post(collector: CollectorProcess, identity: str) -> Answer:
    sent = Zenovay().event(identity)
    return collector.request("POST", sent.path, body=json.dumps(sent.body), headers=sent.headers)


def test_second_process_on_the_directory(tmp_path: Path) -> None:
    """A clear error and exit code 1; the first collector is not disturbed."""
    with CollectorProcess(tmp_path) as collector:
        second = collector.run("serve", timeout_s=20)
        assert second.returncode == 1
        assert "in use by another collector" in second.stderr
        assert _post(collector, "a").status == 200


def test_port_in_use(tmp_path: Path) -> None:
    """A port that is taken: a clear error and exit code 1."""
    with CollectorProcess(tmp_path / "one") as collector:
        config = collector.config_path.read_text()
        collector.config_path.write_text(config.replace('= "data"', '= "other"'))
        second = collector.run("serve", timeout_s=20)
        assert second.returncode == 1
        assert f"cannot listen on 127.0.0.1:{collector.port}" in second.stderr


def test_damaged_log_stops_the_start(tmp_path: Path) -> None:
    """Damage: the server really stops, with exit code 1, naming file and offset; recover mends."""
    with CollectorProcess(tmp_path, storage={"publish_interval_ms": 3_600_000}) as collector:
        for identity in ("a", "b", "c"):
            assert _post(collector, identity).status == 200
        collector.kill()
        segment = next((collector.data / "wal").glob("*.ndjson"))
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 0x55
        segment.write_bytes(data)
        collector.start(wait=False)
        assert collector.wait_exit(15) == 1
        log = collector.log_tail()
        assert f"{segment.name}: damaged at byte" in log
        assert "collector recover" in log
        assert "DAMAGED" in collector.run("inspect-log").stdout
        assert collector.run("recover").returncode == 1
        mended = collector.run("recover", "--cut-damaged")
        assert mended.returncode == 0, mended.stderr
        collector.start()
        assert collector.query("SELECT count(*) AS n FROM events")[0]["n"] == 1
        assert list((collector.data / "wal").glob("torn-*"))


def test_check_tells_every_fault(tmp_path: Path) -> None:
    """A faulty configuration: exit code 2, one line per fault; serve refuses it alike."""
    config = tmp_path / "config.toml"
    config.write_text('[server]\nport = "x"\n[storage]\npublish_interval_ms = 5\n')
    collector = CollectorProcess(tmp_path)
    for command in ("check", "serve"):
        result = collector.run(command)
        assert result.returncode == 2
        lines = result.stderr.splitlines()
        assert len(lines) == 2
        assert all("config.toml" in line for line in lines)
        assert "server.port" in lines[0]
        assert "storage.publish_interval_ms" in lines[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(ballast: Path) -> None:
    """Write until nothing goes any more."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(65_536)):
            pass


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """A full disk: 503 with Retry-After, not ready, reading goes on, service resumes, none lost."""
    ballast = small_disk / "ballast"
    ledger = Ledger()
    with CollectorProcess(
        tmp_path / "c", storage={"directory": str(small_disk / "data"), "publish_interval_ms": 500}
    ) as collector:
        client = Client(collector.port, ledger, 1, "zenovay")
        client.start()
        time.sleep(0.5)
        _fill(ballast)
        wait_until(
            lambda: collector.request("GET", "/readyz").status == 503,
            timeout_s=10,
            what="not ready on a full disk",
        )
        for dialect in DIALECTS:
            sent = dialect.event("full")
            answer = collector.request(
                "POST", sent.path, body=json.dumps(sent.body), headers=sent.headers
            )
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert dialect.code_of(answer.status, answer.body)
        assert collector.request("GET", "/healthz").status == 200
        assert collector.query("SELECT count(*) AS n FROM events")[0]["n"] > 0
        ballast.unlink()
        collector.wait_ready(15)
        before = len(ledger.acknowledged)
        wait_until(lambda: len(ledger.acknowledged) > before, timeout_s=10, what="service resumes")
        client.finish()
        assert collector.terminate() == 0
        rows = collector.published(f"SELECT {STORED_ID} AS id FROM events")  # noqa: S608
        stored = [row["id"] for row in rows]
    assert ledger.acknowledged <= set(stored)
    assert len(stored) == len(set(stored))


_FAILING_SYNC = """
import errno, os
_real = os.fdatasync
def _fdatasync(descriptor):
    if os.path.exists({trigger!r}):
        os.unlink({trigger!r})
        raise OSError(errno.EIO, "Input/output error")
    _real(descriptor)
os.fdatasync = _fdatasync
"""


def test_failed_sync_ends_the_worker(tmp_path: Path) -> None:
    """A failed sync: no success, the worker ends, another starts, recovery decides, none lost."""
    trigger = tmp_path / "fail"
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(_FAILING_SYNC.format(trigger=str(trigger)))
    with CollectorProcess(tmp_path / "c", environment={"PYTHONPATH": str(patch)}) as collector:
        assert _post(collector, "a").status == 200
        pids = collector.pids
        trigger.touch()
        answer = _post(collector, "b")
        assert answer.status == 503
        assert "retry-after" in answer.headers
        collector.wait_another_worker(pids)
        assert "sync failed" in collector.log_tail()
        assert _post(collector, "b").status == 200
        assert collector.query("SELECT count(*) AS n FROM events")[0]["n"] == 2


def test_kill_9_of_the_supervisor_takes_the_worker_along(tmp_path: Path) -> None:
    """An orphan would keep port and directory: a restart right after the kill just works."""
    with CollectorProcess(tmp_path) as collector:
        assert _post(collector, "a").status == 200
        main = collector.pid
        collector.kill_main()
        wait_until(lambda: not collector.pids, timeout_s=5, what="the worker is gone")
        assert main not in collector.pids
        collector.restart()
        assert collector.query("SELECT count(*) AS n FROM events")[0]["n"] == 1


def test_idle_collector_writes_nothing(tmp_path: Path) -> None:
    """Without events no file below the data directory is made or changed."""
    with CollectorProcess(tmp_path, storage={"publish_interval_ms": 100}) as collector:
        sent = Scanova().event("a")
        collector.request("POST", sent.path, body=json.dumps(sent.body), headers=sent.headers)
        time.sleep(1)

        def listing() -> dict[str, tuple[int, int]]:
            files = (path for path in collector.data.rglob("*") if path.is_file())
            return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in files}

        before = listing()
        time.sleep(1.5)
        assert listing() == before


def test_example_configuration_works_unchanged(tmp_path: Path) -> None:
    """config.example.toml as it is: starts, takes an event of each protocol, answers a query."""
    example = Path(__file__).parents[2] / "config.example.toml"
    with CollectorProcess(tmp_path) as collector:
        port = str(collector.port)
        collector.terminate()
        text = example.read_text()
        assert "port = 8000" in text
        collector.config_path.write_text(text.replace("port = 8000", f"port = {port}"))
        shutil.rmtree(collector.data)
        collector.start()
        for dialect in DIALECTS:
            sent = dialect.event("example")
            answer = collector.request(
                "POST", sent.path, body=json.dumps(sent.body), headers=sent.headers
            )
            assert dialect.is_success(answer.status, answer.body), answer
        rows = collector.query("SELECT DISTINCT protocol FROM events ORDER BY ALL")
        assert [row["protocol"] for row in rows] == ["croct", "scanova", "zenovay"]
