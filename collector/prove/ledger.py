"""The ledger: which numbered events were sent, which were acknowledged.

Two bytes an event, so that tens of millions fit. Filled from the threads of the load; read while
none of them runs.
"""

import threading
from typing import Final

import numpy as np
import numpy.typing as npt

SENT: Final = 1
ACKNOWLEDGED: Final = 2
# Sent once more: a row that is marked as a repeat may be there.
AGAIN: Final = 4

_EVENTS_AT_ONCE: Final = 1 << 20
_MARKED_MAX: Final = 255
Bytes = npt.NDArray[np.uint8]


class Ledger:
    """Numbers from 0 on, each of one event.

    `events_max`: numbers that are given out at most, fewer than 2³² - 1.
    """

    def __init__(self, events_max: int) -> None:
        self._lock = threading.Lock()
        self._state: Bytes = np.zeros(_EVENTS_AT_ONCE, np.uint8)
        self._marked: Bytes = np.zeros(_EVENTS_AT_ONCE, np.uint8)
        self._events_max = events_max
        self._next = 0
        self.acknowledged = 0

    @property
    def sent(self) -> int:
        """Events that were sent: their numbers are below it."""
        return self._next

    @property
    def states(self) -> Bytes:
        """What is known of each event that was sent, by number: the flags of this module."""
        return self._state[: self._next]

    @property
    def marked(self) -> Bytes:
        """How many rows marked as repeats were acknowledged, by number, up to 255."""
        return self._marked[: self._next]

    def take(self, count: int) -> int | None:
        """Numbers for `count` events that are to be sent: the first of them, None at the end."""
        with self._lock:
            first = self._next
            if first + count > self._events_max:
                return None
            self._next += count
            while self._next > len(self._state):
                self._state = np.concatenate([self._state, np.zeros_like(self._state)])
                self._marked = np.concatenate([self._marked, np.zeros_like(self._marked)])
            self._state[first : first + count] = SENT
            return first

    def send_again(self, first: int, count: int) -> None:
        """Note that a request leaves once more."""
        with self._lock:
            self._state[first : first + count] |= AGAIN

    def acknowledge(self, first: int, count: int, *, are_marked: bool = False) -> None:
        """Note a success. `are_marked`: of repeats that are stored as such, and counted."""
        with self._lock:
            state = self._state[first : first + count]
            self.acknowledged += count - int(np.count_nonzero(state & ACKNOWLEDGED))
            state |= ACKNOWLEDGED
            if are_marked:
                marked = self._marked[first : first + count]
                marked += marked < _MARKED_MAX
