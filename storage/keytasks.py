"""Tasks that keep the key index small and lasting; which of them is due is told by `keyupkeep`.

A task works on files alone, so it may run on any thread, in steps between which something more
urgent can be done; its `finish` changes the index and runs where the index lives. Rules:

1. A run gets its name only when the rows of its segments are in published parts: after a crash no
   key may be known whose row is not.
2. What a run replaces is removed after the run is lasting.
3. A task that failed has changed nothing that is asked, and can be tried again.
"""

import logging
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from storage import keymerge, layout, parquet
from storage.errors import DiskFull
from storage.files import Files
from storage.keyindex import Generation, KeyIndex, LooseRun, PublishedRun
from storage.keyrun import DamagedRun, Keys, Run, RunWriter, split
from storage.layout import KeyRun

_log: Final = logging.getLogger("collector.storage")
# So many entries are copied or freed without letting go of the interpreter's lock: 0.1 ms.
_ENTRIES_AT_ONCE: Final = 2_048
# Keys from rows are sorted so many at a time.
SORTED_AT_ONCE: Final = 1_000_000

Steps = Generator[None, None, None]
Garbage = list[dict[bytes, int] | Run]


class KeyFiles:
    """The folders of one data directory that tasks work in."""

    def __init__(self, directory: Path, files: Files, *, free_bytes_min: int = 0) -> None:
        self.files = files
        self._free_bytes_min = free_bytes_min
        self.folder = directory / layout.KEYS
        self.events = directory / layout.EVENTS
        self._temporary = directory / layout.TEMPORARY
        self._numbers = count(1)

    def write(self, keys: Keys) -> Run:
        """A run without a name, of sorted keys."""
        with self._writer(len(keys.high)) as writer:
            writer.append(keys)
            writer.finish()
        return self._open(writer.path)

    def merge(self, runs: Sequence[Run]) -> Generator[None, None, Run]:
        """A run without a name, of the keys of others; in steps. Raises `DiskFull`."""
        left = self.files.free_bytes(self._temporary) - sum(run.bytes for run in runs)
        if left < self._free_bytes_min:
            # Begun, it would have events refused for want of room, and end without a result.
            raise DiskFull("there is not enough room to join runs")
        with self._writer(sum(run.keys for run in runs)) as writer:
            yield from keymerge.merge(runs, writer)
        return self._open(writer.path)

    def publish(self, run: Run, name: KeyRun) -> None:
        """Force a run to disk and give it its name; whoever has it open goes on reading it.

        After a failure it has none, and must be written anew: what is on disk is not known.
        """
        final = self.folder / name.name
        try:
            self.files.publish(run.path, final)
        except OSError:
            self.files.remove(run.path)
            raise
        run.path = final

    def _open(self, path: Path) -> Run:
        try:
            return Run(path, self.files)
        except DamagedRun:
            self.files.remove(path)
            raise

    @contextmanager
    def _writer(self, keys_max: int) -> Iterator[RunWriter]:
        """A writer whose file goes when it does not come to its end."""
        path = self._temporary / f"keys-{next(self._numbers)}.keys"
        writer = RunWriter(path, self.files, keys_max)
        try:
            yield writer
        finally:
            if not writer.close():
                self.files.remove(path)

    def from_rows(self, name: KeyRun, since_us: int) -> Generator[None, None, Run]:
        """A run without a name, of the keys of the rows of `name` in parts; in steps."""
        parts = layout.live_parts(layout.list_parts(self.events))
        since = layout.day_of(since_us)
        paths = [
            self.events / part.name
            for part in parts
            if part.first <= name.last and name.first <= part.last and part.date >= since
        ]
        runs: list[Run] = []
        try:
            yield from self._sort(parquet.recent_keys(paths, since_us), runs)
            run = runs.pop() if len(runs) == 1 else (yield from self.merge(runs))
        finally:
            self.remove(runs)
        return run

    def _sort(self, pieces: Iterable[Keys], runs: list[Run]) -> Steps:
        """Add to `runs` what holds the keys of `pieces`, which are in any order; in steps."""
        held: list[Keys] = []
        for piece in pieces:
            held.append(piece)
            if sum(len(keys.high) for keys in held) >= SORTED_AT_ONCE:
                runs.append(self.write(keymerge.sort(held)))
                held = []
            yield
        if held:
            runs.append(self.write(keymerge.sort(held)))

    def remove(self, runs: Iterable[Run]) -> None:
        """Remove the files of runs; whoever has them open goes on reading them."""
        for run in runs:
            self.files.remove(run.path)


class Task(Protocol):
    """A piece of upkeep. `is_urgent`: it interrupts one that is not."""

    is_urgent: bool

    def steps(self, disk: KeyFiles) -> Steps:
        """The work, on any thread. Raises `StorageError` or OSError."""

    def finish(self, index: KeyIndex) -> Garbage:
        """Let the index know, where it lives; returns what nobody needs any more, for `Release`."""


class Seal:
    """Write a generation."""

    is_urgent = True

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._run: Run | None = None

    def steps(self, disk: KeyFiles) -> Steps:
        """See Task."""
        keys, values = iter(self._generation.table), iter(self._generation.table.values())
        pieces: list[bytes] = []
        times = array("q")
        while piece := b"".join(islice(keys, _ENTRIES_AT_ONCE)):
            pieces.append(piece)
            times.extend(islice(values, _ENTRIES_AT_ONCE))
            yield
        high, low = split(b"".join(pieces))
        sorted_ = keymerge.sort([Keys(high, low, np.frombuffer(times, dtype=np.int64))])
        self._run = disk.write(sorted_)

    def finish(self, index: KeyIndex) -> Garbage:
        """See Task."""
        assert self._run is not None, "steps went before"
        assert index.frozen[0] is self._generation, "generations are written in their order"
        index.loose.append(LooseRun(self._run, self._generation.last))
        del index.frozen[0]
        index.refresh()
        return [self._generation.table]


class Release:
    """Give memory and files back: tables in pieces, and runs by closing them.

    Where the index lives either would be a pause: the last one to close a file that was removed
    waits until the system has given its blocks back.
    """

    is_urgent = True

    def __init__(self, garbage: Garbage) -> None:
        self._garbage = garbage

    def steps(self, disk: KeyFiles) -> Steps:
        """See Task."""
        del disk
        while self._garbage:
            one = self._garbage.pop()
            while isinstance(one, dict) and one:
                for key in list(islice(one, _ENTRIES_AT_ONCE)):
                    del one[key]
                yield
            del one
            yield

    def finish(self, index: KeyIndex) -> Garbage:
        """See Task."""
        del index
        return []


class Publish:
    """Give loose runs their name, as one. `rewrites`: do not trust that they reach the disk."""

    is_urgent = False

    def __init__(self, loose: list[LooseRun], name: KeyRun, since_us: int, rewrites: bool) -> None:
        self._loose = loose
        self._name = name
        self._since_us = since_us
        self._rewrites = rewrites
        self._run: Run | None = None

    def steps(self, disk: KeyFiles) -> Steps:
        """See Task."""
        runs = [one.run for one in self._loose]
        if any(run.is_damaged for run in runs):
            run = yield from disk.from_rows(self._name, self._since_us)
        elif len(runs) > 1 or self._rewrites:
            run = yield from disk.merge(runs)
        else:
            run = runs[0]
        disk.publish(run, self._name)
        disk.remove(one for one in runs if one is not run)
        self._run = run

    def finish(self, index: KeyIndex) -> Garbage:
        """See Task."""
        assert self._run is not None, "steps went before"
        del index.loose[: len(self._loose)]
        index.published.append(PublishedRun(self._name, self._run))
        index.refresh()
        loose, self._loose = self._loose, []
        return [one.run for one in loose]


class Join:
    """Make neighbours one run."""

    is_urgent = False

    def __init__(self, group: list[PublishedRun]) -> None:
        self._group = group
        self._name = KeyRun(group[0].name.first, group[-1].name.last)
        self._run: Run | None = None

    def steps(self, disk: KeyFiles) -> Steps:
        """See Task."""
        runs = [one.run for one in self._group]
        run = yield from disk.merge(runs)
        disk.publish(run, self._name)
        disk.remove(runs)
        self._run = run

    def finish(self, index: KeyIndex) -> Garbage:
        """See Task."""
        assert self._run is not None, "steps went before"
        group, self._group = self._group, []
        start = index.published.index(group[0])
        joined = PublishedRun(self._name, self._run)
        index.published[start : start + len(group)] = [joined]
        index.refresh()
        return [one.run for one in group]


class Gather:
    """Make loose neighbours one loose run."""

    is_urgent = False

    def __init__(self, group: list[LooseRun]) -> None:
        self._group = group
        self._run: Run | None = None

    def steps(self, disk: KeyFiles) -> Steps:
        """See Task."""
        runs = [one.run for one in self._group]
        self._run = yield from disk.merge(runs)
        disk.remove(runs)

    def finish(self, index: KeyIndex) -> Garbage:
        """See Task."""
        assert self._run is not None, "steps went before"
        group, self._group = self._group, []
        start = next(at for at, one in enumerate(index.loose) if one is group[0])
        index.loose[start : start + len(group)] = [LooseRun(self._run, group[-1].last)]
        index.refresh()
        return [one.run for one in group]


class Rebuild:
    """Make a damaged run again, from the rows."""

    is_urgent = False

    def __init__(self, damaged: PublishedRun, since_us: int) -> None:
        self._damaged = damaged
        self._since_us = since_us
        self._run: Run | None = None

    def steps(self, disk: KeyFiles) -> Steps:
        """See Task."""
        run = yield from disk.from_rows(self._damaged.name, self._since_us)
        disk.publish(run, self._damaged.name)
        self._run = run

    def finish(self, index: KeyIndex) -> Garbage:
        """See Task."""
        assert self._run is not None, "steps went before"
        damaged = self._damaged
        place = index.published.index(damaged)
        index.published[place] = PublishedRun(damaged.name, self._run)
        index.refresh()
        _log.warning("%s was damaged and has been made again from the rows", self._run.path)
        return [damaged.run]


class Drop:
    """Forget whole runs. `expired`: all keys of the segments up to it are out of the window.

    `is_early`: that is said of keys which are in the window, because there are too many.
    """

    is_urgent = False

    def __init__(self, dropped: list[PublishedRun], expired: int, *, is_early: bool) -> None:
        self._dropped = dropped
        self._expired = expired
        self._is_early = is_early

    def steps(self, disk: KeyFiles) -> Steps:
        """See Task."""
        if self._expired:
            name = layout.expired_name(self._expired)
            disk.files.replace(disk.folder / name, b"")
            for path in disk.folder.glob("expired-*"):
                mark = layout.maybe_expired(path.name)
                if mark is not None and mark < self._expired:
                    disk.files.remove(path)
        yield
        disk.remove(one.run for one in self._dropped)

    def finish(self, index: KeyIndex) -> Garbage:
        """See Task."""
        dropped, self._dropped = self._dropped, []
        index.published = [one for one in index.published if one not in dropped]
        index.refresh()
        if self._is_early:
            if not index.forgotten:
                _log.warning(
                    "more than keys_max keys within 24 hours: the oldest are forgotten and repeats "
                    "of their events no longer recognised; collector_keys_forgotten_total counts"
                )
            index.forgotten += sum(one.run.keys for one in dropped)
        return [one.run for one in dropped]
