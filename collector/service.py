"""Composition root: builds everything, starts and stops it in order. Has the only real clock.

`Service` lives in the worker process of a collector that serves, or, without listening, in that of
a command that needs the data directory open for writing (`running`).
"""

import asyncio
import gc
import logging
import os
import time
from functools import partial
from typing import Final

from collector import gauges
from collector.access import Access
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from collector.addresses import AddressReader
from collector.admission import Admission
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
from collector.orders import OrderDesk
from collector.origin import request_host
from collector.pace import Pace
from collector.periodic import Periodic
from collector.pipeline import Pipeline
from collector.privacy import AddressHasher
from collector.quarantine import Quarantine
from collector.ratelimit import Limiter
from collector.reload import MainProcess, Reload, moved_keys
from collector.replay import Replay
from collector.requestlog import LoggingEdge
from collector.salt import DailySalt
from collector.sites import Sites
from collector.sources import Sources
from collector.storesettings import quarantine_days, retention_of, store_settings
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


def now_us() -> int:
    """The wall clock: Unix time in microseconds."""
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
        main: MainProcess = MainProcess(),  # noqa: B008 (it never changes)
    ) -> None:
        self._config = config
        self._main = main
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
        access = self._make_access(config)
        self._usage = UsageKeeper(
            access.limiter.usage, self._store, wall_us=now_us(), in_thread=asyncio.to_thread
        )
        self._usage.load()
        await self._open_book()
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
        await self._open_quarantine()
        self._facts = await self._make_facts()
        clock = Clock(config.time)
        counts = Counts(self._books.book, self._metrics)
        turns = Turns(
            store=self._store,
            clock=clock,
            facts=self._facts,
            counts=counts,
            now_us=now_us,
        )
        self._pipeline = Pipeline(
            access=access,
            turns=turns,
            counts=counts,
            now_us=now_us,
            quarantine=self._quarantine,
        )
        self._reload = self._make_reload()
        self._edge = self._make_edge()
        self._ticker = self._loop.call_later(_TICK_S, self._tick)
        self._usage_kept = Periodic(self._usage.save, interval_s=_KEEP_S)
        if self._serves:
            self._reloads = Periodic(self._reload.look, interval_s=_SWEEP_S)
        self._open_orders(clock)
        # What lives as long as the process need not be visited by every collection, and a request
        # leaves no cycles behind: collecting after every 700 allocations cost 4 to 8 %.
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        gc.enable()
        _log.info("ready on http://%s:%d", config.server.host, config.server.port)
        return self._edge

    def _make_reload(self) -> Reload:
        return Reload(
            self._config,
            main=self._main,
            adopt=self._adopt,
            count=self._metrics.count_reload,
            now_us=now_us,
            in_thread=asyncio.to_thread,
        )

    def _make_access(self, config: Config) -> Access:
        limiter = Limiter(config.limits, config.tiers, config.sites)
        return Access(Sites(config), limiter, monotonic_us=_monotonic_us)

    def _adopt(self, before: Config, now: Config) -> None:
        """Put the rules of `now` in force: what may fail comes first, then nothing waits."""
        access, retention = self._make_access(now), retention_of(now)
        mono_us, limits = _monotonic_us(), now.limits
        self._quarantine.site_days = quarantine_days(now)[1]
        access.limiter.take_over(self._pipeline.access.limiter, moved_keys(before, now), mono_us)
        self._pipeline.access = access
        self._facts.adopt(now.sites)
        self._store.part_keeper.retain(retention)
        self._inside.failures.change(
            limits.admin_failed_auth_per_minute, limits.addresses_max, mono_us
        )

    def _make_edge(self) -> Edge:
        pipeline = self._pipeline
        server = self._config.server
        addresses = AddressReader(server.trusted_proxies, server.proxy_header)
        found = gauges.gauges(self._store, self._quarantine, self._books)
        found |= self._admission.gauges() | self._bodies.gauges() | self._sources.gauges(now_us)
        found |= self._reload.gauges()
        self._inside = Inside(
            self._config,
            self._files,
            metrics=self._metrics,
            gauges=found,
            trouble=self._trouble,
            bodies=self._bodies,
            addresses=addresses,
            reload=self._reload,
            # The edge is still to be made.
            deliver=lambda head, body: self._edge.answer(head, body),  # noqa: PLW0108
            access=lambda: pipeline.access,
            clocks=Clocks(now_us, _monotonic_us, asyncio.to_thread, time.sleep),
        )
        return (LoggingEdge if server.log_requests else Edge)(
            endpoints=ENDPOINTS,
            pages=self._inside.pages.by_path,
            admin=self._inside.admin,
            pipeline=pipeline,
            admission=self._admission,
            pace=self._pace,
            bodies=self._bodies,
            body_bytes_max=server.body_bytes_max,
            addresses=addresses,
            metrics=self._metrics,
            # As for beacons: who is no browser has no Origin, and there is none to refuse.
            trusts=lambda headers: (
                "origin" not in headers
                or pipeline.access.sites.any_trusts(request_host(headers) or "")
            ),
            now_us=now_us,
            monotonic_s=time.monotonic,
        )

    async def stop(self) -> None:
        """Refuse newcomers, finish what is in flight, put everything into parts, unlock."""
        self._ticker.cancel()
        self.orders.stop()
        # Whoever answers them may need a moment to see that he is to end.
        given_up = asyncio.ensure_future(self._inside.give_up())
        await self._edge.drain(self._config.server.stop_timeout_ms / 1000)
        await asyncio.sleep(_LINGER_S)
        await given_up
        await self._inside.stop()
        # In this order: a replay writes events, these are counted and may be kept aside, and the
        # book is complete when the last row has a segment.
        await asyncio.wait({self._orders_done})
        if self._serves:
            await self._reloads.finish()
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
                    now_us=now_us(),
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

    async def _open_quarantine(self) -> None:
        storage = self._config.storage
        days, site_days = quarantine_days(self._config)
        self._aside = aside.Aside(storage.directory, self._files)

        def mask(endpoint: Endpoint, raw: bytes) -> bytes:
            return mask_addresses(raw, endpoint.address_member)

        self._quarantine = Quarantine(
            self._aside,
            mask=mask,
            bytes_max=storage.quarantine_bytes_max,
            days=days,
            site_days=site_days,
            now_us=now_us,
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

    def _open_orders(self, clock: Clock) -> None:
        """Begin to look for what commands ask."""
        directory = self._config.storage.directory
        lake = LakeOrders(self._store, now_us, self._quarantine.erase, self._inside.forget)
        replay = Replay(
            pipeline=self._pipeline,
            quarantine=self._quarantine,
            aside=self._aside,
            endpoints=ENDPOINTS,
            clock=clock,
            directory=directory,
            now_us=now_us,
            in_thread=asyncio.to_thread,
        )
        handlers = {
            **lake.handlers,
            "replay": replay.replay,
            "tell the configuration": self._reload.answer,
        }
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
        self._store.tick(now_us())
        self._admission.tick()
        if now_s - self._last_sweep_s >= _SWEEP_S:
            self._last_sweep_s = now_s
            self._bodies.sweep()
            self._facts.forget_past_days(now_us())
            if self._looked is None or self._looked.done():
                self._looked = self._loop.run_in_executor(None, self._sources.look)

    def _trouble(self) -> str:
        """Why no events are taken, in words for everybody; "" when they are."""
        if self._edge.is_stopping:
            return "stopping"
        if self._store.health.refusal is not None or self._store.keys.is_full:
            return "events cannot be stored at present; the log says why"
        return ""
