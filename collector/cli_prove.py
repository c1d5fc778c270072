"""The command that puts a collector through kills and faults on somebody's own disk: `prove`."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click
import msgspec

from collector import ids
from collector.cli_shared import config_option, load, told_plainly
from collector.prove import report as reports
from collector.prove.place import existing
from collector.prove.proof import Options, Proof
from collector.prove.report import Report

_EXIT_FAILED: Final = 1
_ROUNDS_MAX: Final = 100_000
_LINE_S: Final = 5.0
_encoder: Final = msgspec.json.Encoder()


@click.command()
@config_option
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Make the private folder here. [default: where the configured data directory lies]",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, _ROUNDS_MAX),
    default=20,
    show_default=True,
    help="How often; a round takes about 2 s.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60.0),
    default=1.0,
    show_default=True,
    help="Load before the disturbance of a round, at most.",
)
@click.option(
    "--events",
    type=click.IntRange(0, 1_000_000),
    default=20_000,
    show_default=True,
    help="Events sent in batches per round, at most; single ones come on top.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63),
    help="Repeat the choices of another run; when what happens differs. [default: random]",
)
@click.option("--keep", is_flag=True, help="Do not remove the folder.")
@click.option("--json", "is_json", is_flag=True, help="Print the report as one JSON object.")
def prove(
    path: Path | None, directory: Path | None, seed: int | None, is_json: bool, **choices: float
) -> None:
    """Show that acknowledged events survive on your own disk; exit code 1 if not.

    Starts a private collector in a new folder, sends it events of all three protocols, and round
    after round kills it with -9 (while it writes, starts, makes and joins files, stops), lets its
    writes fail, or fills a small disk; then starts it again and compares what was acknowledged with
    the rows that can be read. Your own collector and its data are not touched. `durability` is the
    configured one. What this shows and what not: docs/DURABILITY.md.
    """
    config = load(path)
    options = Options(
        below=directory or existing(config.storage.directory.parent),
        rounds=int(choices["rounds"]),
        seed=ids.random_seed() if seed is None else seed,
        load_s=choices["seconds"],
        batched_max=int(choices["events"]),
        durability=config.storage.durability,
        keeps=bool(choices["keep"]),
    )
    with told_plainly(), _progress(options.rounds) as tell:
        proof = Proof(
            options, now_us=time.time_ns() // 1_000, monotonic_s=time.monotonic, tell=tell
        )
        click.echo(f"in {proof.folder}", err=True)
        with _ended_by_signals(proof):
            report = proof.run()
    click.echo(_encoder.encode(report) if is_json else reports.as_text(report))
    if not report.is_passed:
        sys.exit(_EXIT_FAILED)


@contextmanager
def _ended_by_signals(proof: Proof) -> Iterator[None]:
    """Have Ctrl-C and its like end `proof` with what is known, and with nothing left behind."""

    def end(_number: int, _frame: FrameType | None) -> None:
        if not proof.end_soon():
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(rounds: int) -> Iterator[Callable[[int, Report], None]]:
    """A bar on a terminal, a line now and then elsewhere, both on standard error."""
    if not sys.stderr.isatty():
        yield _tell_lines(rounds)
        return
    with click.progressbar(length=rounds, label="proving", file=sys.stderr) as bar:

        def tell(number: int, report: Report) -> None:
            bar.label = f"{report.acknowledged:,} acknowledged, {report.lost:,} lost"
            bar.update(number - bar.pos)

        yield tell


def _tell_lines(rounds: int) -> Callable[[int, Report], None]:
    told_s = 0.0

    def tell(number: int, report: Report) -> None:
        nonlocal told_s
        if number == rounds or report.seconds >= told_s + _LINE_S:
            told_s = report.seconds
            click.echo(
                f"{report.seconds:6.0f} s: round {number:,} of {rounds:,}, "
                f"{report.acknowledged:,} acknowledged, {report.lost:,} lost, "
                f"{report.doubled:,} doubled",
                err=True,
            )

    return tell
