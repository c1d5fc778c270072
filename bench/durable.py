"""Durable intake against what it cannot beat: a bare handler, no sync, decoding alone.

Rounds of all sides are taken in turn within one run, so that a neighbour on the machine disturbs
them alike. Every row that was acknowledged must be counted and lie in Parquet afterwards.
"""

from typing import Final

import msgspec

from bench.decoding import CHECKED, PLAIN, bodies, decoded_per_s
from bench.figures import Figure, median_figure, percentile, ratio_figure
from bench.options import Options
from bench.setups import Setup
from bench.target import Collector, Floor
from bench.throughput import (
    BATCH_CONNECTIONS,
    PUBLISH_INTERVAL_MS,
    WARM_UP_S,
    Side,
    check_stored,
    plan_for,
)

_BATCH: Final = 1_000
_SHARE: Final = 0.70


def singles(options: Options) -> list[Figure]:
    """Scanova singles over the bare handler, and over `durability = "os"`; answers at 70 %.

    Raises `LoadFailed` or `NotReady`.
    """
    synced, unsynced, floor, loaded = Side(), Side(), Side(), Side()
    with (
        Collector(options.directory, publish_interval_ms=PUBLISH_INTERVAL_MS) as durable,
        Collector(options.directory) as lazy,
        Floor(options.directory) as bare,
    ):
        lazy.use(Setup(durability="os", publish_interval_ms=PUBLISH_INTERVAL_MS))
        for server in (durable, lazy, bare):
            server.start()
        plans = {
            server: plan_for("scanova", 1, options.connections, server, options)
            for server in (durable, lazy, bare)
        }
        for _ in range(options.rounds):
            synced.run(durable, plans[durable], options.processes)
            durable.settle()
            unsynced.run(lazy, plans[lazy], options.processes)
            lazy.settle()
            floor.run(bare, plans[bare], options.processes)
        paced = msgspec.structs.replace(plans[durable], rate=synced.median * _SHARE)
        for _ in range(options.rounds):
            loaded.run(durable, paced, options.processes)
            durable.settle()
        check_stored(durable, [*synced.reports, *loaded.reports])
        check_stored(lazy, unsynced.reports)
    return [
        median_figure("scanova_singles_per_s", synced.rates, "events/s", "durable"),
        median_figure("scanova_os_singles_per_s", unsynced.rates, "events/s", "not synced"),
        median_figure("scanova_floor_per_s", floor.rates, "requests/s", "bare handler"),
        ratio_figure("scanova_ratio", synced.rates, floor.rates),
        ratio_figure("scanova_os_ratio", synced.rates, unsynced.rates),
        _p99(loaded, f"fixed rate, {paced.rate:,.0f}/s"),
        Figure("scanova_collector_cpu", synced.server_share(WARM_UP_S), "cores"),
        Figure("scanova_generator_cpu", synced.generator_share, "cores"),
        *synced.refused("scanova"),
        *unsynced.refused("scanova_os"),
        *loaded.refused("scanova_70_load"),
    ]


def _p99(side: Side, note: str) -> Figure:
    """The middle one of the rounds' p99, in milliseconds."""
    p99s = [percentile(sorted(report.latencies_us), 0.99) / 1e3 for report in side.reports]
    return median_figure("scanova_70_load_ack_p99_ms", p99s, "ms", note)


def batches(options: Options) -> list[Figure]:
    """Zenovay batches of 1,000: events per second, and over decoding the same bodies in a loop.

    Raises `LoadFailed` or `NotReady`.
    """
    side = Side()
    plain: list[float] = []
    bare: list[float] = []
    found = bodies("zenovay", _BATCH, options.seed)
    with Collector(options.directory, publish_interval_ms=PUBLISH_INTERVAL_MS) as collector:
        collector.start()
        plan = plan_for("zenovay", _BATCH, BATCH_CONNECTIONS[_BATCH], collector, options)
        for _ in range(options.rounds):
            side.run(collector, plan, options.processes)
            collector.settle()
            plain.append(decoded_per_s(PLAIN["zenovay"], found, _BATCH, options.round_s / 2))
            bare.append(decoded_per_s(CHECKED["zenovay"], found, _BATCH, options.round_s / 2))
        check_stored(collector, side.reports)
    return [
        median_figure("zenovay_1000_events_per_s", side.rates, "events/s", "durable"),
        median_figure("zenovay_1000_decoded_per_s", plain, "events/s", "msgspec alone"),
        median_figure("zenovay_1000_decoded_bare_per_s", bare, "events/s", "props left as text"),
        ratio_figure("zenovay_1000_decode_ratio", side.rates, plain),
        Figure("zenovay_1000_collector_cpu", side.server_share(WARM_UP_S), "cores"),
        Figure("zenovay_1000_generator_cpu", side.generator_share, "cores"),
        *side.refused("zenovay_1000"),
    ]
