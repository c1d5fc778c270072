"""Whether an event was accepted before, and what happens while nobody knows yet.

Invariants:

1. A key is at any moment nowhere, in flight (its row waits for the disk), or in the index (its row
   is on disk). "Duplicate" is said only of a key in the index, so it is itself an acknowledgement.
2. A key enters flight together with the submission of its row, without an await between.
3. When the submission is decided, in the same step, its keys go to the index or become free again.
4. Nobody holds a key in flight while waiting for another: a request that meets one waits for that
   commit holding nothing, then looks at all its keys anew. So no two requests wait for each other.
"""

from collections.abc import Sequence

from storage import Commit, KeyIndex


class Dedup:
    """Keys in flight in front of the key index. One event loop."""

    def __init__(self, index: KeyIndex) -> None:
        self._index = index
        self._in_flight: dict[bytes, Commit] = {}

    def find(self, keys: Sequence[bytes | None], now_us: int) -> list[bool] | Commit:
        """For each key whether it was accepted before; None is never a repeat.

        A key that occurs twice in `keys` is a repeat from the second time on. If a key is in
        flight, the future of its commit is returned instead: await it, then ask again.
        """
        in_flight, seen = self._in_flight, self._index.seen
        if len(keys) == 1:
            key = keys[0]
            if key is None:
                return [False]
            return in_flight.get(key) or [seen(key, now_us)]
        met: set[bytes] = set()
        verdicts = []
        for key in keys:
            if key is None:
                verdicts.append(False)
                continue
            commit = in_flight.get(key)
            if commit is not None:
                return commit
            verdicts.append(key in met or seen(key, now_us))
            met.add(key)
        return verdicts

    def hold(self, keys: Sequence[bytes], commit: Commit) -> None:
        """Put `keys`, which `find` just called new, in flight until `commit` is decided."""
        for key in keys:
            self._in_flight[key] = commit

    def settle(self, keys: Sequence[bytes], now_us: int, is_durable: bool) -> None:
        """End the flight of `keys`: remembered as accepted at `now_us`, or free again."""
        for key in keys:
            del self._in_flight[key]
        if is_durable:
            self._index.add(keys, now_us)
