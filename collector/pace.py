"""Refusals leave at a pace: a client that waits for its answer cannot come again meanwhile.

To say no costs a third of saying yes, however early it is said, because most of it is receiving the
request at all. Clients that come again at once would keep the collector busy with saying no. Held
back, a connection brings one request per wait, and all of them together no more than the pace.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_RELEASE_S: Final = 0.02
# Of a second's turns: as many leave at once after a pause.
_BURST_S: Final = 0.1
# What is still to be received of a body costs a turn for every so many bytes.
_TURN_BYTES: Final = 4_096
_FIRST_PER_SECOND: Final = 200.0

# Who waits, since when, and how many turns it takes.
_Held = tuple[asyncio.Future[None], float, int]


class Pace:
    """`per_second` turns a second, taken in order; set it as the machine allows.

    Nobody waits longer than `wait_ms_max`: with more of them there are more turns. 0: nobody waits.
    """

    def __init__(self, wait_ms_max: int, monotonic_s: Callable[[], float]) -> None:
        self._wait_s_max = wait_ms_max / 1000
        self._monotonic_s = monotonic_s
        self.per_second = _FIRST_PER_SECOND
        self._ready = 0.0
        self._filled_s = monotonic_s()
        self._held: deque[_Held] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """How many wait."""
        return len(self._held)

    async def turn(self, length: int) -> None:
        """Wait until it is the turn of a request; `length`: see `http.body_length`."""
        if self._wait_s_max <= 0:
            return
        turns = 1 + max(0, length) // _TURN_BYTES
        self._fill()
        if not self._held and self._ready > 0:
            self._ready -= turns
            return
        loop = asyncio.get_running_loop()
        held: asyncio.Future[None] = loop.create_future()
        self._held.append((held, self._filled_s, turns))
        if self._timer is None:
            self._timer = loop.call_later(_RELEASE_S, self._release)
        await held

    def hurry(self, turns: float) -> None:
        """There is room for so many more to come again: let them go, whatever the pace."""
        while self._held and turns > 0:
            turns -= self._let_go()

    def end(self) -> None:
        """Let all go, and hold nobody any more."""
        self._wait_s_max = 0.0
        while self._held:
            self._let_go()

    def _fill(self) -> None:
        now_s = self._monotonic_s()
        more = (now_s - self._filled_s) * self.per_second
        self._ready = min(self._ready + more, self.per_second * _BURST_S)
        self._filled_s = now_s

    def _release(self) -> None:
        self._timer = None
        self._fill()
        overdue_s = self._filled_s - self._wait_s_max
        while self._held and (self._ready > 0 or self._held[0][1] <= overdue_s):
            self._ready -= self._let_go()
        if self._held:
            self._timer = asyncio.get_running_loop().call_later(_RELEASE_S, self._release)

    def _let_go(self) -> int:
        held, _, turns = self._held.popleft()
        if not held.done():  # else whoever waited was cancelled
            held.set_result(None)
        return turns
