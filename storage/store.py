"""The façade of the engine: open, submit, look a key up, keep small state, close.

Opening: lock the directory, recover, rebuild the key index, start the flusher's thread. Closing:
decide what is enqueued, seal, flush, unlock. Being killed at any point is no worse than closing.
Lives on one event loop; only the flusher's thread runs beside it.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable
from datetime import date
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final, Literal

import msgspec

from storage import layout, parquet, recovery, segment, views
from storage.commit import Commit, GroupCommit, OnDone
from storage.errors import FlushFailed, StorageError, SyncFailed
from storage.files import Files
from storage.flusher import Flusher
from storage.health import DiskHealth
from storage.keyindex import WINDOW_US, KeyIndex
from storage.layout import Part
from storage.wal import Sealed, Wal

_log: Final = logging.getLogger("collector.storage")
# After a failed flush: doubled from the first to the last.
_FLUSH_RETRY_S: Final = (1.0, 30.0)
_DAY_US: Final = 24 * 3600 * 1_000_000
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine must know; see docs/CONFIG.md, section storage."""

    directory: Path
    durability: Literal["sync", "os"] = "sync"
    publish_interval_ms: int = 5_000
    segment_bytes_max: int = 67_108_864
    queue_bytes_max: int = 67_108_864
    disk_free_bytes_min: int = 0
    keys_max: int = 5_000_000


class _KeyLine(msgspec.Struct):
    """The members of a row line that the key index needs."""

    received_time: int = 0
    dedup_key: str | None = None
    is_duplicate: int = 0


_key_decoder: Final = msgspec.json.Decoder(_KeyLine)


class _FlushThread(threading.Thread):
    """Flushes sealed segments in order; a failed one is tried again until the end."""

    def __init__(
        self,
        flusher: Flusher,
        monotonic_s: Callable[[], float],
        report: Callable[[Sealed, Part | FlushFailed, float], None],
    ) -> None:
        super().__init__(name="flusher", daemon=True)
        self._flusher = flusher
        self._monotonic_s = monotonic_s
        self._report = report
        self._queue: queue.SimpleQueue[Sealed | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def put(self, sealed: Sealed) -> None:
        """Flush `sealed` after all that were put before."""
        self._queue.put(sealed)

    def finish(self) -> None:
        """Flush what was put, trying each once more at most, then end."""
        self._stopping.set()
        self._queue.put(None)

    def run(self) -> None:
        """Until `finish`."""
        while (sealed := self._queue.get()) is not None:
            pause_s, pause_s_max = _FLUSH_RETRY_S
            while not self._flush(sealed):
                if self._stopping.is_set():
                    return  # the segment stays and is flushed after the next start
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, pause_s_max)
        self._flusher.close()

    def _flush(self, sealed: Sealed) -> bool:
        started_s = self._monotonic_s()
        outcome: Part | FlushFailed
        try:
            outcome = self._flusher.flush(sealed)
        except FlushFailed as error:
            outcome = error
        self._report(sealed, outcome, self._monotonic_s() - started_s)
        return isinstance(outcome, Part)


class Store:
    """One data directory, open for writing. Made by `Store.open`."""

    def __init__(
        self,
        settings: Settings,
        files: Files,
        *,
        monotonic_s: Callable[[], float],
        on_fatal: Callable[[StorageError], None],
    ) -> None:
        self._settings = settings
        self._files = files
        self._monotonic_s = monotonic_s
        self._on_fatal = on_fatal
        self._directory = settings.directory
        self._lock = -1
        self.health = DiskHealth(
            settings.directory,
            settings.directory / layout.TEMPORARY,
            files,
            free_bytes_min=settings.disk_free_bytes_min,
            monotonic_s=monotonic_s,
        )
        self._has_told_of_forgetting = False
        self._open_since_s: float | None = None
        self._waiting: dict[int, Sealed] = {}  # sealed, not yet in a part
        self.keys = KeyIndex(keys_max=settings.keys_max)
        self.parts = 0
        self.flush_failures = 0
        self.on_flushed: Callable[[float], None] = lambda _seconds: None

    @classmethod
    def open(
        cls,
        settings: Settings,
        files: Files,
        *,
        now_us: int,
        monotonic_s: Callable[[], float],
        on_fatal: Callable[[StorageError], None],
    ) -> "Store":
        """Lock, recover and start; must run on the event loop that will use the store.

        Raises `Locked`, `Corruption` or OSError, with nothing held. `on_fatal` is called when a
        sync failed: the process must then end, and a new start decides what is true.
        """
        self = cls(settings, files, monotonic_s=monotonic_s, on_fatal=on_fatal)
        for name in ("", *layout.FOLDERS):
            files.make_folder(settings.directory / name)
        files.sync_folder(settings.directory)
        self._lock = files.lock(settings.directory / layout.LOCK)
        try:
            self._start(now_us)
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def _start(self, now_us: int) -> None:
        found = recovery.look(self._directory)
        waiting, tail_keys = self._recover(found)
        live = layout.live_parts(found.parts)
        self._rebuild_keys(live, tail_keys, now_us)
        # A clock that was once far ahead must not hold the partition there for ever.
        dates = [*(part.date for part in live), *(sealed.date for sealed in waiting)]
        believed = [day for day in dates if day <= day_of(now_us + _DAY_US)]
        self._wal = Wal(
            self._directory / layout.WAL,
            self._files,
            next_number=layout.next_number(found.segments, found.parts),
            latest_date=max([date.min, *believed]),
            segment_bytes_max=self._settings.segment_bytes_max,
            durability=self._settings.durability,
        )
        self._commit = GroupCommit(
            self._wal,
            queue_bytes_max=self._settings.queue_bytes_max,
            monotonic_s=self._monotonic_s,
            on_failure=self._commit_failed,
        )
        self.parts = len(live)
        self._loop = asyncio.get_running_loop()
        self._flush_thread = _FlushThread(
            Flusher(self._directory, self._files), self._monotonic_s, self._report_flush
        )
        self._write_views()
        self.health.check()
        self._flush_thread.start()
        for sealed in waiting:
            self._enqueue(sealed)

    def _recover(self, found: recovery.Found) -> tuple[list[Sealed], list[tuple[bytes, int]]]:
        wal = self._directory / layout.WAL
        states: list[recovery.SegmentState] = []
        keys: list[tuple[bytes, int]] = []
        for number in found.segments:
            data = self._files.read(wal / layout.segment_name(number))
            state, scan = recovery.judge_bytes(number, data)
            states.append(state)
            keys += _keys_in(data, scan.groups)
        recovery.make_names_last(found, self._directory, self._files)
        actions = recovery.plan(states, found.parts, found.temporaries, found.strangers)
        recovery.apply(actions, self._directory, self._files, _log.warning)
        removed = {a.number for a in actions if isinstance(a, recovery.RemoveSegment)}
        if states and states[-1].number not in removed:
            self._write_again(states[-1].number, data, scan.groups)
        waiting = [
            Sealed(s.number, s.date, s.rows, s.valid_bytes, wal / layout.segment_name(s.number))
            for s in states
            if s.number not in removed and s.date is not None
        ]
        return waiting, keys

    def _write_again(self, number: int, data: bytes, groups: tuple[segment.Group, ...]) -> None:
        """Make sure that the last group, which looks valid, is on disk and not only in memory.

        A run that ended in a failed sync leaves a last group that can be read but may never have
        reached the disk, and syncing the same pages again would claim success. From now on its
        rows count as stored; so its bytes are written once more, where they are. Interrupted, that
        changes nothing: they are the same bytes. All groups before it were synced.
        """
        start = groups[-2].next if len(groups) > 1 else 0
        path = self._directory / layout.WAL / layout.segment_name(number)
        self._files.write_again(path, data[start : groups[-1].next], start)

    def _rebuild_keys(
        self, live: list[Part], tail_keys: list[tuple[bytes, int]], now_us: int
    ) -> None:
        since_us = now_us - WINDOW_US
        recent = [part for part in live if part.date >= day_of(since_us)]
        events = self._directory / layout.EVENTS
        for chunk in parquet.recent_keys([events / part.name for part in recent], since_us):
            self._remember(chunk)
        self._remember([(key, time_us) for key, time_us in tail_keys if time_us > since_us])

    def _remember(self, accepted: list[tuple[bytes, int]]) -> None:
        """Add keys with their times; those of one request share theirs."""
        for time_us, run in groupby(accepted, key=itemgetter(1)):
            self.keys.add([key for key, _ in run], time_us)

    # --- writing

    def submit(self, lines: bytes, rows: int, now_us: int, on_done: OnDone) -> Commit:
        """Enqueue encoded rows received at `now_us`; see `GroupCommit.submit`.

        Raises `Unavailable` (`QueueFull`, `DiskFull`, `Closed`) or `SyncFailed`, with nothing
        enqueued and `on_done` not called.
        """
        if self.health.refusal is not None:
            raise self.health.refusal
        return self._commit.submit(lines, rows, day_of(now_us), on_done)

    @property
    def queue_bytes(self) -> int:
        """Bytes waiting to be written."""
        return self._commit.queue_bytes

    @property
    def unflushed_rows(self) -> int:
        """Rows in the log that are in no part yet."""
        return self._wal.open_rows + sum(sealed.rows for sealed in self._waiting.values())

    @property
    def wal_bytes(self) -> int:
        """Bytes of the log."""
        return self._wal.open_bytes + sum(sealed.bytes for sealed in self._waiting.values())

    def observe_commits(self, observe: Callable[[float, int], None]) -> None:
        """Have `observe(seconds, rows)` called after each group."""
        self._commit.observe = observe

    # --- upkeep

    def tick(self, now_us: int) -> None:
        """Seal a segment that is old enough, drop expired keys, look at the disk; every 50 ms."""
        now_s = self._monotonic_s()
        self.keys.expire(now_us)
        if self.keys.forgotten and not self._has_told_of_forgetting:
            self._has_told_of_forgetting = True
            _log.warning(
                "more than keys_max keys within 24 hours: the oldest are forgotten and repeats of "
                "their events no longer recognised; collector_keys_forgotten_total counts them"
            )
        self.health.check()
        if self._commit.is_writing or self.health.is_over:
            return
        if self._wal.open_rows == 0:
            self._open_since_s = None
        elif self._open_since_s is None:
            self._open_since_s = now_s
        elif (now_s - self._open_since_s) * 1000 >= self._settings.publish_interval_ms:
            self._wal.seal()
            self._open_since_s = None
        self._take_sealed()

    async def close(self, *, flush_timeout_s: float) -> None:
        """Decide what is enqueued, seal, flush within `flush_timeout_s`, unlock.

        What could not be flushed stays in the log, and is flushed after the next start.
        """
        await self._commit.close()
        if not self.health.is_over:
            self._wal.seal()
            self._take_sealed()
        self._flush_thread.finish()
        await asyncio.to_thread(self._flush_thread.join, flush_timeout_s)
        if self._flush_thread.is_alive():
            _log.warning("not everything was flushed in time; the rest stays in the log")
        os.close(self._lock)

    def _take_sealed(self) -> None:
        sealed, self._wal.sealed = self._wal.sealed, []
        for one in sealed:
            self._enqueue(one)

    def _enqueue(self, sealed: Sealed) -> None:
        self._waiting[sealed.number] = sealed
        self._flush_thread.put(sealed)

    def _report_flush(self, sealed: Sealed, outcome: Part | FlushFailed, seconds: float) -> None:
        self._loop.call_soon_threadsafe(self._flushed, sealed, outcome, seconds)

    def _flushed(self, sealed: Sealed, outcome: Part | FlushFailed, seconds: float) -> None:
        if isinstance(outcome, FlushFailed):
            self.flush_failures += 1
            _log.warning("a flush failed and will be tried again: %s", outcome)
            return
        self._waiting.pop(sealed.number, None)
        self.parts += 1
        self.on_flushed(seconds)

    def _commit_failed(self, error: StorageError) -> None:
        self.health.write_failed(error)
        if isinstance(error, SyncFailed):
            self._on_fatal(error)

    # --- small state

    def read_state(self, name: str) -> bytes | None:
        """The bytes kept under `name`, None when there are none."""
        try:
            return self._files.read(self._directory / layout.STATE / name)
        except FileNotFoundError:
            return None

    def write_state(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`, lasting on success. Raises OSError."""
        self._files.replace(self._directory / layout.STATE / name, data)

    def keep_state(self, prefix: str, name: str) -> None:
        """Remove all state whose name starts with `prefix`, except `name`."""
        for path in (self._directory / layout.STATE).glob(f"{prefix}*"):
            if path.name != name:
                self._files.remove(path)

    def set_aside(self, name: str, data: bytes) -> None:
        """Keep `data` in the quarantine folder, lasting on success. Raises OSError."""
        self._files.replace(self._directory / layout.QUARANTINE / name, data)

    def aside_count(self) -> int:
        """How many files the quarantine folder holds."""
        return sum(1 for _ in (self._directory / layout.QUARANTINE).iterdir())

    def _write_views(self) -> None:
        text = views.views_sql(self._directory / layout.EVENTS).encode()
        try:
            self._files.replace(self._directory / layout.VIEWS, text)
        except OSError as error:
            _log.warning("%s could not be written: %s", layout.VIEWS, error.strerror)


def day_of(time_us: int) -> date:
    """The UTC date of a time in microseconds since the epoch."""
    return date.fromordinal(_EPOCH_ORDINAL + time_us // _DAY_US)


def _keys_in(data: bytes, groups: tuple[segment.Group, ...]) -> list[tuple[bytes, int]]:
    view = memoryview(data)
    return [
        (bytes.fromhex(line.dedup_key), line.received_time)
        for group in groups
        for line in _key_decoder.decode_lines(view[group.start : group.end])
        if line.dedup_key is not None and not line.is_duplicate
    ]
