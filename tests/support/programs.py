"""Programs that are not ours and not Python: on PATH, or unpacked by `tests/programs/setup`."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

_UNPACKED: Final = Path(__file__).parents[1] / "programs" / ".unpacked"
_FOLDERS: Final = ("usr/sbin", "usr/bin", "hadolint/bin")


def find(name: str) -> str:
    """The path of a program; the test that asks for one that is not there is skipped."""
    places = [_UNPACKED / folder / name for folder in _FOLDERS]
    found = shutil.which(name) or next((str(path) for path in places if path.is_file()), None)
    if found is None:
        pytest.skip(f"{name} is not installed (tests/programs/setup)")
    return found


def run(name: str, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """What a program says of `arguments`; its exit is not judged."""
    return subprocess.run(
        [find(name), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def passes(name: str, *arguments: str) -> str:
    """What a program prints that finds nothing wrong. Raises AssertionError with what it found."""
    result = run(name, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr
