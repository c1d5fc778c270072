"""What runs beside the event loop: one thread turns segments into parts, one keeps the keys small.

Both take work from a queue, do it in order, and report from their own thread; what the reports mean
is up to the store.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from storage.errors import FlushFailed
from storage.flusher import Flusher
from storage.keytasks import KeyFiles, Task
from storage.layout import Part
from storage.wal import Sealed

# After a failed flush: doubled from the first to the last.
FLUSH_RETRY_S: Final = (1.0, 30.0)
# Between two steps the interpreter is left to the event loop: else each call there that lets go of
# the interpreter's lock would get it back only when the step is over.
_BREATH_S: Final = 0.0002


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
