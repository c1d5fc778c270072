"""Summaries: what a part says, counted, kept beside it, so that no page counts its rows again.

`summaries/<format>/date=.../part-...parquet` belongs to the part of the same name below `events`,
`date=.../day-<digest>.parquet` to all parts of a closed date together. Rules:

1. A part never changes, so neither does what it says. A cache: any of it may be deleted at any
   time, and is made again.
2. A summary never outlives its part. It goes before the rows of a part do (`drop`, lasting); and
   what an interrupted start or joining left without a part goes at the next look (`tidy`).
3. Made and removed on the thread that works on parts, one after the other: none is made of a part
   that is on its way out.
4. Only parts with `bytes_min` have one, those of closed dates from a sixteenth of that on; the rows
   of the others are few enough to be counted.
5. That of a date has in its name which parts it is of; with other parts it counts for nothing.
   While it counts, those of its parts say nothing more, and go.
6. Hashes are in them, which DuckDB promises for one of its versions only; so the format has its
   version in its name, and those of others are removed.

What is in them is `panelviews`. Nobody's events one by one, but a number for each visitor and scan,
ids of users, and texts that clients sent: as much of a secret as the part beside it, and gone when
it is.
"""

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import Final, Protocol

from storage import layout, panelviews, parquet
from storage.errors import StorageError
from storage.files import Files
from storage.layout import Part
from storage.query import RowsSql
from storage.views import View

# About 5,000 rows.
BYTES_MIN: Final = 512 * 1024
FORMAT: Final = f"3-{parquet.VERSION}"
# Of a closed date, which is one file of a year.
_CLOSED_SHARE: Final = 16
# So many are made before others have their turn, of parts with so many bytes in all: about 10 s.
_AT_ONCE: Final = 4
_AT_ONCE_BYTES: Final = 128 * 1024 * 1024
# What making one may need on the disk, at most, as a share of its part.
_ROOM_SHARE: Final = 0.5


def folder_of(directory: Path) -> Path:
    """Where the summaries of a data directory are."""
    return directory / layout.SUMMARIES / FORMAT


def date_name(parts: Sequence[Part]) -> str:
    """The path of the summary of one date, all of whose live parts are `parts`."""
    names = "\n".join(part.file_name for part in sorted(parts))
    digest = hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
    return f"{layout.partition_name(parts[0].date)}/day-{digest}.parquet"


class Writer(Protocol):
    """Writes files."""

    def write(self, query: str, output: Path) -> None:
        """Write the rows of `query` to `output`. Raises `StorageError`, with nothing left."""


class Summaries:
    """Makes and removes them; from the thread that works on parts."""

    def __init__(
        self,
        directory: Path,
        files: Files,
        writer: Writer,
        *,
        bytes_min: int = BYTES_MIN,
        free_bytes_min: int = 0,
    ) -> None:
        self._folder = folder_of(directory)
        self._events = directory / layout.EVENTS
        self._temporary = directory / layout.TEMPORARY
        self._files = files
        self._writer = writer
        self._bytes_min = bytes_min
        self._free_bytes_min = free_bytes_min
        self.made = 0

    def drop(self, parts: Sequence[Part]) -> None:
        """Remove what says anything of `parts`, which are of one date; lasting. Raises OSError."""
        if parts:
            days = (self._folder / layout.partition_name(parts[0].date)).glob("day-*")
            self._remove([*days, *(self._folder / part.name for part in parts)])

    def tidy(self) -> None:
        """Remove what no live part and no present format needs; lasting. Raises OSError."""
        if not self._folder.parent.is_dir():
            return
        for path in sorted(self._folder.parent.iterdir()):
            if path.name != FORMAT:
                self._files.remove_folder(path)
        live: dict[date, list[Part]] = {}
        for part in layout.live_parts(layout.list_parts(self._events)):
            live.setdefault(part.date, []).append(part)
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            day = layout.maybe_partition(folder.name)
            if day in live:
                self._remove(self._strangers(live[day]))
            else:
                self._files.remove_folder(folder)
        self._files.sync_folder(self._folder.parent)
        if self._folder.is_dir():
            self._files.sync_folder(self._folder)

    def make_due(self, day: date, *, is_open: bool) -> bool | None:
        """Make some of what is missing of `day`, and remove what has no part any more.

        Returns whether there is more to do, None where the disk has no room for it. Raises
        `Interrupted`, `StorageError` or OSError; what was made until then stays.
        """
        live = layout.list_date(self._events, day)
        if not live:
            return False
        self._remove(self._strangers(live))
        if self._is_whole(live):
            return False
        bytes_min = self._bytes_min if is_open else self._bytes_min // _CLOSED_SHARE
        sized = [(self._path_size(part), part) for part in live]
        due = [
            (size, part)
            for size, part in sorted(sized, reverse=True)  # what helps most comes first
            if size >= bytes_min and not (self._folder / part.name).exists()
        ]
        now = _so_many(due)
        for size, part in now:
            if not self._has_room(size):
                return None
            self._make(panelviews.part_sql(self._events / part.name), self._folder / part.name)
        if now == due and len(live) > 1 and not is_open:
            self._make_whole(live)
        return now != due

    def _path_size(self, part: Part) -> int:
        return (self._events / part.name).stat().st_size

    def _make_whole(self, live: Sequence[Part]) -> None:
        """The summary of a closed date, if all its parts have one, instead of those."""
        target, paths = self._folder / date_name(live), [self._folder / p.name for p in live]
        if not all(path.exists() for path in paths):
            return
        if self._has_room(sum(path.stat().st_size for path in paths)):
            self._make(panelviews.date_sql(paths), target)
            self._remove(self._strangers(live))

    def _is_whole(self, live: Sequence[Part]) -> bool:
        """Whether there is one of all of them together; then none of each is needed."""
        return len(live) > 1 and (self._folder / date_name(live)).exists()

    def _strangers(self, live: Sequence[Part]) -> list[Path]:
        """What is there of the date of `live`, and not needed for them."""
        known = {date_name(live).rpartition("/")[2]}
        if not self._is_whole(live):
            known |= {part.file_name for part in live}
        folder = self._folder / layout.partition_name(live[0].date)
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if path.name not in known)

    def _make(self, query: str, target: Path) -> None:
        temporary = self._temporary / f"summary-{target.name}"
        self._files.remove(temporary)
        try:
            self._writer.write(query, temporary)
            self._files.publish(temporary, target)
        except (StorageError, OSError):
            self._files.remove(temporary)
            raise
        self.made += 1

    def _has_room(self, size: int) -> bool:
        left = self._files.free_bytes(self._temporary) - _ROOM_SHARE * size
        return left >= self._free_bytes_min

    def _remove(self, paths: Iterable[Path]) -> None:
        folders = set()
        for path in paths:
            if path.exists():
                self._files.remove(path)
                folders.add(path.parent)
        for folder in sorted(folders):
            self._files.sync_folder(folder)


def _so_many(due: list[tuple[int, Part]]) -> list[tuple[int, Part]]:
    """The first of these, as many as are made before others have their turn; one at least."""
    sizes = accumulate(size for size, _ in due[:_AT_ONCE])
    return due[: max(1, sum(size <= _AT_ONCE_BYTES for size in sizes))]


class SummaryViews:
    """The panel views of a session: summaries where there are, rows for the rest.

    See `query.MoreViews`. A summary that cannot be read is removed, and its rows are read.
    """

    def __init__(self, directory: Path, files: Files) -> None:
        self._folder = folder_of(directory)
        self._files = files
        self._there: set[str] = set()
        self._used: list[Path] = []

    def views(
        self, parts: Sequence[Part], logged: Collection[date], rows: RowsSql
    ) -> Sequence[View]:
        """The views, given the live parts, and the dates of which there are rows in the log."""
        there = self._there = self._found()
        by_date: dict[date, list[Part]] = {}
        for part in parts:
            by_date.setdefault(part.date, []).append(part)
        alone: list[str] = []
        others: list[str] = []
        rest: list[Part] = []
        for day, found in by_date.items():
            whole = found[0].name if len(found) == 1 else date_name(found)
            if whole in there:
                (others if day in logged else alone).append(whole)
                continue
            others += [part.name for part in found if part.name in there]
            rest += [part for part in found if part.name not in there]
        self._used = [self._folder / name for name in (*alone, *others)]
        return panelviews.panel_views(
            rows(rest), self._used[: len(alone)], self._used[len(alone) :]
        )

    def has_changed(self) -> bool:
        """Whether there are others than when the views were made."""
        return self._found() != self._there

    def is_stale(self) -> bool:
        """Whether one of those that the views are made of is gone or cannot be read."""
        if any(not path.exists() for path in self._used):
            return True
        bad = [path for path in self._used if not parquet.is_readable(path)]
        for path in bad:
            self._files.remove(path)
        return bool(bad)

    def _found(self) -> set[str]:
        """What there is, by date and name. A date may go while it is looked at."""
        found: set[str] = set()
        with contextlib.suppress(FileNotFoundError):
            for folder in self._folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    found.update(f"{folder.name}/{path.name}" for path in folder.iterdir())
        return found
