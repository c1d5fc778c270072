"""How long a question takes over a month of many sites: `python -m bench.query`.

Generates what a collector leaves after its parts were joined (`--rows` rows, 30 days, 100 sites of
very different size), then asks what analysts ask, in sessions of `storage.Lake` and over a plain
glob, from the system's cache and from the disk. Ends with exit code 1 when an answer that has a
budget took longer.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from bench import history
from bench.figures import Figure, table
from bench.lakedata import Layout, generate
from bench.lakequeries import (
    Session,
    answer,
    choose_subject,
    forget,
    glob_session,
    lake_session,
    open_ms,
    questions,
    questions_of_all,
    size_of,
)
from bench.lakerows import Shape, site_name
from bench.options import Options
from bench.switches import (
    data_directory,
    directory_option,
    history_option,
    keep_option,
    reuse_option,
)

_ROWS: Final = 100_000_000
_SESSIONS: Final[tuple[tuple[str, Session], ...]] = (
    ("lake", lake_session),
    ("glob", glob_session),
)
_COLD_RUNS: Final = 3
# Milliseconds that a question about an average site may take.
BUDGETS: Final = {
    "day_count": 100.0,
    "day_visitors": 100.0,
    "day_pages": 100.0,
    "month_overview": 1_000.0,
}


def sites_asked(shape: Shape) -> dict[str, int]:
    """The sites that are asked about, by their rank: the largest, an average one, the smallest."""
    average = 1 / shape.sites
    rank = min(range(shape.sites), key=lambda n: abs(shape.weights[n] - average)) + 1
    return {"largest": 1, "average": rank, "smallest": shape.sites}


def measure(directory: Path, shape: Shape, runs: int) -> Iterator[list[Figure]]:
    """Ask everything in every way; yields the figures of one question at a time."""
    days = [shape.day(number) for number in range(shape.days)]
    for name, session in _SESSIONS:
        taken = open_ms(session, directory, runs=runs)
        yield [Figure(f"query_{name}_open_ms", taken, "ms", "until a session can be asked")]
    for label, rank in sites_asked(shape).items():
        subject = choose_subject(directory, site_name(rank), days)
        note = f"{label} site, about {shape.weights[rank - 1] * shape.rows:,.0f} rows"
        asked = [(f"{label}_{q.name}", q.sql) for q in questions(subject)]
        if label == "average":
            asked += [(q.name, q.sql) for q in questions_of_all(subject)]
        for name, sql in asked:
            yield _answers(directory, name, sql, runs, note)


def _answers(directory: Path, name: str, sql: str, runs: int, note: str) -> list[Figure]:
    figures = []
    for kind, session in _SESSIONS:
        warm = answer(session, directory, sql, runs=runs)
        cpu = f"{note}; {warm.cpu_ms:.0f} ms of processor time"
        figures.append(Figure(f"query_{name}_{kind}_ms", warm.wall_ms, "ms", cpu))
    cold = answer(lake_session, directory, sql, runs=min(runs, _COLD_RUNS), cold=True)
    figures.append(Figure(f"query_{name}_lake_cold_ms", cold.wall_ms, "ms", "from the disk"))
    return figures


def over_budget(figures: list[Figure]) -> list[str]:
    """The answers that took longer than they may, as text."""
    budgets = {
        f"query_average_{name}_{kind}_ms": budget
        for name, budget in BUDGETS.items()
        for kind in ("lake", "glob", "lake_cold")
    }
    return [
        f"{figure.name}: {figure.value:.0f} ms, may take {budgets[figure.name]:.0f} ms"
        for figure in figures
        if figure.name in budgets and figure.value > budgets[figure.name]
    ]


def _generated(directory: Path, shape: Shape, threads: int) -> list[Figure]:
    """Make the data with a progress bar; how fast that went."""
    began_s = time.perf_counter()
    with click.progressbar(length=shape.rows, label=f"{shape.rows:,} rows", file=sys.stderr) as bar:
        for rows in generate(directory, shape, Layout(), threads=threads):
            bar.update(rows)
    seconds = time.perf_counter() - began_s
    forget(directory)  # written to the disk, so that nothing is while answers are timed
    files, size = size_of(directory)
    return [
        Figure("query_rows", shape.rows, "rows", f"{shape.days} days, {shape.sites} sites"),
        Figure("query_generated_rows_per_s", shape.rows / seconds, "rows/s"),
        Figure("query_parts", files, "files", f"{size / 1e9:.1f} GB"),
        Figure("query_bytes_per_row", size / shape.rows, "bytes"),
    ]


def _measured(directory: Path, shape: Shape, runs: int) -> list[Figure]:
    figures: list[Figure] = []
    steps = len(_SESSIONS) + 3 * 8 + 2
    with click.progressbar(
        measure(directory, shape, runs), length=steps, label="asking", file=sys.stderr
    ) as bar:
        for found in bar:
            figures += found
    return figures


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rows", type=click.IntRange(100_000), default=_ROWS, help="Rows of all days.")
@click.option("--days", type=click.IntRange(1, 365), default=30)
@click.option("--sites", type=click.IntRange(3, 1_000), default=100)
@click.option("--runs", type=click.IntRange(1, 100), default=5, help="Medians of so many runs.")
@directory_option("Where the data directory is made (13 GB). Its disk is part of what is measured.")
@keep_option
@reuse_option("Ask a data directory that was kept, made with the same --rows, --days and --sites.")
@history_option()
def main(
    *,
    rows: int,
    days: int,
    sites: int,
    runs: int,
    directory: Path,
    keep: bool,
    reuse: Path | None,
    is_kept: bool,
) -> None:
    """Measure queries over a month of many sites."""
    shape = Shape(rows=rows, days=days, sites=sites)
    figures: list[Figure] = []
    with data_directory(directory, keep=keep, reuse=reuse) as data:
        if reuse is None:
            figures += _generated(data, shape, len(os.sched_getaffinity(0)))
        figures += _measured(data, shape, runs)
    click.echo(table(figures))
    if is_kept:
        history.append(history.describe(Options(directory=directory), figures))
    late = over_budget(figures)
    if late:
        raise click.ClickException("over budget:\n" + "\n".join(late))


if __name__ == "__main__":
    main()
