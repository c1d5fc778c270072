"""Claims by the million, without a collector: the key index, its files and its thread, and a clock
that runs as fast as the claims do.

What a claim costs is all that `collector/dedup.py` and the index do for it: look up, hold, settle.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from collector.dedup import Dedup
from storage import ColdKeys, Files, KeyIndex, Receipt, layout
from storage.keyindex import WINDOW_US
from storage.keyrecovery import open_index
from storage.keytasks import KeyFiles, Task
from storage.recovery import look
from storage.upkeep import KeyThread

KEY_BYTES: Final = 16
# Rows of one log file at the default size.
_SEGMENT_KEYS: Final = 80_000
# Upkeep is asked for every 50 ms; so many keys, at the most, come in between.
_TICK_S: Final = 0.05
# A key in so many is remembered, to be asked for again.
_SAMPLE: Final = 10_007


class Bench:
    """An index on a directory, with what a store does for it. Close it at the end."""

    def __init__(self, directory: Path, now_us: int, window_us: int = WINDOW_US) -> None:
        for name in layout.FOLDERS:
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.now_us = now_us
        self.index = KeyIndex(keys_max=2_000_000_000, window_us=window_us)
        self.disk = KeyFiles(directory, Files())
        found = look(directory)
        for name in found.temporaries:
            (directory / name).unlink()
        self.segment = max((run.last for run in found.runs), default=0)
        self._upkeep = open_index(
            self.index,
            self.disk,
            runs=found.runs,
            expired=found.expired,
            parts=[],
            logged=[],
            complete=self.segment,
            now_us=now_us,
        )
        self.segment += 1
        self._in_segment = 0
        self._dedup = Dedup(self.index, _warm)
        self._done: list[tuple[Task, Exception | None]] = []
        self._thread = KeyThread(self.disk, lambda task, error: self._done.append((task, error)))
        self._thread.start()
        self._ticked_s = 0.0
        self._commit = asyncio.Future(loop=_NoLoop())

    def claim(self, keys: list[bytes]) -> None:
        """Accept keys that are new, as one request."""
        found = self._find(keys)
        assert not any(found), "random keys are new"
        self._dedup.hold(keys, self._commit)
        self._dedup.settle(keys, self.now_us, Receipt(self.segment))

    def is_repeat(self, key: bytes) -> bool:
        """Ask for one key."""
        return self._find([key])[0]

    def _find(self, keys: list[bytes]) -> list[bool]:
        tries = 0
        while not isinstance(found := self._dedup.find(keys, self.now_us, tries), list):
            # The event loop would serve others meanwhile; here the wait counts in full.
            _run(found)
            tries += 1
        return found

    def go_on(self, keys: int, now_us: int) -> None:
        """After so many claims: end segments, do what a store does every 50 ms."""
        self.now_us = now_us
        self._in_segment += keys
        if self._in_segment >= _SEGMENT_KEYS:
            self._in_segment = 0
            self.segment += 1
        now_s = time.monotonic()
        if now_s - self._ticked_s >= _TICK_S:
            self._ticked_s = now_s
            self.tick(now_s)

    def tick(self, now_s: float) -> None:
        """Take in what was done, hand out what is due."""
        while self._done:
            task, error = self._done.pop(0)
            self._upkeep.done(task, error, now_s)
        self.index.turn(self.now_us, self.segment - 1)
        for task in self._upkeep.due(self.now_us, now_s, self.segment - 1):
            self._thread.put(task)

    def settle(self, seconds_max: float) -> float:
        """Until no upkeep is due any more; how long that took."""
        began_s = time.monotonic()
        self.index.freeze(self.segment)
        self.segment += 1
        while time.monotonic() - began_s < seconds_max:
            self.tick(time.monotonic())
            if self._upkeep.is_idle and not self.index.loose and not self.index.frozen:
                break
            time.sleep(0.01)
        return time.monotonic() - began_s

    def close(self) -> None:
        """End the thread."""
        self._thread.finish()
        self._thread.join()


class _NoLoop:
    """A future wants a loop; nobody waits for this one."""

    def get_debug(self) -> bool:
        """See asyncio."""
        return False


async def _warm(cold: ColdKeys) -> None:
    cold.load()


def _run(awaitable: object) -> None:
    try:
        awaitable.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return
    raise AssertionError("nothing else is awaited here")


def random_keys(count: int) -> list[bytes]:
    """New keys, as hashes are."""
    data = os.urandom(count * KEY_BYTES)
    return [data[at : at + KEY_BYTES] for at in range(0, len(data), KEY_BYTES)]


def batches(total: int, size: int, window_us: int, end_us: int) -> Iterator[tuple[list[bytes], int]]:
    """Batches of new keys and when they come, evenly over the window before `end_us`."""
    for done in range(0, total, size):
        yield random_keys(size), end_us - window_us + 1 + window_us * done // total


def sampled(keys: list[bytes], done: int) -> bytes | None:
    """One key of a batch now and then, to be asked for later."""
    return random.choice(keys) if done % _SAMPLE < len(keys) else None


def resident_mb(field: str = "VmRSS") -> float:
    """Megabytes that this process has in memory; "VmHWM": the most it ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise AssertionError("Linux tells")
