"""A real collector in processes of its own, for tests that start, stop and kill it.

Owns the configuration file, the process group and the clean-up: whatever happens in a test, no
process outlives the `with` block. Must not know a protocol, nor reach into the collector's code.
"""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, NamedTuple, Self

import duckdb

_EXAMPLE: Final = Path(__file__).parents[2] / "collector" / "config.example.toml"
_POLL_S: Final = 0.02
_LOG_TAIL_CHARS: Final = 4_000
# Nothing is limited and files appear at once, unless a test asks for the contrary.
_TEST_SETTINGS: Final[dict[str, Any]] = {
    # Several tests at a time take all processors: with nothing left, no page would ever be whole.
    "server": {"host": "127.0.0.1", "dashboard_priority": "low"},
    "storage": {"directory": "data", "publish_interval_ms": 200, "disk_free_bytes_min": 0},
    "limits": {
        "browser_requests_per_minute": 0,
        "server_requests_per_minute": 0,
        "croct_requests_per_minute": 0,
        "failed_auth_per_minute": 0,
    },
}
# The lower end of what Linux hands out by itself is 32,768.
_PORTS: Final = (10_000, 32_000)
_NO_TIER_LIMIT: Final = {"requests_per_minute": 0, "requests_per_month": 0}


class Answer(NamedTuple):
    """An HTTP answer; names of headers are lower case, of repeated ones the last counts."""

    status: int
    headers: dict[str, str]
    body: bytes


def free_port() -> int:
    """A TCP port on loopback that nobody listens on.

    Below those that the system gives to whoever connects: by the time a collector starts one of
    these may be taken, with tests on every core.
    """
    while True:
        port = random.SystemRandom().randrange(*_PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], object], *, timeout_s: float, what: str) -> None:
    """Poll until `condition` holds. Raises TimeoutError that says `what` did not happen."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"after {timeout_s} s still not: {what}")
        time.sleep(_POLL_S)


def example_site(**overrides: Any) -> dict[str, Any]:
    """The site of config.example.toml as a table, with some settings changed."""
    return {**_example()["sites"][0], **overrides}


def example_key(**overrides: Any) -> dict[str, Any]:
    """The key of config.example.toml as a table, with some settings changed."""
    return {**_example()["keys"][0], **overrides}


class CollectorProcess:
    """`collector serve` on a free loopback port, in a process group of its own.

    Its settings are those of config.example.toml with every limit switched off and files published
    after 200 ms. `overrides` are tables of the configuration: `storage={"durability": "os"}`
    changes that one setting, lists (`sites`, `keys`) replace the example's. Data, configuration and
    log are in `directory`; a second instance on the same directory goes on with the same data.
    `prefix` stands before the command (`["prlimit", "--fsize=..."]`), `environment` is added to
    ours.

    Entering starts it and waits until `ready_path` answers 200 ("/healthz" for one that is not to
    take events); leaving kills what still runs. When the block fails, the end of the log is added
    to the error as a note.
    """

    # What is started; a subclass may name another one.
    program: ClassVar[Sequence[str]] = (sys.executable, "-m", "collector")

    def __init__(
        self,
        directory: Path,
        *,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        start_timeout_s: float = 30.0,
        ready_path: str = "/readyz",
        **overrides: Any,
    ) -> None:
        self.directory = directory
        self.config_path = directory / "config.toml"
        self.log_path = directory / "collector.log"
        self.settings = _merged(_merged(_example(), _test_settings()), overrides)
        server = self.settings["server"]
        if "port" not in overrides.get("server", {}):
            server["port"] = free_port()
        self.port: int = server["port"]
        self.url = f"http://{server['host']}:{self.port}"
        self.data = directory / self.settings["storage"]["directory"]
        self._prefix = list(prefix)
        self._environment = {**os.environ, **(environment or {})}
        self._start_timeout_s = start_timeout_s
        self._ready_path = ready_path
        self._main: subprocess.Popen[bytes] | None = None

    # --- life

    def __enter__(self) -> Self:
        """Start and wait until ready."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(_toml(self.settings), encoding="utf-8")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill whatever still runs."""
        self.kill()
        if error is not None:
            error.add_note(f"log of the collector ({self.log_path}):\n{self.log_tail()}")

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, return when it is ready. Raises if it ends before that."""
        assert self._main is None, "it runs already"
        with self.log_path.open("ab") as log:
            self._main = subprocess.Popen(
                [*self._prefix, *self.program, "serve", "--config", str(self.config_path)],
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        if wait:
            try:
                self.wait_ready(self._start_timeout_s)
            except BaseException as error:
                self.kill()
                error.add_note(f"log of the collector:\n{self.log_tail()}")
                raise

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Return when it answers 200 to its `ready_path`.

        Raises RuntimeError if the main process ends instead.
        """

        def is_ready() -> bool:
            code = self._running.poll()
            if code is not None:
                raise RuntimeError(f"the collector ended with {code} before it was ready")
            try:
                return self.request("GET", self._ready_path).status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False

        wait_until(is_ready, timeout_s=timeout_s, what=f"200 from {self._ready_path}")

    def wait_exit(self, timeout_s: float = 20.0) -> int:
        """Wait until the main process ends by itself and its group with it; the exit code."""
        main = self._running
        code = main.wait(timeout_s)
        self._wait_gone(timeout_s)
        self._main = None
        return code

    def terminate(self, timeout_s: float = 20.0) -> int:
        """SIGTERM to the main process, as a service manager stops it; the exit code.

        Raises if it or its worker is still there after `timeout_s`.
        """
        os.kill(self.pid, signal.SIGTERM)
        return self.wait_exit(timeout_s)

    def kill(self) -> None:
        """SIGKILL to every process of the group at once; harmless when nothing runs."""
        main = self._main
        if main is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(main.pid, signal.SIGKILL)
        main.wait()
        self._wait_gone(10.0)
        self._main = None

    def kill_main(self) -> None:
        """SIGKILL to the main process only; whatever it leaves behind is not waited for."""
        os.kill(self.pid, signal.SIGKILL)
        self._running.wait()

    def kill_worker(self) -> None:
        """SIGKILL to all of the group but the main process, which should start it anew."""
        for pid in self.pids:
            if pid != self.pid:
                os.kill(pid, signal.SIGKILL)

    def wait_another_worker(self, before: Collection[int], timeout_s: float = 20.0) -> None:
        """Return when one of the processes `before` is gone, another is in its place, and ready."""

        def is_another() -> bool:
            # Looked at once: while the old one ends beside the new one, two looks differ.
            now = set(self.pids)
            return len(now) == len(before) and len(now.difference(before)) == 1

        wait_until(is_another, timeout_s=timeout_s, what="another worker")
        self.wait_ready()

    def restart(self) -> None:
        """Kill what runs, start again on the same port and data, wait until ready."""
        self.kill()
        self.start()

    # --- looking at it

    @property
    def pid(self) -> int:
        """The main process's id, also the id of the group."""
        return self._running.pid

    @property
    def pids(self) -> list[int]:
        """The living processes of the group; zombies do not count."""
        return [] if self._main is None else _group_members(self._main.pid)

    def log_tail(self) -> str:
        """The end of what it wrote to standard output and error."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return text[-_LOG_TAIL_CHARS:]

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Answer:
        """One HTTP request on a connection of its own. Raises OSError if nobody listens."""
        host = self.settings["server"]["host"]
        connection = http.client.HTTPConnection(host, self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, fields, answer.read())
        finally:
            connection.close()

    def run(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Any other command of the collector, with this configuration; its exit is not judged."""
        return subprocess.run(
            [*self.program, *arguments, "--config", str(self.config_path)],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows by `collector query`: everything acknowledged, flushed or not; times are text."""
        result = self.run("query", "--format", "json", sql)
        if result.returncode != 0:
            raise RuntimeError(f"collector query ended with {result.returncode}: {result.stderr}")
        rows: list[dict[str, Any]] = json.loads(result.stdout)
        return rows

    def published(self, sql: str) -> list[dict[str, Any]]:
        """Rows by plain DuckDB, as anybody reads the files; `events` in `sql` is the Parquet glob.

        Empty while there is no file. A file that was joined away between listing and opening is
        asked for again, as documented for readers.
        """
        files = str(self.data / "events" / "**" / "*.parquet").replace("'", "''")
        with duckdb.connect() as connection:
            for attempt in range(5):
                try:
                    connection.execute("SET TimeZone = 'UTC'")
                    connection.execute(
                        "CREATE OR REPLACE VIEW events AS SELECT * FROM "  # noqa: S608 (our own path)
                        f"read_parquet('{files}', hive_partitioning = true)"
                    )
                    found = connection.execute(sql)
                    names = [column[0] for column in found.description or ()]
                    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
                except duckdb.IOException as error:
                    if "No files found" in str(error):
                        return []
                    if attempt == 4:
                        raise
        raise AssertionError("the last attempt returns or raises")

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._main is not None, "it does not run"
        return self._main

    def _wait_gone(self, timeout_s: float) -> None:
        """Return when no process of the group lives any more."""
        group = self._running.pid
        wait_until(
            lambda: not _group_members(group), timeout_s=timeout_s, what="all its processes ended"
        )


def _group_members(group: int) -> list[int]:
    # Orphans are reaped by process 1, which in a container may never do it: zombies do not count.
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # pid (name) state ppid pgrp ...; a name may hold blanks and parentheses
            state, _parent, its_group = stat.rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                members.append(int(entry.name))
    return members


def _example() -> dict[str, Any]:
    return tomllib.loads(_EXAMPLE.read_text(encoding="utf-8"))


def _test_settings() -> dict[str, Any]:
    return {**_TEST_SETTINGS, "tiers": dict.fromkeys(_example()["tiers"], _NO_TIER_LIMIT)}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, table by table; lists and values replace."""
    result = dict(base)
    for name, value in changes.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merged(old, value)  # noqa: PLW2901 (a table is laid over a table)
        result[name] = value
    return result


def _toml(table: Mapping[str, Any]) -> str:
    """One `name = value` per line, tables inline, so that nesting needs no headers."""
    return "".join(f"{_toml_name(name)} = {_toml_value(value)}\n" for name, value in table.items())


def _toml_name(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        members = (f"{_toml_name(name)} = {_toml_value(item)}" for name, item in value.items())
        return "{ " + ", ".join(members) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    # What JSON writes for texts, numbers and booleans is TOML too.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
