"""The main process: it listens through the server, starts the worker, and starts it anew.

The worker ends by itself after a failed sync; the main process only supervises. What runs in the
worker is `service`.

SIGHUP asks for the configuration to be read again. What can be taken under way is taken by the
worker (`reload`), which looks at the file once a second anyway; for the rest a new worker is
started. A worker that took something tells by SIGUSR1, so that the next one starts with that even
if the file has become faulty meanwhile.
"""

import ctypes
import logging
import logging.config
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from multiprocessing import Value
from multiprocessing.sharedctypes import RawValue, Synchronized
from typing import Any, Final

import msgspec
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # imported there
from granian.server.common import AbstractServer

from collector import filelimit, logs, preflight, reload
from collector.asgi import AsgiApp
from collector.config import Config, Server
from collector.reload import AT_START_ONLY, MainProcess, differences, merged
from collector.rsgi import RsgiApp
from collector.running import make_app
from collector.service import END_CODE
from collector.watched import Unusable
from storage import StorageError

_log: Final = logging.getLogger("collector")

# How long the event loop may wait until a thread lets go of the interpreter's lock; usual: 5 ms.
_SWITCH_S: Final = 0.001
# Connections that nobody has taken yet; the kernel has a limit of its own (net.core.somaxconn).
_BACKLOG: Final = 4_096
_PR_SET_PDEATHSIG: Final = 1


def serve(config: Config) -> int:
    """Run the collector until it is told to stop; returns the exit code."""
    problem = preflight.maybe_problem(config)
    if problem:
        sys.stderr.write(f"collector: {problem}\n")
        return 1
    logging.config.dictConfig(_logs(config.server))
    config = preflight.with_port(config)
    has_failed: Synchronized[int] = Value("i", 0)
    current = _Current(config)
    server = make_server(config.server)
    # Before the worker is started, and after the server has set its own.
    server.on_startup(lambda: _listen(current, server))
    loader: Callable[..., Any] = partial(_load_app, current, has_failed, os.getpid())
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
        interface=Interfaces(settings.interface),
        http=HTTPModes.http1,
        backlog=_BACKLOG,
        backpressure=_connections(settings),
        http1_settings=_http1(settings),
        websockets=False,
        # Its own remarks on starting and stopping are of interest to those who look for trouble.
        log_level=LogLevels.info if settings.log_level == "debug" else LogLevels.warning,
        log_dictconfig=_logs(settings),
        respawn_failed_workers=True,
    )


def _logs(settings: Server) -> dict[str, Any]:
    return logs.dictionary(settings.log_level, settings.log_format)


def _http1(settings: Server) -> HTTP1Settings:
    return HTTP1Settings(header_read_timeout=settings.body_timeout_ms)


def _connections(settings: Server) -> int:
    """How many there may be at a time; the others wait in the kernel, and then at home."""
    files = filelimit.raise_to_most()
    found = filelimit.connections(files, settings.connections_max)
    if found < settings.connections_max:
        _log.warning(
            "at most %d connections at a time, not the %d of server.connections_max: this process "
            "may open %d files (ulimit -n, LimitNOFILE)",
            found,
            settings.connections_max,
            files,
        )
    return found


class _InTurn:
    """Runs handlers of signals whole: what comes in the midst of one waits for its end.

    A handler is interrupted by the next signal as any other code is.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_running = False

    def run(self, handle: Callable[[], None]) -> None:
        """Now, or when the handler ends that is interrupted by this one."""
        self._waiting.append(handle)
        while self._waiting and not self._is_running:
            self._is_running = True
            try:
                while self._waiting:
                    self._waiting.popleft()()
            finally:
                self._is_running = False


class _Current:
    """The settings that the next worker starts with, and how often a reload was asked for.

    Both change in handlers of signals, in the main process only.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        # Shared with the worker. There is one who writes, so nothing is locked, which a handler
        # could wait for in vain.
        self.asked = RawValue("i", 0)

    def follow(self) -> None:
        """Take what the worker took, of the file as it is now."""
        found = self._found()
        if found is not None:
            self.config = merged(self.config, found)

    def needs_worker(self) -> list[str]:
        """Read the file again; the settings that only a new worker takes, which are taken over.

        Without any, the worker is asked to read it; a faulty file is told by it, too. None either
        where a new worker could not start.
        """
        found = self._found()
        differing = () if found is None else differences(self.config, found)
        new = [name for name in differing if name not in AT_START_ONLY]
        if found is None or not new:
            self.asked.value += 1
            return []
        problem = _maybe_unusable(self.config, found)
        if problem:
            # The worker would end at its start, and the collector with it.
            _log.error("%s: no new worker is started: %s", found.path, problem)
            self.asked.value += 1
            return []
        names = [name.partition(".")[2] for name in AT_START_ONLY]
        kept = {name: getattr(self.config.server, name) for name in names}
        server = msgspec.structs.replace(found.server, **kept)
        self.config = msgspec.structs.replace(found, server=server)
        return new

    def _found(self) -> Config | None:
        path = self.config.path
        try:
            return None if path is None else reload.read(path)
        except (Unusable, OSError):
            return None


def _maybe_unusable(before: Config, found: Config) -> str | None:
    """Why another data directory cannot be had; the one that is in use is locked by our worker."""
    directory = found.storage.directory
    if directory.resolve() == before.storage.directory.resolve():
        return None
    return preflight.maybe_unusable(directory)


def _listen(current: _Current, server: AbstractServer[Any]) -> None:
    """Have signals about the configuration handled, in place of the server's own way."""

    def ask() -> None:
        new = current.needs_worker()
        if new:
            _log.info("a new worker is started, because these settings changed: %s", ", ".join(new))
            settings = current.config.server
            server.log_config = _logs(settings)
            server.http1_settings = _http1(settings)
            server.backpressure = _connections(settings)
            logging.config.dictConfig(server.log_config)
            server.signal_handler_reload()  # type: ignore[no-untyped-call]  # not annotated

    # What the worker took (SIGUSR1) must not be put in place of what a SIGHUP meanwhile found.
    in_turn = _InTurn()
    signal.signal(signal.SIGHUP, lambda *_: in_turn.run(ask))
    signal.signal(signal.SIGUSR1, lambda *_: in_turn.run(current.follow))


def _load_app(current: _Current, has_failed: "Synchronized[int]", parent: int) -> RsgiApp | AsgiApp:
    """Runs in the worker, before its event loop; `parent`: the process id of the supervisor."""
    # A terminal that goes tells all its processes: the main process speaks for this one.
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_S)
    _end_with_parent(parent)
    main = MainProcess(
        asked=lambda: current.asked.value,
        tell_taken=partial(os.kill, parent, signal.SIGUSR1),
    )
    return make_app(current.config, partial(_give_up, has_failed), ProtocolClosed, main)


def _give_up(has_failed: "Synchronized[int]", error: Exception) -> None:
    """A start that failed once fails again: stop the supervisor instead of being started anew."""
    if not isinstance(error, StorageError | OSError):
        _log.error("start failed", exc_info=error)
    has_failed.value = 1
    os.kill(os.getppid(), signal.SIGTERM)


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the supervisor dies, however it dies.

    An orphan would go on holding the port and the data directory. The supervisor may have died
    while this process was being started, so that asking for the parent here may come too late.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(END_CODE)
