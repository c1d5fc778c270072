"""What enrichment adds to the cost of an event: agents, places, marks.

Two kinds of figures. Parts: one call each, in nanoseconds. Whole: the collector without its HTTP
server (`inprocess`) with enrichment, without it, and with an agent that was never seen before in
every event, which is what a flood of made-up agents would be; rounds take turns, so that a
neighbour on the machine disturbs all three alike, and medians are compared.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from mmdb_writer import MMDBWriter
from netaddr import IPSet

from bench.figures import Figure
from bench.inprocess import measured
from bench.options import Options
from collector.agents import NOBODY, Agent, AgentReader
from collector.event import Row
from collector.facts import Facts
from collector.geo import NOWHERE, Geo, Place, open_database, registered
from collector.headers import Headers
from collector.hints import Hints
from collector.marks import Marker

_CHROME: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.{} Safari/537.36"
)
_CRAWLER: Final = "Mozilla/5.0 (compatible; Googlebot/2.{}; +http://www.google.com/bot.html)"
_ADDRESS: Final = "93.184.215.14"
_CALLS: Final = 20_000
_REQUESTS: Final = 10_000


def enrich(options: Options) -> list[Figure]:
    """Nanoseconds of the parts, and ratios of the whole."""
    return [*_parts(), *_whole(options)]


def _parts() -> Iterator[Figure]:
    began_s = time.perf_counter()
    reader = AgentReader()
    yield Figure("agents_load_ms", (time.perf_counter() - began_s) * 1e3, "ms", "once, at start")
    yield _each("agent_hit", lambda _: reader.read(_CHROME))
    yield _each("agent_miss", lambda n: reader.read(_CHROME.format(n)))
    yield _each("agent_miss_crawler", lambda n: reader.read(_CRAWLER.format(n)))
    yield _each("agent_miss_noise", lambda n: reader.read(f"{n:x} " * 100))
    geo = Geo(None, country_fallback=True)
    yield _each("place_registered", lambda _: geo.place(_ADDRESS))
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(_database(Path(folder) / "geo.mmdb"))
    yield _each("place_registered_alone", lambda _: registered(_ADDRESS))
    yield _each("place_database_alone", lambda _: database.place(_ADDRESS))
    marker = Marker((), copies_max=10)
    row = Row(event_id="", event_time=1_795_000_000_000_000, received_time=1_795_000_000_000_000)
    yield _each("mark", lambda _: marker.mark(row, frozenset(), is_automated=False))


def _database(path: Path) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Bench-City")
    record = {"country": {"iso_code": "US"}, "city": {"names": {"en": "Norwell"}}}
    writer.insert_network(IPSet(["93.184.0.0/16"]), record)
    writer.to_db_file(str(path))
    return path


def _each(name: str, call: Callable[[int], Any]) -> Figure:
    began_s = time.perf_counter()
    for number in range(_CALLS):
        call(number)
    return Figure(f"{name}_ns", (time.perf_counter() - began_s) / _CALLS * 1e9, "ns", "per call")


def _whole(options: Options) -> Iterator[Figure]:
    for traffic in ("scanova", "croct"):
        costs: dict[str, list[float]] = {"with": [], "without": [], "flood": []}
        for _ in range(options.rounds):
            for name, change in (("with", _as_it_is), ("without", _without), ("flood", _flood)):
                with change():
                    cost_us = measured(traffic, 1, 64, _REQUESTS, options)
                costs[name].append(cost_us)
        median = {name: statistics.median(found) for name, found in costs.items()}
        base = median["without"]
        yield Figure(f"{traffic}_plain_us", base, "us/event", "without enrichment")
        yield Figure(f"{traffic}_enriched_ratio", median["with"] / base, "", "against plain")
        yield Figure(f"{traffic}_flood_ratio", median["flood"] / base, "", "every agent is new")


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _without() -> Iterator[None]:
    """No agent is read, no place looked up, nothing marked."""

    def no_agent(_self: Facts, _text: str, _source: str, _headers: Headers) -> Agent:
        return NOBODY

    def nowhere(_self: Geo, _address: str) -> Place:
        return NOWHERE

    def no_mark(_self: Marker, _row: Row, _fired: frozenset[str], **_: bool) -> None:
        return None

    with (
        mock.patch.object(Facts, "_read_agent", no_agent),
        mock.patch.object(Geo, "place", nowhere),
        mock.patch.object(Marker, "mark", no_mark),
    ):
        yield


@contextmanager
def _flood() -> Iterator[None]:
    """Nothing is remembered."""

    def read(self: AgentReader, text: str, _hints: Hints | None = None) -> Agent:
        return self._parse(text)

    with mock.patch.object(AgentReader, "read", read):
        yield
