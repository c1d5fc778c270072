"""The keys of the last 24 hours: which events were accepted before.

Three tiers, of which `collector/dedup.py` holds the first: keys in flight. Here are the other two:

- **generations**, exact tables of the newest keys with their times, in memory;
- **runs**, sorted keys on disk behind Bloom filters. One that holds the keys of whole segments, the
  rows of which are in parts, is *published*; others are *loose*, and are forgotten at a crash,
  because the rows say the same.

Rules:

1. A key is seen from the time of its acceptance until `window_us` later, to the microsecond.
2. A filter alone never makes a repeat: all 16 bytes are compared, in a block with a right checksum.
3. A key is added only after its row is on disk, and before any row of a later segment.
4. Nothing here waits for the disk. What takes long is a `Task` of `keyupkeep`, done elsewhere.
5. Memory is bounded: generations by `is_full`, runs by `keys_max`, beyond which the oldest run is
   dropped and its keys are counted as `forgotten`.

Not thread-safe: one caller at a time.
"""

import contextlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import xxhash

from storage import keyfilter
from storage.errors import Unavailable
from storage.keyfilter import CHOOSING_BITS
from storage.keyrun import ColdBlock, DamagedRun, Run, split, words_of
from storage.layout import KeyRun

_log: Final = logging.getLogger("collector.storage")
WINDOW_US: Final = 24 * 3600 * 1_000_000
# Keys are held so much longer than that: a clock that was ahead for less makes nobody forget.
MARGIN_US: Final = 3600 * 1_000_000
# From here on arrays cost less than one look-up after the other.
_ARRAYS_FROM: Final = 24
# When a generation has so many keys, or is so old, it is written at the end of a segment. Small
# enough for tables to grow and go without a pause; the age bounds what a start must read again.
GENERATION_KEYS: Final = 65_536
GENERATION_US: Final = 10 * 60 * 1_000_000
# So many times that, and it is written before its segment ends.
_LOOSE_FACTOR: Final = 4
# More keys than this in memory, and writing them does not keep up: about 260 MB.
_HELD_KEYS_MAX: Final = 2_000_000


def make_scope(*parts: bytes) -> bytes:
    """What stands before identities that mean something only within `parts`.

    Each part carries its length, so that no two lists of parts look alike, whatever follows.
    """
    return b"".join(b"%d:%b," % (len(part), part) for part in parts) + b";"


def make_key(scope: bytes, identity: bytes) -> bytes:
    """The 16-byte key (XXH3-128) of an identity within a scope made by `make_scope`."""
    return xxhash.xxh3_128_digest(scope + identity)


class ColdKeys:
    """The answer depends on blocks that are not in memory: `load`, then ask again."""

    def __init__(self, blocks: list[tuple[Run, int]]) -> None:
        self._blocks = blocks

    def load(self) -> None:
        """Read the blocks; may wait for the disk, may run on any thread."""
        for run, block in self._blocks:
            with contextlib.suppress(DamagedRun):  # whoever asks again is told
                run.warm(block)


class KeysDamaged(Unavailable):
    """Whether these events are repeats cannot be told until a run was made again from the rows."""


class Generation(msgspec.Struct):
    """Keys with their times, while they are in memory.

    `last`: with it all keys of the segments up to that number are written; None: the last segment
    goes on.
    """

    table: dict[bytes, int]
    began_us: int = 0
    last: int | None = None


class LooseRun(msgspec.Struct):
    """A written generation that is not published yet; `last` as in `Generation`."""

    run: Run
    last: int | None


class PublishedRun(msgspec.Struct, frozen=True):
    """A run and which segments it covers."""

    name: KeyRun
    run: Run


class KeyIndex:
    """Keys of 16 bytes with the time each was accepted, in microseconds."""

    def __init__(self, *, keys_max: int, window_us: int = WINDOW_US) -> None:
        self.window_us = window_us
        self.keys_max = keys_max
        self.generation_keys = max(1, min(GENERATION_KEYS, keys_max // 8))
        self.active = Generation({})
        self.frozen: list[Generation] = []  # oldest first
        self.loose: list[LooseRun] = []  # oldest first, all older than `frozen`
        self.published: list[PublishedRun] = []  # oldest first, all older than `loose`
        self.forgotten = 0
        self._segment = 0  # of the newest key
        self.refresh()

    # --- sizes

    def __len__(self) -> int:
        """Keys held; those out of the window count until their run is dropped."""
        return self._held + sum(run.keys for run in self._runs)

    @property
    def is_full(self) -> bool:
        """More keys are in memory than there should be: no more can be taken at present."""
        return self._held > _HELD_KEYS_MAX

    @property
    def runs(self) -> int:
        """How many runs a look-up asks."""
        return len(self._runs)

    @property
    def memory_bytes(self) -> int:
        """Bytes of filters and fences; tables take about 130 bytes a key on top."""
        return sum(run.memory_bytes for run in self._runs)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the files."""
        return sum(run.bytes for run in self._runs)

    @property
    def _held(self) -> int:
        held = len(self.active.table)
        for generation in self.frozen:
            held += len(generation.table)
        return held

    # --- looking up

    def seen(
        self, keys: Sequence[bytes], now_us: int, *, waits: bool = False
    ) -> list[bool] | ColdKeys:
        """For each key whether it was accepted less than `window_us` before `now_us`.

        With `waits` it is never `ColdKeys`. Raises `KeysDamaged`.
        """
        since_us = now_us - self.window_us
        try:
            if len(keys) == 1:
                return [self._is_seen(keys[0], since_us, waits)]
            if len(keys) < _ARRAYS_FROM:
                return self._each_seen(keys, since_us, waits)
            return self._are_seen(keys, since_us, waits)
        except ColdBlock as block:
            # Not the exception: it would hold this frame, and so the run, for long.
            return ColdKeys([(block.run, block.block)])
        except DamagedRun as damaged:
            self.mark_damaged(damaged)
            raise KeysDamaged(str(damaged)) from damaged

    def _each_seen(
        self, keys: Sequence[bytes], since_us: int, waits: bool
    ) -> list[bool] | ColdKeys:
        verdicts = []
        cold: list[tuple[Run, int]] = []
        for key in keys:
            try:
                verdicts.append(self._is_seen(key, since_us, waits))
            except ColdBlock as block:
                cold.append((block.run, block.block))
        return ColdKeys(cold) if cold else verdicts

    def _is_seen(self, key: bytes, since_us: int, waits: bool) -> bool:
        for table in self._tables:
            if key in table:
                return table[key] > since_us
        if not self._probes:
            return False
        choice, mask = keyfilter.probe_of(key)
        for words, count, find in self._probes:
            if words[choice * count >> CHOOSING_BITS] & mask == mask:
                time_us = find(*words_of(key), waits=waits)
                if time_us is not None and time_us > since_us:
                    return True
        return False

    def _are_seen(self, keys: Sequence[bytes], since_us: int, waits: bool) -> list[bool] | ColdKeys:
        # Nearly always no table knows any of them, and to be told so takes no list.
        tables = [table for table in self._tables if not table.keys().isdisjoint(keys)]
        if tables:
            return self._some_are_seen(keys, tables, since_us, waits)
        verdicts = [False] * len(keys)
        cold = self._ask_runs(keys, range(len(keys)), verdicts, since_us, waits)
        return ColdKeys(cold) if cold else verdicts

    def _some_are_seen(
        self, keys: Sequence[bytes], tables: list[dict[bytes, int]], since_us: int, waits: bool
    ) -> list[bool] | ColdKeys:
        times: list[int | None] = [None] * len(keys)
        for table in tables:
            found = map(table.get, keys)
            times = [new if old is None else old for old, new in zip(times, found, strict=True)]
        verdicts = [time_us is not None and time_us > since_us for time_us in times]
        unknown = [index for index, time_us in enumerate(times) if time_us is None]
        asked = [keys[index] for index in unknown]
        cold = self._ask_runs(asked, unknown, verdicts, since_us, waits)
        return ColdKeys(cold) if cold else verdicts

    def _ask_runs(
        self,
        keys: Sequence[bytes],
        places: Sequence[int],
        verdicts: list[bool],
        since_us: int,
        waits: bool,
    ) -> list[tuple[Run, int]]:
        """Set the verdicts at `places` of `keys` that are in runs; the blocks that are missing."""
        if not (keys and self._runs):
            return []
        high, low = split(b"".join(keys))
        choices, masks = keyfilter.choices_of(high), keyfilter.masks_of(low)
        cold: list[tuple[Run, int]] = []
        for run in self._runs:
            words = run.filter.take(keyfilter.places(choices, run.filter_words))
            for index in np.flatnonzero(words & masks == masks).tolist():
                try:
                    time_us = run.find(int(high[index]), int(low[index]), waits=waits)
                except ColdBlock as block:
                    cold.append((block.run, block.block))
                    continue
                if time_us is not None and time_us > since_us:
                    verdicts[places[index]] = True
        return cold

    # --- adding

    def add(self, keys: Sequence[bytes], now_us: int, segment: int) -> None:
        """Remember `keys`, which are not seen, as accepted at `now_us` with rows of `segment`."""
        self.add_each(dict.fromkeys(keys, now_us), segment)

    def add_each(self, times: dict[bytes, int], segment: int) -> None:
        """Remember keys, which are not seen, with the time each was accepted, newest last.

        Their rows are in `segment`. Segments never go back. A generation that is large or old ends
        where its segment does.
        """
        if not times:
            return
        if segment > self._segment:
            self.turn(next(reversed(times.values())), segment - 1)
            self._segment = segment
        table = self.active.table
        if not table:
            self.active.began_us = next(iter(times.values()))
        table.update(times)
        if len(table) >= self.generation_keys * _LOOSE_FACTOR:
            self.freeze(None)

    def turn(self, now_us: int, complete: int) -> None:
        """All keys of the segments up to `complete` were added: end the generation if it is due.

        Not while it holds keys of a later segment: a run that holds more than it covers could not
        be made again from the rows of what it covers.
        """
        if complete < self._segment:
            return
        for run in self._runs:
            run.cool()
        active = self.active
        is_old = now_us - active.began_us >= GENERATION_US
        # What was written before its segment ended is published with the rest of it.
        is_rest = self._newest is not None and self._newest.last is None
        if not active.table or len(active.table) >= self.generation_keys or is_old or is_rest:
            self.freeze(complete)

    def freeze(self, last: int | None) -> None:
        """End the generation, whatever its size; `last` as in `Generation`."""
        if self.active.table:
            self.active.last = last
            self.frozen.append(self.active)
            self.active = Generation({})
            self.refresh()
        elif last is not None and self._newest is not None:
            self._newest.last = last  # nothing came after it

    @property
    def _newest(self) -> Generation | LooseRun | None:
        """The newest keys that are not added to any more, if they are not published."""
        if self.frozen:
            return self.frozen[-1]
        return self.loose[-1] if self.loose else None

    # --- what tasks change

    def refresh(self) -> None:
        """Take note of changed generations and runs."""
        runs = [*(one.run for one in self.published), *(one.run for one in self.loose)]
        self._runs = runs
        self._probes = [(run.filter_view, run.filter_words, run.find) for run in reversed(runs)]
        self._tables = [self.active.table, *(one.table for one in reversed(self.frozen))]

    def mark_damaged(self, damaged: DamagedRun) -> None:
        """Have the run that an error tells of made again."""
        for run in self._runs:
            if run.path == damaged.path and not run.is_damaged:
                run.is_damaged = True
                _log.warning("%s; its keys are read from the rows again", damaged)
