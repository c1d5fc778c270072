"""How much memory a collector takes at full load, what for, and whether it goes on growing.

Full load is both kinds of requests at once, each as fast as it is answered: singles, which make
the most requests, and batches of 1,000, which bring the most rows. The keys of 24 hours are part
of what is measured: about 2 bytes for each event. What it is for is told apart by switching off:
first nothing becomes Parquet, then nothing is joined, each for a tenth of the time; then all of it.
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
from bench.setups import Setup
from bench.target import Collector
from bench.throughput import check_stored, plan_for

_BATCH: Final = 1_000
_SAMPLE_S: Final = 1.0
# What is taken at the start and never given back is not growth.
_SETTLING_MIN: Final = 2.0
_SETTLE_S: Final = 300.0
_SHARE: Final = 0.1
_NEVER_MS: Final = 3_600_000
_UNJOINED: Final = 100_000
_NEITHER: Final = Setup(publish_interval_ms=_NEVER_MS, segment_bytes_max=1 << 40)
_UNJOINING: Final = Setup(join_parts_min=_UNJOINED)

# Minutes since the load began, and megabytes.
Sample = tuple[float, float]


class _Watched(msgspec.Struct):
    """What one collector took, in megabytes: when ready, at most, and over the time."""

    ready_mb: float
    peak_mb: float
    samples: list[Sample]
    keys: float
    key_mb: float
    events: int
    joins: float


def memory(options: Options) -> list[Figure]:
    """Resident memory over `options.minutes`, and its parts. Raises `LoadFailed` or `NotReady`."""
    neither = _watch(options, _NEITHER, options.minutes * _SHARE, settles=False)
    unjoined = _watch(options, _UNJOINING, options.minutes * _SHARE)
    whole = _watch(options, Setup(), options.minutes)
    # Without its keys, a short run can be compared with a long one.
    bare, flushing, joining = (one.peak_mb - one.key_mb for one in (neither, unjoined, whole))
    median_mb = statistics.median(mb for _, mb in whole.samples)
    return [
        Figure("memory_resident_max_mb", whole.peak_mb, "MB", "the most there ever were"),
        Figure("memory_slope_mb_per_min", growth(whole.samples), "MB/min"),
        Figure("memory_median_mb", median_mb, "MB"),
        Figure("memory_ready_mb", whole.ready_mb, "MB", "of the maximum: before any request"),
        Figure("memory_intake_mb", bare - neither.ready_mb, "MB", "on top, nothing in Parquet"),
        Figure("memory_flush_mb", flushing - bare, "MB", "on top, nothing joined"),
        Figure("memory_join_mb", joining - flushing, "MB", f"on top, {whole.joins:.0f} joins"),
        Figure("memory_keys_mb", whole.key_mb, "MB", "on top, their filters"),
        Figure("memory_keys", whole.keys, "keys", "held at the end"),
        Figure("memory_minutes", options.minutes, "min"),
        Figure("memory_events", whole.events, "events"),
    ]


def growth(samples: Sequence[Sample]) -> float:
    """Megabytes per minute after the first two minutes; of a shorter load, after its first half."""
    first_min = min(_SETTLING_MIN, samples[-1][0] / 2)
    return slope([sample for sample in samples if sample[0] >= first_min])


def _watch(options: Options, setup: Setup, minutes: float, *, settles: bool = True) -> _Watched:
    """Load a collector for so long. `settles`: all it took must then get into Parquet."""
    samples: list[Sample] = []
    reports: list[Report] = []
    with Collector(options.directory) as collector:
        collector.use(setup)
        collector.start()
        ready_mb = collector.resident_mb()
        began_s = time.perf_counter()
        while (left_s := minutes * 60 - (time.perf_counter() - began_s)) > 1:
            reports += _loaded(collector, min(left_s, SECONDS_MAX), options, began_s, samples)
        peak_mb = collector.resident_mb("VmHWM")
        if settles:
            collector.settle(_SETTLE_S)
            check_stored(collector, reports)
        return _Watched(
            ready_mb=ready_mb,
            peak_mb=peak_mb,
            samples=samples,
            keys=collector.metric("collector_keys"),
            key_mb=collector.metric("collector_key_filter_bytes") / 1e6,
            events=sum(report.accepted for report in reports),
            joins=collector.metric("collector_joins_total"),
        )


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
