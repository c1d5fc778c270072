"""Durable intake against what it cannot beat: a bare handler, no sync, decoding alone.

Rounds of all sides are taken in turn within one run, so that a neighbour on the machine disturbs
them alike. Every row that was acknowledged must be counted and lie in Parquet afterwards.
"""

import time
from typing import Any, Final

import msgspec

from bench.corpus import Account, templates
from bench.figures import Figure, median_figure, percentile, ratio_figure
from bench.options import Options
from bench.setups import Setup
from bench.target import ADDRESS, Collector, Floor
from bench.template import Ids
from bench.throughput import (
    BATCH_CONNECTIONS,
    PUBLISH_INTERVAL_MS,
    WARM_UP_S,
    Side,
    check_stored,
    plan_for,
)
from collector.adapters.zenovay_events import Item

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


class _Event(msgspec.Struct, rename="camel"):
    """An event as anybody would declare it: members typed, free ones built as they come."""

    type: str
    ts: int
    props: dict[str, Any]
    visitor_id: str
    session_id: str
    idempotency_key: str


class _Body(msgspec.Struct, rename="camel"):
    tracking_code: str
    events: list[_Event]
    server_context: dict[str, str]


class _Bare(msgspec.Struct, rename="camel"):
    """The least that a decoder can do: `props` are checked and left as text."""

    events: list[Item]


_plain: Final = msgspec.json.Decoder(_Body)
_bare: Final = msgspec.json.Decoder(_Bare)


def batches(options: Options) -> list[Figure]:
    """Zenovay batches of 1,000: events per second, and over decoding the same bodies in a loop.

    Raises `LoadFailed` or `NotReady`.
    """
    side = Side()
    plain: list[float] = []
    bare: list[float] = []
    bodies = _bodies(options)
    with Collector(options.directory, publish_interval_ms=PUBLISH_INTERVAL_MS) as collector:
        collector.start()
        plan = plan_for("zenovay", _BATCH, BATCH_CONNECTIONS[_BATCH], collector, options)
        for _ in range(options.rounds):
            side.run(collector, plan, options.processes)
            collector.settle()
            plain.append(_decoded_per_s(_plain, bodies, options.round_s / 2))
            bare.append(_decoded_per_s(_bare, bodies, options.round_s / 2))
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


def _bodies(options: Options) -> list[bytes]:
    ids = Ids("dec0de00")
    now_ms = time.time_ns() // 1_000_000
    requests = [
        ids.next().join(template.stamped(now_ms))
        for template in templates("zenovay", _BATCH, Account(host=ADDRESS), options.seed)
    ]
    return [request.partition(b"\r\n\r\n")[2] for request in requests]


def _decoded_per_s(
    decoder: msgspec.json.Decoder[_Body] | msgspec.json.Decoder[_Bare],
    bodies: list[bytes],
    seconds: float,
) -> float:
    """Events per second of a loop that decodes and does nothing else."""
    events, began_s = 0, time.perf_counter()
    while True:
        for body in bodies:
            events += len(decoder.decode(body).events)
        spent_s = time.perf_counter() - began_s
        if spent_s >= seconds:
            return events / spent_s
