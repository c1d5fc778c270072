"""Composition root: builds everything, starts and stops it in order. Has the only real clock.

`Service` lives in the worker process of a collector that serves (`supervisor`), or, without
listening, in the process of a command that needs the data directory open for writing.
"""

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from collector import gauges, orders
from collector.access import Access
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from collector.addresses import AddressReader
from collector.admission import Admission
from collector.asgi import AsgiApp
from collector.bookkeeper import BookKeeper
from collector.config import Config
from collector.edge import Edge
from collector.facts import Facts
from collector.http import BodyReader, Disconnected
from collector.inside import Clocks, Inside
from collector.lakeorders import LakeOrders
from collector.marks import Marker
from collector.masking import mask_addresses
from collector.metrics import Metrics
from collector.normalise import Clock
from collector.orders import Arguments, OrderDesk, OrderFailed, Tell
from collector.origin import request_host
from collector.pace import Pace
from collector.periodic import Periodic
from collector.pipeline import Pipeline
from collector.privacy import AddressHasher
from collector.quarantine import Quarantine, shorter
from collector.ratelimit import Limiter
from collector.replay import Replay
from collector.rsgi import RsgiApp
from collector.salt import DailySalt
from collector.sites import Sites
from collector.sources import Sources
from collector.storesettings import store_settings
from collector.takeover import take_over
from collector.tally import Counts
from collector.turns import Turns
from collector.usage import UsageKeeper
from storage import Files, Locked, SmallFiles, StorageError, Store, aside, census, layout

_log: Final = logging.getLogger("collector")

_TICK_S: Final = 0.05
_SWEEP_S: Final = 1.0
# How often counts and refused events are written, if there are any.
_KEEP_S: Final = 1.0
# Between writes of refused events that somebody waits for: each makes a file.
_KEEP_PAUSE_S: Final = 0.05
# Long enough for the answers of the failed group to leave, short enough to be up again at once.
_EXIT_DELAY_S: Final = 0.2
END_CODE: Final = 70
_GC_THRESHOLD: Final = 20_000
# Answers that were handed to the server when a stop began still have to reach their sockets.
_LINGER_S: Final = 0.1
_FLUSH_TIMEOUT_S: Final = 8.0
# A reload starts the new worker before the old one is told to stop.
_WORKER_LOCK_WAIT_S: Final = 30.0


def _now_us() -> int:
    return time.time_ns() // 1000


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class Service:
    """One running collector, in the worker process."""

    def __init__(
        self,
        config: Config,
        files: Files | None = None,
        *,
        serves: bool = True,
        closed: type[Exception] = Disconnected,
    ) -> None:
        self._config = config
        # What the server raises where a body is read whose sender went away.
        self._closed = closed
        self._files = files or Files()
        # Else it is there for one order, and does nothing that it is not told to do.
        self._serves = serves
        self._last_sweep_s = 0.0
        self._looked: asyncio.Future[None] | None = None

    async def start(self) -> Edge:
        """Open the store, build the rest. Raises `StorageError` or OSError."""
        config = self._config
        # What a start makes stays: not worth looking through.
        gc.disable()
        self._loop = asyncio.get_running_loop()
        self._metrics = Metrics()
        self._store = await self._open_store()
        self._store.on_flushed = self._metrics.flush_seconds.observe
        limiter = Limiter(config.limits, config.tiers, config.sites)
        self._usage = UsageKeeper(
            limiter.usage, self._store, wall_us=_now_us(), in_thread=asyncio.to_thread
        )
        self._usage.load()
        await self._open_book()
        sites = Sites(config)
        self._pace = Pace(config.overload.refusal_wait_ms_max, time.monotonic)
        self._admission = Admission(config.overload, ENDPOINTS, self._pace, time.monotonic)
        self._store.observe_commits(self._committed)
        self._bodies = BodyReader(
            timeout_ms=config.server.body_timeout_ms,
            monotonic_s=time.monotonic,
            closed=self._closed,
            reading_bytes_max=config.overload.reading_bytes_max,
            refuses_inflation=self._admission.refuses_inflation,
        )
        access = Access(sites, limiter, monotonic_us=_monotonic_us)
        await self._open_quarantine(access)
        self._facts = await self._make_facts()
        clock = Clock(config.time)
        counts = Counts(self._books.book, self._metrics)
        turns = Turns(
            access=access,
            store=self._store,
            clock=clock,
            facts=self._facts,
            counts=counts,
            now_us=_now_us,
        )
        pipeline = Pipeline(
            access=access,
            turns=turns,
            counts=counts,
            now_us=_now_us,
            quarantine=self._quarantine,
        )
        self._edge = self._make_edge(access, pipeline, sites)
        self._ticker = self._loop.call_later(_TICK_S, self._tick)
        self._usage_kept = Periodic(self._usage.save, interval_s=_KEEP_S)
        self._open_orders(pipeline, sites, clock)
        # What lives as long as the process need not be visited by every collection, and a request
        # leaves no cycles behind: collecting after every 700 allocations cost 4 to 8 %.
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        gc.enable()
        _log.info("ready on http://%s:%d", config.server.host, config.server.port)
        return self._edge

    def _make_edge(self, access: Access, pipeline: Pipeline, sites: Sites) -> Edge:
        server = self._config.server
        addresses = AddressReader(server.trusted_proxies, server.proxy_header)
        found = gauges.gauges(self._store, self._quarantine, self._books)
        found |= self._admission.gauges() | self._bodies.gauges() | self._sources.gauges(_now_us)
        self._inside = Inside(
            self._config,
            self._files,
            metrics=self._metrics,
            gauges=found,
            trouble=self._trouble,
            bodies=self._bodies,
            addresses=addresses,
            # The edge is still to be made.
            deliver=lambda head, body: self._edge.answer(head, body),  # noqa: PLW0108
            access=access,
            clocks=Clocks(_now_us, _monotonic_us, asyncio.to_thread, time.sleep),
        )
        return Edge(
            endpoints=ENDPOINTS,
            pages=self._inside.pages.by_path,
            admin=self._inside.admin,
            access=access,
            pipeline=pipeline,
            admission=self._admission,
            pace=self._pace,
            bodies=self._bodies,
            body_bytes_max=server.body_bytes_max,
            addresses=addresses,
            metrics=self._metrics,
            # As for beacons: who is no browser has no Origin, and there is none to refuse.
            trusts=lambda headers: (
                "origin" not in headers or sites.any_trusts(request_host(headers) or "")
            ),
            now_us=_now_us,
            monotonic_s=time.monotonic,
        )

    async def stop(self) -> None:
        """Refuse newcomers, finish what is in flight, put everything into parts, unlock."""
        self._ticker.cancel()
        self.orders.stop()
        await self._edge.drain(self._config.server.stop_timeout_ms / 1000)
        await asyncio.sleep(_LINGER_S)
        await self._inside.stop()
        # In this order: a replay writes events, these are counted and may be kept aside, and the
        # book is complete when the last row has a segment.
        await asyncio.wait({self._orders_done})
        await self._usage_kept.finish()
        await self._quarantine_kept.finish()
        await self._store.close(flush_timeout_s=_FLUSH_TIMEOUT_S, last=self._books_kept.finish)
        gc.unfreeze()
        _log.info("stopped; %d rows stay in the log", self._store.unflushed_rows)

    async def _make_facts(self) -> Facts:
        enrich = self._config.enrich
        self._sources = Sources(enrich, self._files)
        await asyncio.to_thread(self._sources.load)
        return Facts(
            hasher=AddressHasher(),
            salt=DailySalt(self._store),
            sources=self._sources,
            marker=Marker(self._config.sites, copies_max=enrich.replay_copies_max),
        )

    async def _open_store(self) -> Store:
        settings = store_settings(self._config, tends_parts=self._serves)
        deadline_s = time.monotonic() + _WORKER_LOCK_WAIT_S
        while True:
            try:
                return Store.open(
                    settings,
                    self._files,
                    now_us=_now_us(),
                    monotonic_s=time.monotonic,
                    on_fatal=self._end,
                )
            except Locked:
                if not self._serves or time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.1)

    async def _open_book(self) -> None:
        """Read the book of events, and count the rows that it does not know yet."""
        directory = self._config.storage.directory
        folder = SmallFiles(directory / layout.AUDIT, self._files)
        self._books = BookKeeper(
            folder,
            count=partial(
                census.take, directory, self._files, behind_only=True, logged=self._store.logged
            ),
            in_thread=asyncio.to_thread,
        )
        book = self._books.book
        self._store.counted = lambda: book.counted
        self._store.on_sealed = lambda sealed: book.seal(sealed.number, sealed.date)
        await asyncio.to_thread(self._books.load)
        self._books_kept = Periodic(self._books.save, interval_s=_KEEP_S)

    async def _open_quarantine(self, access: Access) -> None:
        storage = self._config.storage
        self._aside = aside.Aside(storage.directory, self._files)

        def mask(endpoint: Endpoint, raw: bytes) -> bytes:
            return mask_addresses(raw, endpoint.address_member)

        self._quarantine = Quarantine(
            self._aside,
            access=access,
            mask=mask,
            bytes_max=storage.quarantine_bytes_max,
            days=shorter(storage.quarantine_days, storage.retention_days),
            site_days={
                site.id: shorter(storage.quarantine_days, site.retention_days)
                for site in self._config.sites
                if site.retention_days >= 0
            },
            now_us=_now_us,
            in_thread=asyncio.to_thread,
        )
        await asyncio.to_thread(self._quarantine.load)
        old = SmallFiles(storage.directory / layout.QUARANTINE, self._files)
        bytes_max = storage.quarantine_bytes_max
        if await asyncio.to_thread(
            take_over, old, self._aside, ENDPOINTS, mask=mask, bytes_max=bytes_max
        ):
            self._quarantine.refresh()
        self._quarantine_kept = Periodic(
            self._quarantine.save, interval_s=_KEEP_S, pause_s=_KEEP_PAUSE_S
        )
        self._quarantine.wake = self._quarantine_kept.wake

    def _open_orders(self, pipeline: Pipeline, sites: Sites, clock: Clock) -> None:
        """Begin to look for what commands ask."""
        directory = self._config.storage.directory
        lake = LakeOrders(self._store, _now_us, self._quarantine.erase)
        replay = Replay(
            pipeline=pipeline,
            quarantine=self._quarantine,
            aside=self._aside,
            sites=sites,
            keys=self._config.keys,
            endpoints=ENDPOINTS,
            clock=clock,
            directory=directory,
            now_us=_now_us,
            in_thread=asyncio.to_thread,
        )
        handlers = {**lake.handlers, "replay": replay.replay}
        self.orders = OrderDesk(directory / layout.ORDERS, self._files, handlers)
        self._orders_done = self._loop.create_task(self.orders.run())

    def _end(self, error: StorageError) -> None:
        """After a failed sync: answer those who wait, then end; the supervisor starts anew."""
        _log.critical("ending this worker: %s", error)
        self._loop.call_later(_EXIT_DELAY_S, os._exit, END_CODE)

    def _committed(self, seconds: float, rows: int) -> None:
        self._metrics.observe_commit(seconds, rows)
        self._admission.observe_commit(seconds)

    def _tick(self) -> None:
        # First of all, so that one that fails is not the last.
        self._ticker = self._loop.call_later(_TICK_S, self._tick)
        now_s = time.monotonic()
        self._store.tick(_now_us())
        self._admission.tick()
        if now_s - self._last_sweep_s >= _SWEEP_S:
            self._last_sweep_s = now_s
            self._bodies.sweep()
            self._facts.forget_past_days(_now_us())
            if self._looked is None or self._looked.done():
                self._looked = self._loop.run_in_executor(None, self._sources.look)

    def _trouble(self) -> str:
        """Why no events are taken, in words for everybody; "" when they are."""
        if self._edge.is_stopping:
            return "stopping"
        if self._store.health.refusal is not None or self._store.keys.is_full:
            return "events cannot be stored at present; the log says why"
        return ""


def make_app(
    config: Config, on_failed_start: Callable[[Exception], None], closed: type[Exception]
) -> RsgiApp | AsgiApp:
    """The application that the server runs; `closed`: see `BodyReader`."""
    service = Service(config, closed=closed)
    if config.server.interface == "rsgi":
        return RsgiApp(service, on_failed_start, closed=closed)
    return AsgiApp(service, on_failed_start)


def give_order(
    config: Config,
    command: str,
    arguments: Arguments,
    *,
    watch: Tell,
    wait: Callable[[float], bool],
) -> Any:
    """Have an order carried out by the running collector, or here; see `orders.give`."""
    return orders.give(
        config.storage.directory,
        command,
        arguments,
        alone=lambda: asyncio.run(_carry_out(config, command, arguments, watch, wait)),
        watch=watch,
        wait=wait,
        now_us=_now_us(),
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
            await asyncio.wait({task}, timeout=_TICK_S)
            if wait(0):
                task.cancel()
                await asyncio.wait({task})
                raise OrderFailed("given up; nothing is left half done")
        return task.result()
    finally:
        await service.stop()
