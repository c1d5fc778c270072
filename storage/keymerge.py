"""Which runs are joined when, and how sorted keys become one sorted run.

`plan` is a pure function of sizes and times; `merge` is cut into steps, so that whoever drives it
can do something more urgent in between. Where a key occurs twice the later time counts: the earlier
one was out of the window when the key was accepted again.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np

from storage.keyrun import BLOCK_KEYS, NO_KEYS, Keys, Run, RunWriter

# More young runs than this are joined: each costs every look-up of a new key.
RUNS_YOUNG: Final = 4
# A run joins those younger than it unless it is more than so many times as large as all of them:
# each key is then written again about as often as the window has doublings.
_RATIO: Final = 2
# Above this a run is joined no more: its filter takes 117 MB, and as much again while it is made.
RUN_KEYS_MAX: Final = 1 << 26
# Runs whose first keys lie in the same one of these become one run.
_SPANS_PER_WINDOW: Final = 4
_BLOCKS_AT_ONCE: Final = 128
_KEYS_IN_MEMORY_MIN: Final = 64 * BLOCK_KEYS


class Sized(Protocol):
    """What `plan` looks at."""

    keys: int
    oldest_us: int


def plan(runs: Sequence[Sized], window_us: int, keys_max: int = RUN_KEYS_MAX) -> slice | None:
    """Which neighbours of `runs`, oldest first, should be joined now; None: none.

    Runs of one span end as one, or as a few of about `keys_max` keys; those of the youngest span
    are a geometric series. So their number is bounded by spans, size and a logarithm.
    """
    for start, end in _spans(runs, window_us):
        if end < len(runs):
            group = _whole_group(runs, start, end, keys_max)
        elif end - start > RUNS_YOUNG:
            group = _geometric_group(runs, start, end, keys_max)
        else:
            group = None
        if group is not None:
            return group
    return None


def _spans(runs: Sequence[Sized], window_us: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of neighbours whose first keys lie in one span, youngest first."""
    span_us = window_us // _SPANS_PER_WINDOW
    end = len(runs)
    while end:
        start = end - 1
        while start and runs[start - 1].oldest_us // span_us == runs[end - 1].oldest_us // span_us:
            start -= 1
        yield start, end
        end = start


def _whole_group(runs: Sequence[Sized], start: int, end: int, keys_max: int) -> slice | None:
    """The youngest neighbours that are small enough to become one."""
    while end - start > 1:
        keys, first = runs[end - 1].keys, end - 1
        while first > start and keys + runs[first - 1].keys <= keys_max:
            first -= 1
            keys += runs[first].keys
        if end - first > 1:
            return slice(first, end)
        end = first
    return None


def _geometric_group(runs: Sequence[Sized], start: int, end: int, keys_max: int) -> slice | None:
    """The longest group at the young end that keeps the series geometric."""
    keys, first = runs[end - 1].keys, end - 1
    for index in range(end - 2, start - 1, -1):
        if keys + runs[index].keys > keys_max:
            break
        if runs[index].keys <= _RATIO * keys:
            first = index
        keys += runs[index].keys
    return slice(first, end) if end - first > 1 else None


def merge(runs: Sequence[Run], writer: RunWriter) -> Iterator[None]:
    """Write all keys of `runs`; yields after each piece of work.

    Raises `DamagedRun` or OSError, with the file unfinished.
    """
    sources = [_Source(run.read_keys(_BLOCKS_AT_ONCE)) for run in runs]
    while sources := [source for source in sources if source.has_keys()]:
        # Below it every source has shown all it has.
        limit = min((source.last for source in sources if not source.is_whole), default=None)
        taken = [source.take_below(limit) for source in sources]
        if any(len(keys.high) for keys in taken):
            writer.append(sort(taken))
        else:
            # Only keys with one high word: the sources that end in it must show more.
            for source in sources:
                if source.last == limit:
                    source.read_more()
        yield
    writer.finish()


def sort(parts: Sequence[Keys]) -> Keys:
    """All keys of `parts` in order, each once, with its latest time."""
    keys = NO_KEYS.followed_by(*parts)
    order = np.argsort(keys.high)
    high = keys.high.take(order)
    if not (high[1:] == high[:-1]).any():
        return Keys(high, keys.low.take(order), keys.times.take(order))
    order = np.lexsort((keys.times, keys.low, keys.high))
    high, low = keys.high.take(order), keys.low.take(order)
    is_last = np.ones(len(high), dtype=np.bool_)
    is_last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return Keys(high[is_last], low[is_last], keys.times.take(order)[is_last])


class _Source:
    """A run read from its beginning to its end; `is_whole`: its last keys are in memory."""

    def __init__(self, pieces: Iterator[Keys]) -> None:
        self._pieces = pieces
        self._held = NO_KEYS
        self.is_whole = False

    @property
    def last(self) -> int:
        """High word of the last key in memory."""
        return int(self._held.high[-1])

    def has_keys(self) -> bool:
        """Whether keys are left; sees to it that enough are in memory to go on with."""
        if not self.is_whole and len(self._held.high) < _KEYS_IN_MEMORY_MIN:
            self.read_more()
        return len(self._held.high) > 0

    def read_more(self) -> None:
        """Take in another piece."""
        piece = next(self._pieces, None)
        if piece is None:
            self.is_whole = True
        else:
            self._held = self._held.followed_by(piece)

    def take_below(self, limit: int | None) -> Keys:
        """Take out the keys whose high word is below `limit`; None: all."""
        count = len(self._held.high)
        if limit is not None:
            count = int(np.searchsorted(self._held.high, np.uint64(limit)))
        taken = self._held.part(slice(count))
        self._held = self._held.part(slice(count, None))
        return taken
