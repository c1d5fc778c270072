"""The highest rate that is acknowledged in time: `python -m bench.capacity`.

Requests are due at fixed times (open loop), so that waiting shows; a rate holds when the 99th
percentile of acknowledgements is within the limit and nothing was refused. The search starts from
what a closed loop reaches, goes up or down until one rate holds and one does not, halves the
distance, and tries the highest once more for longer. What limits is read from the lowest rate that
did not hold (`bench.bottleneck`). Bounded: three minutes, start and end included.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from bench import history
from bench.bottleneck import Limit, Use, find_limit
from bench.corpus import Traffic
from bench.figures import percentile
from bench.fleet import LoadFailed, drive
from bench.options import Options
from bench.plan import CONNECTIONS_MAX, Plan, Report
from bench.switches import directory_option
from bench.target import Collector, NotReady
from bench.threads import busiest, busy_s, cpu_between
from bench.throughput import BATCH_CONNECTIONS, PUBLISH_INTERVAL_MS, check_stored, plan_for

# The distance between a rate that holds and one that does not, at the end.
_CLOSE: Final = 1.05
_STEP: Final = 1.25
# Where to begin, of what a closed loop reaches: full speed is more than answers in time allow.
_FIRST: Final = 0.8
_SEARCH_S: Final = 110.0
_CONFIRM: Final = 2.0
# A step down when the longer try does not hold, and how many there are.
_DOWN: Final = 0.95
_CONFIRMS_MAX: Final = 3
_PROBES_MAX: Final = 24


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One load at a fixed rate, or in a closed loop (`rate` 0), and what came of it.

    Rates and `answered` are in requests per second; `refused` counts events.
    """

    rate: float
    answered: float
    p50_ms: float
    p99_ms: float
    refused: int
    use: Use

    def holds(self, p99_ms: float) -> bool:
        """Whether it was answered in time, all of it."""
        return self.refused == 0 and self.p99_ms <= p99_ms


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `size` is events per request, `best` the highest rate that held, None if none
    did; `is_confirmed`: it held again, for longer. `limit` is what keeps it from more; `probes` are
    all that were tried, in order.
    """

    traffic: Traffic
    size: int
    p99_ms_max: float
    best: Probe | None
    is_confirmed: bool
    limit: Limit
    probes: list[Probe]


class Search:
    """Finds the highest rate that holds. `probe` tries a rate for some seconds; pure otherwise.

    `is_over` tells that there is no more time; it is asked before each try but the last.
    """

    def __init__(
        self, probe: Callable[[float, float], Probe], p99_ms: float, is_over: Callable[[], bool]
    ) -> None:
        self._probe = probe
        self._p99_ms = p99_ms
        self._is_over = is_over
        self.probes: list[Probe] = []
        self.confirmed: Probe | None = None

    def run(self, closed: float, seconds: float) -> None:
        """Search from the rate that a closed loop reached; every try lasts `seconds`."""
        low, high = self._bracket(closed * _FIRST, seconds)
        while low and high and high / low > _CLOSE and not self._is_spent():
            middle = (low * high) ** 0.5
            if self._holds(middle, seconds):
                low = middle
            else:
                high = middle
        for _ in range(_CONFIRMS_MAX if low else 0):
            if self._holds(low, seconds * _CONFIRM):
                self.confirmed = self.probes[-1]
                return
            low *= _DOWN

    def best(self) -> Probe | None:
        """What held for longer at the end; else the highest rate whose last try held."""
        held = [probe for probe in self._last() if probe.holds(self._p99_ms)]
        return self.confirmed or max(held, key=lambda probe: probe.rate, default=None)

    def lowest_failed(self) -> Probe | None:
        """The last try of the lowest rate that did not hold, also not when tried again."""
        failed = [probe for probe in self._last() if not probe.holds(self._p99_ms)]
        return min(failed, key=lambda probe: probe.rate, default=None)

    def _last(self) -> Iterable[Probe]:
        return {probe.rate: probe for probe in self.probes}.values()

    def _bracket(self, rate: float, seconds: float) -> tuple[float, float]:
        """A rate that holds and one that does not; 0 for the one that was not found."""
        low = high = 0.0
        while not (low and high) and not self._is_spent():
            if self._holds(rate, seconds):
                low, rate = rate, rate * _STEP
            else:
                high, rate = rate, rate / _STEP
        return low, high

    def _holds(self, rate: float, seconds: float) -> bool:
        """A rate that does not hold gets a second chance: a neighbour may have been at work."""
        for _ in range(2):
            self.probes.append(self._probe(rate, seconds))
            if self.probes[-1].holds(self._p99_ms):
                return True
        return False

    def _is_spent(self) -> bool:
        return self._is_over() or len(self.probes) >= _PROBES_MAX


class _Look:
    """What was used up to now, by the collector, by us and by everybody; in seconds."""

    def __init__(self, collector: Collector) -> None:
        self.commit_s = collector.metric("collector_commit_seconds_sum")
        self.threads = collector.threads()
        self.busy_s = busy_s()
        # Generators count once they ended.
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.own_s = time.process_time() + children.ru_utime + children.ru_stime
        self.at_s = time.perf_counter()


class Prober:
    """Loads one collector and looks at it meanwhile."""

    def __init__(self, collector: Collector, plan: Plan, processes: int) -> None:
        self._collector = collector
        self._plan = plan
        self._processes = processes
        self.reports: list[Report] = []

    def probe(self, rate: float, seconds: float) -> Probe:
        """Load at `rate` requests per second, 0 for a closed loop. Raises `LoadFailed`."""
        self._collector.settle()
        plan = msgspec.structs.replace(self._plan, rate=rate, seconds=seconds)
        before = _Look(self._collector)
        report = drive(plan, self._processes)
        after = _Look(self._collector)
        self.reports.append(report)
        thread = busiest(before.threads, after.threads)
        ours_s = cpu_between(before.threads, after.threads) + after.own_s - before.own_s
        # The generators' start and end are no load; what was used in the warm-up counts.
        loaded_s = report.window_s + plan.warm_up_s
        latencies_us = sorted(report.latencies_us)
        return Probe(
            rate=rate,
            answered=report.requests / report.window_s,
            p50_ms=percentile(latencies_us, 0.50) / 1e3,
            p99_ms=percentile(latencies_us, 0.99) / 1e3,
            refused=report.rejected + report.failures,
            use=Use(
                handler=thread.cpu_s / loaded_s,
                waiting=thread.waiting_s / loaded_s,
                sync=(after.commit_s - before.commit_s) / loaded_s,
                generator=report.cpu_share / self._processes,
                generator_lag_ms=report.lag_p99_ms,
                others=(after.busy_s - before.busy_s - ours_s) / (after.at_s - before.at_s),
                thread=thread.name,
            ),
        )


def capacity(
    traffic: Traffic,
    size: int,
    p99_ms: float,
    options: Options,
    tell: Callable[[Probe], None] = lambda _probe: None,
) -> Capacity:
    """Search on a collector of our own. `options.seconds` is the time of one try; `tell` is given
    each as it comes. Raises `LoadFailed` or `NotReady`.
    """
    over_s = time.perf_counter() + _SEARCH_S
    with Collector(options.directory, publish_interval_ms=PUBLISH_INTERVAL_MS) as collector:
        collector.start()
        connections = BATCH_CONNECTIONS.get(size, options.connections)
        plan = plan_for(traffic, size, connections, collector, options)
        prober = Prober(collector, plan, options.processes)

        def probe(rate: float, seconds: float) -> Probe:
            found = prober.probe(rate, seconds)
            tell(found)
            return found

        closed = probe(0.0, options.seconds)
        search = Search(probe, p99_ms, lambda: time.perf_counter() > over_s)
        search.run(closed.answered, options.seconds)
        check_stored(collector, prober.reports)
    limiting = search.lowest_failed() or closed
    return Capacity(
        traffic=traffic,
        size=size,
        p99_ms_max=p99_ms,
        best=search.best(),
        is_confirmed=search.confirmed is not None,
        limit=find_limit(limiting.use, p99_ms),
        probes=[closed, *search.probes],
    )


_COLUMNS: Final = (
    "rate",
    "answered",
    "p50 ms",
    "p99 ms",
    "refused",
    "handler",
    "waiting",
    "sync",
    "generator",
    "late ms",
    "others",
)


def shown(probe: Probe | None, p99_ms: float) -> str:
    """One line of the table of tries; None: its heading."""
    if probe is None:
        return " ".join(f"{name:>9}" for name in _COLUMNS)
    use = probe.use
    cells = (
        f"{probe.rate:,.0f}" if probe.rate else "closed",
        f"{probe.answered:,.0f}",
        f"{probe.p50_ms:.1f}",
        f"{probe.p99_ms:.1f}",
        f"{probe.refused:,}",
        f"{use.handler:.2f}",
        f"{use.waiting:.2f}",
        f"{use.sync:.2f}",
        f"{use.generator:.2f}",
        f"{use.generator_lag_ms:.1f}",
        f"{use.others:.2f}",
    )
    held = "holds" if probe.holds(p99_ms) else "does not hold"
    line = " ".join(f"{cell:>9}" for cell in cells)
    return f"{line}  {held}" if probe.rate else line


def verdict(found: Capacity) -> str:
    """The answer in words."""
    limited = f"What limits is {found.limit.words}."
    if found.best is None:
        return f"No rate held {found.p99_ms_max:g} ms (p99) without refusals. {limited}"
    rate = found.best.answered
    what = f"{rate:,.0f} requests/s"
    if found.size > 1:
        what = f"{rate * found.size:,.0f} events/s in batches of {found.size:,} ({what})"
    doubt = "" if found.is_confirmed else " It held once, and did not when tried for longer."
    return (
        f"{found.traffic}: {what} with acknowledgements in {found.best.p99_ms:.1f} ms (p99; at "
        f"most {found.p99_ms_max:g} ms), nothing refused.{doubt} {limited}"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--traffic",
    type=click.Choice(["scanova", "croct", "zenovay"]),
    default="scanova",
    help="Scanova and Croct send one event per request.",
)
@click.option(
    "--size", type=click.Choice(["100", "1000"]), default="100", help="Events of a Zenovay batch."
)
@click.option(
    "--p99-ms",
    type=click.FloatRange(1, 10_000),
    default=50.0,
    help="What 99 % of acknowledgements may take.",
)
@click.option(
    "--seconds", type=click.FloatRange(0.5, 5), default=2.5, help="Of one try; the last is longer."
)
@click.option(
    "--connections", type=click.IntRange(1, CONNECTIONS_MAX), default=64, help="For singles."
)
@click.option("--processes", type=click.IntRange(1, 16), default=1, help="Load generators.")
@directory_option("Where the data directory is made. Its disk is part of what is measured.")
@click.option("--json", "is_json", is_flag=True, help="Print all of it as JSON.")
def main(
    *, traffic: Traffic, size: str, p99_ms: float, directory: Path, is_json: bool, **rest: Any
) -> None:
    """Find the highest rate that is acknowledged in time, and what keeps it from more."""
    options = Options(directory=directory, **rest)

    def tell(probe: Probe) -> None:
        sys.stderr.write(f"{shown(probe, p99_ms)}\n")

    sys.stderr.write(f"{shown(None, p99_ms)}\n")
    try:
        found = capacity(traffic, int(size) if traffic == "zenovay" else 1, p99_ms, options, tell)
    except (LoadFailed, NotReady) as error:
        raise click.ClickException(str(error)) from error
    if is_json:
        machine = msgspec.to_builtins(history.machine(directory))
        text = msgspec.json.encode({"machine": machine, **msgspec.to_builtins(found)})
        click.echo(msgspec.json.format(text))
    else:
        click.echo(verdict(found))


if __name__ == "__main__":
    main()
