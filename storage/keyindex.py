"""The keys of the last 24 hours: which events were accepted before.

An exact table in memory, rebuilt at start from the rows themselves, so that "stored" and "seen" are
one fact. Rules:

1. A key is seen from the time of its first acceptance until `window_us` later, to the microsecond.
2. A key is added only after its row is on disk (`collector/dedup.py` holds those in between).
3. Memory is bounded by `keys_max`: beyond it the oldest keys are forgotten, and counted.
4. Expiry is done in small steps, never in one long pause.

Not thread-safe: one caller at a time.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import xxhash

WINDOW_US: Final = 24 * 3600 * 1_000_000
# One span is the unit of expiry: small enough to be dropped within a millisecond.
_SPAN_KEYS: Final = 2_000


def make_scope(*parts: bytes) -> bytes:
    """What stands before identities that mean something only within `parts`.

    Each part carries its length, so that no two lists of parts look alike, whatever follows.
    """
    return b"".join(b"%d:%b," % (len(part), part) for part in parts) + b";"


def make_key(scope: bytes, identity: bytes) -> bytes:
    """The 16-byte key (XXH3-128) of an identity within a scope made by `make_scope`."""
    return xxhash.xxh3_128_digest(scope + identity)


class KeyIndex:
    """Exact set of 16-byte keys with the time each was first accepted, in microseconds."""

    def __init__(self, *, keys_max: int, window_us: int = WINDOW_US) -> None:
        self._window_us = window_us
        self._keys_max = keys_max
        self._times: dict[bytes, int] = {}
        # Keys in order of addition, in spans; a span's time is that of its newest key.
        self._spans: deque[tuple[int, list[bytes]]] = deque()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._times)

    def seen(self, key: bytes, now_us: int) -> bool:
        """Whether `key` was accepted less than `window_us` before `now_us`."""
        time_us = self._times.get(key)
        return time_us is not None and now_us - time_us < self._window_us

    def add(self, keys: Sequence[bytes], now_us: int) -> None:
        """Remember `keys` as accepted at `now_us`; a key still in its window keeps its time."""
        times = self._times
        for key in keys:
            before = times.get(key)
            if before is None or now_us - before >= self._window_us:
                times[key] = now_us
        self._append(keys, now_us)
        if len(times) > self._keys_max:
            self._forget()

    def expire(self, now_us: int, spans_max: int = 10) -> int:
        """Drop keys whose window has passed, at most `spans_max` spans; returns how many."""
        before = len(self._times)
        for _ in range(spans_max):
            if not self._spans or now_us - self._spans[0][0] < self._window_us:
                break
            self._drop_span(now_us - self._window_us)
        return before - len(self._times)

    def _append(self, keys: Sequence[bytes], now_us: int) -> None:
        if self._spans and len(self._spans[-1][1]) < _SPAN_KEYS:
            time_us, span = self._spans[-1]
            span += keys
            # A clock that stepped back must not make the span look older than its newest key.
            self._spans[-1] = (max(time_us, now_us), span)
        elif keys:
            self._spans.append((now_us, list(keys)))

    def _drop_span(self, newest_us: int) -> None:
        """Remove the oldest span's keys that were accepted at `newest_us` or before."""
        times = self._times
        for key in self._spans.popleft()[1]:
            if times.get(key, newest_us + 1) <= newest_us:
                del times[key]

    def _forget(self) -> None:
        while len(self._times) > self._keys_max and len(self._spans) > 1:
            before = len(self._times)
            self._drop_span(self._spans[0][0])
            self.forgotten += before - len(self._times)
