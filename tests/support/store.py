"""A store under test: its own event loop, clocks that are set by hand, and an honest reader."""

import asyncio
import contextlib
import functools
import hashlib
from pathlib import Path

import duckdb

from storage import Receipt, Settings, StorageError, Store, byhand, layout, segment, upkeep
from tests.support.files import FaultyFiles, no_fault
from tests.support.rows import NOW_US, make_lines

_PUBLISH_MS = 1_000


class Harness:
    """Opens, commits, crashes and reads one data directory."""

    def __init__(
        self,
        directory: Path,
        seed: int = 0,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        **settings: object,
    ) -> None:
        self.directory = directory
        self.files = FaultyFiles(seed, directory)
        self.loop = loop or asyncio.new_event_loop()
        self._ends_loop = loop is None
        self.now_us = NOW_US
        self.fatal: list[StorageError] = []
        self.settings = Settings(
            directory=directory,
            publish_interval_ms=_PUBLISH_MS,
            **settings,  # type: ignore[arg-type]
        )
        self.store: Store | None = None
        upkeep.FLUSH_RETRY_S = (0.01, 0.1)  # tests do not wait for a real disk

    def open(self) -> Store:
        """Open the store; raises what it raises."""

        async def start() -> Store:
            return Store.open(
                self.settings,
                self.files,
                now_us=self.now_us,
                monotonic_s=lambda: self.now_us / 1e6,
                on_fatal=self.fatal.append,
            )

        self.store = self.loop.run_until_complete(start())
        return self.store

    def submit(self, *numbers: int, **members: object) -> bool:
        """Commit rows, with `members` in each; True when they were acknowledged."""
        store = self.store
        assert store is not None

        async def commit() -> bool:
            lines = make_lines(*numbers, received_time=self.now_us, **members)
            settled: list[bool] = []

            def on_done(receipt: Receipt | None) -> None:
                settled.append(receipt is not None)
                if receipt:
                    keys = [number.to_bytes(16, "big") for number in numbers]
                    store.keys.add(keys, self.now_us, receipt.segment)

            try:
                future = store.submit(lines, len(numbers), self.now_us)
            except StorageError:
                return False
            future.on_done.append(on_done)
            result = await future
            assert settled == [isinstance(result, Receipt)]
            return settled[0]

        return self.loop.run_until_complete(commit())

    def advance(self, seconds: float) -> None:
        """Let time pass and do the upkeep that is due, before and after."""
        assert self.store is not None
        for step in (0, seconds):
            self.now_us += int(step * 1_000_000)
            self.store.tick(self.now_us)
            self.settle_parts()

    def settle_parts(self) -> None:
        """Wait until what was begun on parts is done."""
        assert self.store is not None
        self.loop.run_until_complete(self.store.on_parts(lambda _work: None))
        self.loop.run_until_complete(asyncio.sleep(0))

    def compact(self) -> bool:
        """Join what can be joined; False when that failed."""
        store = self.store
        assert store is not None
        try:
            self.loop.run_until_complete(byhand.compact(store))
        except (StorageError, OSError):
            return False
        return True

    def settle_flushes(self, seconds: float = 10) -> bool:
        """Wait until every sealed segment is in a part; False when that does not happen."""
        store = self.store
        assert store is not None

        async def wait() -> bool:
            for _ in range(int(seconds * 200)):
                if not store._waiting:
                    return True
                await asyncio.sleep(0.005)
            return False

        return self.loop.run_until_complete(wait())

    def close(self) -> None:
        """Stop in good order."""
        assert self.store is not None
        self.loop.run_until_complete(self.store.close(flush_timeout_s=10))
        self.store = None

    def crash(self) -> None:
        """Lose power. Nothing of the process survives."""
        if self.store is not None:
            self.kill()
        self.files.crash()

    def kill(self) -> None:
        """End the process and nothing else: what it wrote can be seen, and is lost by a crash."""
        store = self.store
        assert store is not None
        store._flush_thread.finish()
        store._key_thread.finish()
        store.part_keeper.finish()
        store._flush_thread.join()
        store._key_thread.join()
        store.part_keeper.join(10)
        store._commit._thread.shutdown()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.files.close(store._lock)
        self.store = None
        self.files.close_all()

    def end(self) -> None:
        """Clean up after the test."""
        self.files.fail = no_fault
        if self.store is not None:
            self.crash()
        if self._ends_loop:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def glob(self) -> list[int]:
        """Row numbers a plain glob sees, with repeats."""
        return self._in_parts(layout.list_parts(self.directory / layout.EVENTS))

    def _in_parts(self, parts: list[layout.Part]) -> list[int]:
        paths = [self.directory / layout.EVENTS / part.name for part in parts]
        return [number for path in paths for number in numbers_in(path.read_bytes(), path)]

    def readable(self) -> list[int]:
        """Row numbers in live parts and in valid prefixes of uncovered segments, with repeats.

        Segments before parts: what is flushed in between is then seen twice and left out once.
        """
        wal = self.directory / layout.WAL
        segments: dict[int, bytes] = {}
        for number in layout.list_segments(wal):
            with contextlib.suppress(FileNotFoundError):
                segments[number] = (wal / layout.segment_name(number)).read_bytes()
        parts = layout.live_parts(layout.list_parts(self.directory / layout.EVENTS))
        numbers = self._in_parts(parts)
        for number, data in segments.items():
            scan = segment.scan(data)
            if scan.header and layout.is_covered(number, scan.header.date, parts):
                continue
            for line in segment.row_lines(data, scan.groups):
                start = line.index(b'"dedup_key":"') + 13
                numbers.append(int(line[start : start + 32], 16))
        return numbers


_known: dict[bytes, list[int]] = {}


def numbers_in(data: bytes, path: Path) -> list[int]:
    """Row numbers in the Parquet file at `path`, whose bytes are `data`; each content read once."""
    print_ = hashlib.blake2b(data, digest_size=16).digest()
    if print_ not in _known:
        rows = duckdb.read_parquet(str(path)).select("dedup_key").fetchall()
        _known[print_] = [int(row[0], 16) for row in rows]
    return _known[print_]


_visitors: dict[bytes, set[int]] = {}


def visitors_in(data: bytes, path: Path) -> set[int]:
    """The visitors in the summary at `path`, whose bytes are `data`; each content read once."""
    print_ = hashlib.blake2b(data, digest_size=16).digest()
    if print_ not in _visitors:
        rows = duckdb.read_parquet(str(path)).select("visitor").fetchall()
        _visitors[print_] = {row[0] for row in rows if row[0] is not None}
    return _visitors[print_]


@functools.cache
def hash_of(visitor: str) -> int:
    """How a summary knows a visitor."""
    [(found,)] = duckdb.execute("SELECT hash(?)", [visitor]).fetchall()
    return int(found)
