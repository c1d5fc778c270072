"""One line per run: when, on what, with which versions, what was measured. Appends, never edits.

The line tells of the machine what explains a number (CPU, cores, memory, kernel, file system), and
nothing that tells which machine it is.
"""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from bench.figures import Figure
from bench.options import Options

FILE: Final = Path(__file__).resolve().parent / "history.ndjson"
# Drawn from it by `bench.targets`.
PICTURE: Final = FILE.with_suffix(".svg")
_PACKAGES: Final = ("granian", "msgspec", "duckdb", "xxhash", "uvloop")
_SYNC_BYTES: Final = 30_000
_SYNCS: Final = 100


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures were measured on. `sync_ms`: writing 30 KB at the end of a file, synced."""

    cpu: str
    cores: int
    memory_mb: int
    kernel: str
    file_system: str
    sync_ms: float

    @property
    def told(self) -> str:
        """In words, on one line."""
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_mb:,} MB, {self.file_system}, "
            f"sync of 30 KB {self.sync_ms:.2f} ms"
        )


class Run(msgspec.Struct, kw_only=True):
    """One line of the history. `figures` maps names to values, units are in the names."""

    date: str
    commit: str
    is_clean: bool
    machine: Machine
    versions: dict[str, str]
    options: dict[str, int | float]
    figures: dict[str, float]


_decoder: Final = msgspec.json.Decoder(Run)


def describe(options: Options, figures: Sequence[Figure]) -> Run:
    """Put a run into words for the history."""
    settings = {
        name: value
        for name in options.__struct_fields__
        if type(value := getattr(options, name)) in {int, float}
    }
    commit, is_clean = _commit()
    return Run(
        date=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        commit=commit,
        is_clean=is_clean,
        machine=machine(options.directory),
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        options=settings,
        figures={figure.name: float(f"{figure.value:.6g}") for figure in figures},
    )


def append(run: Run, path: Path = FILE) -> None:
    """Add `run` to the history at `path`."""
    with path.open("ab") as history:
        history.write(msgspec.json.encode(run) + b"\n")


def read(path: Path = FILE) -> list[Run]:
    """All runs of the history at `path`, oldest first. Raises OSError or `msgspec.DecodeError`."""
    return _decoder.decode_lines(path.read_bytes())


def machine(directory: Path) -> Machine:
    """This machine, with the disk below `directory`."""
    return Machine(
        cpu=_field("/proc/cpuinfo", "model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        kernel=".".join(platform.release().split(".")[:2]),
        file_system=file_system(directory),
        sync_ms=round(_sync_ms(directory), 3),
    )


def file_system(directory: Path) -> str:
    """Type of the file system that holds `directory`, "" when unknown."""
    best, kind = Path(), ""
    resolved = directory.resolve()
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        if resolved.is_relative_to(mount) and len(mount) >= len(str(best)):
            best, kind = Path(mount), found
    return kind


def _sync_ms(directory: Path) -> float:
    """Milliseconds to append 30 KB and force them to disk, the middle one of many."""
    path = directory / f"collector-bench-sync-{os.getpid()}"
    block = os.urandom(_SYNC_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    times = []
    try:
        for _ in range(_SYNCS):
            began_s = time.perf_counter()
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - began_s)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(times) * 1000


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _commit() -> tuple[str, bool]:
    """The commit checked out, and whether nothing was changed since; "" outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        # These files change by the very run that is described.
        ours = (f":!{FILE.name}", f":!{PICTURE.name}")
        changed = _git("--no-optional-locks", "status", "--porcelain", "--", ":/", *ours)
    except (OSError, subprocess.CalledProcessError):
        return "", False
    return commit, not changed


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=FILE.parent, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
