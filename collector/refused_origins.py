"""Which pages were refused for where they come from: a bounded record, kept in memory only.

What is accepted never comes here. A place is a reason, a path, an origin and what was asked for
(the id of a site or an application); whoever sends many of them makes others be forgotten, those
first that came least, and never more memory be taken. Event loop only.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from collector.headers import Headers
from collector.origin import request_host
from collector.refusal import (
    INACTIVE_SITE,
    METHOD_NOT_ALLOWED,
    ORIGIN_MISSING,
    ORIGIN_REFUSED,
    UNKNOWN_APP,
    UNKNOWN_SITE,
    Kind,
)

# Of a preflight: no endpoint has this path.
NOT_FOUND: Final = "not_found"
REASONS: Final = (
    *(
        kind.code
        for kind in (ORIGIN_REFUSED, ORIGIN_MISSING, UNKNOWN_SITE, INACTIVE_SITE, UNKNOWN_APP)
    ),
    *(METHOD_NOT_ALLOWED.code, NOT_FOUND),
)
PLACES_MAX: Final = 512
# Looked at when one has to go: what came least of these does.
_WINDOW: Final = 8
_CHARS_MAX: Final = 128
_SLOT_US: Final = 600_000_000
# A day, and an hour of it.
_SLOTS: Final = 144
_HOUR_SLOTS: Final = 6


class Place(msgspec.Struct, frozen=True):
    """What was refused. `origin`: a host, "" for one that names no host (`null`), None for none.

    `asked`: the id of the site or application as it was sent, "" where none was.
    """

    reason: str
    path: str
    origin: str | None
    asked: str


class Seen(msgspec.Struct, frozen=True):
    """How often a place was refused in the last hour and day (in steps of ten minutes), and when.

    Times are Unix microseconds. Requests are counted, of a batch each event.
    """

    place: Place
    hour: int
    day: int
    first_us: int
    last_us: int


class _Counts:
    """Counts of one place by the ten minutes they belong to."""

    __slots__ = ("first_us", "last_us", "slots", "total")

    def __init__(self, now_us: int) -> None:
        self.first_us = self.last_us = now_us
        self.slots: dict[int, int] = {}
        self.total = 0

    def count(self, now_us: int) -> None:
        slot = now_us // _SLOT_US
        if slot not in self.slots:
            self.forget(slot)
            self.slots[slot] = 0
        self.slots[slot] += 1
        self.total += 1
        self.last_us = now_us

    def forget(self, slot: int) -> None:
        """Leave out what is a day old at `slot`, or, after a clock was set back, still to come."""
        kept = {at: count for at, count in self.slots.items() if slot - _SLOTS < at <= slot}
        self.slots = kept
        self.total = sum(kept.values())


class RefusedOrigins:
    """The record. `others`: places that were forgotten to make room before they were a day old."""

    def __init__(self) -> None:
        self._places: dict[Place, _Counts] = {}
        # The same in an order that does not change, to look at a few of them at a time.
        self._order: list[Place] = []
        self._next = 0
        self.others = 0

    def note(
        self, kind: Kind, path: str, origin: str | None, *, asked: str = "", now_us: int
    ) -> None:
        """A request of a page was refused; reasons that are no origin's are left out."""
        if kind.code in REASONS:
            self._count(Place(kind.code, path, origin, asked[:_CHARS_MAX]), now_us)

    def note_preflight(self, path: str, headers: Headers, allowed: str, now_us: int) -> None:
        """A preflight was answered such that the browser sends nothing; `allowed`: methods there.

        Of what is allowed nothing is noted: the request itself is judged.
        """
        if "access-control-request-method" not in headers:
            return
        wanted = headers.get("access-control-request-method", "")
        if wanted and wanted in allowed.split(", "):
            return
        reason = METHOD_NOT_ALLOWED.code if allowed else NOT_FOUND
        self._count(Place(reason, path[:_CHARS_MAX], request_host(headers), ""), now_us)

    def seen(self, now_us: int) -> Sequence[Seen]:
        """What was refused in the last day, the most frequent of the last hour first."""
        slot = now_us // _SLOT_US
        found = []
        for place, counts in self._places.items():
            counts.forget(slot)
            if counts.total:
                recent = (n for at, n in counts.slots.items() if at > slot - _HOUR_SLOTS)
                found.append(
                    Seen(place, sum(recent), counts.total, counts.first_us, counts.last_us)
                )
        return sorted(found, key=lambda one: (-one.hour, -one.day, -one.last_us))

    def _count(self, place: Place, now_us: int) -> None:
        counts = self._places.get(place)
        if counts is None:
            counts = self._places[place] = _Counts(now_us)
            if len(self._order) < PLACES_MAX:
                self._order.append(place)
            else:
                self._replace(place, now_us)
        counts.count(now_us)

    def _replace(self, place: Place, now_us: int) -> None:
        """Put `place` where the least frequent of the next few is; of these the oldest."""
        slot = now_us // _SLOT_US
        window = [(self._next + step) % PLACES_MAX for step in range(_WINDOW)]
        self._next = (self._next + _WINDOW) % PLACES_MAX
        for at in window:
            self._places[self._order[at]].forget(slot)
        least = min(window, key=lambda at: self._rank(self._order[at]))
        gone = self._places.pop(self._order[least])
        self.others += bool(gone.total)
        self._order[least] = place

    def _rank(self, place: Place) -> tuple[int, int]:
        counts = self._places[place]
        return counts.total, counts.last_us
