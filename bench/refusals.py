"""What a refusal costs beside an accepted request: processor time in our own code, no HTTP server.

Two collectors in this process, one without limits and one whose limits are used up, get the same
requests in turn, and so does the bare handler of `floor`, which takes the body in and answers: what
it costs is no choice of ours and is taken off both sides of a ratio.
"""

import asyncio
import gc
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench.corpus import Account, Traffic
from bench.figures import Figure
from bench.fleet import LoadFailed
from bench.options import Options
from bench.requests import Answers, Prepared, answer_all, configured, prepare
from collector.config import Config, Limits, Tier
from collector.edge import Answer, Scope
from collector.http import Body
from collector.service import Service

_IN_FLIGHT: Final = 64
_WRONG_KEY: Final = "zv_wrong" + "0" * 38
_WRONG: Final = {"x-api-key": _WRONG_KEY, "authorization": f"Bearer {_WRONG_KEY}"}


class _Case(msgspec.Struct, frozen=True):
    """One way to be refused: with which traffic, by which limits, as what."""

    name: str
    traffic: Traffic
    status: int
    limits: dict[str, int] = {}
    site: dict[str, int] = {}
    tier: Tier | None = None
    wrong_key: bool = False


_CASES: Final = (
    _Case("scanova", "scanova", 429, {"browser_requests_per_minute": 1}),
    _Case("scanova_server", "scanova_server", 429, {"server_requests_per_minute": 1}),
    _Case("zenovay_1", "zenovay", 429, tier=Tier(requests_per_minute=1)),
    _Case("zenovay_month", "zenovay", 429, tier=Tier(requests_per_minute=0, requests_per_month=1)),
    _Case("zenovay_site", "zenovay", 429, site={"requests_per_minute": 1}),
    # The protocol wants beacons validated before they are throttled.
    _Case("croct", "croct", 429, {"croct_requests_per_minute": 1}),
    _Case("blocked_address", "scanova_server", 429, {"failed_auth_per_minute": 1}, wrong_key=True),
    _Case("unknown_key", "scanova_server", 403, wrong_key=True),
    _Case("zenovay_unknown_key", "zenovay", 401, wrong_key=True),
)


def refusals(options: Options) -> list[Figure]:
    """Microseconds of processor time per refused request, and their share of an accepted one's.

    Raises `LoadFailed`.
    """
    directory = Path(tempfile.mkdtemp(prefix="collector-bench-", dir=options.directory))
    try:
        return [
            figure
            for case in _CASES
            for figure in uvloop.run(_measured(case, directory / case.name, options))
        ]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _measured(case: _Case, directory: Path, options: Options) -> list[Figure]:
    account = Account(host="127.0.0.1:8000")
    count = max(2_000, int(options.seconds * 400))
    good = prepare(case.traffic, 1, account, count * (options.rounds + 1), options.seed)
    bad = [_with_wrong_key(one) for one in good] if case.wrong_key else good
    services = [Service(configured(account, directory / "open"))]
    services.append(Service(_limited(case, configured(account, directory / "limited"))))
    accepts, refuses = [(await service.start()).answer for service in services]
    # Uses the allowance up and warms up the rest.
    await answer_all(refuses, bad[:count], _IN_FLIGHT)
    await answer_all(accepts, good[:count], _IN_FLIGHT)
    gc.collect()
    gc.freeze()
    sides: dict[str, list[float]] = {"accepted": [], "refused": [], "floor": []}
    for index in range(1, options.rounds + 1):
        part = slice(index * count, (index + 1) * count)
        sides["accepted"].append(await _cost_us(accepts, good[part], {200, 204}))
        sides["refused"].append(await _cost_us(refuses, bad[part], {case.status}))
        sides["floor"].append(await _cost_us(_bare, good[part], {200}))
    gc.unfreeze()
    for service in services:
        await service.stop()
    cost = {name: statistics.median(rounds) for name, rounds in sides.items()}
    ratio = (cost["refused"] - cost["floor"]) / (cost["accepted"] - cost["floor"])
    note = f"accepted {cost['accepted']:.1f}, bare handler {cost['floor']:.1f}"
    return [
        Figure(f"{case.name}_refused_cpu_us", cost["refused"], "us/request", note),
        Figure(
            f"{case.name}_refused_ratio", ratio, "", "of an accepted single, both less the bare"
        ),
        Figure(
            f"{case.name}_refused_plain_ratio",
            cost["refused"] / cost["accepted"],
            "",
            "of an accepted single, nothing taken off",
        ),
    ]


async def _cost_us(answer: Answers, requests: list[Prepared], expected: set[int]) -> float:
    """Processor time per request. Raises `LoadFailed` if one was answered otherwise."""
    began_s = time.process_time()
    statuses = await answer_all(answer, requests, _IN_FLIGHT)
    cost_s = time.process_time() - began_s
    if statuses.keys() - expected:
        raise LoadFailed(f"answers by status {statuses}, expected {expected}")
    await asyncio.sleep(0.01)  # what the round left to do is not the next one's
    return cost_s * 1e6 / len(requests)


def _limited(case: _Case, config: Config) -> Config:
    unlimited = msgspec.structs.asdict(config.limits)
    limits = Limits(**(unlimited | case.limits))
    tiers = {name: case.tier or tier for name, tier in config.tiers.items()}
    sites = tuple(msgspec.structs.replace(site, **case.site) for site in config.sites)
    return msgspec.structs.replace(config, limits=limits, tiers=tiers, sites=sites)


def _with_wrong_key(prepared: Prepared) -> Prepared:
    head, body = prepared
    headers = {name: _WRONG.get(name, value) for name, value in head.headers.items()}
    return msgspec.structs.replace(head, headers=headers), body


async def _bare(_head: Scope, body: Body) -> Answer:
    """Takes the body in, and answers."""
    await body()
    return 200, [], b""
