"""What is in a data directory: how many files of each kind, and how large they are.

Reads names and sizes, no file. What changes meanwhile is told as it was before or as it is after.
"""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec

from storage import layout
from storage.deadline import Deadline


class Heap(msgspec.Struct):
    """Files of one kind."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One file more."""
        self.files += 1
        self.bytes += size


class Stock(msgspec.Struct):
    """Parts by date of receipt, in order; then everything that is not a table of events."""

    dates: dict[date, Heap]
    segments: Heap
    keys: Heap
    quarantine: Heap
    summaries: Heap

    @property
    def parts(self) -> Heap:
        """All parts together."""
        return Heap(
            sum(one.files for one in self.dates.values()),
            sum(one.bytes for one in self.dates.values()),
        )


def measure(directory: Path, deadline: Deadline) -> Stock:
    """Look into the folders of `directory`. Raises `TookTooLong`, and OSError but for what is gone.

    A part that a wider one covers, which is about to go, is not counted.
    """
    dates: dict[date, Heap] = {}
    for path, _ in sorted(_entries(directory / layout.EVENTS)):
        deadline.check()
        day = layout.maybe_partition(path.name)
        if day is None:
            continue
        sizes = {entry.name: size for entry, size in _entries(path)}
        heap = Heap()
        for part in layout.list_date(directory / layout.EVENTS, day):
            heap.add(sizes.get(part.file_name, 0))
        if heap.files:
            dates[day] = heap
    return Stock(
        dates=dates,
        segments=_heap(directory / layout.WAL, deadline),
        keys=_heap(directory / layout.KEYS, deadline),
        quarantine=_heap(directory / layout.QUARANTINE, deadline),
        summaries=_heap(directory / layout.SUMMARIES, deadline),
    )


def _heap(folder: Path, deadline: Deadline) -> Heap:
    found = Heap()
    folders = [folder]
    while folders:
        deadline.check()
        for path, size in _entries(folders.pop()):
            if path.is_dir():
                folders.append(path)
            else:
                found.add(size)
    return found


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    """What is in a folder, with its size in bytes; nothing where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield Path(entry.path), entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        return
