"""What the one-file program does before it is one: it removes what killed ones left behind."""

import fcntl
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house.source import ROOT

SCRIPT = ROOT / "binary" / "start.py"
START: dict[str, Any] = runpy.run_path(str(SCRIPT))
LEFT = "_MEI0000002aAbC123"


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder with what a killed program left in it."""
    _unpacked(tmp_path / LEFT)
    yield tmp_path
    START["clear_up"](tmp_path)


def _unpacked(folder: Path) -> Path:
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "library.so").write_bytes(b"code")
    (folder / START["_MARK"]).touch()
    return folder


def test_what_a_killed_program_left_is_removed(temporary: Path) -> None:
    """A folder of ours that nobody uses any more goes, with all that is in it."""
    START["clear_up"](temporary)
    assert list(temporary.iterdir()) == []


def test_what_is_in_use_stays(temporary: Path) -> None:
    """A folder stays for as long as a process that runs from it, or a fork of it, lives."""
    script = (
        "import os, runpy, sys\n"
        f"start = runpy.run_path({str(SCRIPT)!r})\n"
        "start['hold'](start['Path'](sys.argv[1]))\n"
        "if os.fork():\n"
        "    os._exit(0)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(temporary / LEFT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert process.wait() == 0, "the fork lives on"
        START["clear_up"](temporary)
        assert (temporary / LEFT / "package" / "library.so").exists()
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.read()
    START["clear_up"](temporary)
    assert not (temporary / LEFT).exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Other names, other programs' folders, one that is being unpacked, and links are let alone."""
    target = _unpacked(tmp_path / "elsewhere" / LEFT)
    others = [
        _unpacked(tmp_path / "_MEI0000002aAbC12"),
        _unpacked(tmp_path / "_MEIxyz0002aAbC123"),
        _unpacked(tmp_path / f"{LEFT}.old"),
    ]
    unmarked = _unpacked(tmp_path / "_MEI0000002bAbC123")
    (unmarked / START["_MARK"]).unlink()
    link = tmp_path / "_MEI0000002cAbC123"
    link.symlink_to(target)
    START["clear_up"](tmp_path)
    assert all(folder.is_dir() for folder in (target, unmarked, *others))
    assert link.is_symlink()


def test_a_folder_is_locked_before_it_bears_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody finds a folder that looks left over while its program is about to say otherwise."""
    folder = _unpacked(tmp_path / LEFT)
    (folder / START["_MARK"]).unlink()
    seen = []

    def locking(descriptor: int, kind: int) -> None:
        seen.append((kind, (folder / START["_MARK"]).exists()))
        os.close(descriptor)

    monkeypatch.setattr(fcntl, "flock", locking)
    START["hold"](folder)
    assert seen == [(fcntl.LOCK_SH, False)]
    assert (folder / START["_MARK"]).exists()


def test_a_start_without_its_launcher_ends() -> None:
    """A program whose launcher was killed while it was starting does not run alone."""
    script = (
        f"import runpy\nstart = runpy.run_path({str(SCRIPT)!r})\n"
        "start['end_with_launcher'](2**22 + 1)\nprint('runs alone')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")
