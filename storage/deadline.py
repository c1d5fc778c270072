"""Look-ups that are given up when they take too long, so that nobody's question costs more than
that.

One `Deadline` goes through everything that one look-up does. Must not know what is looked up.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

import duckdb

from storage.errors import StorageError


class Interruptible(Protocol):
    """What can be told, from another thread, to give up what it does."""

    def interrupt(self) -> None:
        """Give it up soon; nothing happens when nothing is done."""


class TookTooLong(StorageError):
    """The time that a look-up may take is over; what it had found by then is not told."""


class Deadline:
    """A context manager: from entering on, so many `seconds` may pass."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self.end)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._work: Interruptible | None = None
        self._is_over = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def check(self) -> None:
        """Raise `TookTooLong` if the time is over."""
        if self._is_over:
            raise TookTooLong(f"given up after {self._seconds:g} s")

    @contextmanager
    def over(self, work: Interruptible) -> Iterator[None]:
        """Have `work`, such as a connection, interrupted in time. Raises `TookTooLong`."""
        with self._lock:
            self.check()
            self._work = work
        try:
            yield
        except duckdb.InterruptException:
            self.check()
            raise
        finally:
            with self._lock:
                self._work = None

    def end(self) -> None:
        """The time is over. By itself when it is; or when nobody needs the answer any more."""
        with self._lock:
            was_over, self._is_over = self._is_over, True
            if self._work is not None and not was_over:
                self._work.interrupt()
