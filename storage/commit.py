"""Group commit: many requests share one write and one sync.

Invariants:

1. A receipt exists only for a group that was written and, unless durability is "os", synced.
2. The lines of one submission lie in one group; groups are written in the order of submission.
3. Bytes waiting to be written never exceed `queue_bytes_max`.
4. `on_done` of a group are called exactly once, before anyone who waits for it wakes up; so
   what they do (remembering keys, or giving them back) never depends on the waiting tasks.
5. After a failed sync nothing is written any more.

On a fast disk a small group is written on the event loop, between two rounds of requests: a
hand-over to a thread costs more than the sync itself. A large group, and any while the disk is
slow, is written on a thread, so that the loop goes on reading requests, which then share the next
sync.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import Any, Final

import msgspec

from storage.errors import Closed, QueueFull, StorageError, SyncFailed
from storage.wal import Wal

# One write stays below this unless one submission alone is larger, so that a queue of large
# batches is answered piece by piece.
_GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
# From here on a group is large: a batch of some hundred events. To write and sync it takes longer
# than the hand-over, and the next batch can be decoded meanwhile.
_LARGE_BYTES: Final = 262_144
# Above the first a write counts as slow, below the second as fast again; seconds, smoothed.
_SLOW_S: Final = 0.010
_FAST_S: Final = 0.004


class Receipt(msgspec.Struct, frozen=True):
    """Proof that a group is on disk: only from it may a success answer be made."""

    segment: int


Result = Receipt | StorageError
# Given the receipt, or None when there is none.
OnDone = Callable[[Receipt | None], None]


class Commit(asyncio.Future[Result]):
    """Waited for by everyone whose lines are in a group: who is cancelled takes nobody along.

    A task that is cancelled while it waits ends when the group is decided. `on_done`: called, each
    once, when it is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.on_done: list[OnDone] = []

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 (part of the signature)
        """Not to be had."""
        return False


class _Group:
    __slots__ = ("bytes", "chunks", "day", "future", "rows")

    def __init__(self, day: date, future: Commit) -> None:
        self.day = day
        self.future = future
        self.chunks: list[bytes] = []
        self.rows = 0
        self.bytes = 0


class GroupCommit:
    """The queue in front of the log. Lives on one event loop."""

    def __init__(
        self,
        wal: Wal,
        *,
        queue_bytes_max: int,
        monotonic_s: Callable[[], float],
        on_failure: Callable[[StorageError], None],
        between_groups: Callable[[], None] = lambda: None,
    ) -> None:
        self._wal = wal
        self._queue_bytes_max = queue_bytes_max
        self._monotonic_s = monotonic_s
        self._on_failure = on_failure
        # Called while nothing is being written, so that the log can be looked after.
        self._between_groups = between_groups
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._groups: deque[_Group] = deque()
        self._is_scheduled = False
        self._is_writing = False
        self._smoothed_s = 0.0
        self._uses_thread = False
        self._refusal: StorageError | None = None
        # Called with seconds and rows after each group; replaced by whoever keeps histograms.
        self.observe: Callable[[float, int], None] = lambda _seconds, _rows: None
        self.queue_bytes = 0

    @property
    def is_writing(self) -> bool:
        """True while the thread is in the log: the caller must leave the log alone."""
        return self._is_writing

    def submit(self, lines: bytes, rows: int, day: date) -> Commit:
        """Enqueue `lines`; the future gives a `Receipt`, or the error that took its place.

        The future is shared by the group; who wants to be told of its end before anybody wakes up
        adds to its `on_done` at once. Raises `QueueFull` or `Closed`, with nothing enqueued.
        """
        if self._refusal is not None:
            raise self._refusal
        size = len(lines)
        if self.queue_bytes + size > self._queue_bytes_max and self._groups:
            raise QueueFull("too many bytes wait to be written")
        group = self._groups[-1] if self._groups else None
        if group is None or group.day != day or group.bytes + size > _GROUP_BYTES_MAX:
            group = _Group(day, Commit(self._loop))
            self._groups.append(group)
        group.chunks.append(lines)
        group.rows += rows
        group.bytes += size
        self.queue_bytes += size
        if not self._is_scheduled and not self._is_writing:
            self._is_scheduled = True
            # Everything that is ready to run now still joins this group.
            self._loop.call_soon(self._drain)
        return group.future

    async def close(self) -> None:
        """Refuse newcomers, wait until everything enqueued is decided."""
        if self._refusal is None:
            self._refusal = Closed("the collector is stopping")
        while self._groups or self._is_writing:
            future = self._groups[0].future if self._groups else None
            await (future if future is not None else asyncio.sleep(0.001))
        self._thread.shutdown()

    def _drain(self) -> None:
        self._is_scheduled = False
        while self._groups and not self._is_writing:
            group = self._groups.popleft()
            if not self._uses_thread and group.bytes < _LARGE_BYTES:
                self._finish(group, *self._write(group))
                continue
            self._is_writing = True
            writing = self._loop.run_in_executor(self._thread, self._write, group)
            writing.add_done_callback(partial(self._written, group))

    def _written(self, group: _Group, writing: "asyncio.Future[tuple[Result, float]]") -> None:
        self._is_writing = False
        self._finish(group, *writing.result())
        try:
            self._between_groups()
        finally:
            self._drain()

    def _write(self, group: _Group) -> tuple[Result, float]:
        if isinstance(self._refusal, SyncFailed):
            return self._refusal, 0.0
        started = self._monotonic_s()
        try:
            result: Result = Receipt(
                self._wal.commit(group.day, b"".join(group.chunks), group.rows)
            )
        except StorageError as error:
            result = error
        return result, self._monotonic_s() - started

    def _finish(self, group: _Group, result: Result, seconds: float) -> None:
        self.queue_bytes -= group.bytes
        receipt = result if isinstance(result, Receipt) else None
        if isinstance(result, StorageError):
            if isinstance(result, SyncFailed):
                self._refusal = result
            self._on_failure(result)
        # Taken out, because what is told knows the future: a cycle would be left behind per group.
        told, group.future.on_done = group.future.on_done, []
        for on_done in told:
            on_done(receipt)
        group.future.set_result(result)
        self.observe(seconds, group.rows)
        if group.bytes >= _LARGE_BYTES:
            return  # says little of how long a small one takes
        self._smoothed_s += (seconds - self._smoothed_s) / 8
        if self._smoothed_s > _SLOW_S:
            self._uses_thread = True
        elif self._smoothed_s < _FAST_S:
            self._uses_thread = False
