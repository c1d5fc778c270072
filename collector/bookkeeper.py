"""Keeps the book of events in files of the data directory, one per UTC date, and reads it back.

Owns `data/audit`. A file is replaced whole, never written by two at once, at most once a second. At
start, rows that no file counts (a crash, a first start over rows of an older version, a file that
was removed or damaged) are counted from the rows.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final, Protocol

from collector.book import Book, DamagedDay, DayFile, RowCount, file_name, read_day
from storage import StorageError, census

_log: Final = logging.getLogger("collector")
# A border behind which nothing lies.
_EVERY_SEGMENT: Final = 2**63


class Folder(Protocol):
    """Small files of one folder, by name (`storage.SmallFiles`)."""

    def read(self, name: str) -> bytes | None:
        """The bytes kept under `name`, None when there are none. Raises OSError."""

    def write(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`, lasting on success. Raises OSError."""

    def move(self, name: str, other: str) -> None:
        """Give the file another name. Raises OSError."""


class BookKeeper:
    """The book, and its files.

    `count` counts the rows on disk that lie behind a border between segments (`census.take`).
    `in_thread` runs a function beside the event loop and waits for it (`asyncio.to_thread`).
    """

    def __init__(
        self,
        folder: Folder,
        *,
        count: Callable[[Callable[[date], int]], census.Census],
        in_thread: Callable[..., Awaitable[None]],
    ) -> None:
        self._folder = folder
        self._count = count
        self._in_thread = in_thread
        self.book = Book(self._read)
        self.failures = 0
        self._unreadable: set[date] = set()

    def load(self) -> None:
        """Count the rows that no file counts; to be called before there are new ones.

        Reads as many rows as were written since the last
        second before a crash. Rows that cannot be read are told, and stop no start.
        """
        borders: dict[date, int] = {}

        def border(day: date) -> int:
            if day not in borders:
                borders[day] = self._border(day)
            return borders[day]

        try:
            found = self._find(border, borders)
        except StorageError as error:
            _log.warning(
                "rows that the audit does not know yet cannot be counted, and will be a difference "
                "in it: %s",
                error,
            )
            return
        for day, newest in found.newest.items():
            if newest > borders[day]:
                rows = [_counted(one) for one in found.behind if one.date == day]
                self.book.found(rows, day, newest)
        self.book.complete(found.highest)

    def _border(self, day: date) -> int:
        """Up to which segment rows of a date are counted, or to be left alone."""
        try:
            kept = self._read(day)
        except OSError:
            self.book.leave_rows(day)
            return _EVERY_SEGMENT
        except DamagedDay:
            return 0
        return 0 if kept is None else kept.through

    def _find(self, border: Callable[[date], int], borders: dict[date, int]) -> census.Census:
        """The rows behind `border`, of which `borders` tells what it gave."""
        found = self._count(border)
        if found.straddling:
            for day in sorted({part.date for part in found.straddling}):
                _log.warning(
                    "audit/%s counts a part of the rows in a file of its date, and nothing tells "
                    "which; all rows of that date are counted anew",
                    file_name(day),
                )
                self.book.forget_rows(day)
                borders[day] = 0
            found = self._count(border)
        return found

    def _read(self, day: date) -> DayFile | None:
        """The file of a day. Raises OSError, told once until it can be read, and `DamagedDay`."""
        name = file_name(day)
        try:
            data = self._folder.read(name)
            found = None if data is None else read_day(data)
        except ValueError as error:
            self._set_aside(name, error)
            raise DamagedDay(name) from error
        except OSError as error:
            if day not in self._unreadable:
                self._unreadable.add(day)
                _log.warning(
                    "audit/%s cannot be read, and is not written until it can: %s",
                    *(name, error.strerror),
                )
            raise
        self._unreadable.discard(day)
        return found

    def _set_aside(self, name: str, error: ValueError) -> None:
        damaged = f"damaged-{name}"
        self._folder.move(name, damaged)
        _log.warning(
            "audit/%s is damaged and kept as audit/%s; its rows are counted again, now at a start "
            "and else at the next one, refusals of that day are lost: %s",
            *(name, damaged, error),
        )

    async def save(self) -> None:
        """Write the days that have changed; a failed write is told and tried next time.

        Waits for the disk, so the owner calls it again only when it has returned.
        """
        days, complete = self.book.dump()
        try:
            for day, data in sorted(days.items()):
                await self._in_thread(self._folder.write, file_name(day), data)
        except OSError as error:
            self.failures += 1
            self.book.not_kept(days)
            _log.warning("the audit could not be kept: %s", error.strerror)
        else:
            self.book.kept(complete)


def _counted(rows: census.FoundRows) -> RowCount:
    return RowCount(rows.site, rows.protocol, rows.hour_us, rows.is_duplicate, rows.rows)
