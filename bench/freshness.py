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

from bench.figures import Figure, latency_figures
from bench.fleet import Fleet, LoadFailed, fresh_run
from bench.generator import Plan
from bench.options import Options
from bench.target import ADDRESS, Collector
from bench.template import Ids
from storage import Files
from storage.query import Lake

MARKER: Final = "bench_marker"
_MARKERS_PER_S: Final = 20
_LOOK_PAUSE_S: Final = 0.02
# The default of storage.publish_interval_ms: what a newcomer gets.
_PUBLISH_INTERVAL_MS: Final = 5_000
_LAST_LOOK_S: Final = 30.0
_COMMANDS: Final = 5
_CONNECTIONS: Final = 16

Look = Callable[[], set[str]]


def freshness(options: Options) -> list[Figure]:
    """Acknowledged to visible: in a plain glob, in a session of ours, by the command.

    Raises `LoadFailed` or `NotReady`.
    """
    with Collector(options.directory, publish_interval_ms=_PUBLISH_INTERVAL_MS) as collector:
        collector.start()
        # Long enough for the files of two intervals, however short the other measurements are.
        seconds = max(options.seconds, 1.3 * _PUBLISH_INTERVAL_MS / 1000)
        glob = _watched(collector, _glob_look(collector), seconds, options)
        session = _watched(collector, _session_look(collector), seconds / 2, options)
        command = _commanded(collector, options)
    rate = f"at {options.freshness_rate:,} events/s"
    return [
        *latency_figures("fresh_glob", glob, f"plain DuckDB glob, {rate}"),
        *latency_figures("fresh_session", session, f"session with log tail, {rate}"),
        *latency_figures("fresh_command", command, "`collector query`, its start included"),
    ]


def _watched(collector: Collector, look: Look, seconds: float, options: Options) -> list[int]:
    """Delays in microseconds of the markers sent during `seconds`."""
    fleet = Fleet(_load(collector, seconds, options))
    try:
        reader = _Reader(look)
        acknowledged = _send_markers(collector, seconds)
        fleet.wait()
        seen = reader.finish(set(acknowledged))
    finally:
        fleet.stop()
    return [round((seen[marker] - acked_s) * 1e6) for marker, acked_s in acknowledged.items()]


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


def _commanded(collector: Collector, options: Options) -> list[int]:
    """Delays of markers that are asked for by the command as soon as they are acknowledged."""
    fleet = Fleet(_load(collector, min(30.0, 3.0 * _COMMANDS), options))
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


def _load(collector: Collector, seconds: float, options: Options) -> Plan:
    return Plan(
        address=ADDRESS,
        port=collector.port,
        traffic="scanova",
        account=collector.account,
        run=fresh_run(),
        connections=_CONNECTIONS,
        warm_up_s=0.5,
        seconds=seconds,
        rate=options.freshness_rate,
        seed=options.seed,
    )
