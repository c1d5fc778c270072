"""Summaries: what a part says, counted, kept beside it, so that no page counts its rows again.

`summaries/<format>/date=.../part-...parquet` belongs to the part of the same name below `events`.
Rules:

1. A part never changes, so neither does what it says. A cache: any of it may be deleted at any
   time, and is made again.
2. A summary never outlives its part. It goes before the rows of a part do (`drop`, lasting); and
   what an interrupted start or joining left without a part goes at the next look (`tidy`).
3. Made and removed on the thread that works on parts, one after the other: none is made of a part
   that is on its way out.
4. Only parts with `bytes_min` have one; the rows of the others are few enough to be counted.
5. Hashes are in them, which DuckDB promises for one of its versions only; so the format has its
   version in its name, and those of others are removed.

What is in them is `panelviews`. No person's events, but a number for each visitor, and texts that
clients sent: as much of a secret as the part beside it, and gone when it is.
"""

from collections.abc import Iterable, Sequence
from datetime import date
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
FORMAT: Final = f"1-{parquet.VERSION}"
# What making one may need on the disk, at most, as a share of its part.
_ROOM_SHARE: Final = 0.5


def folder_of(directory: Path) -> Path:
    """Where the summaries of a data directory are."""
    return directory / layout.SUMMARIES / FORMAT


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
        """Remove those of `parts`, which may be of several dates; lasting. Raises OSError."""
        self._remove(part for part in parts if (self._folder / part.name).exists())

    def tidy(self) -> None:
        """Remove what no live part and no present format needs; lasting. Raises OSError."""
        if not self._folder.parent.is_dir():
            return
        for path in sorted(self._folder.parent.iterdir()):
            if path.name != FORMAT:
                self._files.remove_folder(path)
        live = set(layout.live_parts(layout.list_parts(self._events)))
        dates = {layout.partition_name(part.date) for part in live}
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if path.name not in dates:
                self._files.remove_folder(path)
        self._remove(sorted(set(layout.list_parts(self._folder)) - live))
        self._files.sync_folder(self._folder.parent)
        if self._folder.is_dir():
            self._files.sync_folder(self._folder)

    def make_due(self, day: date) -> None:
        """Make what is missing of `day`, and remove what has no part any more.

        Raises `Interrupted`, `StorageError` or OSError; what was made until then stays.
        """
        live = layout.list_date(self._events, day)
        there = set(layout.list_parts(self._folder, day))
        self._remove(sorted(there - set(live)))
        for part in live:
            if part not in there:
                size = (self._events / part.name).stat().st_size
                if size >= self._bytes_min and self._has_room(size):
                    self._make(part)

    def _make(self, part: Part) -> None:
        temporary = self._temporary / f"summary-{part.file_name}"
        self._files.remove(temporary)
        try:
            self._writer.write(panelviews.summary_sql(self._events / part.name), temporary)
            self._files.publish(temporary, self._folder / part.name)
        except (StorageError, OSError):
            self._files.remove(temporary)
            raise
        self.made += 1

    def _has_room(self, size: int) -> bool:
        left = self._files.free_bytes(self._temporary) - _ROOM_SHARE * size
        return left >= self._free_bytes_min

    def _remove(self, parts: Iterable[Part]) -> None:
        folders = set()
        for part in parts:
            self._files.remove(self._folder / part.name)
            folders.add((self._folder / part.name).parent)
        for folder in sorted(folders):
            self._files.sync_folder(folder)


class SummaryViews:
    """The panel views of a session: summaries where there are, rows for the rest.

    See `query.MoreViews`. A summary that cannot be read is removed, and its rows are read.
    """

    def __init__(self, directory: Path, files: Files) -> None:
        self._folder = folder_of(directory)
        self._files = files
        self._used: list[Path] = []

    def views(self, parts: Sequence[Part], rows: RowsSql) -> Sequence[View]:
        """The views, given the live parts."""
        there = set(layout.list_parts(self._folder))
        self._used = [self._folder / part.name for part in parts if part in there]
        return panelviews.panel_views(
            rows([part for part in parts if part not in there]), self._used
        )

    def is_stale(self) -> bool:
        """Whether one of those that the views are made of is gone or cannot be read."""
        if any(not path.exists() for path in self._used):
            return True
        bad = [path for path in self._used if not parquet.is_readable(path)]
        for path in bad:
            self._files.remove(path)
        return bool(bad)
