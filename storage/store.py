"""The façade of the engine: open, submit, look a key up, keep small state, close.

Opening: lock the directory, recover, open the key index, start the threads. Closing: decide what is
enqueued, seal, flush, write the keys, unlock. Being killed at any point is no worse than closing.
Lives on one event loop; only the threads of `upkeep` run beside it.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final, Literal

import msgspec

from storage import keyrecovery, layout, recovery, segment, views
from storage.commit import Commit, GroupCommit, OnDone
from storage.errors import FlushFailed, QueueFull, StorageError, SyncFailed
from storage.files import Files
from storage.flusher import Flusher
from storage.health import DiskHealth
from storage.keyindex import MARGIN_US, WINDOW_US, ColdKeys, KeyIndex
from storage.keyrun import Keys
from storage.keytasks import KeyFiles, Task
from storage.layout import Part
from storage.upkeep import FlushThread, KeyThread
from storage.wal import Sealed, Wal

_log: Final = logging.getLogger("collector.storage")
# How long a stop waits for the step of upkeep that is under way.
_KEYS_TIMEOUT_S: Final = 5.0
_DAY_US: Final = 24 * 3600 * 1_000_000


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine must know; see docs/CONFIG.md, section storage."""

    directory: Path
    durability: Literal["sync", "os"] = "sync"
    publish_interval_ms: int = 5_000
    segment_bytes_max: int = 67_108_864
    queue_bytes_max: int = 67_108_864
    disk_free_bytes_min: int = 0
    keys_max: int = 1_000_000_000


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
        self._open_since_s: float | None = None
        self._owed_us: int | None = None  # when a tick met the log being written
        self._waiting: dict[int, Sealed] = {}  # sealed, not yet in a part
        self.keys = KeyIndex(keys_max=settings.keys_max)
        self._key_disk = KeyFiles(
            settings.directory, files, free_bytes_min=settings.disk_free_bytes_min
        )
        self.parts = 0
        self.flush_failures = 0
        self.on_flushed: Callable[[float], None] = lambda _seconds: None
        # Called once for each segment that gets no more rows, after all its receipts.
        self.on_sealed: Callable[[Sealed], None] = lambda _sealed: None

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
        waiting, logged = self._recover(found)
        live = layout.live_parts(found.parts)
        number = layout.next_number(
            found.segments, found.parts, [*(run.last for run in found.runs), *found.expired]
        )
        oldest = layout.day_of(now_us - WINDOW_US - MARGIN_US)
        self._key_upkeep = keyrecovery.open_index(
            self.keys,
            self._key_disk,
            runs=found.runs,
            expired=found.expired,
            parts=[part for part in live if part.date >= oldest],
            logged=logged,
            complete=number - 1,
            now_us=now_us,
        )
        # A clock that was once far ahead must not hold the partition there for ever.
        dates = [*(part.date for part in live), *(sealed.date for sealed in waiting)]
        believed = [day for day in dates if day <= layout.day_of(now_us + _DAY_US)]
        self._wal = Wal(
            self._directory / layout.WAL,
            self._files,
            next_number=number,
            latest_date=max([date.min, *believed]),
            segment_bytes_max=self._settings.segment_bytes_max,
            durability=self._settings.durability,
        )
        self._commit = GroupCommit(
            self._wal,
            queue_bytes_max=self._settings.queue_bytes_max,
            monotonic_s=self._monotonic_s,
            on_failure=self._commit_failed,
            between_groups=self._between_groups,
        )
        self.parts = len(live)
        self._loop = asyncio.get_running_loop()
        self._flush_thread = FlushThread(
            Flusher(self._directory, self._files), self._monotonic_s, self._report_flush
        )
        self._key_thread = KeyThread(self._key_disk, self._report_keys)
        self._write_views()
        self.health.check()
        self._flush_thread.start()
        self._key_thread.start()
        for sealed in waiting:
            self._enqueue(sealed)

    def _recover(self, found: recovery.Found) -> tuple[list[Sealed], list[Keys]]:
        """What is to be flushed, and the keys in it."""
        wal = self._directory / layout.WAL
        states: list[recovery.SegmentState] = []
        keys: dict[int, Keys] = {}
        for number in found.segments:
            data = self._files.read(wal / layout.segment_name(number))
            state, scan = recovery.judge_bytes(number, data)
            states.append(state)
            keys[number] = keyrecovery.keys_in(data, scan.groups)
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
        return waiting, [keys[sealed.number] for sealed in waiting]

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

    # --- writing

    def submit(self, lines: bytes, rows: int, now_us: int, on_done: OnDone) -> Commit:
        """Enqueue encoded rows received at `now_us`; see `GroupCommit.submit`.

        Raises `Unavailable` (`QueueFull`, `DiskFull`, `Closed`) or `SyncFailed`, with nothing
        enqueued and `on_done` not called.
        """
        if self.health.refusal is not None:
            raise self.health.refusal
        if self.keys.is_full:
            raise QueueFull("too many keys wait to be written")
        return self._commit.submit(lines, rows, layout.day_of(now_us), on_done)

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

    @property
    def complete(self) -> int:
        """Number of the newest segment that gets no more rows."""
        return self._wal.complete

    @property
    def key_rebuilds(self) -> int:
        """How many damaged runs of keys were made again while running."""
        return self._key_upkeep.rebuilt

    def observe_commits(self, observe: Callable[[float, int], None]) -> None:
        """Have `observe(seconds, rows)` called after each group."""
        self._commit.observe = observe

    # --- upkeep

    def tick(self, now_us: int) -> None:
        """Seal a segment that is old enough, look after the keys and the disk; every 50 ms."""
        self.health.check()
        if self._commit.is_writing:
            # Busy without a gap, a slow disk would never let anything be looked after.
            self._owed_us = now_us
        else:
            self._look_after(now_us)

    def _between_groups(self) -> None:
        if self._owed_us is not None:
            self._look_after(self._owed_us)

    def _look_after(self, now_us: int) -> None:
        self._owed_us = None
        if self.health.is_over:
            return
        now_s = self._monotonic_s()
        if self._wal.open_rows == 0:
            self._open_since_s = None
        elif self._open_since_s is None:
            self._open_since_s = now_s
        elif (now_s - self._open_since_s) * 1000 >= self._settings.publish_interval_ms:
            self._wal.seal()
            self._open_since_s = None
        self._take_sealed()
        self.keys.turn(now_us, self._wal.complete)
        for task in self._key_upkeep.due(now_us, now_s, self._published):
            self._key_thread.put(task)

    @property
    def _published(self) -> int:
        """Every segment up to this number is in a part."""
        return min(self._waiting) - 1 if self._waiting else self._wal.complete

    async def warm(self, cold: ColdKeys) -> None:
        """Read what a look-up of keys needs from the disk, without waiting on the event loop."""
        await asyncio.to_thread(cold.load)

    async def close(self, *, flush_timeout_s: float) -> None:
        """Decide what is enqueued, seal, flush within `flush_timeout_s`, unlock.

        What could not be flushed stays in the log, and is flushed after the next start.
        """
        await self._commit.close()
        if not self.health.is_over:
            self._wal.seal()
            self._take_sealed()
        self._flush_thread.finish()
        self._key_thread.finish()
        await asyncio.to_thread(self._flush_thread.join, flush_timeout_s)
        if self._flush_thread.is_alive():
            _log.warning("not everything was flushed in time; the rest stays in the log")
        await asyncio.to_thread(self._key_thread.join, _KEYS_TIMEOUT_S)
        await asyncio.sleep(0)  # for what the threads reported last
        if not self._key_thread.is_alive():
            await asyncio.to_thread(self._write_keys)
        os.close(self._lock)

    def _write_keys(self) -> None:
        """Leave the keys in runs, so that the next start need not read rows."""
        if self.health.is_over or self._waiting:
            return
        self.keys.freeze(self._wal.complete)
        try:
            self._key_upkeep.write_all(self._key_disk)
        except (StorageError, OSError) as error:
            _log.warning("keys: %s; the next start reads them from the rows", error)

    def _take_sealed(self) -> None:
        sealed, self._wal.sealed = self._wal.sealed, []
        for one in sealed:
            self.on_sealed(one)
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

    def _report_keys(self, task: Task, error: Exception | None) -> None:
        self._loop.call_soon_threadsafe(self._keys_done, task, error)

    def _keys_done(self, task: Task, error: Exception | None) -> None:
        self._key_upkeep.done(task, error, self._monotonic_s())

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

    def _write_views(self) -> None:
        text = views.views_sql(self._directory / layout.EVENTS).encode()
        try:
            self._files.replace(self._directory / layout.VIEWS, text)
        except OSError as error:
            _log.warning("%s could not be written: %s", layout.VIEWS, error.strerror)
