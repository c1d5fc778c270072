"""How long the dashboard takes over a large lake, and what it takes: `python -m bench.dashboard`.

Generates what a month of many sites leaves, starts a collector on it, waits for its summaries, and
loads every page over several ranges: from a cold disk, until nothing on it is pending any more, and
again; then all of it while events come in. Intake is measured in turn with
nobody looking and with somebody who loads pages all the time.
"""

import http.client
import itertools
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import click
import msgspec

from bench import history
from bench.figures import Figure, median_figure, ratio_figure, table
from bench.fleet import drive
from bench.lakedata import Layout, generate
from bench.lakequeries import forget, size_of
from bench.lakerows import Shape, site_name
from bench.options import Options
from bench.plan import Plan
from bench.setups import Setup
from bench.switches import (
    data_directory,
    directory_option,
    history_option,
    keep_option,
    reuse_option,
)
from bench.target import ADDRESS, Collector
from bench.throughput import BATCH_CONNECTIONS, plan_for
from collector.dashboard.frame import PAGES
from storage import layout
from storage.layout import Part
from storage.summaries import BYTES_MIN, date_name, folder_of

_EVENTS: Final = 100_000_000
_BATCH: Final = 1_000
# What a page has on it that is not complete: see collector/dashboard/answers.py.
_PENDING: Final = b'class="pending"'
# Of a panel that has no answer: see collector/panels.py.
_REFUSED: Final = b"many other questions"
_GIVEN_UP: Final = b"this took too long"
_COMPLETE_S: Final = 60.0
_RELOAD_S: Final = 0.05
_WARM_LOADS: Final = 5
_SUMMARIES_S: Final = 1_800.0
# Batches a second while every page is loaded: about a third of what two cores take.
_BUSY_PER_S: Final = 25.0
# Between two pages that somebody loads, who has looked at neither.
_GLANCE_S: Final = 0.2


class Load(msgspec.Struct):
    """One page over one range. Milliseconds: the first load, until nothing was pending, again.

    `slowest_ms`: of any single load. `is_complete` False: a question was given up, or took too long
    to be waited for, and `complete_ms` is how long it was waited for.
    """

    page: str
    range: str
    first_ms: float
    complete_ms: float
    warm_ms: float
    slowest_ms: float
    is_complete: bool = True


def ranges(sites: int) -> Mapping[str, Mapping[str, str]]:
    """What pages are loaded for: members of their query, by words."""
    average = site_name(max(2, sites // 20))
    return {
        "7 days of a site": {"days": "7", "site": average},
        "7 days": {"days": "7"},
        "30 days": {"days": "30"},
        "a year": {"days": "365"},
    }


def paths_there(port: int) -> list[str]:
    """The pages that this collector has, in the order of its navigation."""
    listed = [path for pages in PAGES.values() for path, _ in pages]
    # Of a site without events, so that nothing that is asked later is known, or waits behind it.
    return [path for path in listed if _get(port, f"{path}?site=nobody")[0] == 200]


def load(port: int, path: str, words: str, query: Mapping[str, str]) -> Load:
    """Load a page until it is complete, and again. Raises `click.ClickException` for an error."""
    target = f"{path}?{urlencode(query)}"
    began_s = time.perf_counter()
    taken: list[float] = []
    while True:
        status, ms, body = _get(port, target)
        taken.append(ms)
        if status != 200:
            raise click.ClickException(f"{target} was answered with {status}")
        complete_ms = (time.perf_counter() - began_s) * 1000
        is_over = _PENDING not in body and _REFUSED not in body
        if is_over or complete_ms > _COMPLETE_S * 1000:
            break
        time.sleep(_RELOAD_S)
    warm = [_get(port, target)[1] for _ in range(_WARM_LOADS)]
    return Load(
        path,
        words,
        taken[0],
        complete_ms,
        statistics.median(warm),
        max([*taken, *warm]),
        is_complete=is_over and _GIVEN_UP not in body,
    )


def _get(port: int, target: str) -> tuple[int, float, bytes]:
    """Status, milliseconds, body."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=30)
    began_s = time.perf_counter()
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, (time.perf_counter() - began_s) * 1000, body
    finally:
        connection.close()


def load_all(port: int, sites: int, tell: Callable[[Load], None]) -> list[Load]:
    """Every page over every range."""
    loads = []
    for path, (words, query) in itertools.product(paths_there(port), ranges(sites).items()):
        loads.append(load(port, path, words, query))
        tell(loads[-1])
    return loads


@contextmanager
def watching(port: int, sites: int) -> Iterator[list[float]]:
    """Somebody who loads page after page meanwhile; the milliseconds of each load."""
    taken: list[float] = []
    over = threading.Event()
    targets = [
        f"{path}?{urlencode(query)}"
        for query, path in itertools.product(ranges(sites).values(), paths_there(port))
    ]

    def look() -> None:
        for target in itertools.cycle(targets):
            taken.append(_get(port, target)[1])
            if over.wait(_GLANCE_S):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


@contextmanager
def loaded(plan: Plan) -> Iterator[None]:
    """Events come in at the rate of the plan, as long as this lasts."""
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            drive(plan, 1)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def figures_of(name: str, loads: list[Load]) -> list[Figure]:
    """Medians and worst ones, with the page that was the worst."""
    found = []
    for field in ("first_ms", "complete_ms", "warm_ms", "slowest_ms"):
        worst = max(loads, key=lambda one: getattr(one, field))
        middle = statistics.median(getattr(one, field) for one in loads)
        stem = f"dashboard_{name}_{field.removesuffix('_ms')}"
        found += [
            Figure(f"{stem}_p50_ms", middle, "ms", f"{len(loads)} pages and ranges"),
            Figure(f"{stem}_max_ms", getattr(worst, field), "ms", f"{worst.page}, {worst.range}"),
        ]
    given_up = [f"{one.page}, {one.range}" for one in loads if not one.is_complete]
    return [
        *found,
        Figure(f"dashboard_{name}_incomplete", len(given_up), "pages", "; ".join(given_up)),
    ]


def intake(collector: Collector, sites: int, options: Options) -> list[Figure]:
    """Events a second in batches, with nobody looking and with somebody, in turn."""
    plan = plan_for("zenovay", _BATCH, BATCH_CONNECTIONS[_BATCH], collector, options)
    alone, watched, taken = [], [], []
    for _ in range(options.rounds):
        report = drive(plan, options.processes)
        alone.append(report.events / report.window_s)
        collector.settle()
        with watching(collector.port, sites) as loads:
            report = drive(plan, options.processes)
        watched.append(report.events / report.window_s)
        taken += loads
        collector.settle()
    pages = f"{len(taken)} pages loaded, the slowest in {max(taken):.0f} ms"
    return [
        median_figure("dashboard_intake_alone_per_s", alone, "events/s", "nobody looks"),
        median_figure("dashboard_intake_watched_per_s", watched, "events/s", pages),
        ratio_figure("dashboard_intake_ratio", watched, alone, "watched over alone"),
    ]


def wait_for_summaries(directory: Path) -> float:
    """Wait until every part that is to have one has its summary; the seconds that took.

    Or its date has one, instead of each of its parts.
    """
    began_s = time.perf_counter()
    events, kept = directory / layout.EVENTS, folder_of(directory)
    by_date: dict[date, list[Part]] = {}
    for part in layout.live_parts(layout.list_parts(events)):
        by_date.setdefault(part.date, []).append(part)
    wanted = {
        part: kept / date_name(parts)
        for parts in by_date.values()
        for part in parts
        if (events / part.name).stat().st_size >= BYTES_MIN
    }

    def missing() -> int:
        there = set(layout.list_parts(kept))
        return sum(part not in there and not whole.exists() for part, whole in wanted.items())

    while count := missing():
        if time.perf_counter() - began_s > _SUMMARIES_S:
            raise click.ClickException(f"{count} summaries are missing")
        time.sleep(0.2)
    return time.perf_counter() - began_s


def measure(
    collector: Collector, lake: Path, sites: int, options: Options, setup: Setup
) -> list[Figure]:
    """Start the collector on the lake, and measure everything."""
    collector.data.symlink_to(lake.absolute())
    collector.use(setup)
    start_s = collector.start()
    summaries_s = wait_for_summaries(lake)
    folder = folder_of(lake)
    kept_mb = sum(path.stat().st_size for path in folder.rglob("*.parquet")) / 1e6
    collector.stop()
    forget(lake)
    collector.start()

    def tell(one: Load) -> None:
        click.echo(
            f"{one.page:28} {one.range:18} {one.first_ms:8.0f} {one.complete_ms:8.0f} "
            f"{one.warm_ms:8.1f} {one.slowest_ms:8.0f}{'' if one.is_complete else ' incomplete'}",
            err=True,
        )

    titles = f"{'page':28} {'range':18} {'first':>8} {'complete':>8} {'warm':>8} {'slowest':>8}"
    click.echo(f"at rest (ms)\n{titles}", err=True)
    figures = figures_of("rest", load_all(collector.port, sites, tell))
    resident_mb = collector.resident_mb()
    figures += intake(collector, sites, options)
    # Answers that are known already would make it too easy.
    collector.stop()
    collector.start()
    plan = plan_for("zenovay", _BATCH, BATCH_CONNECTIONS[_BATCH], collector, options)
    click.echo(f"while events come in (ms)\n{titles}", err=True)
    with loaded(msgspec.structs.replace(plan, rate=_BUSY_PER_S)):
        figures += figures_of("busy", load_all(collector.port, sites, tell))
    return [
        Figure("dashboard_start_s", start_s, "s", "the first start, which counts every row"),
        Figure("dashboard_summaries_s", summaries_s, "s", "to make all summaries at low priority"),
        Figure("dashboard_summaries_mb", kept_mb, "MB"),
        Figure("dashboard_resident_mb", resident_mb, "MB", "after all pages at rest"),
        *figures,
    ]


def _generated(lake: Path, shape: Shape) -> list[Figure]:
    began_s = time.perf_counter()
    with click.progressbar(length=shape.rows, label=f"{shape.rows:,} rows", file=sys.stderr) as bar:
        for rows in generate(lake, shape, Layout(), threads=len(os.sched_getaffinity(0))):
            bar.update(rows)
    files, size = size_of(lake)
    return [
        Figure("dashboard_rows", shape.rows, "rows", f"{shape.days} days, {shape.sites} sites"),
        Figure("dashboard_parts", files, "files", f"{size / 1e9:.1f} GB"),
        Figure("dashboard_generated_s", time.perf_counter() - began_s, "s"),
    ]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--events", type=click.IntRange(10_000), default=_EVENTS, help="Rows of all days.")
@click.option("--days", type=click.IntRange(1, 364), default=30, help="Up to yesterday.")
@click.option("--sites", type=click.IntRange(3, 1_000), default=100)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, help="Of intake, on each side.")
@click.option("--seconds", type=click.FloatRange(1, 60), default=20.0, help="Of each round.")
@click.option(
    "--priority",
    type=click.Choice(["idle", "low"]),
    default="idle",
    help="server.dashboard_priority; the history is of the default.",
)
@directory_option("Where the data directory is made (100 bytes an event, and what intake adds).")
@keep_option
@reuse_option("Take a data directory that was kept.")
@history_option()
def main(
    *,
    events: int,
    days: int,
    sites: int,
    rounds: int,
    seconds: float,
    priority: Literal["idle", "low"],
    directory: Path,
    keep: bool,
    reuse: Path | None,
    is_kept: bool,
) -> None:
    """Measure the dashboard over a month of many sites."""
    first = datetime.now(UTC).date() - timedelta(days=days)
    shape = Shape(rows=events, days=days, sites=sites, first=first)
    options = Options(directory=directory, rounds=rounds, seconds=rounds * seconds)
    figures: list[Figure] = []
    with data_directory(directory, keep=keep, reuse=reuse) as lake:
        if reuse is None:
            figures += _generated(lake, shape)
        with Collector(directory) as collector:
            figures += measure(collector, lake, sites, options, Setup(dashboard_priority=priority))
    click.echo(table(figures))
    if is_kept and priority == "idle":
        history.append(history.describe(options, figures))


if __name__ == "__main__":
    main()
