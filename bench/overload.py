"""What becomes of a collector that is offered too much: `python -m bench.overload [PART]...`.

Owns the course of each part and what becomes of its figures: a table, and one line of history. The
capacity is what a closed loop reaches just before and after; 1, 2, 5 and 10 times of it is offered
at fixed times by connections enough that the collector is the one that limits (`bench.flood` says
what "offered" means). A second, light load looks on: what it sees before is normal, and how long
it sees something else afterwards is the recovery. At the end what was acknowledged must be in the
files.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from bench import history
from bench.corpus import Traffic
from bench.crowd import Crowd, Manner
from bench.figures import table
from bench.fleet import LoadFailed, fresh_run
from bench.flood import Flood, Flooded
from bench.floods import Crowding, Flooding, Watch
from bench.levels import Level, figures_of, level_of, recovery_s, shown
from bench.options import Options
from bench.plan import Report
from bench.switches import directory_option, history_option
from bench.target import Collector, NotReady, compile_packages
from bench.throughput import check_stored

TIMES: Final = (1, 2, 5, 10)
# Connections: of the closed loop, and of each time its rate.
_CLOSED: Final = {1: 64, 1_000: 4}
_PER_TIME: Final = {1: 256, 1_000: 16}
# Enough to see when it is over, little beside the rest.
_LOOKER_PER_S: Final = 50.0
_LOOKER_CONNECTIONS: Final = 300
_BEFORE_S: Final = 3.0
_AFTER_S: Final = 12.0
# A closed loop long enough to have its share of flushes and joins, and one that does not count.
_CLOSED_S: Final = 20.0
_WARM_S: Final = 8.0
_STAND_S: Final = 8.0
# What back ends send in the mixed run, of the capacity; and browsers.
_BACKEND: Final = 0.1
# As many as are waiting while each answer takes a tenth of a second, twice.
_BACKEND_CONNECTIONS: Final = 256
_BROWSERS: Final = 10.0
_CROWD: Final[dict[Manner, int]] = {"idle": 10_000, "slow head": 500, "slow body": 500}


Tell = Callable[[Level], None]


class _Run:
    """One collector, everything that was sent to it, and what was acknowledged."""

    def __init__(self, collector: Collector, seconds: float, seed: int) -> None:
        self.collector = collector
        self.seconds = seconds
        self._seed = seed
        self.acknowledged = 0

    def flood(self, traffic: Traffic, size: int = 1, **members: object) -> Flood:
        """A flood of this collector."""
        flood = Flood(
            port=self.collector.port,
            traffic=traffic,
            account=self.collector.account,
            run=fresh_run(),
            size=size,
            seconds=self.seconds,
            seed=self._seed,
        )
        return msgspec.structs.replace(flood, **members)

    def done(self, flooding: Flooding) -> Flooded:
        """Wait for it, and remember what it was promised."""
        flooded = flooding.wait()
        self.acknowledged += flooded.accepted
        return flooded

    def closed(self, traffic: Traffic, size: int, seconds: float = _CLOSED_S) -> Flooded:
        """What a closed loop reaches."""
        seconds = min(seconds, self.seconds)
        flood = self.flood(traffic, size, connections=_CLOSED[size], seconds=seconds)
        with Flooding(flood) as flooding:
            return self.done(flooding)

    def level(self, name: str, flood: Flood, best: float) -> Level:
        """Offer it, with a light load that looks on from before until after."""
        seconds = _BEFORE_S + flood.seconds + _AFTER_S
        looker = self.flood(
            "scanova",
            connections=_LOOKER_CONNECTIONS,
            rate=_LOOKER_PER_S,
            seconds=seconds + 2.0,
            has_timeline=True,
        )
        with Flooding(looker) as looking, Watch(self.collector) as watch:
            time.sleep(_BEFORE_S + 1.0)
            began_s = time.time()
            with Flooding(flood) as flooding:
                flooded = self.done(flooding)
            looked = self.done(looking)
        return level_of(
            name,
            flooded,
            best=best,
            max_mb=watch.max_mb,
            recovery_s=recovery_s(looked.timeline, began_s, flooded.ended_s),
        )

    def check(self) -> None:
        """Raise `LoadFailed` unless what was acknowledged is in the files."""
        report = Report(window_s=1, requests=0, events=0, latencies_us=[], cpu_s=0)
        report.accepted = self.acknowledged
        check_stored(self.collector, [report])


# A collector of its own, and at the end a look whether all of it is in the files.
Start = Callable[[], AbstractContextManager[_Run]]


def _floods(traffic: Traffic, size: int, start: Start, tell: Tell) -> list[Level]:
    """Each load on a collector of its own, between two closed loops: they are what is best.

    A machine that is shared changes from minute to minute, and a collector with what it has taken.
    """
    what = "singles" if size == 1 else "batches"
    levels = []
    for times in TIMES:
        with start() as run:
            # The first flushes and the first memory are behind it after one that does not count.
            run.closed(traffic, size, _WARM_S)
            before = run.closed(traffic, size)
            rate = times * sum(before.statuses.values()) / before.window_s
            flood = run.flood(traffic, size, connections=_PER_TIME[size] * times, rate=rate)
            level = run.level(f"{what}_{times}x", flood, 0.0)
            after = run.closed(traffic, size)
            best = sum(one.accepted / one.window_s for one in (before, after)) / 2
            levels.append(msgspec.structs.replace(level, best=best))
        tell(levels[-1])
    return levels


def _singles(start: Start, tell: Tell) -> list[Level]:
    return _floods("scanova", 1, start, tell)


def _batches(start: Start, tell: Tell) -> list[Level]:
    return _floods("zenovay", 1_000, start, tell)


def _mixed(start: Start, tell: Tell) -> list[Level]:
    with start() as run:
        return _beside(run, tell)


def _beside(run: _Run, tell: Tell) -> list[Level]:
    """Browsers send ten times too much, and back ends what they always send."""
    closed = run.closed("scanova", 1)
    best = closed.accepted / closed.window_s
    backend = run.flood(
        "scanova_server",
        connections=_BACKEND_CONNECTIONS,
        rate=best * _BACKEND,
        seconds=run.seconds + 2.0,
    )
    browsers = run.flood(
        "scanova", connections=round(_PER_TIME[1] * _BROWSERS), rate=best * _BROWSERS
    )
    with Flooding(backend) as sending:
        level = run.level("mixed_browsers", browsers, best)
        sent = run.done(sending)
    levels = [
        level,
        level_of("mixed_backends", sent, best=best, max_mb=level.max_mb, recovery_s=0.0),
    ]
    for one in levels:
        tell(one)
    return levels


def _crowd(start: Start, tell: Tell) -> list[Level]:
    with start() as run:
        return _crowded(run, tell)


def _crowded(run: _Run, tell: Tell) -> list[Level]:
    """Half of the capacity, alone and beside a crowd that gives nothing."""
    closed = run.closed("scanova", 1)
    best = closed.accepted / closed.window_s
    levels = []
    for name in ("crowd_without", "crowd_with"):
        flood = run.flood("scanova", connections=64, rate=best / 2)
        if name == "crowd_with":
            alone_mb = run.collector.group_mb()
            crowd = Crowd(port=run.collector.port, seconds=flood.seconds + _STAND_S, manners=_CROWD)
            with Crowding(crowd) as crowding:
                stood = crowding.stood
                crowded_mb = run.collector.group_mb()
                with Watch(run.collector) as watch, Flooding(flood) as flooding:
                    flooded = run.done(flooding)
                came = crowding.wait()
            sys.stderr.write(
                f"  {stood:,} connections stood, {came.standing:,} at the end, opened "
                f"{came.opened:,} times, {came.failed:,} times in vain; closed by the collector: "
                f"{came.closed}; {(crowded_mb - alone_mb) * 1e3 / max(1, stood):.1f} KB each\n"
            )
        else:
            with Watch(run.collector) as watch, Flooding(flood) as flooding:
                flooded = run.done(flooding)
        levels.append(level_of(name, flooded, best=best, max_mb=watch.max_mb, recovery_s=0.0))
        tell(levels[-1])
    return levels


PARTS: Final[dict[str, tuple[str, Callable[[Start, Tell], list[Level]]]]] = {
    "singles": ("one event per request, 1 to 10 times too much", _singles),
    "batches": ("1,000 events per request, 1 to 10 times too much", _batches),
    "mixed": ("back ends' events while browsers send 10 times too much", _mixed),
    "crowd": ("10,000 idle and 1,000 slow connections", _crowd),
}


_HELP: Final = "\b\n" + "\n".join(f"  {name:<8} {words}" for name, (words, _) in PARTS.items())


@click.command(
    help=f"Offer a collector more than it can take. PART is any of these:\n\n{_HELP}",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.argument("names", metavar="[PART]...", nargs=-1, type=click.Choice([*PARTS]))
@click.option("--seconds", type=click.FloatRange(1, 600), default=60.0, help="Of each load.")
@click.option("--seed", type=int, default=1, help="Of the corpus.")
@directory_option("Where data directories are made. Its disk is part of what is measured.")
@history_option()
def main(
    names: tuple[str, ...], *, seconds: float, seed: int, directory: Path, is_kept: bool
) -> None:
    """Offer, print, remember. Exit code 1: something acknowledged was not found."""
    compile_packages()
    levels: list[Level] = []
    acknowledged: list[int] = []

    @contextmanager
    def start() -> Iterator[_Run]:
        with Collector(directory) as collector:
            collector.start()
            run = _Run(collector, seconds, seed)
            yield run
            run.check()
            acknowledged.append(run.acknowledged)

    sys.stderr.write(f"{shown(None)}\n")
    try:
        for name in names or PARTS:
            levels += PARTS[name][1](start, lambda one: click.echo(shown(one)))
            click.echo(f"{name}: {sum(acknowledged):,} events acknowledged, all found once")
            acknowledged.clear()
    except (LoadFailed, NotReady) as error:
        raise click.ClickException(str(error)) from error
    figures = figures_of(levels)
    options = Options(directory=directory, seconds=seconds, seed=seed)
    run_line = history.describe(options, figures)
    click.echo(f"\n{run_line.machine.told}\n{table(figures)}")
    if is_kept:
        history.append(run_line)


if __name__ == "__main__":
    main()
