"""Composition root: builds everything, starts and stops it in order. Has the only real clock.

`Service` lives in the worker process; `serve` is what the main process does. The main process only
supervises: it starts the worker anew when that ends by itself, as it does after a failed sync.
"""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from multiprocessing import Value
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Final

import msgspec
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer

from collector import config_file, gauges, logs, startcheck
from collector.access import Access
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Response
from collector.addresses import AddressReader
from collector.asgi import App, Edge
from collector.bookkeeper import BookKeeper
from collector.config import Config, Server
from collector.http import BodyReader
from collector.masking import mask_addresses
from collector.metrics import Metrics
from collector.normalise import Clock
from collector.origin import request_host
from collector.periodic import Periodic
from collector.pipeline import Pipeline
from collector.privacy import AddressHasher
from collector.quarantine import Quarantine
from collector.ratelimit import Limiter
from collector.salt import DailySalt
from collector.sites import Sites
from collector.tally import Counts
from collector.usage import UsageKeeper
from storage import (
    Aside,
    Files,
    Locked,
    Settings,
    SmallFiles,
    StorageError,
    Store,
    layout,
)

_log: Final = logging.getLogger("collector")

_TICK_S: Final = 0.05
_SWEEP_S: Final = 1.0
# How often counts and refused events are written, if there are any.
_KEEP_S: Final = 1.0
# Between writes of refused events that somebody waits for: each makes a file.
_KEEP_PAUSE_S: Final = 0.05
# Long enough for the answers of the failed group to leave, short enough to be up again at once.
_EXIT_DELAY_S: Final = 0.2
_EXIT_CODE: Final = 70
_GC_THRESHOLD: Final = 20_000
# How long the event loop may wait until a thread lets go of the interpreter's lock; usual: 5 ms.
_SWITCH_S: Final = 0.001
# Answers that were handed to the server when a stop began still have to reach their sockets.
_LINGER_S: Final = 0.1
_FLUSH_TIMEOUT_S: Final = 8.0
# A reload starts the new worker before the old one is told to stop.
_WORKER_LOCK_WAIT_S: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1


def _now_us() -> int:
    return time.time_ns() // 1000


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class Service:
    """One running collector, in the worker process."""

    def __init__(self, config: Config, files: Files | None = None) -> None:
        self._config = config
        self._files = files or Files()
        self._last_sweep_s = 0.0

    async def start(self) -> Edge:
        """Open the store, build the rest. Raises `StorageError` or OSError."""
        config = self._config
        # What a start makes stays: not worth looking through.
        gc.disable()
        self._loop = asyncio.get_running_loop()
        self._metrics = Metrics()
        self._store = await self._open_store()
        self._store.observe_commits(self._metrics.observe_commit)
        self._store.on_flushed = self._metrics.flush_seconds.observe
        limiter = Limiter(config.limits, config.tiers, config.sites)
        self._usage = UsageKeeper(
            limiter.usage, self._store, wall_us=_now_us(), in_thread=asyncio.to_thread
        )
        self._usage.load()
        await self._open_book()
        sites = Sites(config)
        self._bodies = BodyReader(
            timeout_ms=config.server.body_timeout_ms, monotonic_s=time.monotonic
        )
        access = Access(sites, limiter, monotonic_us=_monotonic_us)
        pipeline = Pipeline(
            access=access,
            store=self._store,
            clock=Clock(config.time),
            hasher=AddressHasher(),
            salt=DailySalt(self._store),
            counts=Counts(self._books.book, self._metrics),
            now_us=_now_us,
            body_bytes_max=config.server.body_bytes_max,
            quarantine=await self._open_quarantine(access),
        )
        self._edge = Edge(
            endpoints=ENDPOINTS,
            pages={
                "/healthz": lambda: _text(200, b"ok\n"),
                "/readyz": self._readiness,
                "/metrics": self._metrics_page,
            },
            access=access,
            pipeline=pipeline,
            bodies=self._bodies,
            addresses=AddressReader(config.server.trusted_proxies, config.server.proxy_header),
            metrics=self._metrics,
            # As for beacons: who is no browser has no Origin, and there is none to refuse.
            trusts=lambda headers: (
                b"origin" not in headers or sites.any_trusts(request_host(headers) or "")
            ),
            now_us=_now_us,
            monotonic_s=time.monotonic,
        )
        self._ticker = self._loop.call_later(_TICK_S, self._tick)
        self._usage_kept = Periodic(self._usage.save, interval_s=_KEEP_S)
        # What lives as long as the process need not be visited by every collection, and a request
        # leaves no cycles behind: collecting after every 700 allocations cost 4 to 8 %.
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        gc.enable()
        _log.info("ready on http://%s:%d", config.server.host, config.server.port)
        return self._edge

    async def stop(self) -> None:
        """Refuse newcomers, finish what is in flight, put everything into parts, unlock."""
        self._ticker.cancel()
        await self._edge.drain(self._config.server.stop_timeout_ms / 1000)
        await asyncio.sleep(_LINGER_S)
        await self._usage_kept.finish()
        await self._quarantine_kept.finish()
        await self._store.close(flush_timeout_s=_FLUSH_TIMEOUT_S)
        await self._books_kept.finish()
        gc.unfreeze()
        _log.info("stopped; %d rows stay in the log", self._store.unflushed_rows)

    async def _open_store(self) -> Store:
        storage = self._config.storage
        settings = Settings(
            directory=storage.directory,
            durability=storage.durability,
            publish_interval_ms=storage.publish_interval_ms,
            segment_bytes_max=storage.segment_bytes_max,
            queue_bytes_max=storage.queue_bytes_max,
            disk_free_bytes_min=storage.disk_free_bytes_min,
            keys_max=storage.keys_max,
        )
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
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.1)

    async def _open_book(self) -> None:
        """Read the book of events, and count the rows that it does not know yet."""
        directory = self._config.storage.directory
        self._books = BookKeeper(
            SmallFiles(directory / layout.AUDIT, self._files),
            directory,
            self._files,
            in_thread=asyncio.to_thread,
        )
        await asyncio.to_thread(self._books.load, self._store.complete)
        book = self._books.book
        self._store.on_sealed = lambda sealed: book.seal(sealed.number, sealed.date)
        self._books_kept = Periodic(self._books.save, interval_s=_KEEP_S)

    async def _open_quarantine(self, access: Access) -> Quarantine:
        storage = self._config.storage
        quarantine = self._quarantine = Quarantine(
            Aside(storage.directory, self._files),
            access=access,
            mask=lambda endpoint, raw: mask_addresses(raw, endpoint.address_member),
            bytes_max=storage.quarantine_bytes_max,
            days=storage.quarantine_days,
            now_us=_now_us,
            in_thread=asyncio.to_thread,
            # Called later, when it is there.
            wake=lambda: self._quarantine_kept.wake(),  # noqa: PLW0108
        )
        await asyncio.to_thread(quarantine.load)
        self._quarantine_kept = Periodic(quarantine.save, interval_s=_KEEP_S, pause_s=_KEEP_PAUSE_S)
        return quarantine

    def _end(self, error: StorageError) -> None:
        """After a failed sync: answer those who wait, then end; the supervisor starts anew."""
        _log.critical("ending this worker: %s", error)
        self._loop.call_later(_EXIT_DELAY_S, os._exit, _EXIT_CODE)

    def _tick(self) -> None:
        # First of all, so that one that fails is not the last.
        self._ticker = self._loop.call_later(_TICK_S, self._tick)
        now_s = time.monotonic()
        self._store.tick(_now_us())
        if now_s - self._last_sweep_s >= _SWEEP_S:
            self._last_sweep_s = now_s
            self._bodies.sweep()

    # --- pages

    def _readiness(self) -> Response:
        if self._edge.is_stopping:
            return _text(503, b"stopping\n")
        if self._store.health.refusal is not None or self._store.keys.is_full:
            return _text(503, b"events cannot be stored at present; the log says why\n")
        return _text(200, b"ready\n")

    def _metrics_page(self) -> Response:
        found = gauges.gauges(self._store, self._quarantine, self._books)
        body = self._metrics.render(found)
        return Response(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], body)


def _text(status: int, body: bytes) -> Response:
    return Response(status, [(b"content-type", b"text/plain; charset=utf-8")], body)


# --- processes


def serve(config: Config) -> int:
    """Run the collector until it is told to stop; returns the exit code."""
    problem = startcheck.maybe_problem(config, monotonic_s=time.monotonic, wait=time.sleep)
    if problem:
        sys.stderr.write(f"collector: {problem}\n")
        return 1
    config = _with_port(config)
    has_failed: Synchronized[int] = Value("i", 0)
    current = _Current(config)
    server = make_server(config.server)
    server.on_reload(current.read_again)
    loader = partial(_load_app, current, has_failed)
    try:
        server.serve(target_loader=loader, wrap_loader=False)
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else 1
    return 1 if has_failed.value else 0


def make_server(settings: Server) -> AbstractServer[Any]:
    """One worker under a supervisor; bench/ measures a bare handler in the very same."""
    return Granian(
        "collector",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=settings.body_timeout_ms),
        websockets=False,
        # Its own remarks on starting and stopping are of interest to those who look for trouble.
        log_level=LogLevels.info if settings.log_level == "debug" else LogLevels.warning,
        log_dictconfig=logs.dictionary(settings.log_level),
        respawn_failed_workers=True,
    )


def _with_port(config: Config) -> Config:
    """`config` with a free port where it says 0, so that the log can name it."""
    if config.server.port:
        return config
    with socket.create_server((config.server.host, 0)) as probe:
        port = probe.getsockname()[1]
    server = msgspec.structs.replace(config.server, port=port)
    return msgspec.structs.replace(config, server=server)


class _Current:
    """The settings in force, in the main process; every new worker starts with them."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def read_again(self) -> None:
        """Take the file as it is now (SIGHUP); where to listen stays as it is.

        A file that has become faulty is not obeyed: a slip of the pen must not stop a collector.
        """
        if self.config.path is None:
            return
        try:
            found = config_file.load(self.config.path)
        except config_file.ConfigError as error:
            for fault in error.faults:
                _log.error("%s; the settings read before stay in force", fault)
            return
        old = self.config.server
        server = msgspec.structs.replace(found.server, host=old.host, port=old.port)
        self.config = msgspec.structs.replace(found, server=server)


def _load_app(current: _Current, has_failed: "Synchronized[int]") -> App:
    """Runs in the worker, before its event loop."""
    sys.setswitchinterval(_SWITCH_S)
    _end_with_parent()
    return App(Service(current.config), partial(_give_up, has_failed))


def _give_up(has_failed: "Synchronized[int]", error: Exception) -> None:
    """A start that failed once fails again: stop the supervisor instead of being started anew."""
    if not isinstance(error, StorageError | OSError):
        _log.error("start failed", exc_info=error)
    has_failed.value = 1
    os.kill(os.getppid(), signal.SIGTERM)


def _end_with_parent() -> None:
    """Have the kernel kill this process when the supervisor dies, however it dies.

    An orphan would go on holding the port and the data directory.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_EXIT_CODE)
