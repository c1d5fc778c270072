"""What is on its way to the disk: keys and counts of the rows of each group that is not decided.

Invariants:

1. Keys and counts join the flight of a group together with the submission of their rows, without an
   await between.
2. When the group is decided, in the same step and before anybody who waits for it wakes up, its
   keys go to the index and its rows are counted; or nobody knows of them any more.

One event loop.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from collector.book import HOUR_US
from storage import Commit, KeyIndex, Receipt

# Site, protocol, hour of receipt in microseconds since the epoch.
Place = tuple[str, str, int]


class Flight:
    """What the rows of one group bring. `keys`: with the time of their acceptance."""

    __slots__ = ("commit", "keys", "rows")

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.keys: dict[bytes, int] = {}
        self.rows: dict[Place, list[int]] = {}  # new ones, and repeats that are stored

    def board(self, keys: Sequence[bytes], now_us: int) -> None:
        """Add keys that were just called new."""
        if len(keys) == 1:
            self.keys[keys[0]] = now_us
        else:
            self.keys.update(dict.fromkeys(keys, now_us))

    def count(self, rows: Mapping[str, list[int]], protocol: str, now_us: int) -> None:
        """Add rows received at `now_us`: per site how many are new, how many are repeats."""
        hour_us = now_us - now_us % HOUR_US
        for site, (new, repeats) in rows.items():
            counts = self.rows.get((site, protocol, hour_us))
            if counts is None:
                self.rows[site, protocol, hour_us] = [new, repeats]
            else:
                counts[0] += new
                counts[1] += repeats


class Flights:
    """All flights. `stored` is called with segment, place, new rows and repeats of each landing."""

    def __init__(self, index: KeyIndex, stored: Callable[[int, Place, int, int], None]) -> None:
        self._index = index
        self._stored = stored
        self._by_commit: dict[Commit, Flight] = {}

    def __iter__(self) -> Iterator[Flight]:
        """Those under way; mostly one, or none."""
        return iter(self._by_commit.values())

    def of(self, commit: Commit) -> Flight:
        """The flight of the group that `commit` stands for."""
        flight = self._by_commit.get(commit)
        if flight is None:
            flight = self._by_commit[commit] = Flight(commit)
            commit.on_done.append(partial(self._land, flight))
        return flight

    def _land(self, flight: Flight, receipt: Receipt | None) -> None:
        del self._by_commit[flight.commit]
        if receipt is None:
            return
        segment = receipt.segment
        self._index.add_each(flight.keys, segment)
        for place, (new, repeats) in flight.rows.items():
            self._stored(segment, place, new, repeats)
