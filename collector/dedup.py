"""Whether an event was accepted before, and what happens while nobody knows yet.

Invariants:

1. A key is at any moment nowhere, in flight (its row waits for the disk), or in the index (its row
   is on disk). "Duplicate" is said only of a key in the index, so it is itself an acknowledgement.
2. A key enters flight together with the submission of its row, without an await between.
3. When the submission is decided, in the same step, its keys go to the index or become free again.
4. Nobody holds a key in flight while waiting: a request that meets one waits for that commit
   holding nothing, then looks at all its keys anew. So no two requests wait for each other.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from storage import ColdKeys, Commit, KeyIndex, Receipt

# What was read for a look-up may be gone again before it comes back; it does not try for ever.
_COLD_MAX: Final = 4


class Dedup:
    """Keys in flight in front of the key index. One event loop.

    `warm` reads what a look-up misses from the disk.
    """

    def __init__(self, index: KeyIndex, warm: Callable[[ColdKeys], Awaitable[None]]) -> None:
        self._index = index
        self._warm = warm
        self._in_flight: dict[bytes | None, Commit] = {}

    def find(
        self, keys: Sequence[bytes | None], now_us: int, tries: int = 0
    ) -> list[bool] | Awaitable[object]:
        """For each key whether it was accepted before; None is never a repeat.

        A key that occurs twice in `keys` is a repeat from the second time on. If a key is in
        flight, or the disk has to be asked, something to wait for is returned instead: await it,
        then ask again, with the number of `tries` so far. Raises `Unavailable`.
        """
        in_flight = self._in_flight
        if not in_flight.keys().isdisjoint(keys):
            return next(in_flight[key] for key in keys if key in in_flight)
        known = [key for key in keys if key is not None]
        seen = self._index.seen(known, now_us, waits=tries > _COLD_MAX)
        if isinstance(seen, ColdKeys):
            return self._warm(seen)
        if len(seen) == len(keys) and (len(keys) == 1 or len(set(keys)) == len(keys)):
            return seen
        verdicts = dict(zip(known, seen, strict=True))
        met: set[bytes | None] = set()
        repeats = []
        for key in keys:
            repeats.append(key is not None and (key in met or verdicts[key]))
            met.add(key)
        return repeats

    def hold(self, keys: Sequence[bytes], commit: Commit) -> None:
        """Put `keys`, which `find` just called new, in flight until `commit` is decided."""
        in_flight = self._in_flight
        for key in keys:
            in_flight[key] = commit

    def settle(self, keys: Sequence[bytes], now_us: int, receipt: Receipt | None) -> None:
        """End the flight of `keys`: remembered as accepted at `now_us`, or free again."""
        for key in keys:
            del self._in_flight[key]
        if receipt is not None:
            self._index.add(keys, now_us, receipt.segment)
