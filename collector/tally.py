"""The counting of one request: what it brought on one side, what became of it on the other.

The two sides are counted independently: `receive` where the events are read, the rest where
outcomes are decided. What does not balance when the request ends is written into the book as it is,
so that a path that forgets to count shows in `collector audit`. Metrics are counted along. Event
loop only.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from collector.book import Book
from collector.config import Site
from collector.metrics import Metrics
from collector.refusal import INTERNAL_ERROR, Kind

UNKNOWN_SITE: Final = "unknown"


class Tally:
    """One request, of one protocol, received at `time_us`.

    Rows that were submitted are in flight: they are counted when their receipt comes, whoever still
    waits for it (`flight`).
    """

    __slots__ = ("_balance", "_counts", "_protocol", "_time_us", "is_answered")

    def __init__(self, counts: "Counts", protocol: str, time_us: int) -> None:
        self._counts = counts
        self._protocol = protocol
        self._time_us = time_us
        self._balance: dict[str, int] = {}
        self.is_answered = False

    def receive(self, sites: "Sequence[Site | None]") -> None:
        """An event of each of `sites` was read; None: of no site that could be identified."""
        balance = self._balance
        first = sites[0]
        if sites.count(first) == len(sites):
            balance[UNKNOWN_SITE if first is None else first.id] = len(sites)
            return
        for site in sites:
            name = UNKNOWN_SITE if site is None else site.id
            balance[name] = balance.get(name, 0) + 1

    def refuse(self, kind: Kind, site: Site | None, count: int = 1) -> None:
        """Events that were read are refused."""
        name = UNKNOWN_SITE if site is None else site.id
        self._counts.refused(kind, name, self._protocol, self._time_us, count)
        self._settle(name, count)

    def repeat(self, site: str) -> None:
        """An event that was read is a duplicate and is not stored."""
        self._counts.repeated(site, self._protocol, self._time_us)
        self._settle(site, 1)

    def submit(self, rows: Mapping[str, list[int]]) -> None:
        """Events go to the log; `rows`: per site how many are new, and repeats that are stored."""
        for site, (new, repeats) in rows.items():
            self._settle(site, new + repeats)

    def fail(self, rows: Mapping[str, list[int]]) -> None:
        """What was submitted is not in the log after all."""
        for site, (new, repeats) in rows.items():
            self._settle(site, -new - repeats)

    def close(self) -> None:
        """The request is over. One that was not answered failed by a fault of ours."""
        for site, rest in self._balance.items():
            if not rest:
                continue
            if self.is_answered:
                self._counts.unaccounted(site, self._protocol, self._time_us, rest)
            elif rest > 0:
                self._counts.refused(INTERNAL_ERROR, site, self._protocol, self._time_us, rest)

    def _settle(self, site: str, count: int) -> None:
        self._balance[site] = self._balance.get(site, 0) - count


class Counts:
    """Where outcomes are counted: in the book and in the metrics at once."""

    def __init__(self, book: Book, metrics: Metrics) -> None:
        self.book = book
        self.origins = metrics.origins
        self._metrics = metrics

    def open(self, protocol: str, time_us: int) -> Tally:
        """Count a request whose events were read; it must be closed."""
        return Tally(self, protocol, time_us)

    def refused(self, kind: Kind, site: str, protocol: str, time_us: int, count: int = 1) -> None:
        """Events were received and refused."""
        self.book.refused((site, protocol, time_us), kind.outcome, kind.code, count)
        self._metrics.count_event((site, protocol, kind.outcome, kind.code), count)

    def refused_at_once(self, kind: Kind, site: Site | None, protocol: str, time_us: int) -> None:
        """A request was refused before its events were read: it counts as one event."""
        self.refused(kind, UNKNOWN_SITE if site is None else site.id, protocol, time_us)

    def repeated(self, site: str, protocol: str, time_us: int) -> None:
        """An event was received and is a duplicate that is not stored."""
        self.book.repeated((site, protocol, time_us), 1)
        self._metrics.count_event((site, protocol, "duplicate", ""), 1)

    def unaccounted(self, site: str, protocol: str, time_us: int, count: int) -> None:
        """Events were received of which nobody said what became of them, or said it twice."""
        self.book.unaccounted((site, protocol, time_us), count)
        self._metrics.unaccounted += abs(count)

    def stored(self, segment: int, place: tuple[str, str, int], new: int, repeats: int) -> None:
        """Events were received and are rows of `segment`."""
        self.book.stored(segment, place, new, repeats)
        site, protocol, _time_us = place
        if new:
            self._metrics.count_event((site, protocol, "accepted", ""), new)
        if repeats:
            self._metrics.count_event((site, protocol, "duplicate", ""), repeats)
