"""Whether an event was accepted before, and what happens while nobody knows yet.

Invariants:

1. A key is at any moment nowhere, in flight (its row waits for the disk), or in the index (its row
   is on disk). "Duplicate" is answered only of a key in the index, so it is itself an
   acknowledgement: two requests that are looked up together lie in one group, and the second is
   answered when it is on disk.
2. Nobody holds a key in flight while waiting: a request that meets one waits for that commit
   holding nothing, then looks at all its keys anew. So no two requests wait for each other.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Final

from collector.flight import Flights
from storage import ColdKeys, KeyIndex

# What was read for a look-up may be gone again before it comes back; it does not try for ever.
_COLD_MAX: Final = 4


class _Warming:
    """Reads from the disk once it is awaited: who asked for several may ask again for each."""

    def __init__(self, warm: Callable[[ColdKeys], Awaitable[None]], cold: ColdKeys) -> None:
        self._warm = warm
        self._cold = cold

    def __await__(self) -> Generator[Any, None, None]:
        return self._warm(self._cold).__await__()


class Dedup:
    """Keys in flight in front of the key index. One event loop.

    `warm` reads what a look-up misses from the disk.
    """

    def __init__(
        self, index: KeyIndex, flights: Flights, warm: Callable[[ColdKeys], Awaitable[None]]
    ) -> None:
        self._index = index
        self._flights = flights
        self._warm = warm

    def find(
        self, keys: Sequence[bytes | None], now_us: int, tries: int = 0
    ) -> list[bool] | Awaitable[object]:
        """For each key whether it was accepted before; None is never a repeat.

        A key that occurs twice in `keys` is a repeat from the second time on. If a key is in
        flight, or the disk has to be asked, something to wait for is returned instead: await it,
        then ask again, with the number of `tries` so far. Raises `Unavailable`.
        """
        is_one = len(keys) == 1
        for flight in self._flights:
            if keys[0] in flight.keys if is_one else not flight.keys.keys().isdisjoint(keys):
                return flight.commit
        known = keys if None not in keys else [key for key in keys if key is not None]
        seen = self._index.seen(known, now_us, waits=tries > _COLD_MAX)  # type: ignore[arg-type]
        if isinstance(seen, ColdKeys):
            return _Warming(self._warm, seen)
        if len(seen) == len(keys) and (is_one or len(set(keys)) == len(keys)):
            return seen
        verdicts = dict(zip(known, seen, strict=True))
        met: set[bytes | None] = set()
        repeats = []
        for key in keys:
            repeats.append(key is not None and (key in met or verdicts[key]))
            met.add(key)
        return repeats
