"""Whether a collector can run, as far as it can be known before a worker is started.

The directory must be there, nobody else may hold it, and the port must be free.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from collector.config import Config
from storage import Files, Locked, layout

_LOCK_WAIT_S: Final = 2.0


def maybe_problem(
    config: Config, *, monotonic_s: Callable[[], float], wait: Callable[[float], None]
) -> str | None:
    """Why this collector cannot run, as far as it can be known before a worker is started."""
    directory = config.storage.directory
    try:
        Files().make_folder(directory)
    except OSError as error:
        return f"{directory} cannot be used: {error.strerror}"
    # The worker of a supervisor that was just killed is gone in a moment, and so is its hold.
    deadline_s = monotonic_s() + _LOCK_WAIT_S
    while problem := _maybe_taken(directory) or _maybe_listening(config):
        if monotonic_s() > deadline_s:
            return problem
        wait(0.05)
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
