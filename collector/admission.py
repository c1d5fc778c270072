"""Admission under overload: who is let in, decided from the head of a request alone.

What is let in is work until it is answered: a unit for the request and one for each KiB of its
body, which is about how the time it takes grows. A newcomer is refused while there is more work
than can be answered in the time that is wanted (`loadlimit`). For what is shed first all work
counts, for the rest only its own, so that the rest is let in as long as it is not too much by
itself.

A body that is slow to arrive is no work: after a while its units are given back, and are counted
again when it is there, so that slow senders push out nobody. Who comes while there is no work at
all is let in, whatever the limit.

Time is passed in. One event loop.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from collector.adapters.contract import Endpoint, PlainEndpoint
from collector.config import Overload
from collector.headers import Headers
from collector.loadlimit import LoadLimit
from collector.pace import Pace
from collector.refusal import OVERLOADED, Refusal

_log: Final = logging.getLogger("collector")

# A body that is not there after two of them is a slow one.
_WINDOW_S: Final = 0.1
# So many others of the same size never keep a request out: a large batch is work for a while, and
# the next one should be there when it is done. It goes for batches up to 340 KB.
_ALIKE: Final = 4
_ALIKE_UNITS_MAX: Final = 1_400
_UNIT_BYTES: Final = 1_024
# What the body of events grows by when it is inflated, about.
_INFLATION: Final = 4
# In limits: with so much work not even what was let in is made larger.
_SWAMPED: Final = 8.0
# Of a body whose length is not announced.
_UNKNOWN_UNITS: Final = 16
# Those who were refused together should not come back together.
_REFUSALS: Final = tuple(
    Refusal(OVERLOADED, "more is sent than can be taken at present", retry_after_s=seconds)
    for seconds in (2, 3, 4, 5)
)
# Turns of refusals a second, for each unit of work that is done in a second, and how many there are
# at least. A refused single costs a third of an accepted one.
_PACE: Final = 0.05
_PACE_MIN: Final = 50.0
_SMOOTHING: Final = 5
# Refusals that leave at once when there is room again, in a window: some 20 ms of work.
_HURRIED_MAX: Final = 500.0
# Without a refusal for so long, an overload is over; it is told of once in a while.
_CALM_S: Final = 5.0
_QUIET_S: Final = 60.0


class Account:
    """The work of those who are shed first, or of the others; `load` in units.

    What of it is still arriving is known by the window in which it was let in: the present one, or
    the one before. `waited_s`, `answered` and `answered_units` are of the present one.
    """

    __slots__ = (
        *("answered", "answered_units", "arriving", "arriving_before", "load", "monotonic_s"),
        *("waited_s", "window"),
    )

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self.monotonic_s = monotonic_s
        self.load = self.arriving = self.arriving_before = self.window = 0
        self.waited_s, self.answered, self.answered_units = 0.0, 0, 0

    def turn(self) -> None:
        """Begin a window; what is slow to arrive is no work any more."""
        self.window += 1
        self.load -= self.arriving_before
        self.arriving_before, self.arriving = self.arriving, 0
        self.waited_s, self.answered, self.answered_units = 0.0, 0, 0


class Passage(msgspec.Struct, gc=False):
    """One request that was let in. `arrive` when its body is there, `leave` at the end.

    Made once per request: no more calls and objects than needed.
    """

    account: Account
    units: int
    window: int
    arrived_s: float = -1.0

    def arrive(self, size: int) -> None:
        """The body is there, inflated, `size` bytes."""
        account = self.account
        units = 1 + size // _UNIT_BYTES
        age = account.window - self.window
        if age == 0:
            account.arriving -= self.units
            account.load += units - self.units
        elif age == 1:
            account.arriving_before -= self.units
            account.load += units - self.units
        else:
            # It was slow, and taken back.
            account.load += units
        self.units = units
        self.arrived_s = account.monotonic_s()

    def leave(self, now_s: float) -> None:
        """It is answered, or nobody waits for an answer any more."""
        account = self.account
        if self.arrived_s >= 0:
            account.load -= self.units
            account.waited_s += now_s - self.arrived_s
            account.answered += 1
            account.answered_units += self.units
            return
        age = account.window - self.window
        if age == 0:
            account.arriving -= self.units
            account.load -= self.units
        elif age == 1:
            account.arriving_before -= self.units
            account.load -= self.units


class Admission:
    """Counts the work under way and says who comes on top; all in units.

    `first`: of those who are shed first, `last`: of the others. Call `tick` about every 50 ms.
    """

    def __init__(
        self,
        settings: Overload,
        endpoints: Iterable[Endpoint | PlainEndpoint],
        pace: Pace,
        monotonic_s: Callable[[], float],
    ) -> None:
        first = frozenset(settings.shed_first)
        self.first, self.last = Account(monotonic_s), Account(monotonic_s)
        self._accounts = {
            endpoint.name: self.first if first & {endpoint.name, endpoint.source} else self.last
            for endpoint in endpoints
            if isinstance(endpoint, Endpoint)
        }
        target_s = settings.delay_target_ms / 1000
        self._limit = LoadLimit(target_s or float("inf"))
        self._pace = pace
        self.monotonic_s = monotonic_s
        self._units_per_s = 0.0
        self.shed = 0
        self.shed_last = 0
        self._was_full = False
        self._ticked_s = self._began_s = monotonic_s()
        self._lag_s = 0.0
        self._over_since_s: float | None = None
        self._shed_before = self._shed_seen = 0
        self._last_shed_s = self._told_s = float("-inf")

    # --- asked for each request

    def ask(self, endpoint: Endpoint, headers: Headers, length: int) -> Passage | Refusal:
        """Let a request with this head in, or say why not. `length`: see `http.body_length`."""
        units = 1 + length // _UNIT_BYTES if length >= 0 else _UNKNOWN_UNITS
        if units > 1 and "content-encoding" in headers:
            units *= _INFLATION
        account = self._accounts[endpoint.name]
        load = account.load
        if account is self.first:
            load += self.last.load
        if load + units > self._limit.units and load > min(units * _ALIKE, _ALIKE_UNITS_MAX):
            self._was_full = True
            self.shed += 1
            if account is self.last:
                self.shed_last += 1
            return _REFUSALS[self.shed % len(_REFUSALS)]
        account.load += units
        account.arriving += units
        return Passage(account, units, account.window)

    @property
    def load(self) -> int:
        """All work under way."""
        return self.first.load + self.last.load

    def refuses_inflation(self) -> Refusal | None:
        """Why a body that is there must not be inflated: there is too much work without it."""
        if self.load > self._limit.units * _SWAMPED:
            self.shed += 1
            self.shed_last += 1
            return _REFUSALS[0]
        return None

    # --- now and then

    def observe_commit(self, seconds: float) -> None:
        """A group was written."""
        self._limit.observe_commit(seconds)

    def tick(self) -> None:
        """Look at how long requests waited; give up what is slow to arrive."""
        now_s = self.monotonic_s()
        # How late this is called is how long anything waits before it has its turn.
        self._lag_s = max(self._lag_s, now_s - self._ticked_s - _TICK_S)
        self._ticked_s = now_s
        if now_s - self._began_s < _WINDOW_S:
            return
        seconds, self._began_s = now_s - self._began_s, now_s
        first, last = self.first, self.last
        units_per_s = (first.answered_units + last.answered_units) / seconds
        self._units_per_s += (units_per_s - self._units_per_s) / _SMOOTHING
        self._pace.per_second = max(_PACE_MIN, self._units_per_s * _PACE)
        answered = first.answered + last.answered
        if answered:
            wait_s = (first.waited_s + last.waited_s) / answered + self._lag_s
            # Little's law tells how much there was on average.
            used = max(self.load, units_per_s * wait_s)
            self._limit.adjust(wait_s, used, was_full=self._was_full)
        if not self._was_full:
            # Nobody had to be refused: who is held back may come again.
            self._pace.hurry(min(self._limit.units - self.load, _HURRIED_MAX))
        self._tell(now_s)
        self._was_full, self._lag_s = False, 0.0
        first.turn()
        last.turn()

    def _tell(self, now_s: float) -> None:
        """Log that an overload began, and that it is over; not more often than once a minute."""
        if self.shed != self._shed_seen:
            self._shed_seen = self.shed
            self._last_shed_s = now_s
            if self._over_since_s is None:
                self._over_since_s = now_s
                if now_s - self._told_s >= _QUIET_S:
                    self._told_s = now_s
                    _log.warning("overload: requests are refused with 503 before they are read")
        elif self._over_since_s is not None and now_s - self._last_shed_s >= _CALM_S:
            seconds = self._last_shed_s - self._over_since_s
            if self._told_s >= self._over_since_s:
                _log.warning(
                    "overload: over after %.1f s, %d requests were refused",
                    seconds,
                    self.shed - self._shed_before,
                )
            self._shed_before = self.shed
            self._over_since_s = None

    def gauges(self) -> dict[str, Callable[[], float]]:
        """Present values by name; see docs/METRICS.md."""
        return {
            "collector_load_units": lambda: self.load,
            "collector_load_limit_units": lambda: self._limit.units,
            "collector_shed_total": lambda: self.shed,
            "collector_shed_last_total": lambda: self.shed_last,
            "collector_refusals_held": lambda: self._pace.held,
        }


_TICK_S: Final = 0.05
