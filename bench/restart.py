"""How long after `kill -9` events are taken again, with many rows in the log that no part holds.

The rows must all be there afterwards: those acknowledged before the kill are counted in Parquet
once the restarted collector has flushed them.
"""

import time
from typing import Final

from bench.figures import Figure, median_figure
from bench.fleet import LoadFailed, drive, fresh_run
from bench.options import Options
from bench.plan import SECONDS_MAX, Plan
from bench.target import ADDRESS, Collector
from bench.throughput import rows_in_parts

_BATCH: Final = 1_000
_CONNECTIONS: Final = 4
# An hour and a segment without end: nothing is flushed before the kill.
_NEVER_MS: Final = 3_600_000
_ENDLESS_BYTES: Final = 1 << 40
_USUAL_MS: Final = 5_000
_USUAL_BYTES: Final = 1 << 26


def cold_starts(options: Options) -> list[Figure]:
    """Seconds from start to ready on an empty directory. Raises `NotReady`."""
    seconds = []
    for _ in range(options.rounds):
        with Collector(options.directory) as collector:
            seconds.append(collector.start())
    return [median_figure("start_empty_s", seconds, "s", "start to ready without data")]


def restart(options: Options, kills: int = 1) -> list[Figure]:
    """Seconds from `kill -9` to ready, of `kills` the middle one; `LoadFailed` or `NotReady`.

    All kills but the last find the same log: a process that publishes only after an hour is killed
    as soon as it is ready.
    """
    with Collector(
        options.directory, publish_interval_ms=_NEVER_MS, segment_bytes_max=_ENDLESS_BYTES
    ) as collector:
        empty_s = collector.start()
        plan = Plan(
            address=ADDRESS,
            port=collector.port,
            traffic="zenovay",
            account=collector.account,
            run=fresh_run(),
            size=_BATCH,
            connections=_CONNECTIONS,
            warm_up_s=0.0,
            seconds=SECONDS_MAX,
            requests_max=options.restart_rows // _BATCH,
            seed=options.seed,
        )
        report = drive(plan)
        unflushed = round(collector.metric("collector_unflushed_rows"))
        if unflushed != report.accepted or report.accepted != options.restart_rows:
            raise LoadFailed(f"{report.accepted} acknowledged, {unflushed} rows wait in the log")
        log_bytes = collector.metric("collector_wal_bytes")
        ready_s = []
        for left in reversed(range(kills)):
            if not left:
                collector.configure(_USUAL_MS, _USUAL_BYTES)
            began_s = time.perf_counter()
            collector.kill()
            collector.start()
            ready_s.append(time.perf_counter() - began_s)
        collector.settle(SECONDS_MAX)
        settled_s = time.perf_counter() - began_s
        stored = rows_in_parts(collector)
        if stored != report.accepted:
            raise LoadFailed(f"{report.accepted} acknowledged before kill -9, {stored} found after")
    note = f"{report.accepted:,} rows, {log_bytes / 1e6:,.0f} MB of log"
    return [
        median_figure("restart_ready_s", ready_s, "s", f"kill -9 to /readyz 200, {note}"),
        Figure("restart_flushed_s", settled_s, "s", "kill -9 to all of them in Parquet"),
        Figure("start_empty_s", empty_s, "s", "start to ready without data, for comparison"),
    ]
