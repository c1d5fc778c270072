"""How much processor time one event costs in our own code: the collector without its HTTP server.

Requests are handed to the collector's edge in this process, so that neither sockets nor a
neighbour on the machine are in the number: it is processor time, not time that passed. The log is
written and synced as ever. `--profile` says where the time goes.
"""

import cProfile
import gc
import io
import pstats
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import uvloop

from bench.corpus import Account, Traffic
from bench.figures import Figure
from bench.options import Options
from bench.requests import accepted, configured, prepare
from collector.service import Service

_CASES: Final[dict[str, tuple[Traffic, int, int]]] = {
    # traffic, events per request, requests in flight
    "scanova": ("scanova", 1, 64),
    "croct": ("croct", 1, 64),
    "zenovay_1000": ("zenovay", 1_000, 4),
}
_WARM_UP: Final = 0.1
_PROFILED: Final = 35


def inprocess(options: Options) -> list[Figure]:
    """Microseconds of processor time per event, by protocol. Raises `LoadFailed`."""
    figures = []
    for name, (traffic, size, in_flight) in _CASES.items():
        events = max(10_000, int(options.seconds * 10_000))
        cost_us = measured(traffic, size, in_flight, events // size, options)
        note = f"{1e6 / cost_us:,.0f} events per second of one core"
        figures.append(Figure(f"{name}_cpu_us", cost_us, "us/event", note))
    return figures


def measured(traffic: Traffic, size: int, in_flight: int, requests: int, options: Options) -> float:
    """Microseconds of processor time per event. Raises `LoadFailed`."""
    directory = Path(tempfile.mkdtemp(prefix="collector-bench-", dir=options.directory))
    try:
        return uvloop.run(_run(traffic, size, in_flight, requests, directory, options))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _run(
    traffic: Traffic,
    size: int,
    in_flight: int,
    requests: int,
    directory: Path,
    options: Options,
) -> float:
    account = Account(host="127.0.0.1:8000")
    service = Service(configured(account, directory))
    edge = await service.start()
    try:
        prepared = prepare(traffic, size, account, requests, options.seed)
        warm = int(requests * _WARM_UP)
        await accepted(edge, prepared[:warm], in_flight)
        # The prepared requests are ours: the collector's garbage collections shall not visit them.
        gc.collect()
        gc.freeze()
        profile = cProfile.Profile() if options.is_profiled else None
        began_s = time.process_time()
        if profile is not None:
            profile.enable()
        await accepted(edge, prepared[warm:], in_flight)
        if profile is not None:
            profile.disable()
        cost_s = time.process_time() - began_s
    finally:
        gc.unfreeze()
        await service.stop()
    if profile is not None:
        _tell(profile, traffic, size)
    return cost_s * 1e6 / ((requests - warm) * size)


def _tell(profile: cProfile.Profile, traffic: Traffic, size: int) -> None:
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(_PROFILED)
    sys.stderr.write(f"\n{traffic}, {size} per request; the profiler itself slows calls down\n")
    sys.stderr.write(text.getvalue())
