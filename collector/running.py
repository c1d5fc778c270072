"""A collector that runs: made for the server, asked by a command, or started for one order.

Knows whom to ask for what; builds nothing but the `Service`, which builds everything else.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from collector import orders
from collector.asgi import AsgiApp
from collector.config import Config
from collector.orders import Arguments, OrderFailed, Tell
from collector.reload import MainProcess
from collector.rsgi import RsgiApp
from collector.service import Service, now_us

_LOOK_S: Final = 0.05


def make_app(
    config: Config,
    on_failed_start: Callable[[Exception], None],
    closed: type[Exception],
    main: MainProcess,
) -> RsgiApp | AsgiApp:
    """The application that the server runs; `closed`: see `BodyReader`."""
    service = Service(config, closed=closed, main=main)
    if config.server.interface == "rsgi":
        return RsgiApp(service, on_failed_start, closed=closed)
    return AsgiApp(service, on_failed_start)


def today() -> str:
    """The day (UTC) of now, as 2026-11-27."""
    return datetime.fromtimestamp(now_us() // 1_000_000, UTC).date().isoformat()


def ask(config: Config, command: str, *, wait: Callable[[float], bool]) -> Any:
    """What a running collector answers to an order; None where none runs. See `orders.give`."""
    return orders.give(
        config.storage.directory,
        command,
        {},
        alone=lambda: None,
        watch=lambda *_: None,
        wait=wait,
        now_us=now_us(),
    )


def give_order(
    config: Config,
    command: str,
    arguments: Arguments,
    *,
    watch: Tell,
    wait: Callable[[float], bool],
) -> Any:
    """Have an order carried out by the running collector or, where there is none, here.

    See `orders.give`.
    """
    return orders.give(
        config.storage.directory,
        command,
        arguments,
        alone=lambda: asyncio.run(_carry_out(config, command, arguments, watch, wait)),
        watch=watch,
        wait=wait,
        now_us=now_us(),
    )


async def _carry_out(
    config: Config,
    command: str,
    arguments: Arguments,
    tell: Tell,
    wait: Callable[[float], bool],
) -> Any:
    """Open the data directory without listening, carry out one order, close it again."""
    service = Service(config, serves=False)
    await service.start()
    try:
        task = asyncio.ensure_future(service.orders.carry_out(command, arguments, tell))
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_S)
            if wait(0):
                task.cancel()
                await asyncio.wait({task})
                raise OrderFailed("given up; nothing is left half done")
        return task.result()
    finally:
        await service.stop()
