"""How long after its acknowledgement an event can be read, at a moderate rate of other events.

Marker events are sent one by one beside the load; a reader asks again and again which of them it
sees. A delay therefore includes half a look of the reader itself, on average; looks are short
against what is measured, except for the command, whose start is part of what its user waits for.
"""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import duckdb
import msgspec

from bench.figures import Figure, latency_figures, median_figure, percentile
from bench.fleet import Fleet, LoadFailed, fresh_run
from bench.generator import Plan, Report
from bench.options import Options
from bench.target import ADDRESS, Collector
from bench.template import Ids
from bench.throughput import check_stored
from storage import Files
from storage.query import Lake

MARKER: Final = "bench_marker"
_MARKERS_PER_S: Final = 20
_LOOK_PAUSE_S: Final = 0.02
# The default of storage.publish_interval_ms: what a newcomer gets.
_PUBLISH_INTERVAL_MS: Final = 5_000
_LAST_LOOK_S: Final = 30.0
_COMMANDS: Final = 5
_COMMANDS_S: Final = 15.0
_CONNECTIONS: Final = 16
# What the target of freshness is told of.
_LOAD_PER_S: Final = 5_000
_LOAD_BATCH: Final = 100
_KEPT_UP: Final = 0.95

Look = Callable[[], set[str]]


def freshness(options: Options) -> list[Figure]:
    """Acknowledged to visible: in a plain glob, in a session of ours, by the command.

    Raises `LoadFailed` or `NotReady`.
    """
    with Collector(options.directory, publish_interval_ms=_PUBLISH_INTERVAL_MS) as collector:
        collector.start()
        # Long enough for the files of two intervals, however short the other measurements are.
        seconds = max(options.seconds, 1.3 * _PUBLISH_INTERVAL_MS / 1000)
        load = _load(collector, seconds, options)
        glob, _ = _watched(collector, _glob_look(collector), load)
        load = _load(collector, seconds / 2, options)
        session, _ = _watched(collector, _session_look(collector), load)
        command = _commanded(collector, _load(collector, _COMMANDS_S, options))
    rate = f"at {options.freshness_rate:,} events/s"
    return [
        *latency_figures("fresh_glob", glob, f"plain DuckDB glob, {rate}"),
        *latency_figures("fresh_session", session, f"session with log tail, {rate}"),
        *latency_figures("fresh_command", command, "`collector query`, its start included"),
    ]


def fresh_at_load(options: Options) -> list[Figure]:
    """p99 until visible at 5,000 other events per second, the middle one of the rounds.

    Glob and session in rounds of their own, then the command. The load is batches of 100, so that
    a slow machine keeps it up, too. Raises as `freshness` does, and when it did not after all.
    """
    options = msgspec.structs.replace(options, freshness_rate=_LOAD_PER_S)
    # The files of an interval appear at once: a round of the glob takes longer than one.
    looks = {"glob": (_glob_look, 1.3), "session": (_session_look, 0.7)}
    figures: list[Figure] = []
    reports: list[Report] = []
    with Collector(options.directory, publish_interval_ms=_PUBLISH_INTERVAL_MS) as collector:
        collector.start()
        for name, (look, intervals) in looks.items():
            seconds = intervals * _PUBLISH_INTERVAL_MS / 1_000
            p99s_ms = []
            for _ in range(options.rounds):
                plan = _load(collector, seconds, options, _LOAD_BATCH)
                delays_us, report = _watched(collector, look(collector), plan)
                p99s_ms.append(percentile(sorted(delays_us), 0.99) / 1_000)
                reports.append(report)
            figures.append(median_figure(f"fresh_5k_{name}_p99_ms", p99s_ms, "ms"))
        plan = _load(collector, _COMMANDS_S, options, _LOAD_BATCH)
        command = _commanded(collector, plan)
        check_stored(collector, reports)
    load = median_figure(
        "fresh_5k_load_per_s",
        [report.events / report.window_s for report in reports],
        "events/s",
        f"batches of {_LOAD_BATCH}, beside {_MARKERS_PER_S} events/s that are looked for",
    )
    if load.value < _LOAD_PER_S * _KEPT_UP:
        raise LoadFailed(f"only {load.value:,.0f} of {_LOAD_PER_S:,} events/s were taken")
    note = "`collector query` typed anew, its start included"
    return [*figures, *latency_figures("fresh_5k_command", command, note), load]


def _watched(collector: Collector, look: Look, plan: Plan) -> tuple[list[int], Report]:
    """Delays in microseconds of the markers sent during `plan`, and what came of that load."""
    fleet = Fleet(plan)
    try:
        reader = _Reader(look)
        acknowledged = _send_markers(collector, plan.seconds)
        report = fleet.wait()
        seen = reader.finish(set(acknowledged))
    finally:
        fleet.stop()
    delays = [round((seen[marker] - acked_s) * 1e6) for marker, acked_s in acknowledged.items()]
    return delays, report


class _Reader:
    """Looks again and again, in a thread; DuckDB works outside the GIL."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._seen: dict[str, float] = {}
        self._wanted: set[str] | None = None
        self._problem: Exception | None = None
        self._deadline_s = float("inf")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self, wanted: set[str]) -> dict[str, float]:
        """When each of `wanted` was first seen. Raises `LoadFailed` when one never is."""
        self._deadline_s = time.perf_counter() + _LAST_LOOK_S
        self._wanted = wanted
        self._thread.join()
        if self._problem is not None:
            raise LoadFailed(f"reading failed: {self._problem}") from self._problem
        if missing := len(wanted - self._seen.keys()):
            raise LoadFailed(f"{missing} of {len(wanted)} acknowledged events were never seen")
        return self._seen

    def _run(self) -> None:
        try:
            while time.perf_counter() < self._deadline_s:
                found = self._look()
                now_s = time.perf_counter()
                for marker in found - self._seen.keys():
                    self._seen[marker] = now_s
                if self._wanted is not None and self._wanted <= self._seen.keys():
                    return
                time.sleep(_LOOK_PAUSE_S)
        except Exception as error:  # noqa: BLE001 handed to the main thread, which raises it
            self._problem = error


def _glob_look(collector: Collector) -> Look:
    """What anybody with DuckDB sees."""
    connection = duckdb.connect()
    glob = f"{collector.data}/events/**/*.parquet"

    def look() -> set[str]:
        try:
            rows = connection.execute(
                "SELECT event_id::VARCHAR FROM read_parquet(?) WHERE event_type = ?",
                [glob, MARKER],
            ).fetchall()
        except duckdb.IOException:
            return set()  # no file yet, or one that was joined since it was listed
        return {row[0] for row in rows}

    return look


def _session_look(collector: Collector) -> Look:
    """What a new session of `storage.query` sees, as the dashboard and the command use it."""

    def look() -> set[str]:
        with Lake(collector.data, Files()) as lake:
            rows = lake.run(
                f"SELECT event_id::VARCHAR FROM events WHERE event_type = '{MARKER}'"  # noqa: S608
            ).rows()
        return {row[0] for row in rows}

    return look


def _commanded(collector: Collector, plan: Plan) -> list[int]:
    """Delays of markers that are asked for by the command as soon as they are acknowledged."""
    fleet = Fleet(plan)
    delays = []
    try:
        for _ in range(_COMMANDS):
            ((marker, acked_s),) = _send_markers(collector, 0).items()
            while marker not in _asked(collector, marker):
                if time.perf_counter() - acked_s > _LAST_LOOK_S:
                    raise LoadFailed("`collector query` never showed an acknowledged event")
            delays.append(round((time.perf_counter() - acked_s) * 1e6))
    finally:
        fleet.stop()
    return delays


def _asked(collector: Collector, marker: str) -> str:
    sql = f"SELECT event_id FROM events WHERE event_id = '{marker}'"  # noqa: S608 our own id
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from collector.cli import main; main()",
            "query",
            "--config",
            str(collector.config),
            "--format",
            "csv",
            sql,
        ],
        capture_output=True,
        text=True,
        timeout=_LAST_LOOK_S,
        check=False,
    )
    if done.returncode:
        raise LoadFailed(f"`collector query` failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _send_markers(collector: Collector, seconds: float) -> dict[str, float]:
    """Send markers for `seconds`, at least one; when each was acknowledged."""
    ids = Ids(fresh_run())
    acknowledged: dict[str, float] = {}
    connection = http.client.HTTPConnection(ADDRESS, collector.port, timeout=10)
    headers = {"Content-Type": "application/json", "Origin": collector.account.origin}
    began_s = time.perf_counter()
    try:
        while not acknowledged or time.perf_counter() - began_s < seconds:
            marker = ids.next().decode()
            body = {"site_id": collector.account.site, "event_type": MARKER, "event_id": marker}
            connection.request("POST", "/ct", msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise LoadFailed(f"a marker was answered with {answer.status}")
            acknowledged[marker] = time.perf_counter()
            # Off the beat of anything that happens every so many milliseconds.
            time.sleep((0.5 + len(acknowledged) * 0.618 % 1) / _MARKERS_PER_S)
    finally:
        connection.close()
    return acknowledged


def _load(collector: Collector, seconds: float, options: Options, size: int = 1) -> Plan:
    """So many events per second, one per request, or `size` as a back end sends them."""
    return Plan(
        address=ADDRESS,
        port=collector.port,
        traffic="scanova" if size == 1 else "zenovay",
        account=collector.account,
        run=fresh_run(),
        size=size,
        connections=_CONNECTIONS,
        warm_up_s=0.5,
        seconds=seconds,
        rate=options.freshness_rate / size,
        seed=options.seed,
    )
