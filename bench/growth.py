"""What intake loses when a collector has been in use for long: keys, parts and sites are many.

A grown and an empty collector run side by side and are loaded in turn. Each of the other sites has
sent something before, so that everything that is kept by site is kept for all of them; the load
itself is one site's.
"""

import http.client
import time
from typing import Final

import msgspec

from bench import grown, setups
from bench.figures import Figure, median_figure, ratio_figure
from bench.fleet import LoadFailed
from bench.generator import Plan
from bench.options import Options
from bench.setups import Setup
from bench.target import ADDRESS, Collector
from bench.throughput import (
    BATCH_CONNECTIONS,
    PUBLISH_INTERVAL_MS,
    Side,
    check_stored,
    plan_for,
)

_BATCH: Final = 1_000
# Today's parts stay as they are, so that both sides have nothing to do but to take rows in.
_UNJOINED: Final = 100_000
_SETUP: Final = Setup(publish_interval_ms=PUBLISH_INTERVAL_MS, join_parts_min=_UNJOINED)
_encoder: Final = msgspec.json.Encoder()


def growth(options: Options) -> list[Figure]:
    """Singles and batches: events per second, grown over empty. Raises as `singles` does."""
    began_s = time.perf_counter()
    with Collector(options.directory) as old, Collector(options.directory) as new:
        old.use(msgspec.structs.replace(_SETUP, sites=options.grown_sites))
        new.use(_SETUP)
        rows = grown.make_parts(old.data, options.grown_parts, options.seed)
        now_us = time.time_ns() // 1_000
        grown.make_keys(old.data, options.grown_keys, options.grown_parts, now_us)
        made_s = time.perf_counter() - began_s
        start_s = old.start()
        new.start()
        rows += _greet(old, options.grown_sites)
        old.settle()
        keys, parts = old.metric("collector_keys"), old.metric("collector_parts")
        if keys < options.grown_keys or parts < options.grown_parts:
            raise LoadFailed(f"only {keys:,.0f} keys and {parts:,.0f} parts were found")
        sides = {
            (name, kind): Side() for name in ("singles", "batches") for kind in ("grown", "empty")
        }
        for _ in range(options.rounds):
            for kind, collector in (("grown", old), ("empty", new)):
                for name, plan in _plans(collector, options).items():
                    sides[name, kind].run(collector, plan, options.processes)
                    collector.settle()
        for kind, collector, before in (("grown", old, rows), ("empty", new, 0)):
            reports = [*sides["singles", kind].reports, *sides["batches", kind].reports]
            check_stored(collector, reports, before)
        resident_mb = old.resident_mb()
    note = f"{keys:,.0f} keys, {parts:,.0f} parts, {options.grown_sites} sites"
    return [
        *_figures("singles", sides, note),
        *_figures("batches", sides, note),
        Figure("grown_made_s", made_s, "s", "to make keys and parts, not a measure of anything"),
        Figure("grown_start_s", start_s, "s", "start to ready"),
        Figure("grown_resident_mb", resident_mb, "MB"),
    ]


def _plans(collector: Collector, options: Options) -> dict[str, Plan]:
    many = BATCH_CONNECTIONS[_BATCH]
    return {
        "singles": plan_for("scanova", 1, options.connections, collector, options),
        "batches": plan_for("zenovay", _BATCH, many, collector, options),
    }


def _figures(name: str, sides: dict[tuple[str, str], Side], note: str) -> list[Figure]:
    old, new = sides[name, "grown"], sides[name, "empty"]
    return [
        median_figure(f"grown_{name}_per_s", old.rates, "events/s", note),
        median_figure(f"empty_{name}_per_s", new.rates, "events/s"),
        ratio_figure(f"grown_{name}_ratio", old.rates, new.rates),
        *old.refused(f"grown_{name}"),
        *new.refused(f"empty_{name}"),
    ]


def _greet(collector: Collector, sites: int) -> int:
    """Send an event of each other site; returns how many that are. Raises `LoadFailed`."""
    connection = http.client.HTTPConnection(ADDRESS, collector.port, timeout=10)
    headers = {"Content-Type": "application/json", "Origin": collector.account.origin}
    try:
        for number in range(1, sites):
            body = {"site_id": setups.neighbour(number).site, "event_type": "pageview"}
            connection.request("POST", "/ct", _encoder.encode(body), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise LoadFailed(f"a site's first event was answered with {answer.status}")
    finally:
        connection.close()
    return sites - 1
