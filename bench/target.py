"""The servers under load: a private collector on a fresh directory, and the floor.

Each is a session of its own on loopback and a free port, so that it can be killed whole and only
it. Owns processes and their data directory; sends no events.
"""

import compileall
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench import setups
from bench.corpus import Account
from bench.setups import Setup
from bench.threads import Threads, threads_of

ADDRESS: Final = "127.0.0.1"
_ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAM: Final = (sys.executable, "-c", "from collector.cli import main; main()")
_READY_S: Final = 120.0
_STOP_S: Final = 60.0
_POLL_S: Final = 0.01
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def compile_packages() -> None:
    """Have byte code as an installation has it, also where the environment forbids to keep it."""
    for package in ("collector", "storage"):
        compileall.compile_dir(_ROOT / package, quiet=2)


class NotReady(Exception):
    """A server did not start, or ended by itself."""


class _Server:
    """A process group with a port. Use as a context manager: the group is gone at the end."""

    def __init__(self, command: list[str], port: int, ready_path: str, log: Path) -> None:
        self._command = command
        self.port = port
        self._ready_path = ready_path
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait until ready; returns the seconds that took. Raises `NotReady`."""
        began_s = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=_ROOT, stdout=log, stderr=log, start_new_session=True
            )
        while not self._is_ready():
            if self._process.poll() is not None:
                raise NotReady(f"{self._what()} ended at its start: {self._last_words()}")
            if time.perf_counter() - began_s > _READY_S:
                raise NotReady(f"{self._what()} is not ready after {_READY_S:.0f} s")
            time.sleep(_POLL_S)
        return time.perf_counter() - began_s

    def kill(self) -> None:
        """Kill -9 every process of the group at once, and wait until the first is gone."""
        if self._process is None:
            return
        group = self._process.pid
        if any(_group_of(pid) == group for pid in _pids()):
            os.killpg(group, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop as an operator does; a server that does not end is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                sys.stderr.write(f"{self._what()} did not stop in {_STOP_S:.0f} s, killed\n")
        self.kill()

    def cpu_s(self) -> float:
        """CPU seconds used so far by the processes of the group that live."""
        assert self._process is not None, "it runs"
        group = self._process.pid
        return sum(_cpu_s(pid) for pid in _pids() if _group_of(pid) == group)

    def resident_mb(self, field: str = "VmRSS") -> float:
        """Memory (10^6 bytes) of the group, each page once.

        That is all of the largest process, the worker, and of the others what is theirs alone.
        "VmHWM": the most that the worker ever had.
        """
        assert self._process is not None, "it runs"
        group = self._process.pid
        pids = [pid for pid in _pids() if _group_of(pid) == group]
        worker = max(pids, key=lambda pid: _status_mb(pid, "VmRSS"))
        others = sum(_private_mb(pid) for pid in pids if pid != worker)
        return _status_mb(worker, field) + others

    def group_mb(self) -> float:
        """Memory (10^6 bytes) of all processes of the group; what they share counts once (Pss)."""
        assert self._process is not None, "it runs"
        group = self._process.pid
        return sum(_pss_mb(pid) for pid in _pids() if _group_of(pid) == group)

    def open_files(self) -> int:
        """How many files and sockets the processes of the group have open."""
        assert self._process is not None, "it runs"
        group = self._process.pid
        return sum(_open_files(pid) for pid in _pids() if _group_of(pid) == group)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET. Raises OSError or `http.client.HTTPException`."""
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def threads(self) -> Threads:
        """The threads of the group's processes that live."""
        assert self._process is not None, "it runs"
        group = self._process.pid
        return threads_of(pid for pid in _pids() if _group_of(pid) == group)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            return self.get(self._ready_path)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _what(self) -> str:
        return " ".join(Path(part).name for part in self._command[:3])

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:]


class Collector(_Server):
    """A collector of our own, without limits. `folder` holds its configuration and data.

    `program` is what is started, this environment's if it is not given.
    """

    def __init__(
        self,
        directory: Path,
        *,
        publish_interval_ms: int = 5_000,
        segment_bytes_max: int = 1 << 26,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="collector-bench-", dir=directory))
        port = free_port()
        self.account = Account(host=f"{ADDRESS}:{port}")
        super().__init__(
            [*program, "serve", "--config", str(self.config)],
            port,
            "/readyz",
            self.folder / "log",
        )
        self.configure(publish_interval_ms, segment_bytes_max)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "config.toml"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def configure(self, publish_interval_ms: int, segment_bytes_max: int) -> None:
        """Write the configuration; it counts from the next start."""
        self.use(
            Setup(publish_interval_ms=publish_interval_ms, segment_bytes_max=segment_bytes_max)
        )

    def use(self, setup: Setup) -> None:
        """Write a configuration that may differ in more; it counts from the next start."""
        self.config.write_text(setups.text(self.account, self.port, setup))

    def metric(self, name: str) -> float:
        """Sum of a metric over all label sets that `name` begins."""
        _, body = self.get("/metrics")
        return sum_metric(body.decode(), name)

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until every row is in a part. Raises `NotReady`."""
        deadline_s = time.perf_counter() + timeout_s
        while self.metric("collector_unflushed_rows") > 0:
            if time.perf_counter() > deadline_s:
                raise NotReady(f"rows are still not in parts after {timeout_s:.0f} s")
            time.sleep(0.1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        shutil.rmtree(self.folder, ignore_errors=True)


class Floor(_Server):
    """One of the handlers of `bench.bare`, by name."""

    def __init__(self, directory: Path, name: str = "read") -> None:
        port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="collector-bench-", dir=directory))
        super().__init__(
            [sys.executable, "-m", "bench.bare", name, str(port)], port, "/", self._folder / "log"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        shutil.rmtree(self._folder, ignore_errors=True)


def config_text(
    account: Account, *, port: int, publish_interval_ms: int, segment_bytes_max: int
) -> str:
    """A configuration in TOML that lets `account` in, without any limit."""
    setup = Setup(publish_interval_ms=publish_interval_ms, segment_bytes_max=segment_bytes_max)
    return setups.text(account, port, setup)


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def sum_metric(text: str, name: str) -> float:
    """Sum of the samples in Prometheus `text` whose line begins with `name`, up to its value.

    `name` may end in the middle of a label set; it is no prefix of another metric's name.
    """
    total = 0.0
    for line in text.splitlines():
        if not line.startswith(name):
            continue
        if "{" in name or line[len(name)] in "{ ":
            total += float(line.rpartition(" ")[2])
    return total


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the command's name; empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _group_of(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[2]) if fields else -1


def _status_mb(pid: int, field: str) -> float:
    """A size that /proc/PID/status tells of, 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = next((line for line in lines if line.startswith(f"{field}:")), "x: 0 kB")
    return int(found.split()[1]) * 1024 / 1e6


def _private_mb(pid: int) -> float:
    """What a process shares with no other, 0 when it is gone."""
    return _rollup_mb(pid, "Private_")


def _pss_mb(pid: int) -> float:
    """Proportional set size, 0 when the process is gone."""
    return _rollup_mb(pid, "Pss:")


def _rollup_mb(pid: int, start: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(start)) * 1024 / 1e6


def _open_files(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0
