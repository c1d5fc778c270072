"""`collector prove`, with real collectors: it finds nothing wrong here, and could."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.prove import disturbing, smalldisk
from collector.prove.child import Collector
from collector.prove.proof import FULL_DISK, Options, Proof
from collector.prove.report import Report
from storage import layout
from tests.support.process import wait_until

pytestmark = pytest.mark.end_to_end

# By hand more: COLLECTOR_PROVE_ROUNDS=500 .venv/bin/python -m pytest tests/end_to_end/test_prove.py
ROUNDS = int(os.environ.get("COLLECTOR_PROVE_ROUNDS", "10"))


@contextlib.contextmanager
def _started(directory: Path, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    proof = subprocess.Popen(
        [sys.executable, "-m", "collector", "prove", "--directory", str(directory), *arguments],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        yield proof
    finally:
        # Its collector ends with it.
        proof.kill()
        proof.communicate()


def _left(directory: Path) -> list[str]:
    """Processes that still have to do with a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(directory) in command:
                found.append(command)
    return found


def test_every_kind_of_round(tmp_path: Path) -> None:
    """Each kind once, chosen as the seed says: nothing is lost, and nothing is left behind."""
    sizes = ("--rounds", str(ROUNDS), "--seconds", "0.4", "--events", "4000")
    with _started(tmp_path, "--json", "--seed", "20261126", *sizes) as proof:
        out, err = proof.communicate(timeout=300 + 30 * ROUNDS)
    assert proof.returncode == 0, out + err
    report = json.loads(out)
    assert sum(report["rounds"].values()) == ROUNDS
    assert report["rounds"].keys() == {*disturbing.KINDS, FULL_DISK}
    assert report["acknowledged"] == report["found"] > 1_000
    wrong = ("lost", "doubled", "strange_rows", "unreadable_files", "faults")
    assert not any(report[name] for name in wrong)
    assert report["answered_later"] > 0, "writes were refused"
    assert report["repeated"] > 0
    assert report["audits"] >= 1
    assert 0 < report["recovery_p50_s"] <= report["recovery_max_s"]
    assert report["full_disk"]
    assert f"of {ROUNDS}, " in err
    assert list(tmp_path.iterdir()) == []
    assert _left(tmp_path) == []


# --- it can fail


def _proof(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kinds: list[str] | None = None
) -> Proof:
    # The first fault ends it; a busy machine may need a while to make a file.
    chosen = kinds or ["kill"] * 30
    monkeypatch.setattr(Proof, "_kinds", lambda _self: iter(chosen))
    options = Options(
        below=directory,
        rounds=len(chosen),
        seed=1,
        load_s=0.5,
        batched_max=3_000,
        durability="sync",
        keeps=False,
    )
    return Proof(options, now_us=1, monotonic_s=time.monotonic, tell=lambda _n, _report: None)


def _with_sabotage(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: Callable[[Path], object],
    times: int = 1,
) -> Report:
    """A proof during which `sabotage` is done to the data, between kills and restarts."""
    start = Collector.start
    done: list[object] = []

    def disturbed(self: Collector) -> None:
        if len(done) < times and _parts(self.place.directory):
            done.append(sabotage(self.place.directory))
        start(self)

    monkeypatch.setattr(Collector, "start", disturbed)
    report = _proof(directory, monkeypatch).run()
    assert done, "there was a part by then"
    return report


def _parts(data: Path) -> list[Path]:
    return sorted((data / layout.EVENTS).glob("**/*.parquet"))


def _remove_part(data: Path) -> None:
    _parts(data)[0].unlink()


def _remove_log(data: Path) -> None:
    for segment in (data / layout.WAL).glob("*.ndjson"):
        segment.unlink()


def _double_part(data: Path) -> None:
    part = _parts(data)[0]
    shutil.copy(part, part.with_name(f"part-{10**6:012d}-{10**6:012d}.parquet"))


def _break_part(data: Path) -> None:
    part = _parts(data)[0]
    part.write_bytes(part.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("sabotage", "counts"),
    [
        (_remove_part, {"lost"}),
        (_remove_log, {"lost"}),
        (_double_part, {"doubled"}),
        (_break_part, {"lost", "unreadable_files"}),
    ],
    ids=["part removed", "log removed", "part doubled", "part broken"],
)
def test_it_finds_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: Callable[[Path], object],
    counts: set[str],
) -> None:
    """Rows that are gone or there twice, a file that cannot be read: told, named, and kept."""
    report = _with_sabotage(tmp_path, monkeypatch, sabotage)
    assert not report.is_passed
    names = ("lost", "doubled", "strange_rows", "unreadable_files")
    assert {name for name in names if getattr(report, name)} == counts
    assert bool(report.ids_lost) == ("lost" in counts)
    assert bool(report.ids_doubled) == ("doubled" in counts)
    assert bool(report.unreadable) == ("unreadable_files" in counts)
    assert (Path(report.kept) / "main" / "data" / layout.EVENTS).is_dir()
    assert _left(tmp_path) == []


def test_keys_that_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledged events that are no longer known as such: sent once more, they are doubled."""

    def forget(data: Path) -> None:
        # Rows move to where no start looks for their keys.
        for part in _parts(data):
            day = part.parent.with_name("date=2020-01-01")
            day.mkdir(exist_ok=True)
            part.rename(day / part.name)

    # Each time, for what is sent once more may be what is in the log still.
    report = _with_sabotage(tmp_path, monkeypatch, forget, times=30)
    assert any("called repeats" in fault for fault in report.faults)
    assert not report.is_passed


def test_a_collector_that_does_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it logged is told, and what can be read is counted all the same."""

    def spoil(data: Path) -> None:
        folder = data / layout.WAL
        (folder / layout.segment_name(900_000)).write_bytes(b"broken")
        (folder / layout.segment_name(900_001)).write_bytes(b"broken")

    report = _with_sabotage(tmp_path, monkeypatch, spoil)
    assert not report.is_passed
    assert any("damaged" in fault for fault in report.faults)
    assert report.lost == 0
    assert report.found == report.acknowledged > 0


def test_exit_code_of_a_failure(tmp_path: Path) -> None:
    """Exit code 1, the ids in the text, the folder named; here the data go behind its back."""
    with _started(tmp_path, "--rounds", "40", "--seconds", "0.3", "--seed", "3") as proof:

        def removed() -> bool:
            parts = list(tmp_path.glob("collector-prove-*/main/data/events/**/*.parquet"))
            for part in parts:
                part.unlink(missing_ok=True)
            return bool(parts)

        wait_until(removed, timeout_s=200, what="a part")
        out, err = proof.communicate(timeout=300)
    assert proof.returncode == 1, out + err
    assert "FAILED" in out
    assert "\nlost: " in out
    [kept] = tmp_path.iterdir()
    assert f"Kept for you to look at, and to remove: {kept}" in out


# --- ending early, and disks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with what is known so far; nothing is left behind."""
    with _started(tmp_path, "--rounds", "1000", "--seconds", "0.3", "--json") as proof:
        assert proof.stderr is not None
        assert proof.stderr.readline().startswith("in ")
        assert "round" in proof.stderr.readline()
        proof.send_signal(number)
        out, err = proof.communicate(timeout=200)
    assert proof.returncode == 0, out + err
    report = json.loads(out)
    assert report["is_interrupted"]
    assert report["acknowledged"] == report["found"] > 0
    assert list(tmp_path.iterdir()) == []
    assert _left(tmp_path) == []


def test_killed_itself(tmp_path: Path) -> None:
    """Kill -9 of the proof takes its collector along (util-linux has what that needs)."""
    with _started(tmp_path, "--rounds", "1000") as proof:
        wait_until(lambda: len(_left(tmp_path)) >= 3, timeout_s=200, what="a collector")
        proof.kill()
        wait_until(lambda: not _left(tmp_path), timeout_s=20, what="all are gone")


def test_full_disk_without_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be mounted, the least free space that the collector wants stands in."""
    monkeypatch.setattr(smalldisk.SmallDisk, "_maybe_mounted", lambda _self: None)
    report = _proof(tmp_path, monkeypatch, [FULL_DISK]).run()
    assert report.is_passed, report.faults
    assert report.answered_later > 0
    assert "disk_free_bytes_min" in report.full_disk
    assert list(tmp_path.iterdir()) == []
