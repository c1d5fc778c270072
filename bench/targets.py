"""Measure what is promised: `python -m bench.targets [MEASURE]...`, the command of `make bench`.

Owns which measures make up the table of targets, how long each takes, and what becomes of their
figures: a table, a line of the history, and a picture of all its lines.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from bench import chart, durable, history
from bench.checks import checks
from bench.figures import Figure, table
from bench.fleet import LoadFailed
from bench.flush import flush
from bench.flushing import flushing
from bench.freshness import fresh_at_load
from bench.generator import CONNECTIONS_MAX
from bench.goals import GOALS, goals_table, spreads
from bench.growth import growth
from bench.memory import memory
from bench.options import Options
from bench.restart import cold_starts, restart
from bench.switches import directory_option, history_option
from bench.target import NotReady, compile_packages

# What is to be joined is looked at every ten seconds: each round must have one such look.
_JOINING_ROUND_S: Final = 10.5
_QUICK_ROUND_S: Final = 1.0


def _flush(options: Options) -> list[Figure]:
    return flush(options, options.rounds)


def _flushing(options: Options) -> list[Figure]:
    seconds = options.rounds * max(options.round_s, _JOINING_ROUND_S)
    return flushing(msgspec.structs.replace(options, seconds=seconds))


def _restart(options: Options) -> list[Figure]:
    # How long a cold start takes is measured for itself, in rounds.
    figures = restart(options, options.rounds)
    return [figure for figure in figures if figure.name != "start_empty_s"]


class Measure(msgspec.Struct, frozen=True):
    """One or several rows of the table. `is_long`: left out of a quick run."""

    words: str
    measured: Callable[[Options], list[Figure]]
    is_long: bool = False


MEASURES: Final = {
    "singles": Measure("one event per request against the bare handler", durable.singles),
    "batches": Measure("1,000 events per request against decoding alone", durable.batches),
    "checks": Measure("browsers' events with and without checks", checks),
    "flush": Measure("rows from the log to Parquet", _flush),
    "flushing": Measure("intake while flushing and joining, 4 minutes", _flushing, is_long=True),
    "freshness": Measure("acknowledged to readable", fresh_at_load),
    "start": Measure("start to ready on an empty directory", cold_starts),
    "restart": Measure("kill -9 to ready, 1,000,000 rows in the log", _restart, is_long=True),
    "growth": Measure("intake with 100 million keys, 5 minutes", growth, is_long=True),
    "memory": Measure("resident memory, as many minutes as --minutes", memory, is_long=True),
}
_HELP: Final = "\b\n" + "\n".join(f"  {name:<10} {one.words}" for name, one in MEASURES.items())


def quick(options: Options) -> Options:
    """The same within two minutes: two rounds of a second, fewer rows; long measures left out."""
    return msgspec.structs.replace(options, rounds=2, seconds=2 * _QUICK_ROUND_S, flush_rows=50_000)


def measure(names: Sequence[str], options: Options) -> tuple[list[Figure], list[str]]:
    """The figures of the measures called `names`, and which of them failed, with the reason."""
    compile_packages()
    figures: list[Figure] = []
    failures: list[str] = []
    for name in names:
        began_s = time.perf_counter()
        sys.stderr.write(f"{name} ... ")
        sys.stderr.flush()
        try:
            figures += MEASURES[name].measured(options)
        except (LoadFailed, NotReady) as error:
            failures.append(f"{name}: {error}")
        sys.stderr.write(f"{time.perf_counter() - began_s:.0f} s\n")
    return figures, failures


def told(names: Sequence[str], figures: Sequence[Figure], run: history.Run) -> str:
    """What is printed: the machine, the table of the measures `names`, all other figures."""
    goals = [goal for goal in GOALS if goal.measure in names]
    in_table = {goal.name for goal in goals}
    others = [figure for figure in figures if figure.name not in in_table]
    left_out = [name for name in MEASURES if name not in names]
    parts = [
        f"{run.machine.told}; rounds: {run.options['rounds']}",
        goals_table(figures, goals),
        *([f"left out: {', '.join(left_out)}"] if left_out else []),
        table(others),
    ]
    return "\n\n".join(parts)


@click.command(
    help="Measure what is promised, about half an hour. MEASURE is any of these, all of them by "
    f"default:\n\n{_HELP}",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.argument("names", metavar="[MEASURE]...", nargs=-1, type=click.Choice([*MEASURES]))
@click.option("--quick", "is_quick", is_flag=True, help="Within two minutes: rough, not all.")
@click.option("--rounds", type=click.IntRange(1, 20), default=5, help="Of each measure.")
@click.option(
    "--round-seconds", type=click.FloatRange(0.05, 60), default=2.0, help="Of load in a round."
)
@click.option("--minutes", type=click.FloatRange(0.1, 120), default=10.0, help="Of memory.")
@click.option(
    "--connections", type=click.IntRange(1, CONNECTIONS_MAX), default=64, help="For singles."
)
@click.option("--processes", type=click.IntRange(1, 16), default=1, help="Load generators.")
@click.option("--seed", type=int, default=1, help="Of the corpus.")
@directory_option("Where data directories are made. Its disk is part of what is measured.")
@history_option("Add a line, and draw the picture.")
def main(
    names: tuple[str, ...],
    *,
    is_quick: bool,
    rounds: int,
    round_seconds: float,
    minutes: float,
    connections: int,
    processes: int,
    seed: int,
    directory: Path,
    is_kept: bool,
) -> None:
    """Parse the command line, measure, print, remember, draw. Exit code 1: a measure failed."""
    options = Options(
        directory=directory,
        seconds=rounds * round_seconds,
        rounds=rounds,
        connections=connections,
        processes=processes,
        seed=seed,
        minutes=minutes,
    )
    if is_quick:
        options = quick(options)
    if history.file_system(directory) == "tmpfs":
        click.echo(f"{directory} is in memory: nothing is really synced there", err=True)
    wanted = names or [name for name, one in MEASURES.items() if not (is_quick and one.is_long)]
    figures, failures = measure(wanted, options)
    run = history.describe(options, [*figures, *spreads(figures)])
    click.echo(told(wanted, figures, run))
    if is_kept and figures:
        history.append(run)
        history.PICTURE.write_text(chart.svg(history.read()), encoding="utf-8")
    if failures:
        raise click.ClickException("\n".join(failures))


if __name__ == "__main__":
    main()
