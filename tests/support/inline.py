"""The threads of `storage/upkeep.py` without threads: their work is done on the event loop.

So every operation of a store has its place in one order, and a run can be repeated exactly. What is
done, and when it counts as failed, is the code of the threads.
"""

import contextlib
from collections import deque
from concurrent.futures import Future

import pytest

from storage import partkeeper, store, upkeep
from storage.keytasks import Task
from storage.upkeep import FlushThread, Job, KeyThread, PartThread
from storage.wal import Sealed

_RETRY_S = 0.002


class InlineFlushThread(FlushThread):
    """Flushes on the event loop; what failed is tried again a moment later."""

    _is_scheduled = False
    is_held = False

    def hold(self, *, is_held: bool) -> None:
        """Whether segments are left waiting, as they are while a disk is slow."""
        self.is_held = is_held
        self._schedule(0.0)

    def start(self) -> None:
        """Nothing runs beside the event loop."""
        self.loop = store.asyncio.get_running_loop()
        self.waiting: deque[Sealed] = deque()

    def put(self, sealed: Sealed) -> None:
        """See FlushThread."""
        self.waiting.append(sealed)
        if not self.is_held:
            self._schedule(0.0)

    def _schedule(self, delay_s: float) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_later(delay_s, self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        if self.waiting and not self._stopping.is_set() and not self.is_held:
            has_failed = not self._flush(self.waiting[0])
            if not has_failed:
                self.waiting.popleft()
            if self.waiting:
                self._schedule(_RETRY_S * has_failed)

    def finish(self) -> None:
        """See FlushThread."""
        self._stopping.set()

    def join(self, timeout: float | None = None) -> None:
        """Flush what is left, trying each once more."""
        if timeout is not None:
            while self.waiting and self._flush(self.waiting[0]):
                self.waiting.popleft()
        self._flusher.close()

    def is_alive(self) -> bool:
        """Whether something could not be flushed in time."""
        return False


class InlineKeyThread(KeyThread):
    """Does tasks of keys on the event loop, in the order in which they came."""

    def start(self) -> None:
        """Nothing runs beside the event loop."""
        self.loop = store.asyncio.get_running_loop()

    def put(self, task: Task) -> None:
        """See KeyThread."""
        self.loop.call_soon(self._turn, task)

    def _turn(self, task: Task) -> None:
        if not self._stopping.is_set():
            self._do(task)

    def join(self, timeout: float | None = None) -> None:
        """There is nothing to wait for."""

    def is_alive(self) -> bool:
        """Never in the middle of something."""
        return False


class InlinePartThread(PartThread):
    """Works on parts on the event loop."""

    def start(self) -> None:
        """Nothing runs beside the event loop."""
        self.loop = store.asyncio.get_running_loop()

    def submit(self, job: "Job[object]") -> "Future[object]":  # type: ignore[override]
        """See PartThread."""
        future: Future[object] = Future()
        self.loop.call_soon(self._turn, job, future)
        return future

    def _turn(self, job: "Job[object]", future: "Future[object]") -> None:
        self.clear()
        if future.set_running_or_notify_cancel():
            self._perform(job, future)

    def clear(self) -> None:
        """Remove what was replaced, if its time has come."""
        with contextlib.suppress(OSError):
            self._folders.clear()

    def join(self, timeout: float | None = None) -> None:
        """There is nothing to wait for."""
        del timeout
        self._work.compactor.close()

    def is_alive(self) -> bool:
        """Never in the middle of something."""
        return False


def use(patch: pytest.MonkeyPatch) -> None:
    """Have every store that is opened from now on work inline."""
    patch.setattr(store, "FlushThread", InlineFlushThread)
    patch.setattr(store, "KeyThread", InlineKeyThread)
    patch.setattr(partkeeper, "PartThread", InlinePartThread)
    patch.setattr(store, "_FLUSHED_POLL_S", 0.001)
    patch.setattr(upkeep, "_BREATH_S", 0.0)
