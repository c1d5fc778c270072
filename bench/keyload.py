"""Claims by the million without a collector: the key index, its files, its thread, and a clock that
runs as fast as the claims do.

A claim is all that `collector/dedup.py` and the index do for an event: look up, hold, settle.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import numpy as np

from collector.dedup import Dedup
from storage import ColdKeys, Commit, Files, KeyIndex, Receipt, layout
from storage.keyindex import WINDOW_US, LooseRun
from storage.keymerge import sort
from storage.keyrecovery import open_index
from storage.keyrun import Keys
from storage.keytasks import KeyFiles, Task
from storage.recovery import look
from storage.upkeep import KeyThread

KEY_BYTES: Final = 16
# Rows of one log file at the default size.
_SEGMENT_KEYS: Final = 80_000
# Keys of the index count as rows in parts at once: parts are measured elsewhere.
_TICK_S: Final = 0.05


class Claims:
    """An index on a directory, with what a store does for it. `close` it at the end."""

    def __init__(self, directory: Path, now_us: int, *, window_us: int = WINDOW_US) -> None:
        for name in layout.FOLDERS:
            (directory / name).mkdir(parents=True, exist_ok=True)
        found = look(directory)
        for name in found.temporaries:
            (directory / name).unlink()
        self.now_us = now_us
        self.index = KeyIndex(keys_max=4_000_000_000, window_us=window_us)
        self._disk = KeyFiles(directory, Files())
        self._random = np.random.default_rng()
        complete = max((run.last for run in found.runs), default=0)
        self._upkeep = open_index(
            self.index,
            self._disk,
            runs=found.runs,
            expired=found.expired,
            parts=[],
            logged=[],
            complete=complete,
            now_us=now_us,
        )
        self._receipt = Receipt(complete + 1)
        self._in_segment = 0
        self._dedup = Dedup(self.index, _warm)
        # Nobody waits for it: only that it is there matters.
        self._commit = cast(Commit, object())
        self._done: list[tuple[Task, Exception | None]] = []
        self._thread = KeyThread(self._disk, lambda task, error: self._done.append((task, error)))
        self._thread.start()
        self._ticked_s = 0.0

    def claim(self, keys: list[bytes]) -> list[bool]:
        """What one request does: look up, hold what is new, remember it."""
        found = self._dedup.find(keys, self.now_us)
        if not isinstance(found, list) or True in found:
            found = self._wait(keys, found)
            keys = [key for key, is_repeat in zip(keys, found, strict=True) if not is_repeat]
        self._dedup.hold(keys, self._commit)
        self._dedup.settle(keys, self.now_us, self._receipt)
        return found

    def _wait(self, keys: list[bytes], found: object) -> list[bool]:
        """What an event loop would do beside serving others; here all of it counts."""
        tries = 0
        while not isinstance(found, list):
            asyncio.run(found)  # type: ignore[arg-type]
            tries += 1
            found = self._dedup.find(keys, self.now_us, tries)
        return found

    def load(self, count: int, now_us: int) -> bytes:
        """Have `count` new keys written at once, as a start does with rows; returns one of them."""
        high, low = self._random.integers(0, 1 << 64, (2, count), dtype=np.uint64)
        keys = Keys(high, low, np.full(count, now_us, dtype=np.int64))
        self.index.loose.append(LooseRun(self._disk.write(sort([keys])), self._receipt.segment))
        self.index.refresh()
        self._receipt = Receipt(self._receipt.segment + 1)
        self.now_us = now_us
        self._tick(time.monotonic())
        return int(high[0]).to_bytes(8, "big") + int(low[0]).to_bytes(8, "big")

    def is_repeat(self, key: bytes) -> bool:
        """Ask for one key, waiting for the disk where it must."""
        return self.index.seen([key], self.now_us, waits=True) == [True]

    def go_on(self, keys: int, now_us: int, *, keeps_up: bool = True) -> None:
        """After so many claims: end segments, and every 50 ms what is due."""
        self.now_us = now_us
        self._in_segment += keys
        if self._in_segment >= _SEGMENT_KEYS:
            self._in_segment = 0
            self._receipt = Receipt(self._receipt.segment + 1)
        now_s = time.monotonic()
        if keeps_up and now_s - self._ticked_s >= _TICK_S:
            self._ticked_s = now_s
            self._tick(now_s)

    def _tick(self, now_s: float) -> None:
        while self._done:
            task, error = self._done.pop(0)
            if error is not None:
                raise error
            self._upkeep.done(task, error, now_s)
        complete = self._receipt.segment - 1
        self.index.turn(self.now_us, complete)
        for task in self._upkeep.due(self.now_us, now_s, complete):
            self._thread.put(task)

    def settle(self, seconds_max: float) -> None:
        """Write everything, and wait until no upkeep is due any more."""
        self.index.freeze(self._receipt.segment)
        self._receipt = Receipt(self._receipt.segment + 1)
        deadline_s = time.monotonic() + seconds_max
        while self.index.frozen or self.index.loose or not self._upkeep.is_idle:
            self._tick(time.monotonic())
            if time.monotonic() > deadline_s:
                raise TimeoutError("upkeep does not end")
            time.sleep(_TICK_S / 5)

    def close(self) -> None:
        """End the thread."""
        self._thread.finish()
        self._thread.join()


async def _warm(cold: ColdKeys) -> None:
    cold.load()


def random_keys(count: int) -> list[bytes]:
    """New keys, as hashes are."""
    data = os.urandom(count * KEY_BYTES)
    return [data[at : at + KEY_BYTES] for at in range(0, len(data), KEY_BYTES)]


def spent_us(work: Callable[[], object]) -> float:
    """How many microseconds `work` takes."""
    began_s = time.perf_counter()
    work()
    return (time.perf_counter() - began_s) * 1e6


def resident_mb(field: str = "VmRSS") -> float:
    """Megabytes (10^6 bytes) of this process in memory; "VmHWM": the most there ever were."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024 / 1e6
    raise AssertionError("Linux tells")
