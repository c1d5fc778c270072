"""A key index under test: real files, rows that are a list, and work that is done when asked."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from storage import KeyIndex, keyrecovery, layout, recovery
from storage.errors import StorageError
from storage.keyindex import ColdKeys, KeysDamaged
from storage.keyrun import Keys, Run, RunWriter, split
from storage.keytasks import KeyFiles
from storage.layout import Part
from tests.support.files import FaultyFiles
from tests.support.rows import NOW_US


def spread(number: int) -> bytes:
    """A key whose bytes look like those of a hash, always the same for a number."""
    return random.Random(number).randbytes(16)


def keys_of(pairs: Sequence[tuple[bytes, int]]) -> Keys:
    """Keys with their times as arrays, in the order given."""
    high, low = split(b"".join(key for key, _ in pairs))
    return Keys(high, low, np.array([time_us for _, time_us in pairs], dtype=np.int64))


def pairs_of(keys: Keys) -> list[tuple[bytes, int]]:
    """The opposite of `keys_of`."""
    columns = zip(keys.high.tolist(), keys.low.tolist(), keys.times.tolist(), strict=True)
    return [(high.to_bytes(8, "big") + low.to_bytes(8, "big"), t) for high, low, t in columns]


def write_run(path: Path, files: FaultyFiles, pairs: Sequence[tuple[bytes, int]]) -> Run:
    """A run of `pairs`, which may be in any order."""
    writer = RunWriter(path, files, len(pairs))
    writer.append(keys_of(sorted(pairs)))
    writer.finish()
    assert writer.close()
    return Run(path, files)


class KeyHarness:
    """Claims keys as the collector does, segment by segment, and crashes at will.

    `rows` stands for what is in log and parts: segment, key and time of each accepted event.
    Parts are empty files with the right names; their keys come out of `rows`.
    """

    def __init__(self, directory: Path, seed: int = 0, keys_max: int = 10**9) -> None:
        self.directory = directory
        self.files = FaultyFiles(seed, directory)
        self.keys_max = keys_max
        self.now_us = NOW_US
        self.rows: list[tuple[int, bytes, int]] = []
        self.segment = 1
        self.in_parts = 0
        self.now_s = 0.0
        for name in layout.FOLDERS:
            (directory / name).mkdir(parents=True)
        self.files.adopt()
        keyrecovery.parquet.recent_keys = self._recent_keys  # the same module everywhere
        self.open()

    def open(self) -> None:
        """Start, with what the files and the rows say."""
        found = recovery.look(self.directory)
        for name in found.temporaries:
            self.files.remove(self.directory / name)
        self.index = KeyIndex(keys_max=self.keys_max)
        self.disk = KeyFiles(self.directory, self.files)
        logged = [(key, t) for number, key, t in self.rows if number > self.in_parts]
        self.upkeep = keyrecovery.open_index(
            self.index,
            self.disk,
            runs=found.runs,
            expired=found.expired,
            parts=layout.live_parts(found.parts),
            logged=[keys_of(logged)],
            complete=self.segment,
            now_us=self.now_us,
        )
        self.segment += 1

    def claim(self, keys: Sequence[bytes]) -> list[bool]:
        """Look up, accept what is new; the verdicts."""
        verdicts = self.seen(keys)
        new = [key for key, is_seen in zip(keys, verdicts, strict=True) if not is_seen]
        self.rows += [(self.segment, key, self.now_us) for key in new]
        self.index.add(new, self.now_us, self.segment)
        return verdicts

    def seen(self, keys: Sequence[bytes]) -> list[bool]:
        """Look up, as often as it takes: what is cold is read, what is damaged made again."""
        for _ in range(20):
            try:
                seen = self.index.seen(keys, self.now_us)
            except KeysDamaged:
                self.work()
            else:
                if not isinstance(seen, ColdKeys):
                    return seen
                seen.load()
        raise AssertionError("no answer, however often asked")

    def end_segment(self) -> None:
        """The next rows go into another segment."""
        self.segment += 1

    def flush(self) -> None:
        """All ended segments are in parts."""
        for number in range(self.in_parts + 1, self.segment):
            day = layout.day_of(self.now_us)  # no row of a part is of a later day
            path = self.directory / layout.EVENTS / Part(day, number, number).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self.files.adopt_one(path)
        self.in_parts = self.segment - 1

    def work(self, steps_max: int = 10**9) -> None:
        """Do what is due, until nothing is, something failed, or so many steps were done."""
        self.index.turn(self.now_us, self.segment - 1)
        self.now_s = max(self.now_s, (self.now_us - NOW_US) / 1e6)
        has_failed = False
        while not has_failed and (tasks := self.upkeep.due(self.now_us, self.now_s, self.in_parts)):
            for task in tasks:
                error = None
                try:
                    for _ in task.steps(self.disk):
                        steps_max -= 1
                        if steps_max < 0:
                            return
                except (StorageError, OSError) as failure:
                    error = failure
                self.upkeep.done(task, error, self.now_s)
                has_failed = has_failed or error is not None
        self.now_s += 60 * has_failed  # as long as any pause before the next try

    def kill(self) -> None:
        """The process ends; the machine goes on."""
        self.files.close_all()
        self.open()

    def crash(self) -> None:
        """Lose power and start again."""
        self.files.crash()
        self.open()

    def runs(self) -> list[Path]:
        """Published files."""
        return sorted((self.directory / layout.KEYS).glob("run-*"))

    def _recent_keys(self, paths: Sequence[Path], since_us: int) -> Iterator[Keys]:
        names = [layout.maybe_part(f"{path.parent.name}/{path.name}") for path in paths]
        numbers = {n for part in names if part for n in range(part.first, part.last + 1)}
        yield keys_of([(k, t) for n, k, t in self.rows if n in numbers and t > since_us])


__all__ = ["KeyHarness", "keys_of", "pairs_of", "spread", "write_run"]
