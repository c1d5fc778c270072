"""Copies of rows in temporary folders: they go with the command, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.cli import main
from storage import Files
from tests.support.lake import DataDirectory

LONG = "SELECT count(*) FROM range(100000000000) a, range(10) b WHERE a.range % 7 = b.range"
WAIT_S = 30


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, and a data directory with a row in the log beside it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    (tmp_path / "config.toml").write_text('[storage]\ndirectory = "data"\n')
    DataDirectory(tmp_path / "data").append(1, 1)
    return folder


def killed(scratch: Path, number: signal.Signals) -> int:
    """Exit code of a `collector query` that a signal ends while it has a copy of the log."""
    config = str(scratch.parent / "config.toml")
    command = [sys.executable, "-m", "collector", "query", "--config", config, LONG]
    process = subprocess.Popen(command)
    try:
        until(lambda: any(scratch.rglob("*.ndjson")))
        process.send_signal(number)
        return process.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_copy_of_rows(scratch: Path, number: signal.Signals) -> None:
    """The command ends by the signal, and its folder is gone."""
    assert killed(scratch, number) == -number
    assert list(scratch.iterdir()) == []


def test_what_a_kill_left_goes_at_the_next_use(scratch: Path) -> None:
    """After kill -9 the next command removes the copy that stayed."""
    assert killed(scratch, signal.SIGKILL) == -signal.SIGKILL
    assert len(list(scratch.rglob("*.ndjson"))) == 1
    config = str(scratch.parent / "config.toml")
    assert CliRunner().invoke(main, ["query", "--config", config, "SELECT 1"]).exit_code == 0
    assert list(scratch.iterdir()) == []


def test_folders_in_use_and_of_others_stay(scratch: Path) -> None:
    """None of a living process, none that is locked, no link, and no name that is not ours."""
    gone = dead_process()
    outside = scratch.parent / "outside"
    for name in ("collector-cache", "collector-0-x", f"other-{gone}-x", f"collector-{gone}-dead"):
        (scratch / name).mkdir()
    outside.mkdir()
    (scratch / f"collector-{gone}-link").symlink_to(outside)
    (scratch / f"collector-{gone}-file").write_text("")
    (scratch / f"collector-{os.getpid()}-mine").mkdir()
    locked = scratch / f"collector-{gone}-of-another-container"
    with Files().scratch() as folder:
        folder.rename(locked)
        Files().clear_scratch()
        assert locked.is_dir()
    before = {path.name for path in scratch.iterdir()}
    assert f"collector-{gone}-dead" not in before
    Files().clear_scratch()
    assert {path.name for path in scratch.iterdir()} == before - {locked.name}
    assert outside.is_dir()


def test_a_folder_of_another_user_stays(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary folder is everybody's: only what this user made is removed."""
    folder = scratch / f"collector-{dead_process()}-x"
    folder.mkdir()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    Files().clear_scratch()
    assert folder.is_dir()
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    Files().clear_scratch()
    assert not folder.exists()


def test_what_a_killed_command_left_beside_its_output_goes(tmp_path: Path) -> None:
    """The next one for the same name removes it; of the living and of other names it stays."""
    gone, mine = dead_process(), os.getpid()
    left = tmp_path / f".copy-{gone}-abc_1.partial"
    others = [
        tmp_path / name
        for name in (
            f".copy-{mine}-abc.partial",
            f".copy-{gone}-{gone}-abc.partial",  # for `copy-<number>`
            f".other-{gone}-abc.partial",
            f".copy-{gone}-abc",
        )
    ]
    for folder in (left, *others):
        (folder / "date=2026-11-26").mkdir(parents=True)
        (folder / "date=2026-11-26" / "part").write_text("rows of somebody")
    with Files().beside(tmp_path / "copy") as folder:
        assert not left.exists()
        assert folder.name.startswith(f".copy-{mine}-")
        # As another container sees it, whose processes have other ids.
        elsewhere = folder.rename(left)
        with Files().beside(tmp_path / "copy"):
            assert elsewhere.is_dir(), "in use"
    with Files().beside(tmp_path / "copy"):
        assert not left.exists()
    assert all((other / "date=2026-11-26" / "part").exists() for other in others)


def dead_process() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
