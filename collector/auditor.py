"""Reads what an audit compares, beside a running collector: the book's files, then the rows.

Takes no lock. The book is read first: rows that it counts stay where they are from then on, or
leave by a removal that is told; later ones are not held against it. Where the two disagree all is
read again, in case a removal or a join was under way between the two.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

from collector import audit
from collector.audit import Found, Line, Removed
from collector.book import DayFile, read_day
from storage import Deadline, Files, SmallFiles, StorageError, census, layout, removed_rows

_TRIES: Final = 4
_PAUSE_S: Final = 0.5


def examine(
    directory: Path,
    files: Files,
    *,
    wait: Callable[[float], object],
    since: date = date.min,
    deadline: Deadline | None = None,
) -> list[Line]:
    """The lines of an audit of `directory`. Raises `StorageError` or OSError.

    `wait` passes seconds before another look.
    Hours before `since` may be told in part, or not at all.
    """
    lines = _examine(directory, files, since, deadline)
    for _ in range(_TRIES - 1):
        if lines is not None and not any(line.difference for line in lines):
            break
        wait(_PAUSE_S)
        again = _examine(directory, files, since, deadline)
        lines = lines if again is None else again
    if lines is None:
        raise StorageError(f"{directory}: files kept changing while they were compared; ask again")
    return lines


def _examine(
    directory: Path, files: Files, since: date, deadline: Deadline | None
) -> list[Line] | None:
    """None: a file holds rows on both sides of the border, so the book has gone on meanwhile."""
    # A row of an hour is in the partition of that date, or of a later one; so is its count.
    days = [day for day in read_days(directory, files) if date.fromisoformat(day.date) >= since]
    borders = {date.fromisoformat(day.date): day.through for day in days}
    rows = census.take(
        directory, files, lambda day: borders.get(day, 0), since=since, deadline=deadline
    )
    if rows.straddling:
        return None
    found = [
        Found(one.site, one.protocol, one.hour_us, one.rows, is_counted)
        for side, is_counted in ((rows.before, True), (rows.behind, False))
        for one in side
    ]
    removed = [
        Removed(gone.of.site, gone.of.protocol, gone.of.hour_us, gone.of.rows, gone.reason)
        for gone in removed_rows(directory, files)
    ]
    return audit.reconcile(days, found, removed)


def read_days(directory: Path, files: Files) -> list[DayFile]:
    """The days of the book. Raises `StorageError` when one cannot be read."""
    folder = SmallFiles(directory / layout.AUDIT, files)
    days = []
    for name in folder.names():
        if name.startswith("damaged-"):
            continue
        data = folder.read(name)
        try:
            if data is not None:
                days.append(read_day(data))
        except ValueError as error:
            raise StorageError(f"{directory / layout.AUDIT / name}: {error}") from None
    return days
