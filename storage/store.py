"""The façade of the engine: open, submit, look a key up, keep small state, close.

Opening: lock the directory, recover, open the key index, start the threads. Closing: decide what is
enqueued, seal, flush, write the keys, unlock. Being killed at any point is no worse than closing.
Lives on one event loop; only the threads of `upkeep` run beside it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from typing import Final, TypeVar

from storage import keyrecovery, layout, opening, recovery
from storage.commit import Commit, GroupCommit
from storage.datefolders import DateFolders
from storage.errors import Closed, FlushFailed, QueueFull, StorageError, SyncFailed
from storage.files import Files
from storage.flusher import Flusher
from storage.health import DiskHealth
from storage.keyindex import MARGIN_US, WINDOW_US, ColdKeys, KeyIndex
from storage.keytasks import KeyFiles, Task
from storage.layout import Part
from storage.partkeeper import PartKeeper
from storage.partwork import PartWork
from storage.settings import Settings
from storage.smallfiles import SmallFiles
from storage.upkeep import FlushThread, KeyThread
from storage.wal import Sealed, Wal

_log: Final = logging.getLogger("collector.storage")
# How long a stop waits for the step of upkeep that is under way.
_STEP_TIMEOUT_S: Final = 5.0
_FLUSHED_POLL_S: Final = 0.02
_T = TypeVar("_T")
_DAY_US: Final = 24 * 3600 * 1_000_000


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
        self._state = SmallFiles(settings.directory / layout.STATE, files)
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
        self._seal_wanted: list[asyncio.Future[int]] = []
        self._waiting: dict[int, Sealed] = {}  # sealed, not yet in a part
        self.keys = KeyIndex(keys_max=settings.keys_max)
        self._key_disk = KeyFiles(
            settings.directory, files, free_bytes_min=settings.disk_free_bytes_min
        )
        # Published rows of segments up to this number are accounted for by whoever counts them;
        # newer ones are not joined, nor removed.
        self.counted: Callable[[], int] = lambda: self._published
        self.parts = 0
        self.flush_failures = 0
        self.is_closing = False
        self.on_flushed: Callable[[float], None] = lambda _seconds: None
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
        # Made by a start that was killed or failed before their names lasted, they would be there
        # and could still be lost, with everything in them.
        with suppress(PermissionError):  # not to be read by us, so not made by us
            files.sync_folder(settings.directory.parent)
        files.sync_folder(settings.directory)
        self._lock = files.lock(settings.directory / layout.LOCK)
        try:
            self._start(now_us)
        except BaseException:
            self._files.close(self._lock)
            raise
        return self

    def _start(self, now_us: int) -> None:
        found = recovery.look(self._directory)
        # `logged`: what a start found in the log, for whoever counts rows.
        waiting, keys, self.logged = opening.recover(found, self._directory, self._files)
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
            logged=keys,
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
        folders = DateFolders(self._directory, self._files, self._monotonic_s)
        self._flush_thread = FlushThread(
            Flusher(folders, self._files), self._monotonic_s, self._report_flush
        )
        self.part_keeper = self._make_part_keeper(folders)
        self._key_thread = KeyThread(self._key_disk, self._report_keys)
        opening.write_views(self._directory, self._files)
        self.health.check()
        self._flush_thread.start()
        self._key_thread.start()
        self.part_keeper.start()
        for sealed in waiting:
            self._enqueue(sealed)

    def _make_part_keeper(self, folders: DateFolders) -> PartKeeper:
        return PartKeeper(
            PartWork(
                self._directory,
                self._files,
                folders,
                free_bytes_min=self._settings.disk_free_bytes_min,
                summary_bytes_min=self._settings.summary_bytes_min,
            ),
            folders,
            parts_min=self._settings.join_parts_min,
            retention=self._settings.retention,
            monotonic_s=self._monotonic_s,
            call_soon=self._loop.call_soon_threadsafe,
            on_fewer=self._fewer_parts,
        )

    def _fewer_parts(self, parts: int) -> None:
        self.parts -= parts

    # --- writing

    def submit(self, lines: bytes, rows: int, now_us: int) -> Commit:
        """Enqueue encoded rows received at `now_us`; see `GroupCommit.submit`.

        Raises `Unavailable` (`QueueFull`, `DiskFull`, `Closed`) or `SyncFailed`, with nothing
        enqueued.
        """
        if self.health.refusal is not None:
            raise self.health.refusal
        if self.keys.is_full:
            raise QueueFull("too many keys wait to be written")
        return self._commit.submit(lines, rows, layout.day_of(now_us))

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
        self._serve_seals()
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
        if self._settings.tends_parts:
            self.part_keeper.tick(now_us, self.settled)

    @property
    def settled(self) -> int:
        """The rows of every segment up to this number are in parts, and counted."""
        return min(self._published, self.counted())

    async def flushed(self) -> int:
        """Have everything acknowledged so far in parts, and counted; the newest segment's number.

        Raises `Closed` when the store closes first, and after a failed sync.
        """
        sealed: asyncio.Future[int] = self._loop.create_future()
        self._seal_wanted.append(sealed)
        if not self._commit.is_writing:
            self._serve_seals()
        while not sealed.done() or self.settled < sealed.result():
            if self.health.is_over:
                raise Closed("a sync has failed: only a new start can tell what is on disk")
            if self.is_closing:
                raise Closed("the collector is stopping")
            await asyncio.sleep(_FLUSHED_POLL_S)
        return sealed.result()

    def _serve_seals(self) -> None:
        """Seal for those who asked; only while nothing is being written."""
        wanted, self._seal_wanted = self._seal_wanted, []
        if not wanted or self.health.is_over:
            return
        self._wal.seal()
        self._open_since_s = None
        self._take_sealed()
        for sealed in wanted:
            if not sealed.done():
                sealed.set_result(self._wal.complete)

    async def on_parts(self, job: Callable[[PartWork], _T]) -> _T:
        """Run `job` on the thread that works on published parts; raises what it raises."""
        if self.is_closing:
            raise Closed("the collector is stopping")
        return await asyncio.wrap_future(self.part_keeper.submit(job))

    @property
    def _published(self) -> int:
        """Every segment up to this number is in a part."""
        return min(self._waiting) - 1 if self._waiting else self._wal.complete

    async def warm(self, cold: ColdKeys) -> None:
        """Read what a look-up of keys needs from the disk, without waiting on the event loop."""
        await asyncio.to_thread(cold.load)

    async def close(
        self, *, flush_timeout_s: float, last: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Decide what is enqueued, seal, flush within `flush_timeout_s`, wait for `last`, unlock.

        What could not be flushed stays in the log, and is flushed after the next start.
        """
        self.is_closing = True
        self.part_keeper.finish()
        await self._commit.close()
        if not self.health.is_over:
            self._wal.close()
            self._take_sealed()
        self._flush_thread.finish()
        self._key_thread.finish()
        await asyncio.to_thread(self._flush_thread.join, flush_timeout_s)
        if self._flush_thread.is_alive():
            _log.warning("not everything was flushed in time; the rest stays in the log")
        await asyncio.to_thread(self._key_thread.join, _STEP_TIMEOUT_S)
        await asyncio.to_thread(self.part_keeper.join, _STEP_TIMEOUT_S)
        await asyncio.sleep(0)  # for what the threads reported last
        if not self._key_thread.is_alive():
            await asyncio.to_thread(self._write_keys)
        if last is not None:
            await last()
        if self.part_keeper.is_alive:
            # It may be in the middle of an exchange: nobody may clean up before it has ended.
            _log.warning("the folder stays locked until this process ends: work on parts goes on")
            return
        self._files.close(self._lock)

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
        self.part_keeper.flushed(sealed.date)
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
        return self._state.read(name)

    def write_state(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`, lasting on success. Raises OSError."""
        self._state.write(name, data)

    def keep_state(self, prefix: str, name: str) -> None:
        """Remove all state whose name starts with `prefix`, except `name`."""
        for path in (self._directory / layout.STATE).glob(f"{prefix}*"):
            if path.name != name:
                self._files.remove(path)
