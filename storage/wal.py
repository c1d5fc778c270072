"""The ordered sequence of segments: where the next group goes, and when a segment is full.

Knows files and their order; nothing of who waits for a group or of what becomes of a sealed
segment. Not thread-safe: one caller at a time.
"""

from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from storage import layout, segment
from storage.errors import DiskFull, SyncFailed
from storage.files import Files


class Sealed(msgspec.Struct, frozen=True):
    """A segment that will not grow any more.

    `group_bytes_max`: bytes of its largest group; no line is longer.
    """

    number: int
    date: date
    rows: int
    bytes: int
    group_bytes_max: int
    path: Path


class _Open:
    """The segment that is being written. `size` is the end of the last committed group."""

    __slots__ = (
        "date",
        "descriptor",
        "group_bytes_max",
        "is_named",
        "number",
        "path",
        "rows",
        "size",
    )

    def __init__(self, number: int, day: date, path: Path, descriptor: int) -> None:
        self.number = number
        self.date = day
        self.path = path
        self.descriptor = descriptor
        self.size = 0
        self.rows = 0
        self.group_bytes_max = 0
        self.is_named = False  # its name is on disk


class Wal:
    """Appends groups. `durability` "os" leaves out every sync.

    Dates never step back: a group of an earlier day goes where the latest group went.
    """

    def __init__(
        self,
        folder: Path,
        files: Files,
        *,
        next_number: int,
        latest_date: date,
        segment_bytes_max: int,
        durability: Literal["sync", "os"],
    ) -> None:
        self._folder = folder
        self._files = files
        self._next_number = next_number
        self._latest_date = latest_date
        self._segment_bytes_max = segment_bytes_max
        self._is_synced = durability == "sync"
        self._open: _Open | None = None
        self.sealed: list[Sealed] = []  # taken away by the owner

    @property
    def open_rows(self) -> int:
        """Rows in the segment being written."""
        return self._open.rows if self._open else 0

    @property
    def open_bytes(self) -> int:
        """Bytes in the segment being written."""
        return self._open.size if self._open else 0

    @property
    def complete(self) -> int:
        """Number of the newest segment that gets no more rows."""
        return (self._open.number if self._open else self._next_number) - 1

    def commit(self, day: date, lines: bytes, rows: int) -> int:
        """Write `lines` as one group and force it to disk; returns the segment's number.

        Raises `DiskFull` when nothing was written (the log is as before, the call may be repeated)
        and `SyncFailed` when nobody knows: then this object must not be used any more.
        """
        current = self._segment_for(day)
        body = lines
        if current.size == 0:
            body = segment.encode_header(current.number, current.date) + lines
        data = body + segment.encode_commit(body, rows)
        try:
            self._files.write(current.descriptor, data, current.size)
        except OSError as error:
            self._roll_back(current, error)
            raise DiskFull(f"{current.path}: {error.strerror}") from error
        self._sync(current)
        current.size += len(data)
        current.rows += rows
        current.group_bytes_max = max(current.group_bytes_max, len(data))
        return current.number

    def seal(self) -> None:
        """Close the segment being written and put it among `sealed`; without rows, go on with it.

        (Its first group failed. Removed, it might be brought back by a crash and look damaged,
        were there a later segment.)
        """
        current = self._open
        if current is None or not current.rows:
            return
        self._open = None
        self.sealed.append(
            Sealed(
                current.number,
                current.date,
                current.rows,
                current.size,
                current.group_bytes_max,
                current.path,
            )
        )
        self._files.close(current.descriptor)

    def close(self) -> None:
        """Seal; nothing may be written any more. A segment without rows is removed."""
        self.seal()
        current, self._open = self._open, None
        if current is not None:
            self._files.close(current.descriptor)
            with suppress(OSError):  # else the next start does
                self._files.remove(current.path)

    def _segment_for(self, day: date) -> _Open:
        self._latest_date = max(self._latest_date, day)
        current = self._open
        if (
            current is not None
            and current.date == self._latest_date
            and current.size < self._segment_bytes_max
        ):
            return current
        if current is not None and not current.size:
            current.date = self._latest_date  # nothing in it says otherwise yet
            return current
        path = self._folder / layout.segment_name(self._next_number)
        self.seal()
        try:
            descriptor = self._files.create(path)
        except OSError as error:
            raise DiskFull(f"{path}: {error.strerror}") from error
        self._open = _Open(self._next_number, self._latest_date, path, descriptor)
        self._next_number += 1
        return self._open

    def _sync(self, current: _Open) -> None:
        if not self._is_synced:
            return
        try:
            self._files.sync(current.descriptor)
            if not current.is_named:
                self._files.sync_folder(self._folder)
                current.is_named = True
        except OSError as error:
            raise SyncFailed(f"{current.path}: sync failed: {error.strerror}") from error

    def _roll_back(self, current: _Open, cause: OSError) -> None:
        try:
            self._files.truncate(current.descriptor, current.size)
            if self._is_synced:
                # A crash must not bring back what was cut off once there is a later segment.
                self._files.sync(current.descriptor)
        except OSError as error:
            raise SyncFailed(
                f"{current.path}: could not be cut back to {current.size} bytes "
                f"({error.strerror}) after a failed write ({cause.strerror})"
            ) from error
