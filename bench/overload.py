"""What becomes of a collector that is offered too much: `python -m bench.overload [PART]...`.

Owns the course of each part and what becomes of its figures: a table, and one line of history. The
capacity is what a closed loop reaches; 1, 2, 5 and 10 times of it is then offered at fixed times by
connections enough that the collector is the one that limits (`bench.flood` says what "offered"
means). A second, light load looks on: what it sees before is normal, and how long it sees something
else afterwards is the recovery. At the end what was acknowledged must be in the files.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from bench import history
from bench.corpus import Traffic
from bench.crowd import Crowd, Manner
from bench.figures import Figure, percentile, table
from bench.fleet import LoadFailed, fresh_run
from bench.flood import Flood, Flooded
from bench.floods import Crowding, Flooding, Watch
from bench.options import Options
from bench.plan import Report
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
_WARM_S: Final = 8.0
_STAND_S: Final = 8.0
# Beyond it an answer is later than normal; so much is noise of the machine.
_NORMAL_FACTOR: Final = 3.0
_NORMAL_MS_MIN: Final = 50.0
_NEARLY_ALL: Final = 0.95
_STEP_S: Final = 0.1
# What back ends send in the mixed run, of the capacity; and browsers.
_BACKEND: Final = 0.1
_BROWSERS: Final = 10.0
_CROWD: Final[dict[Manner, int]] = {"idle": 10_000, "slow head": 500, "slow body": 500}


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One load and what came of it. Rates a second; `good`: events acknowledged."""

    name: str
    due: float
    sent: float
    good: float
    best: float
    statuses: dict[int, int]
    p50_ms: float
    p99_ms: float
    max_mb: float
    recovery_s: float
    report: Flooded

    @property
    def other(self) -> int:
        """Answers that are neither a success nor a refusal that may be tried again, or none."""
        known = sum(self.statuses.get(status, 0) for status in (200, 204, 429, 503))
        report = self.report
        return sum(self.statuses.values()) - known + report.broken + report.unanswered

    @property
    def share(self) -> float:
        """Of what was answered, how much was accepted."""
        taken = self.statuses.get(200, 0) + self.statuses.get(204, 0)
        return taken / max(1, sum(self.statuses.values()))


def level_of(
    name: str, flooded: Flooded, *, best: float, max_mb: float, recovery_s: float
) -> Level:
    """Put what came of a load into words; `best`: events a second that a closed loop reached."""
    latencies_us = sorted(flooded.latencies_us) or [0]
    return Level(
        name=name,
        due=flooded.due / flooded.window_s,
        sent=flooded.sent / flooded.window_s,
        good=flooded.accepted / flooded.window_s,
        best=best,
        statuses=flooded.statuses,
        p50_ms=percentile(latencies_us, 0.50) / 1e3,
        p99_ms=percentile(latencies_us, 0.99) / 1e3,
        max_mb=max_mb,
        recovery_s=recovery_s,
        report=flooded,
    )


def recovery_s(timeline: Sequence[tuple[float, int, int]], began_s: float, over_s: float) -> float:
    """Seconds after `over_s` (Unix) until answers are as they were before `began_s`.

    They are when of those that were sent within a second nearly all were answered with success and
    in normal time; where that never happened, as long as was looked. Raises `LoadFailed` without
    any before.
    """
    before = sorted(us for at_s, us, status in timeline if at_s < began_s and status < 300)
    if not before:
        raise LoadFailed("the light load was not answered before the overload began")
    normal_us = max(_NORMAL_FACTOR * percentile(before, 0.99), _NORMAL_MS_MIN * 1e3)
    sent = [
        (at_s - us / 1e6 - over_s, us <= normal_us and status < 300)
        for at_s, us, status in timeline
    ]
    after = [one for one in sent if one[0] >= 0]
    last_s = max((at_s for at_s, _ in after), default=0.0)
    for step in range(int(last_s / _STEP_S) + 1):
        began = step * _STEP_S
        second = [is_normal for at_s, is_normal in after if began <= at_s < began + 1.0]
        if second and sum(second) >= _NEARLY_ALL * len(second):
            return began
    return last_s


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

    def closed(self, traffic: Traffic, size: int) -> Flooded:
        """What a closed loop reaches, when the first flushes and the first memory are behind it."""
        for seconds in (min(_WARM_S, self.seconds), self.seconds):
            flood = self.flood(traffic, size, connections=_CLOSED[size], seconds=seconds)
            with Flooding(flood) as flooding:
                flooded = self.done(flooding)
        return flooded

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


def _floods(traffic: Traffic, size: int, run: _Run, tell: Callable[[Level], None]) -> list[Level]:
    closed = run.closed(traffic, size)
    best = closed.accepted / closed.window_s
    what = "singles" if size == 1 else "batches"
    levels = [level_of(f"{what}_closed", closed, best=best, max_mb=0.0, recovery_s=0.0)]
    tell(levels[0])
    rate = sum(closed.statuses.values()) / closed.window_s
    for times in TIMES:
        flood = run.flood(traffic, size, connections=_PER_TIME[size] * times, rate=rate * times)
        levels.append(run.level(f"{what}_{times}x", flood, best))
        tell(levels[-1])
    return levels


def _singles(run: _Run, tell: Callable[[Level], None]) -> list[Level]:
    return _floods("scanova", 1, run, tell)


def _batches(run: _Run, tell: Callable[[Level], None]) -> list[Level]:
    return _floods("zenovay", 1_000, run, tell)


def _mixed(run: _Run, tell: Callable[[Level], None]) -> list[Level]:
    """Browsers send ten times too much, and back ends what they always send."""
    closed = run.closed("scanova", 1)
    best = closed.accepted / closed.window_s
    backend = run.flood(
        "scanova_server",
        connections=32,
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


def _crowd(run: _Run, tell: Callable[[Level], None]) -> list[Level]:
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


PARTS: Final[dict[str, tuple[str, Callable[[_Run, Callable[[Level], None]], list[Level]]]]] = {
    "singles": ("one event per request, 1 to 10 times too much", _singles),
    "batches": ("1,000 events per request, 1 to 10 times too much", _batches),
    "mixed": ("back ends' events while browsers send 10 times too much", _mixed),
    "crowd": ("10,000 idle and 1,000 slow connections", _crowd),
}


def figures_of(levels: Sequence[Level]) -> list[Figure]:
    """What goes into the history."""
    figures = _held(levels)
    for one in levels:
        name = f"overload_{one.name}"
        figures += [
            Figure(f"{name}_due_per_s", one.due, "requests/s"),
            Figure(f"{name}_sent_per_s", one.sent, "requests/s"),
            Figure(f"{name}_good_per_s", one.good, "events/s"),
            Figure(f"{name}_accepted_share", one.share, ""),
            Figure(f"{name}_p50_ms", one.p50_ms, "ms"),
            Figure(f"{name}_p99_ms", one.p99_ms, "ms"),
            Figure(f"{name}_other_answers", one.other, "answers"),
            Figure(f"{name}_untold", one.report.untold, "answers"),
            Figure(f"{name}_max_mb", one.max_mb, "MB"),
            Figure(f"{name}_recovery_s", one.recovery_s, "s"),
            Figure(f"{name}_generator_cpu", one.report.cpu_s / one.report.window_s, "cores"),
        ]
    return figures


def _held(levels: Sequence[Level]) -> list[Figure]:
    """What is still accepted of the worst load, of the most that was accepted of any."""
    figures = []
    for what in ("singles", "batches"):
        goods = {one.name: one.good for one in levels if one.name.startswith(f"{what}_")}
        worst = f"{what}_{max(TIMES)}x"
        if worst in goods:
            share = goods[worst] / max(1.0, *goods.values())
            figures.append(Figure(f"overload_{worst}_of_best", share, ""))
    return figures


_COLUMNS: Final = (
    *("load", "due/s", "sent/s", "good/s", "of closed", "2xx", "429", "503", "other", "untold"),
    *("p50 ms", "p99 ms", "MB max", "recovery s", "late ms"),
)


def shown(one: Level | None) -> str:
    """One line of the table; None: its heading."""
    if one is None:
        cells: Sequence[str] = _COLUMNS
    else:
        answers = max(1, sum(one.statuses.values()))
        shares = [
            f"{sum(one.statuses.get(status, 0) for status in group) / answers:.1%}"
            for group in ((200, 204), (429,), (503,))
        ]
        cells = (
            one.name,
            f"{one.due:,.0f}",
            f"{one.sent:,.0f}",
            f"{one.good:,.0f}",
            f"{one.good / one.best:.2f}",
            *shares,
            f"{one.other}",
            f"{one.report.untold}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.max_mb:.0f}",
            f"{one.recovery_s:.1f}",
            f"{one.report.late_p99_ms:.1f}",
        )
    return f"{cells[0]:<15}" + "".join(f"{cell:>11}" for cell in cells[1:])


_HELP: Final = "\b\n" + "\n".join(f"  {name:<8} {words}" for name, (words, _) in PARTS.items())


@click.command(
    help=f"Offer a collector more than it can take. PART is any of these:\n\n{_HELP}",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.argument("names", metavar="[PART]...", nargs=-1, type=click.Choice([*PARTS]))
@click.option("--seconds", type=click.FloatRange(1, 600), default=60.0, help="Of each load.")
@click.option("--seed", type=int, default=1, help="Of the corpus.")
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(tempfile.gettempdir()),
    help="Where data directories are made. Its disk is part of what is measured.",
)
@click.option("--history/--no-history", "is_kept", default=True, help="Add a line to the history.")
def main(
    names: tuple[str, ...], *, seconds: float, seed: int, directory: Path, is_kept: bool
) -> None:
    """Offer, print, remember. Exit code 1: something acknowledged was not found."""
    compile_packages()
    levels: list[Level] = []
    sys.stderr.write(f"{shown(None)}\n")
    try:
        for name in names or PARTS:
            with Collector(directory) as collector:
                collector.start()
                run = _Run(collector, seconds, seed)
                levels += PARTS[name][1](run, lambda one: click.echo(shown(one)))
                run.check()
                click.echo(f"{name}: {run.acknowledged:,} events acknowledged, all found once")
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
