"""What intake loses while rows become Parquet and parts are joined.

One collector publishes every second and joins at its every look, the other does neither before its
hour is over. Rounds are taken in turn; each is longer than the ten seconds between two looks at
what is to be joined, so that every one of the first kind has a join in it. The second kind starts
anew for each round, so that no log of many gigabytes piles up.
"""

from typing import Final

from bench.corpus import Traffic
from bench.figures import Figure, median_figure, ratio_figure
from bench.fleet import LoadFailed
from bench.generator import Report
from bench.options import Options
from bench.setups import Setup
from bench.target import Collector
from bench.throughput import (
    BATCH_CONNECTIONS,
    PUBLISH_INTERVAL_MS,
    Side,
    check_counted,
    check_stored,
    plan_for,
)

_BATCH: Final = 1_000
_BUSY: Final = Setup(publish_interval_ms=PUBLISH_INTERVAL_MS, join_parts_min=2)
_IDLE: Final = Setup(publish_interval_ms=3_600_000, segment_bytes_max=1 << 40)


def flushing(options: Options) -> list[Figure]:
    """Singles and batches: events per second with over without. Raises as `singles` does."""
    return [
        *_compared("scanova", "singles", 1, options),
        *_compared("zenovay", "batches", _BATCH, options),
    ]


def _compared(traffic: Traffic, name: str, size: int, options: Options) -> list[Figure]:
    busy_side, idle_side = Side(), Side()
    connections = BATCH_CONNECTIONS.get(size, options.connections)
    with Collector(options.directory) as busy:
        busy.use(_BUSY)
        busy.start()
        for _ in range(options.rounds):
            plan = plan_for(traffic, size, connections, busy, options)
            busy_side.run(busy, plan, options.processes)
            busy.settle()
            with Collector(options.directory) as idle:
                idle.use(_IDLE)
                idle.start()
                plan = plan_for(traffic, size, connections, idle, options)
                idle_side.run(idle, plan, options.processes)
                _check_waiting(idle, idle_side.reports[-1])
        check_stored(busy, busy_side.reports)
        joins = busy.metric("collector_joins_total")
    note = f"published every second, joined {joins:.0f} times"
    return [
        median_figure(f"flushing_{name}_per_s", busy_side.rates, "events/s", note),
        median_figure(f"unflushed_{name}_per_s", idle_side.rates, "events/s", "neither"),
        ratio_figure(f"flushing_{name}_ratio", busy_side.rates, idle_side.rates),
        Figure(f"flushing_{name}_joins", joins, "joins"),
        *busy_side.refused(f"flushing_{name}"),
        *idle_side.refused(f"unflushed_{name}"),
    ]


def _check_waiting(collector: Collector, report: Report) -> None:
    """Raise `LoadFailed` unless all rows were counted and wait in the log."""
    expected = check_counted(collector, [report])
    waiting = round(collector.metric("collector_unflushed_rows"))
    if waiting != expected:
        raise LoadFailed(f"{expected} rows expected in the log, {waiting} wait there")
