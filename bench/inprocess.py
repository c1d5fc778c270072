"""How much processor time one event costs in our own code: the collector without its HTTP server.

Requests are handed to the collector's ASGI side in this process, so that neither sockets nor a
neighbour on the machine are in the number: it is processor time, not time that passed. The log is
written and synced as ever. `--profile` says where the time goes.
"""

import asyncio
import cProfile
import gc
import io
import pstats
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.corpus import Account, Traffic, templates
from bench.figures import Figure
from bench.fleet import LoadFailed, fresh_run
from bench.options import Options
from bench.target import config_text
from bench.template import Ids
from collector import config_file
from collector.asgi import Edge
from collector.config import Config
from collector.service import Service

_CASES: Final[dict[str, tuple[Traffic, int, int]]] = {
    # traffic, events per request, requests in flight
    "scanova": ("scanova", 1, 64),
    "croct": ("croct", 1, 64),
    "zenovay_1000": ("zenovay", 1_000, 4),
}
_WARM_UP: Final = 0.1
# Of the public internet: its country is looked up.
_CLIENT: Final = "93.184.215.14"
_PROFILED: Final = 35

# A scope, and the body.
Prepared = tuple[dict[str, Any], bytes]


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
        prepared = scopes(traffic, size, account, requests, options.seed)
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


def configured(account: Account, directory: Path) -> Config:
    """A collector in `directory` that lets `account` in and writes rows to its log only."""
    # Longer than a measurement: turning rows into Parquet is measured elsewhere.
    text = config_text(account, port=8000, publish_interval_ms=3_600_000, segment_bytes_max=1 << 40)
    return config_file.parse(text.encode(), file="bench", path=directory / "config.toml")


def scopes(
    traffic: Traffic,
    size: int,
    account: Account,
    count: int,
    seed: int,
    *,
    now_ms: int | None = None,
    run: str | None = None,
) -> list[Prepared]:
    """Requests as granian hands them over; the same `now_ms` and `run` give the same bytes."""
    if now_ms is None:
        now_ms = time.time_ns() // 1_000_000
    cut = [template.stamped(now_ms) for template in templates(traffic, size, account, seed)]
    ids = Ids(run or fresh_run())
    return [_scope(ids.next().join(cut[index % len(cut)])) for index in range(count)]


def _scope(request: bytes) -> Prepared:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, path, _ = line.decode().split(" ")
    pairs = [one.split(b": ", 1) for one in lines]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in pairs],
        "client": (_CLIENT, 50_000),
    }
    return scope, body


async def accepted(edge: Edge, requests: list[Prepared], in_flight: int) -> None:
    """Have `edge` answer all of them. Raises `LoadFailed` on any refusal."""
    statuses = await answer_all(edge.answer, requests, in_flight)
    if statuses.keys() - {200, 204}:
        raise LoadFailed(f"not everything was acknowledged: answers by status {statuses}")


async def answer_all(
    answer: Callable[..., Awaitable[None]], requests: list[Prepared], in_flight: int
) -> dict[int, int]:
    """Have `answer` answer all, `in_flight` at a time; how many answers had which status."""
    waiting = iter(requests)
    statuses: dict[int, int] = {}

    async def send(message: dict[str, Any]) -> None:
        if status := message.get("status"):
            statuses[status] = statuses.get(status, 0) + 1

    async def work() -> None:
        for scope, body in waiting:
            await answer(scope, _receiver(body), send)
            # As between two requests of a connection: others get their turn.
            await asyncio.sleep(0)

    await asyncio.gather(*(asyncio.ensure_future(work()) for _ in range(in_flight)))
    return statuses


def _receiver(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _tell(profile: cProfile.Profile, traffic: Traffic, size: int) -> None:
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(_PROFILED)
    sys.stderr.write(f"\n{traffic}, {size} per request; the profiler itself slows calls down\n")
    sys.stderr.write(text.getvalue())
