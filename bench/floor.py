"""The floor: what cannot be beaten, measured alone. `python -m bench.floor` prints all of it.

- Bare handlers in the collector's own server (`bench.bare`): what is left of a request when our
  code does nothing, or only decodes.
- Decoding the same bodies in a loop (`bench.decoding`): what is left of an event without HTTP.
- Writing and syncing groups: what is left of durability without anything else.

Sides are measured in rounds taken in turn. Owns no server and no handler.
"""

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from bench.bare import HANDLERS
from bench.corpus import Traffic
from bench.decoding import CHECKED, PLAIN, bodies, decoded_per_s
from bench.figures import Figure, percentile, table
from bench.fleet import LoadFailed
from bench.options import Options
from bench.switches import directory_option
from bench.target import Floor, NotReady
from bench.throughput import BATCH_CONNECTIONS, Side, plan_for

# Bytes of a group: a few singles, what 64 connections fill at once, a batch of 1,000.
GROUP_BYTES: Final = (4_000, 30_000, 800_000)
_SERVED: Final[tuple[tuple[Traffic, int], ...]] = (("scanova", 1), ("croct", 1), ("zenovay", 1_000))
_DECODED: Final[tuple[tuple[Traffic, int], ...]] = (
    ("scanova", 1),
    ("croct", 1),
    ("zenovay", 100),
    ("zenovay", 1_000),
)
# Of one file; what is written beyond it begins anew, so that no disk runs full.
_FILE_BYTES_MAX: Final = 256 * 1024 * 1024


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Groups written and synced, one after the other: how many a second, how long each took."""

    per_s: float
    p50_ms: float
    p99_ms: float


def served(traffic: Traffic, size: int, options: Options) -> dict[str, Side]:
    """Rounds of each bare handler, in turn, by name. Raises `LoadFailed` or `NotReady`."""
    sides = {name: Side() for name in HANDLERS}
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(Floor(options.directory, name)) for name in HANDLERS}
        for server in servers.values():
            server.start()
        connections = BATCH_CONNECTIONS.get(size, options.connections)
        for _ in range(options.rounds):
            for name, server in servers.items():
                plan = plan_for(traffic, size, connections, server, options)
                sides[name].run(server, plan, options.processes)
    return sides


def decoded(traffic: Traffic, size: int, options: Options) -> dict[str, list[float]]:
    """Events per second of decoding in a loop: plain and checked, by rounds taken in turn."""
    found = bodies(traffic, size, options.seed)
    rates: dict[str, list[float]] = {"plain": [], "checked": []}
    decoders: dict[str, msgspec.json.Decoder[Any]] = {
        "plain": PLAIN[traffic],
        "checked": CHECKED[traffic],
    }
    for _ in range(options.rounds):
        for name, decoder in decoders.items():
            rates[name].append(decoded_per_s(decoder, found, size, options.round_s / 2))
    return rates


def written(group_bytes: int, seconds: float, directory: Path) -> Written:
    """Append groups of `group_bytes` to a file in `directory`, each synced, for `seconds`.

    Random bytes, so that no disk can compress them. Raises OSError.
    """
    group = os.urandom(group_bytes)
    descriptor, path = tempfile.mkstemp(prefix="collector-bench-", dir=directory)
    times_s: list[float] = []
    offset, began_s = 0, time.perf_counter()
    try:
        while (now_s := time.perf_counter()) - began_s < seconds or not times_s:
            if offset + group_bytes > _FILE_BYTES_MAX:
                os.ftruncate(descriptor, 0)
                offset, now_s = 0, time.perf_counter()
            offset += _write(descriptor, group, offset)
            times_s.append(time.perf_counter() - now_s)
    finally:
        os.close(descriptor)
        Path(path).unlink()
    times_s.sort()
    return Written(
        per_s=len(times_s) / sum(times_s),
        p50_ms=percentile(times_s, 0.50) * 1e3,
        p99_ms=percentile(times_s, 0.99) * 1e3,
    )


def _write(descriptor: int, group: bytes, offset: int) -> int:
    """As the log does it; returns how many bytes that were."""
    view = memoryview(group)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
    os.fdatasync(descriptor)
    return len(group)


def floor(options: Options) -> Iterator[list[Figure]]:
    """All of it, a list of figures for each measurement. Raises `LoadFailed` or `NotReady`."""
    for traffic, size in _SERVED:
        sides = served(traffic, size, options)
        yield [_served_figure(traffic, size, name, side) for name, side in sides.items()]
    for traffic, size in _DECODED:
        yield [
            Figure(f"{traffic}_{size}_decoded_{name}_per_s", statistics.median(rates), "events/s")
            for name, rates in decoded(traffic, size, options).items()
        ]
    for size in GROUP_BYTES:
        found = written(size, options.round_s, options.directory)
        note = f"p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms"
        yield [Figure(f"write_sync_{size}_per_s", found.per_s, "groups/s", note)]


def _served_figure(traffic: Traffic, size: int, name: str, side: Side) -> Figure:
    rates = [report.requests * size / report.window_s for report in side.reports]
    note = f"{min(rates):,.0f} to {max(rates):,.0f}, generator {side.generator_share:.2f} cores"
    handler = name.replace("-", "_")
    return Figure(f"{traffic}_{size}_{handler}_per_s", statistics.median(rates), "events/s", note)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--seconds", type=click.FloatRange(0.2, 60), default=5.0, help="Per side, in all rounds."
)
@click.option("--rounds", type=click.IntRange(1, 20), default=5, help="Parts of that time.")
@click.option("--connections", type=click.IntRange(1, 1_024), default=64, help="For singles.")
@directory_option("Where groups are written.")
def main(*, seconds: float, rounds: int, connections: int, directory: Path) -> None:
    """Measure the baselines: bare handlers, decoding alone, write and sync alone."""
    options = Options(
        directory=directory, seconds=seconds, rounds=rounds, connections=connections, duplicates=0.0
    )
    figures: list[Figure] = []
    try:
        for found in floor(options):
            figures += found
            sys.stderr.write(".")
            sys.stderr.flush()
    except (LoadFailed, NotReady) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{table(figures)}")


if __name__ == "__main__":
    main()
