"""The main process: it listens through the server, starts the worker, and starts it anew.

The worker ends by itself after a failed sync; the main process only supervises. What runs in the
worker is `service`.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import Value
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Final

import msgspec
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # imported there
from granian.server.common import AbstractServer

from collector import config_file, filelimit, logs, preflight
from collector.asgi import AsgiApp
from collector.config import Config, Server
from collector.rsgi import RsgiApp
from collector.service import END_CODE, make_app
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
    config = preflight.with_port(config)
    has_failed: Synchronized[int] = Value("i", 0)
    current = _Current(config)
    server = make_server(config.server)
    server.on_reload(current.read_again)
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
        http1_settings=HTTP1Settings(header_read_timeout=settings.body_timeout_ms),
        websockets=False,
        # Its own remarks on starting and stopping are of interest to those who look for trouble.
        log_level=LogLevels.info if settings.log_level == "debug" else LogLevels.warning,
        log_dictconfig=logs.dictionary(settings.log_level),
        respawn_failed_workers=True,
    )


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


def _load_app(current: _Current, has_failed: "Synchronized[int]", parent: int) -> RsgiApp | AsgiApp:
    """Runs in the worker, before its event loop; `parent`: the process id of the supervisor."""
    sys.setswitchinterval(_SWITCH_S)
    _end_with_parent(parent)
    return make_app(current.config, partial(_give_up, has_failed), ProtocolClosed)


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
