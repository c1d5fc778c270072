"""The one-file program beside the installed one: size, time to start, memory when ready.

`python -m bench.binary` takes `dist/collector` (`make binary`) and this environment; further
programs are given as NAME=PATH. All take turns. Sends no events.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from bench.figures import Figure, median_figure, table
from bench.target import PROGRAM, Collector, compile_packages

_ROOT: Final = Path(__file__).resolve().parent.parent
_BINARY: Final = _ROOT / "dist" / "collector"
_TIMEOUT_S: Final = 60.0


class _Program(msgspec.Struct):
    """What was measured of one program, round by round. Megabytes are 10^6 bytes."""

    command: Sequence[str]
    version_s: list[float] = []
    ready_s: list[float] = []
    ready_mb: list[float] = []
    unpacked_mb: float = 0.0


def _measure(program: _Program, temporary: Path) -> None:
    """One round: a command that only says its version, then a collector without data."""
    began_s = time.perf_counter()
    command = [*program.command, "--version"]
    subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
    program.version_s.append(time.perf_counter() - began_s)
    with Collector(temporary, program=program.command) as collector:
        program.ready_s.append(collector.start())
        program.ready_mb.append(collector.group_mb())
        program.unpacked_mb = sum(_size_mb(path) for path in temporary.glob("_MEI*"))


def _size_mb(path: Path) -> float:
    """Of a file, or of all files in a folder; links are not followed."""
    found = path.rglob("*") if path.is_dir() else [path]
    return sum(one.lstat().st_size for one in found if one.is_file()) / 1e6


def _figures(programs: Mapping[str, _Program]) -> list[Figure]:
    found = []
    for name, program in programs.items():
        path = Path(program.command[0])
        if len(program.command) == 1:
            found.append(Figure(f"{name}_mb", _size_mb(path), "MB", "on disk"))
        if program.unpacked_mb:
            found.append(Figure(f"{name}_unpacked_mb", program.unpacked_mb, "MB", "while it runs"))
        found += [
            median_figure(f"{name}_version_s", program.version_s, "s", "a command"),
            median_figure(f"{name}_ready_s", program.ready_s, "s", "serve, until ready"),
            Figure(f"{name}_ready_mb", statistics.median(program.ready_mb), "MB", "memory (Pss)"),
        ]
    return found


@click.command()
@click.option("--rounds", default=7, show_default=True, help="How often each is started.")
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Unpack and write here. [default: the system's temporary folder]",
)
@click.argument("others", nargs=-1, metavar="[NAME=PATH]...")
def main(rounds: int, directory: Path | None, others: Sequence[str]) -> None:
    """Print size, seconds to start and memory of the one-file program and of others."""
    compile_packages()
    programs = {"binary": _Program([str(_BINARY)]), "installed": _Program(PROGRAM)}
    for name, _, path in (one.partition("=") for one in others):
        programs[name] = _Program([str(Path(path).resolve())])
    with tempfile.TemporaryDirectory(prefix="collector-bench-", dir=directory) as temporary:
        os.environ["TMPDIR"] = temporary
        for _ in range(rounds):
            for program in programs.values():
                _measure(program, Path(temporary))
    click.echo(table(_figures(programs)))


if __name__ == "__main__":
    main()
