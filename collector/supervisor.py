"""The main process: it listens through the server, starts the worker, and starts it anew.

The worker ends by itself after a failed sync; the main process only supervises. What runs in the
worker is `service`.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from multiprocessing import Value
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, Final

import msgspec
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer

from collector import config_file, logs
from collector.asgi import App
from collector.config import Config, Server
from collector.service import END_CODE, make_app
from storage import Files, Locked, StorageError, layout

_log: Final = logging.getLogger("collector")

# How long the event loop may wait until a thread lets go of the interpreter's lock; usual: 5 ms.
_SWITCH_S: Final = 0.001
_LOCK_WAIT_S: Final = 2.0
_PR_SET_PDEATHSIG: Final = 1


def serve(config: Config) -> int:
    """Run the collector until it is told to stop; returns the exit code."""
    problem = _maybe_problem(config)
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
    return make_app(current.config, partial(_give_up, has_failed))


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
        os._exit(END_CODE)


def _maybe_problem(config: Config) -> str | None:
    """Why this collector cannot run, as far as it can be known before a worker is started."""
    directory = config.storage.directory
    try:
        Files().make_folder(directory)
    except OSError as error:
        return f"{directory} cannot be used: {error.strerror}"
    # The worker of a supervisor that was just killed is gone in a moment, and so is its hold.
    deadline_s = time.monotonic() + _LOCK_WAIT_S
    while problem := _maybe_taken(directory) or _maybe_listening(config):
        if time.monotonic() > deadline_s:
            return problem
        time.sleep(0.05)
    return None


def _maybe_taken(directory: Path) -> str | None:
    try:
        os.close(Files().lock(directory / layout.LOCK))
    except Locked as error:
        return str(error)
    except OSError as error:
        return f"{directory} cannot be used: {error.strerror}"
    return None


def _maybe_listening(config: Config) -> str | None:
    """Why the port cannot be had. Granian would share it with another process that it is open to,
    and every other event would end there.
    """
    host, port = config.server.host, config.server.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        return f"cannot listen on {host}:{port}: {error.strerror or error}"
    return None
