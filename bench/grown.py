"""Data directories as months of use leave them, made in a minute or two.

Keys are written as the runs that a collector ends up with: one for each quarter of the window.
Parts are real ones, made by the flusher: one for each day that is over, as joining leaves them,
and the others today, as they wait to be joined. Key runs cover all of their segments, so a start
reads runs and no rows.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from bench.rows import GROUP_ROWS, encoded_groups
from storage import Files, layout
from storage.datefolders import DateFolders
from storage.flusher import Flusher
from storage.keyindex import WINDOW_US
from storage.keymerge import sort
from storage.keyrun import Keys, Run, RunWriter
from storage.keytasks import KeyFiles
from storage.layout import KeyRun
from storage.wal import Wal

_ROWS_PER_PART: Final = 100
# Runs are joined by quarters of the window: keys of one quarter in two runs would be joined first.
_QUARTER_US: Final = WINDOW_US // 4
_PIECES: Final = 64


def make_parts(directory: Path, count: int, seed: int) -> int:
    """Make `count` parts, half of them today's; returns their rows."""
    files = Files()
    for name in layout.FOLDERS:
        files.make_folder(directory / name)
    flusher = Flusher(DateFolders(directory, files, time.monotonic), files)
    today = datetime.now(UTC).date()
    lines = _groups(seed)
    for number in range(1, count + 1):
        day = today - timedelta(days=max(0, count // 2 - number + 1))
        wal = Wal(
            directory / layout.WAL,
            files,
            next_number=number,
            latest_date=day,
            segment_bytes_max=1 << 40,
            durability="os",
        )
        wal.commit(day, next(lines), _ROWS_PER_PART)
        wal.seal()
        flusher.flush(wal.sealed[0])
    flusher.close()
    return count * _ROWS_PER_PART


def _groups(seed: int) -> Iterator[bytes]:
    """Encoded lines, as many as go into one part, without end."""
    while True:
        for lines, _ in encoded_groups(GROUP_ROWS, seed):
            whole = lines.splitlines(keepends=True)
            for at in range(0, len(whole), _ROWS_PER_PART):
                yield b"".join(whole[at : at + _ROWS_PER_PART])
        seed += 1


def make_keys(directory: Path, count: int, segments: int, now_us: int) -> None:
    """Make runs of `count` keys, accepted evenly over the 24 hours before `now_us`.

    They are those of the segments up to `segments`, of which there must be more than runs.
    """
    disk = KeyFiles(directory, Files())
    spans = list(quarters(now_us))
    done = 0
    for index, (start_us, end_us) in enumerate(spans):
        last = segments if index == len(spans) - 1 else segments * (index + 1) // len(spans)
        name = KeyRun(segments * index // len(spans) + 1, last)
        upto = count * (end_us - spans[0][0]) // WINDOW_US
        disk.publish(_written(directory, upto - done, (start_us, end_us)), name)
        done = upto


def quarters(now_us: int) -> Iterator[tuple[int, int]]:
    """The window before `now_us`, cut where quarters begin: starts and ends in microseconds."""
    start_us = now_us - WINDOW_US
    while start_us < now_us:
        end_us = min(now_us, (start_us // _QUARTER_US + 1) * _QUARTER_US)
        yield start_us, end_us
        start_us = end_us


def _written(directory: Path, count: int, span_us: tuple[int, int]) -> Run:
    """A run without a name, of random keys; made in their order, piece by piece."""
    files = Files()
    random = np.random.default_rng()
    writer = RunWriter(directory / layout.TEMPORARY / "grown.keys", files, count)
    width = (1 << 64) // _PIECES
    for piece in range(_PIECES):
        size = count * (piece + 1) // _PIECES - count * piece // _PIECES
        low_end, high_end = piece * width, (piece + 1) * width
        high = random.integers(low_end, high_end, size, dtype=np.uint64)
        low = random.integers(0, 1 << 64, size, dtype=np.uint64)
        writer.append(sort([Keys(high, low, random.integers(*span_us, size))]))
    writer.finish()
    writer.close()
    return Run(writer.path, files)
