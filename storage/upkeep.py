"""What runs beside the event loop: threads that flush segments, keep the keys small, join parts.

Each takes work from a queue, does it in order, and reports from its own thread; what the reports
mean is up to the store.
"""

import contextlib
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from storage import memory
from storage.datefolders import DateFolders
from storage.errors import FlushFailed, Interrupted
from storage.flusher import Flusher
from storage.keytasks import KeyFiles, Task
from storage.layout import Part
from storage.partwork import PartWork
from storage.wal import Sealed

# After a failed flush: doubled from the first to the last.
FLUSH_RETRY_S: Final = (1.0, 30.0)
# Between two steps the interpreter is left to the event loop: else each call there that lets go of
# the interpreter's lock would get it back only when the step is over.
_BREATH_S: Final = 0.0002
# What is converted of a segment from here on takes memory that is worth giving back.
_LARGE_BYTES: Final = 16 * 1024 * 1024
# Joining gives way to whatever else wants the processor (`nice`).
_NICE: Final = 10
# So does flushing, less so: it must keep up.
_FLUSH_NICE: Final = 5


def give_way(nice: int = _NICE) -> None:
    """Have the present thread, and what it starts, yield the processor to the event loop."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


class FlushThread(threading.Thread):
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
        give_way(_FLUSH_NICE)
        while (sealed := self._queue.get()) is not None:
            pause_s, pause_s_max = FLUSH_RETRY_S
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
        except Exception as error:  # noqa: BLE001 told and tried again; the thread must live
            outcome = FlushFailed(f"{sealed.path}: {error!r}")
        self._report(sealed, outcome, self._monotonic_s() - started_s)
        if sealed.bytes >= _LARGE_BYTES:
            memory.give_back()
        return isinstance(outcome, Part)


class KeyThread(threading.Thread):
    """Does tasks of the key index; an urgent one between two steps of one that is not."""

    def __init__(self, disk: KeyFiles, report: Callable[[Task, Exception | None], None]) -> None:
        super().__init__(name="keys", daemon=True)
        self._disk = disk
        self._report = report
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._patient: deque[Task] = deque()
        self._stopping = threading.Event()

    def put(self, task: Task) -> None:
        """Do `task`, and report it."""
        self._queue.put(task)

    def finish(self) -> None:
        """End between two steps; what is not done was never begun, as far as files tell."""
        self._stopping.set()
        self._queue.put(None)

    def run(self) -> None:
        """Until `finish`."""
        while not self._stopping.is_set():
            self._do_urgent(waits=not self._patient)
            if self._patient:
                self._do(self._patient.popleft())

    def _do_urgent(self, *, waits: bool) -> None:
        """Do what is urgent, and keep the rest for later; waits for something when told to."""
        while True:
            try:
                task = self._queue.get(block=waits)
            except queue.Empty:
                return
            if task is None:
                return
            if task.is_urgent:
                self._do(task)
            else:
                self._patient.append(task)
            waits = False

    def _do(self, task: Task) -> None:
        error: Exception | None = None
        steps = task.steps(self._disk)
        try:
            for _ in steps:
                if self._stopping.wait(_BREATH_S):
                    return
                if not task.is_urgent:
                    self._do_urgent(waits=False)
        except Exception as failure:  # noqa: BLE001 told and tried again; the thread must live
            error = failure
        finally:
            steps.close()
        self._report(task, error)


_T = TypeVar("_T")
# Work on parts.
Job = Callable[[PartWork], _T]


class PartThread(threading.Thread):
    """Does work on published parts, one piece after the other, at a low priority."""

    def __init__(self, work: PartWork, folders: DateFolders) -> None:
        super().__init__(name="parts", daemon=True)
        self._work = work
        self._folders = folders
        self._queue: queue.SimpleQueue[tuple[Job[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether work under way should end at the next border between two steps."""
        return self._stopping.is_set()

    def submit(self, job: Job[_T]) -> "Future[_T]":
        """Have `job` done; the future gives what it returns or raises."""
        future: Future[_T] = Future()
        self._queue.put((job, future))
        return future

    def finish(self) -> None:
        """End soon: what is under way is given up, which leaves parts as they were."""
        self._stopping.set()
        self._queue.put(None)
        self._work.compactor.interrupt()

    def run(self) -> None:
        """Until `finish`."""
        give_way(_NICE)
        while (item := self._next()) is not None:
            job, future = item
            if not future.set_running_or_notify_cancel():
                continue
            self._perform(job, future)
            if self._queue.empty():
                self._work.compactor.close()
            memory.give_back()

    def _perform(self, job: Job[_T], future: "Future[_T]") -> None:
        if self._stopping.is_set():
            future.set_exception(Interrupted())
            return
        try:
            future.set_result(job(self._work))
        except Exception as error:  # noqa: BLE001 told to whoever asked; the thread must live
            future.set_exception(error)

    def _next(self) -> tuple[Job[Any], "Future[Any]"] | None:
        """The next work; removes what was replaced, when its time has come, while waiting."""
        while True:
            try:
                left_s = self._folders.clear()
            except OSError:
                left_s = 0.0  # tried again with the next work, or removed by the next start
            try:
                return self._queue.get(timeout=left_s or None)
            except queue.Empty:
                continue
