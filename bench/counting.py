"""What is counted: the way of an event through the collector, in a process under valgrind.

Started by `instructions`. The same requests, in the same order, by a clock that stands still and
without timers, so that nothing is counted that depends on how long things take. Only what more
events cost is in the number: everything was done before, caches are warm, garbage is not collected.
"""

import asyncio
import gc
import os
import random
import sys
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from types import SimpleNamespace
from typing import Final, TypeVarTuple, Unpack
from unittest import mock

import msgspec
import uvloop

from bench.corpus import BATCHED_EVENTS, SINGLES, Account, Traffic
from bench.requests import accepted, configured, prepare
from bench.valgrind import Counter
from collector import service
from collector.service import Service

_Ts = TypeVarTuple("_Ts")

_NOW_S: Final = 1_795_000_000
_SEED: Final = 1
# Longer than any run: a timer that was set meanwhile does not fire.
_NEVER_S: Final = 86_400.0


class _Case(msgspec.Struct, frozen=True):
    """`requests` of `size` events each are counted, after `warm` others.

    By then every template was sent once, so that no user agent is new.
    """

    traffic: Traffic
    size: int
    requests: int
    in_flight: int
    warm: int = SINGLES


# As much as fits into half a minute.
_CASES: Final = {
    "scanova": _Case("scanova", 1, 256, 64),
    "scanova_server": _Case("scanova_server", 1, 256, 64),
    "croct": _Case("croct", 1, 256, 64),
    "zenovay_1000": _Case("zenovay", 1_000, 2, 2, warm=BATCHED_EVENTS // 1_000),
}


class _Loop(uvloop.Loop):
    """A loop whose timers do not fire: how many do would depend on how long things take."""

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """The same, but never."""
        return super().call_later(delay + _NEVER_S, callback, *args, context=context)


async def _count(directory: Path) -> None:
    counter = Counter()
    account = Account(host="127.0.0.1:8000")
    edge = await Service(configured(account, directory)).start()
    gc.disable()
    random.seed(_SEED)
    for number, (name, case) in enumerate(_CASES.items()):
        requests = prepare(
            case.traffic,
            case.size,
            account,
            case.warm + case.requests,
            _SEED,
            now_ms=_NOW_S * 1000,
            run=f"{number:08x}",
        )
        await accepted(edge, requests[: case.warm], case.in_flight)
        gc.collect()
        counter.start()
        await accepted(edge, requests[case.warm :], case.in_flight)
        counter.stop(f"{name} {case.requests * case.size}")


def main(directory: Path) -> None:
    """Count every case as "NAME EVENTS"; data goes to `directory`.

    Raises `CountFailed` or `LoadFailed`.
    """
    still = SimpleNamespace(
        time_ns=lambda: _NOW_S * 10**9,
        monotonic_ns=lambda: 10**12,
        monotonic=lambda: 1e3,
        sleep=service.time.sleep,
    )
    with mock.patch.object(service, "time", still), asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(_count(directory))
        # Like kill -9: what was acknowledged is on disk, and nobody will read it.
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
