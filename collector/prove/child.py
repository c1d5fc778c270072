"""The collector under proof: a process group of its own, started, killed, stopped, looked at."""

import contextlib
import http.client
import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, Self

from collector.program import own_command, own_environment
from collector.prove.place import Place
from storage import Files

READY_S: Final = 120.0
STOP_S: Final = 90.0
_POLL_S: Final = 0.005
_ASK_S: Final = 2.0
_LOG_CHARS: Final = 4_000
_PROC: Final = Path("/proc")
# To PyInstaller's launcher.
_UNPACKS_ANEW: Final = {"PYINSTALLER_RESET_ENVIRONMENT": "1"}


class NotReady(Exception):
    """A collector that does not take events; the message ends with what it logged."""


class Collector:
    """`collector serve` at `place`; `prefix` stands before its command. A context manager.

    However the block is left, no process of it stays.
    """

    def __init__(self, place: Place, files: Files, prefix: Sequence[str] = ()) -> None:
        self.place = place
        self._files = files
        # Ends it when this process is killed itself.
        self._prefix = [*prefix, *_maybe_tied()]
        # A one-file program lets its children use what it has unpacked, if they can see that it is
        # their ancestor. From another namespace they cannot, and have to unpack for themselves.
        self._environment = {**own_environment(), **(_UNPACKS_ANEW if prefix else {})}
        self._main: subprocess.Popen[bytes] | None = None
        self._client: subprocess.Popen[bytes] | None = None
        self._log = -1
        self._began_s = 0.0
        # Whether a worker of the main process that runs was killed.
        self.has_lost_worker = False
        # Bytes that processes which are gone had written.
        self.bytes_written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since."""
        return self._main is not None

    def start(self) -> None:
        """Start it, and do not wait."""
        self._close_log()
        log = self.place.folder / "collector.log"
        self._files.remove(log)
        self._log = self._files.create(log)
        self._began_s = time.monotonic()
        self.has_lost_worker = False
        self._main = self._run("serve")

    def compact(self) -> None:
        """Ask for parts to be joined, and do not wait; ends with the collector."""
        self._client = self._run("compact")

    def wait_ready(self, timeout_s: float = READY_S) -> float:
        """Wait until it takes events; the seconds since its start.

        Raises `NotReady` when it ends instead, or is not ready in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self.is_ready():
            main = self._main
            code = main.poll() if main else None
            if main is None or code is not None:
                raise NotReady(f"the collector ended with {code}\n{self.log_tail()}")
            if time.monotonic() > deadline_s:
                raise NotReady(f"not ready after {timeout_s:.0f} s\n{self.log_tail()}")
            time.sleep(_POLL_S)
        return time.monotonic() - self._began_s

    def is_ready(self) -> bool:
        """Whether `/readyz` says 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.place.port, timeout=_ASK_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def terminate(self) -> None:
        """SIGTERM to the main process, as a service manager stops it."""
        if self._main is not None:
            self._main.terminate()

    def wait_stopped(self) -> int | None:
        """Wait until the main process has ended; its exit code, None when it does not in time."""
        main = self._main
        if main is None:
            return None
        try:
            code = main.wait(STOP_S)
        except subprocess.TimeoutExpired:
            return None
        self.kill()
        return code

    def kill(self) -> None:
        """SIGKILL to every process of the group at once; returns when all are gone."""
        main, client = self._main, self._client
        self._main = self._client = None
        for one in (main, client):
            if one is not None:
                self._end_group(one)
        self._close_log()

    def kill_main(self) -> None:
        """SIGKILL to the main process only: the worker is to end with it."""
        if self._main is not None:
            self._count_written()
            self._main.kill()
            self._main.wait()

    def kill_workers(self) -> None:
        """SIGKILL to all of the group but the main process, which is to start a worker anew."""
        self._count_written()
        self._began_s = time.monotonic()
        self.has_lost_worker = True
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def workers(self) -> list[int]:
        """Living processes of the group besides the main process."""
        main = self._main
        return [pid for pid in _members(main.pid) if pid != main.pid] if main else []

    def limit_files(self, size: int | None) -> None:
        """Have the kernel refuse the workers' writes beyond byte `size` of any file; None: none.

        A write that crosses it is cut short, the next fails with EFBIG.
        """
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def log_tail(self) -> str:
        """The end of what it logged since it was started last."""
        try:
            text = (self.place.folder / "collector.log").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return text[-_LOG_CHARS:]

    def _run(self, command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  our own command
            [*self._prefix, *own_command(), command, "--config", str(self.place.config)],
            cwd=self.place.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            process_group=0,
        )

    def _end_group(self, leader: subprocess.Popen[bytes]) -> None:
        if leader is not self._client:
            self._count_written(leader.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
        while _members(leader.pid):
            time.sleep(_POLL_S)

    def _count_written(self, group: int | None = None) -> None:
        group = group or (self._main.pid if self._main else 0)
        self.bytes_written += sum(_bytes_written(pid) for pid in _members(group))

    def _close_log(self) -> None:
        if self._log >= 0:
            self._files.close(self._log)
            self._log = -1


@cache
def _maybe_tied() -> tuple[str, ...]:
    """What has the kernel kill a command when we die, where the system has it (util-linux)."""
    tie = ("setpriv", "--pdeathsig", "KILL", "--")
    try:
        subprocess.run([*tie, "true"], check=True, capture_output=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    return tie


def _members(group: int) -> list[int]:
    """The living processes of a group. Zombies do not count: nobody may ever wait for them."""
    members = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # pid (name) state ppid pgrp ...; a name may hold blanks and parentheses
            state, _parent, its_group = stat.rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                members.append(int(entry.name))
    return members


def _bytes_written(pid: int) -> int:
    """Bytes that a process had sent to disk, 0 where the kernel does not tell."""
    try:
        text = (_PROC / str(pid) / "io").read_text("ascii")
    except OSError:
        return 0
    found = (line.partition(": ") for line in text.splitlines())
    return next((int(value) for name, _, value in found if name == "write_bytes"), 0)
