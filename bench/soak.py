"""Half of the capacity for as long as you like: `python -m bench.soak --minutes 30`.

Browsers' and back ends' singles, beacons and batches at once, at fixed rates, with joins and a
retention as anybody has them. Every few seconds is noted what must not grow: memory of all the
collector's processes, open files, threads, bytes of log, parts. Keys of 24 hours do grow with the
events, two bytes each up to `storage.keys_max`, so they are noted for themselves and taken off the
memory. Joining takes memory while it lasts, for minutes at a time: what stays is the least of each
tenth of the time. Flat is a slope that is no more than its own uncertainty.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import msgspec

from bench import history
from bench.corpus import Traffic
from bench.figures import Figure, table
from bench.fleet import LoadFailed, fresh_run
from bench.flood import Flood
from bench.floods import Flooding
from bench.options import Options
from bench.plan import Report
from bench.soakchart import svg
from bench.switches import directory_option, history_option
from bench.target import Collector, NotReady, compile_packages
from bench.throughput import check_stored

PICTURE: Final = Path(__file__).resolve().parent / "soak.svg"
_SAMPLE_S: Final = 5.0
_HALF: Final = 0.5
_CAPACITY_S: Final = 8.0
# What is taken once and kept is not growth.
_SETTLING_SHARE: Final = 0.2
_SETTLE_S: Final = 300.0
_WINDOWS: Final = 10
# Two standard errors: a slope that is no further from zero is none.
_ERRORS: Final = 2.0


class _Stream(msgspec.Struct, frozen=True):
    """One kind of traffic: of the rate that a closed loop reaches by itself, this share."""

    traffic: Traffic
    size: int
    connections: int
    share: float


# Together half of what the machine can do.
_STREAMS: Final = (
    _Stream("scanova", 1, 64, 0.35),
    _Stream("scanova_server", 1, 16, 0.10),
    _Stream("croct", 1, 64, 0.25),
    _Stream("zenovay", 1_000, 4, 0.30),
)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was there `minute` minutes after the load began."""

    minute: float
    memory_mb: float
    open_files: float
    threads: float
    log_mb: float
    parts: float
    keys: float
    key_filter_mb: float


class Slope(msgspec.Struct, frozen=True):
    """Growth a minute, and its standard error."""

    per_min: float
    error: float

    @property
    def is_flat(self) -> bool:
        """No further from zero than it is uncertain."""
        return abs(self.per_min) <= _ERRORS * self.error


# Measure: its unit, and how it is read from a sample.
MEASURES: Final = {
    "memory": "MB",
    "memory_without_keys": "MB",
    "memory_at_rest": "MB",
    "open_files": "files",
    "threads": "threads",
    "log": "MB",
    "parts": "files",
    "keys": "keys",
}


def values(samples: Sequence[Sample], measure: str) -> list[tuple[float, float]]:
    """(minute, value) of one of `MEASURES`."""
    if measure == "memory_at_rest":
        return _least(values(samples, "memory_without_keys"))
    read = {
        "memory": lambda one: one.memory_mb,
        "memory_without_keys": lambda one: one.memory_mb - one.key_filter_mb,
        "open_files": lambda one: one.open_files,
        "threads": lambda one: one.threads,
        "log": lambda one: one.log_mb,
        "parts": lambda one: one.parts,
        "keys": lambda one: one.keys,
    }[measure]
    return [(one.minute, read(one)) for one in samples]


def _least(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lowest point of each window."""
    window = points[-1][0] / _WINDOWS
    windows = itertools.groupby(points, lambda point: min(_WINDOWS - 1, int(point[0] / window)))
    return [min(found, key=lambda point: point[1]) for _, found in windows]


def slope_of(points: Sequence[tuple[float, float]]) -> Slope:
    """By least squares, from the settling on. Neighbouring samples are alike, as a sawtooth's are.

    So their number counts for less: for as many as change sides of the line. Raises ValueError
    for fewer than four points.
    """
    first = points[-1][0] * _SETTLING_SHARE
    used = [point for point in points if point[0] >= first]
    if len(used) < 4:
        raise ValueError("a slope needs some points")
    line = statistics.linear_regression(*zip(*used, strict=True))
    rests = [y - line.slope * x - line.intercept for x, y in used]
    sides = sum((a > 0) != (b > 0) for a, b in itertools.pairwise(rests)) + 1
    independent = max(3, min(len(used), 2 * sides))
    mean = statistics.fmean(x for x, _ in used)
    spread = sum((x - mean) ** 2 for x, _ in used) / len(used)
    variance = sum(rest * rest for rest in rests) / len(used)
    return Slope(line.slope, (variance / (spread * (independent - 2))) ** 0.5)


def _sample(collector: Collector, began_s: float) -> Sample:
    return Sample(
        minute=(time.perf_counter() - began_s) / 60,
        memory_mb=collector.group_mb(),
        open_files=collector.open_files(),
        threads=len(collector.threads()),
        log_mb=collector.metric("collector_wal_bytes") / 1e6,
        parts=collector.metric("collector_parts"),
        keys=collector.metric("collector_keys"),
        key_filter_mb=collector.metric("collector_key_filter_bytes") / 1e6,
    )


def _flood(collector: Collector, stream: _Stream, seconds: float, rate: float, seed: int) -> Flood:
    return Flood(
        port=collector.port,
        traffic=stream.traffic,
        account=collector.account,
        run=fresh_run(),
        size=stream.size,
        connections=stream.connections,
        rate=rate,
        seconds=seconds,
        seed=seed,
        has_latencies=not rate,
    )


def soak(directory: Path, minutes: float, seed: int) -> tuple[list[Sample], list[Figure]]:
    """Load a collector of our own and look at it. Raises `LoadFailed` or `NotReady`."""
    samples: list[Sample] = []
    report = Report(window_s=1, requests=0, events=0, latencies_us=[], cpu_s=0)
    with Collector(directory) as collector:
        collector.start()
        rates = []
        for stream in _STREAMS:
            with Flooding(_flood(collector, stream, _CAPACITY_S, 0, seed)) as flooding:
                flooded = flooding.wait()
            report.accepted += flooded.accepted
            answers = sum(flooded.statuses.values())
            rates.append(answers / flooded.window_s * stream.share * _HALF)
        collector.settle(_SETTLE_S)
        began_s = time.perf_counter()
        with ExitStack() as stack:
            floods = [
                stack.enter_context(Flooding(_flood(collector, stream, minutes * 60, rate, seed)))
                for stream, rate in zip(_STREAMS, rates, strict=True)
            ]
            while time.perf_counter() - began_s < minutes * 60:
                time.sleep(_SAMPLE_S)
                samples.append(_sample(collector, began_s))
            done = [flooding.wait() for flooding in floods]
        report.accepted += sum(flooded.accepted for flooded in done)
        collector.settle(_SETTLE_S)
        check_stored(collector, [report])
    events = sum(flooded.accepted for flooded in done)
    refused = sum(
        count
        for flooded in done
        for status, count in flooded.statuses.items()
        if status not in {200, 204}
    )
    broken = sum(flooded.broken + flooded.unanswered for flooded in done)
    return samples, [
        Figure("soak_minutes", minutes, "min"),
        Figure("soak_events", events, "events", "acknowledged, all found"),
        Figure("soak_events_per_s", events / (minutes * 60), "events/s"),
        Figure("soak_refused", refused, "requests"),
        Figure("soak_broken", broken, "requests", "without an answer"),
        *_figures(samples),
    ]


def _figures(samples: Sequence[Sample]) -> list[Figure]:
    figures = []
    for measure, unit in MEASURES.items():
        points = values(samples, measure)
        slope = slope_of(points)
        note = "flat" if slope.is_flat else "not flat"
        figures += [
            Figure(f"soak_{measure}_median", statistics.median(y for _, y in points), unit),
            Figure(f"soak_{measure}_max", max(y for _, y in points), unit),
            Figure(f"soak_{measure}_per_min", slope.per_min, f"{unit}/min", note),
            Figure(f"soak_{measure}_per_min_error", slope.error, f"{unit}/min"),
        ]
    return figures


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--minutes", type=click.FloatRange(0.5, 120), default=30.0, help="Of load.")
@click.option("--seed", type=int, default=1, help="Of the corpus.")
@directory_option("Where the data directory is made. Its disk is part of what is measured.")
@history_option("Add a line, and draw the picture.")
def main(*, minutes: float, seed: int, directory: Path, is_kept: bool) -> None:
    """Load a collector at half of its capacity, and see what grows."""
    compile_packages()
    try:
        samples, figures = soak(directory, minutes, seed)
    except (LoadFailed, NotReady) as error:
        raise click.ClickException(str(error)) from error
    run = history.describe(
        Options(directory=directory, seconds=minutes * 60, minutes=minutes, seed=seed), figures
    )
    click.echo(f"{run.machine.told}\n{table(figures)}")
    if is_kept:
        history.append(run)
        PICTURE.write_text(svg({name: values(samples, name) for name in MEASURES}, MEASURES))
        sys.stderr.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
