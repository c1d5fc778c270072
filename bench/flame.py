"""Flame graphs of singles and batches: `python -m bench.flame` draws them into docs/images.

A collector in a process of its own is handed requests as in `inprocess`, while py-spy looks from
outside what it is doing, C functions included, some hundred times a second. While it looks the
process stands still: shares are right, rates are not. `--pid` looks at a worker that runs already.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec
import uvloop

from bench import flamegraph, stacks
from bench.corpus import Account, Traffic

_ROOT: Final = Path(__file__).resolve().parent.parent
_IMAGES: Final = _ROOT / "docs" / "images"
_PREPARED_EVENTS: Final = 20_000
_READY: Final = "ready"
# Looking takes longer than the seconds that are asked for, because the process is stopped for it.
_PATIENCE: Final = 10


class _Case(msgspec.Struct, frozen=True):
    """What is handed over, and what the picture is called."""

    traffic: Traffic
    size: int
    in_flight: int
    title: str


_CASES: Final = {
    "singles": _Case("scanova", 1, 64, "Scanova events, one per request, 64 in flight"),
    "beacons": _Case("croct", 1, 64, "Croct beacons, one per request, 64 in flight"),
    "batches": _Case("zenovay", 1_000, 4, "Zenovay events, 1,000 per request, 4 in flight"),
}


class LookFailed(Exception):
    """Nothing was seen, for the reason in the message."""


async def _hand_over(case: _Case, directory: Path) -> None:
    """Hand requests over without end; says so when it begins."""
    # Who only draws needs no collector.
    from bench.requests import accepted, configured, prepare  # noqa: PLC0415
    from collector.service import Service  # noqa: PLC0415

    account = Account(host="127.0.0.1:8000")
    edge = await Service(configured(account, directory)).start()
    seed = 0
    while True:
        seed += 1
        count = _PREPARED_EVENTS // case.size
        requests = prepare(case.traffic, case.size, account, count, seed)
        await accepted(edge, requests, case.in_flight)
        if seed == 1:
            sys.stdout.write(f"{_READY}\n")
            sys.stdout.flush()


@contextmanager
def _at_work(name: str) -> Iterator[int]:
    """A process that is handed requests of a case; its id. Raises `LookFailed`."""
    with tempfile.TemporaryDirectory(prefix="collector-bench-") as folder:
        command = [sys.executable, "-m", "bench.flame", "--hand-over", folder, name]
        with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None, "it is a pipe"
                if process.stdout.readline().strip() != _READY:
                    raise LookFailed("the process that was to be looked at did not start")
                yield process.pid
            finally:
                process.kill()


def _look(pid: int, seconds: int, rate: int) -> str:
    """What py-spy sees of a process, in its raw format. Raises `LookFailed`."""
    here = Path(sys.executable).parent
    program = shutil.which("py-spy", path=str(here)) or shutil.which("py-spy")
    if program is None:
        raise LookFailed("py-spy is not installed; it is among the packages for development")
    with tempfile.TemporaryDirectory(prefix="collector-bench-") as folder:
        raw = Path(folder) / "raw"
        command = [program, "record", "--native", "--format", "raw", "--output", str(raw)]
        command += ["--pid", str(pid), "--duration", str(seconds), "--rate", str(rate)]
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=seconds * _PATIENCE
            )
            return raw.read_text(errors="replace")
        except subprocess.CalledProcessError as error:
            raise LookFailed(error.stderr.partition("Stack backtrace")[0].strip()) from None
        except subprocess.TimeoutExpired:
            raise LookFailed("py-spy did not end in time") from None


def picture(raw: str, title: str, rate: int) -> str:
    """The picture of what py-spy saw. Raises `LookFailed` where nothing was at work."""
    root = flamegraph.grown(stacks.read(raw))
    if not root.samples:
        raise LookFailed("nothing was at work")
    return flamegraph.draw(
        root, title, f"{root.samples:,} samples at work, {rate} a second; waiting is left out"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("names", metavar="[CASE]...", nargs=-1, type=click.Choice([*_CASES]))
@click.option("--seconds", type=click.IntRange(1, 60), default=10, help="How long to look.")
@click.option("--rate", type=click.IntRange(10, 1_000), default=200, help="Looks per second.")
@click.option(
    "--images",
    type=click.Path(file_okay=False, path_type=Path),
    default=_IMAGES,
    show_default=False,
    help="Where pictures go, as flame-CASE.svg.  [default: docs/images]",
)
@click.option("--pid", type=int, help="Look at this process instead; flame-worker.svg.")
@click.option(
    "--hand-over",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    hidden=True,
)
def main(
    names: tuple[str, ...],
    *,
    seconds: int,
    rate: int,
    images: Path,
    pid: int | None,
    directory: Path | None,
) -> None:
    """Draw where the time of singles, beacons and batches goes; all of them by default."""
    if directory is not None:
        uvloop.run(_hand_over(_CASES[names[0]], directory))
        return
    images.mkdir(parents=True, exist_ok=True)
    try:
        if pid is not None:
            _draw(pid, "worker", f"worker {pid}", (seconds, rate), images)
            return
        for name in names or _CASES:
            with _at_work(name) as process:
                _draw(process, name, _CASES[name].title, (seconds, rate), images)
    except LookFailed as error:
        raise click.ClickException(str(error)) from error


def _draw(pid: int, name: str, title: str, how: tuple[int, int], images: Path) -> None:
    seconds, rate = how
    file = images / f"flame-{name}.svg"
    file.write_text(picture(_look(pid, seconds, rate), title, rate))
    click.echo(f"{file}: {title}")


if __name__ == "__main__":
    main()
