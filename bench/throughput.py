"""How many events per second are acknowledged, each only when it is on disk.

Singles are measured in turn with the floor; batches alone. After every measurement the rows found
in Parquet must be those that were acknowledged, otherwise nothing is reported.
"""

import statistics
from typing import Final

import duckdb
import msgspec

from bench.corpus import Account, Traffic
from bench.figures import Figure, latency_figures, ratio_of_medians
from bench.fleet import LoadFailed, drive, fresh_run
from bench.options import Options
from bench.plan import Plan, Report
from bench.target import ADDRESS, Collector, Floor

# Short, so that turning rows into Parquet falls into the rounds it belongs to.
PUBLISH_INTERVAL_MS: Final = 1_000
WARM_UP_S: Final = 0.5
_HALF: Final = 0.5
_PROTOCOLS: Final = ("scanova", "croct", "zenovay")
# Enough in flight to keep the collector busy, few enough that memory stays what a user would see.
BATCH_CONNECTIONS: Final = {100: 16, 1_000: 4}


class Side:
    """Reports of one server, round by round, and the CPU it used meanwhile."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._cpu_s = 0.0

    def run(self, server: Collector | Floor, plan: Plan, processes: int) -> None:
        """One more round."""
        cpu_s = server.cpu_s()
        self.reports.append(drive(plan, processes))
        self._cpu_s += server.cpu_s() - cpu_s

    @property
    def rates(self) -> list[float]:
        """Events acknowledged per second, by round."""
        return [report.events / report.window_s for report in self.reports]

    @property
    def median(self) -> float:
        """The middle one of the rates."""
        return statistics.median(self.rates)

    @property
    def latencies_us(self) -> list[int]:
        """Of all rounds."""
        return [latency for report in self.reports for latency in report.latencies_us]

    @property
    def generator_share(self) -> float:
        """CPU the generator used, in cores."""
        used_s = sum(report.cpu_s for report in self.reports)
        return used_s / sum(report.window_s for report in self.reports)

    @property
    def generator_lag_ms(self) -> float:
        """How late the generator was itself, p99 of the round where it was worst."""
        return max(report.lag_p99_ms for report in self.reports)

    def server_share(self, warm_up_s: float) -> float:
        """CPU the server used, in cores; warm-ups count on both sides of the fraction."""
        return self._cpu_s / sum(report.window_s + warm_up_s for report in self.reports)

    def refused(self, name: str) -> list[Figure]:
        """What was not taken, if anything: a figure that should not be there."""
        count = sum(report.rejected + report.failures for report in self.reports)
        return [Figure(f"{name}_refused", count, "events", "not acknowledged")] if count else []


def singles(traffic: Traffic, options: Options) -> list[Figure]:
    """Single events per second, their latency, and the ratio to the bare handler.

    Raises `LoadFailed` or `NotReady`.
    """
    collector_side, floor_side, half = Side(), Side(), Side()
    with (
        Collector(options.directory, publish_interval_ms=PUBLISH_INTERVAL_MS) as collector,
        Floor(options.directory) as floor,
    ):
        collector.start()
        floor.start()
        plan = plan_for(traffic, 1, options.connections, collector, options)
        bare = plan_for(traffic, 1, options.connections, floor, options)
        for _ in range(options.rounds):
            collector_side.run(collector, plan, options.processes)
            collector.settle()
            floor_side.run(floor, bare, options.processes)
        rate = collector_side.median * _HALF
        half.run(collector, msgspec.structs.replace(plan, rate=rate), options.processes)
        check_stored(collector, [*collector_side.reports, *half.reports])
    return [
        Figure(f"{traffic}_singles_per_s", collector_side.median, "events/s", "durable"),
        *latency_figures(
            f"{traffic}_ack", collector_side.latencies_us, f"{options.connections} connections"
        ),
        *latency_figures(
            f"{traffic}_half_load_ack", half.latencies_us, f"fixed rate, {rate:,.0f}/s"
        ),
        Figure(f"{traffic}_floor_per_s", floor_side.median, "requests/s", "bare handler"),
        Figure(
            f"{traffic}_ratio",
            ratio_of_medians(collector_side.rates, floor_side.rates),
            "",
            f"of the bare handler, {options.rounds} rounds in turn",
        ),
        Figure(f"{traffic}_collector_cpu", collector_side.server_share(WARM_UP_S), "cores"),
        Figure(f"{traffic}_floor_cpu", floor_side.server_share(WARM_UP_S), "cores"),
        *_generator(traffic, max(collector_side, floor_side, key=lambda s: s.generator_share)),
        *collector_side.refused(traffic),
    ]


def batches(size: int, options: Options) -> list[Figure]:
    """Events per second in Zenovay batches of `size`. Raises `LoadFailed` or `NotReady`."""
    side = Side()
    name = f"zenovay_{size}"
    connections = BATCH_CONNECTIONS[size]
    with Collector(options.directory, publish_interval_ms=PUBLISH_INTERVAL_MS) as collector:
        collector.start()
        plan = plan_for("zenovay", size, connections, collector, options)
        for _ in range(options.rounds):
            side.run(collector, plan, options.processes)
            collector.settle()
        check_stored(collector, side.reports)
    return [
        Figure(f"{name}_events_per_s", side.median, "events/s", f"durable, batches of {size:,}"),
        *latency_figures(f"{name}_ack", side.latencies_us, f"{connections} connections"),
        Figure(f"{name}_collector_cpu", side.server_share(WARM_UP_S), "cores"),
        *_generator(name, side),
        *side.refused(name),
    ]


def check_stored(collector: Collector, reports: list[Report], before: int = 0) -> None:
    """Raise `LoadFailed` unless what was acknowledged was counted, and lies in Parquet.

    `before`: rows that were there before, or are of other sites.
    """
    collector.settle()
    expected = check_counted(collector, reports)
    stored = rows_in_parts(collector) - before
    if stored != expected:
        raise LoadFailed(f"{expected} rows expected, {stored} found in Parquet")


def check_counted(collector: Collector, reports: list[Report]) -> int:
    """Raise `LoadFailed` unless what was acknowledged was counted; returns how many rows it is."""
    acknowledged = sum(report.accepted + report.duplicate for report in reports)
    accepted = sum(_counted(collector, protocol, "accepted") for protocol in _PROTOCOLS)
    duplicate = sum(_counted(collector, protocol, "duplicate") for protocol in _PROTOCOLS)
    # More were counted than acknowledged when connections broke before the answer.
    if accepted + duplicate < acknowledged:
        raise LoadFailed(f"{acknowledged} acknowledged, {accepted + duplicate} counted")
    # Only Scanova's repeats are stored again.
    return accepted + _counted(collector, "scanova", "duplicate")


def rows_in_parts(collector: Collector) -> int:
    """Rows that a plain glob over the events folder finds."""
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT count(*) FROM read_parquet(?)", [f"{collector.data}/events/**/*.parquet"]
        ).fetchall()
    return int(found[0][0])


def _counted(collector: Collector, protocol: str, outcome: str) -> int:
    site = collector.account.site
    labels = f'{{site="{site}",protocol="{protocol}",outcome="{outcome}"'
    return round(collector.metric("collector_events_total" + labels))


def _generator(name: str, side: Side) -> list[Figure]:
    note = "near 1 per process it is the bottleneck itself"
    return [
        Figure(f"{name}_generator_cpu", side.generator_share, "cores", note),
        Figure(f"{name}_generator_lag_p99_ms", side.generator_lag_ms, "ms", "1 to 2 is its timer"),
    ]


def plan_for(
    traffic: Traffic, size: int, connections: int, server: Collector | Floor, options: Options
) -> Plan:
    """One round against `server`: a collector of our own, or a bare handler."""
    account = server.account if isinstance(server, Collector) else Account(host=ADDRESS)
    return Plan(
        address=ADDRESS,
        port=server.port,
        traffic=traffic,
        account=account,
        run=fresh_run(),
        size=size,
        connections=connections,
        warm_up_s=WARM_UP_S,
        seconds=options.round_s,
        duplicates=options.duplicates,
        seed=options.seed,
    )
