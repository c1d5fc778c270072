"""What checking costs: browsers' events with every check on, and with all off that can be.

On: every limit counts (per address, per site, failed keys), consent signals are honoured, the
place of each address is looked up in a database, marks decide on fraud. Off: none of that. What no
setting switches off is done on both sides: the page's domain, consent in the body, user agents.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb
import msgspec
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from bench.corpus import Traffic
from bench.figures import Figure, median_figure, ratio_figure
from bench.fleet import LoadFailed
from bench.options import Options
from bench.setups import Setup
from bench.target import Collector
from bench.throughput import PUBLISH_INTERVAL_MS, Side, check_stored, plan_for

_TRAFFIC: Final[tuple[Traffic, ...]] = ("scanova", "croct")
_NETWORKS: Final = 256


def checks(options: Options) -> list[Figure]:
    """Events per second with checks over those without, in turn. Raises as `singles` does."""
    with tempfile.TemporaryDirectory(prefix="collector-bench-", dir=options.directory) as folder:
        database = _database(Path(folder) / "geo.mmdb")
        return [one for traffic in _TRAFFIC for one in _compared(traffic, database, options)]


def _compared(traffic: Traffic, database: Path, options: Options) -> list[Figure]:
    checked, unchecked = Side(), Side()
    with Collector(options.directory) as strict, Collector(options.directory) as lax:
        setup = Setup(publish_interval_ms=PUBLISH_INTERVAL_MS, checks="none")
        lax.use(setup)
        strict.use(msgspec.structs.replace(setup, checks="all", geo_database=str(database)))
        for collector in (strict, lax):
            collector.account = msgspec.structs.replace(collector.account, is_forwarded=True)
            collector.start()
        for _ in range(options.rounds):
            for side, collector in ((checked, strict), (unchecked, lax)):
                plan = plan_for(traffic, 1, options.connections, collector, options)
                side.run(collector, plan, options.processes)
                collector.settle()
        check_stored(strict, checked.reports)
        check_stored(lax, unchecked.reports)
        _check_places(strict, lax)
    return [
        median_figure(f"{traffic}_checked_per_s", checked.rates, "events/s", "every check"),
        median_figure(f"{traffic}_unchecked_per_s", unchecked.rates, "events/s", "fewest checks"),
        ratio_figure(f"{traffic}_checks_ratio", checked.rates, unchecked.rates),
        *checked.refused(f"{traffic}_checked"),
        *unchecked.refused(f"{traffic}_unchecked"),
    ]


def _check_places(strict: Collector, lax: Collector) -> None:
    """Raise `LoadFailed` unless every row of the one has a place, and none of the other."""
    for collector, share in ((strict, 1.0), (lax, 0.0)):
        if (found := _share(collector, "city")) != share:
            raise LoadFailed(f"{found:.0%} of the rows have a city, not {share:.0%}")


def _share(collector: Collector, column: str) -> float:
    with duckdb.connect() as connection:
        rows: Sequence[tuple[float]] = connection.execute(
            f"SELECT count({column}) / count(*) FROM read_parquet(?)",  # noqa: S608 our own name
            [f"{collector.data}/events/**/*.parquet"],
        ).fetchall()
    return rows[0][0]


def _database(path: Path) -> Path:
    """Places of all addresses that the corpus knows, laid out as GeoLite2 is."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Bench-City")
    for number in range(_NETWORKS):
        record = {"country": {"iso_code": "US"}, "city": {"names": {"en": f"Town {number}"}}}
        writer.insert_network(IPSet([f"93.184.{number}.0/24"]), record)
    writer.to_db_file(str(path))
    return path
