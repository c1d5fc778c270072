"""What can be known before a worker is started: whether the directory and the port can be had."""

import os
import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from collector.config import Config
from storage import Files, Locked, layout

_LOCK_WAIT_S: Final = 2.0


def with_port(config: Config) -> Config:
    """`config` with a free port where it says 0, so that the log can name it."""
    if config.server.port:
        return config
    with socket.create_server((config.server.host, 0)) as probe:
        port = probe.getsockname()[1]
    server = msgspec.structs.replace(config.server, port=port)
    return msgspec.structs.replace(config, server=server)


def maybe_problem(config: Config) -> str | None:
    """Why this collector cannot run, as far as it can be known before a worker is started."""
    directory = config.storage.directory
    problem = _maybe_missing(directory)
    if problem:
        return problem
    # The worker of a supervisor that was just killed is gone in a moment, and so is its hold.
    deadline_s = time.monotonic() + _LOCK_WAIT_S
    while problem := _maybe_taken(directory) or _maybe_listening(config):
        if time.monotonic() > deadline_s:
            return problem
        time.sleep(0.05)
    return None


def maybe_unusable(directory: Path) -> str | None:
    """Why a data directory cannot be had right now; one that is missing is made."""
    return _maybe_missing(directory) or _maybe_taken(directory)


def _maybe_missing(directory: Path) -> str | None:
    try:
        Files().make_folder(directory)
    except OSError as error:
        return f"{directory} cannot be used: {error.strerror}"
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
