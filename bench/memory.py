"""How much memory the worker takes at full load, and whether it goes on growing.

Full load is both kinds of requests at once, each as fast as it is answered: singles, which make
the most requests, and batches of 1,000, which bring the most rows. The keys of 24 hours are part
of what is measured: about 2 bytes for each event.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from bench.figures import Figure, slope
from bench.fleet import Fleet
from bench.generator import SECONDS_MAX, Report
from bench.options import Options
from bench.target import Collector
from bench.throughput import check_stored, plan_for

_BATCH: Final = 1_000
_SAMPLE_S: Final = 1.0
# What is taken at the start and never given back is not growth.
_SETTLING_MIN: Final = 2.0
_SETTLE_S: Final = 300.0

# Minutes since the load began, and megabytes.
Sample = tuple[float, float]


def memory(options: Options) -> list[Figure]:
    """Resident memory of the worker over `options.minutes`. Raises `LoadFailed` or `NotReady`."""
    samples: list[Sample] = []
    reports: list[Report] = []
    with Collector(options.directory) as collector:
        collector.start()
        began_s = time.perf_counter()
        while (left_s := options.minutes * 60 - (time.perf_counter() - began_s)) > 1:
            reports += _loaded(collector, min(left_s, SECONDS_MAX), options, began_s, samples)
        peak_mb = collector.resident_mb("VmHWM")
        collector.settle(_SETTLE_S)
        check_stored(collector, reports)
        keys = collector.metric("collector_keys")
    events = sum(report.accepted for report in reports)
    return [
        Figure("memory_resident_max_mb", peak_mb, "MB", "the most there ever were"),
        Figure("memory_slope_mb_per_min", growth(samples), "MB/min"),
        Figure("memory_median_mb", statistics.median(mb for _, mb in samples), "MB"),
        Figure("memory_keys", keys, "keys", "held at the end, about 2 bytes each"),
        Figure("memory_minutes", options.minutes, "min"),
        Figure("memory_events", events, "events"),
    ]


def growth(samples: Sequence[Sample]) -> float:
    """Megabytes per minute after the first two minutes; of a shorter load, after its first half."""
    first_min = min(_SETTLING_MIN, samples[-1][0] / 2)
    return slope([sample for sample in samples if sample[0] >= first_min])


def _loaded(
    collector: Collector, seconds: float, options: Options, began_s: float, samples: list[Sample]
) -> list[Report]:
    """Both loads for so long, while memory is looked at."""
    one = plan_for("scanova", 1, options.connections, collector, options)
    many = plan_for("zenovay", _BATCH, 1, collector, options)
    end_s = time.perf_counter() + seconds
    fleets: list[Fleet] = []
    try:
        fleets += (Fleet(msgspec.structs.replace(plan, seconds=seconds)) for plan in (one, many))
        while time.perf_counter() < end_s:
            time.sleep(_SAMPLE_S)
            samples.append(((time.perf_counter() - began_s) / 60, collector.resident_mb()))
        return [fleet.wait() for fleet in fleets]
    finally:
        for fleet in fleets:
            fleet.stop()
