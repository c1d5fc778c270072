"""What is done to published parts: joining, retention, erasure. Each changes a date in one step.

Rules:

1. Only parts up to a number that the caller vouches for are touched: the segments of all of them
   are gone, and what they hold is counted. So no flush ever looks for a part that was joined.
2. Rows go in the order: count them, note the count (`removals`), exchange the folder. Interrupted
   anywhere, the same work done again ends in the same state.
3. A part whose last row goes stays, empty: names are what the next number is made from.
4. Work that fails leaves its date as it was; other dates are not held up by it.
5. The summary of a part goes before the part does, whatever for.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from storage import joining, layout, partlayout, removals, summaries
from storage.compactor import Compactor
from storage.datefolders import DateFolders
from storage.errors import CompactionFailed, DiskFull, Interrupted, StorageError
from storage.files import Files
from storage.joining import Sized
from storage.layout import Part
from storage.removals import Reason, Rows
from storage.summaries import Summaries

_log: Final = logging.getLogger("collector.storage")
_T = TypeVar("_T")
# Called with what is done, of how much, and a word on it.
Tell = Callable[[int, int, str], None]
# Sorting needs room for rows as they are in memory, about so many times their size in Parquet.
_ROOM_FACTOR: Final = 12


def tell_nobody(_done: int, _total: int, _word: str) -> None:
    """For work that nobody watches."""


class Joined(msgspec.Struct, frozen=True):
    """What joining did to one date."""

    date: date
    parts_before: int
    parts_after: int
    bytes_before: int
    bytes_after: int
    rows: int


class Cut(msgspec.Struct, frozen=True):
    """Rows that were removed from one part, or would be."""

    part: Part
    rows: int
    of: list[Rows]


def on_each(
    days: Sequence[date], work: Callable[[date], _T | None], tell: Tell = tell_nobody
) -> tuple[list[_T], dict[date, str]]:
    """What `work` gives for each date, without None; and why it could not be done for others.

    Raises `Interrupted` at once.
    """
    done: list[_T] = []
    failures: dict[date, str] = {}
    for index, day in enumerate(days):
        tell(index, len(days), str(day))
        try:
            one = work(day)
        except Interrupted:
            raise
        except (StorageError, OSError) as error:
            failures[day] = str(error)
        else:
            done += [] if one is None else [one]
    return done, failures


def raise_for(failures: Mapping[date, str]) -> None:
    """Raise `CompactionFailed` if there is any; for work whose other dates are done."""
    if failures:
        told = "; ".join(f"{day}: {reason}" for day, reason in sorted(failures.items()))
        raise CompactionFailed(f"{len(failures)} date(s) could not be worked on: {told}")


class PartWork:
    """Work on the parts of one data directory; from one thread."""

    def __init__(
        self,
        directory: Path,
        files: Files,
        folders: DateFolders,
        *,
        free_bytes_min: int = 0,
        summary_bytes_min: int = summaries.BYTES_MIN,
    ) -> None:
        self.directory = directory
        self.files = files
        self._folders = folders
        self._free_bytes_min = free_bytes_min
        spill = folders.temporary / "spill"
        self.compactor = Compactor(folders.events, spill, files)
        self._summaries = Summaries(
            directory,
            files,
            self.compactor,
            bytes_min=summary_bytes_min,
            free_bytes_min=free_bytes_min,
        )

    def dates(self) -> list[date]:
        """The dates that have a folder, oldest first."""
        found = (layout.maybe_partition(path.name) for path in self._folders.events.iterdir())
        return sorted(day for day in found if day is not None)

    def parts(self, day: date, limit: int) -> list[Part]:
        """The live parts of `day` up to segment `limit`, by number."""
        listed = layout.list_date(self._folders.events, day)
        return [part for part in listed if part.last <= limit]

    def clear(self) -> float:
        """Remove files that were replaced; seconds until the rest may go, 0 if there is none."""
        return self._folders.clear()

    def is_behind(self, day: date, limit: int) -> bool:
        """Whether `day` has parts above `limit`."""
        return any(part.last > limit for part in layout.list_date(self._folders.events, day))

    def rows(self, parts: Sequence[Part]) -> int:
        """How many rows `parts` have. Raises `StorageError`."""
        return self.compactor.rows([self._folders.path(part) for part in parts])

    # --- summaries

    def summarise(self, day: date, *, is_open: bool) -> bool | None:
        """Make summaries that are missing of `day`; what fails is told and left.

        Returns whether there are more to make, None where that is for later.
        """
        try:
            return self._summaries.make_due(day, is_open=is_open)
        except Interrupted:
            return False  # whoever comes next is told
        except (StorageError, OSError) as error:
            _log.warning("%s: a summary could not be made: %s", day, error)
            return None

    def tidy(self) -> None:
        """Remove summaries without a part, once at the start; what fails is told and left."""
        try:
            self._summaries.tidy()
        except OSError as error:
            _log.warning("summaries: %s", error)

    # --- joining

    def join(self, day: date, *, is_open: bool, limit: int, parts_min: int) -> Joined | None:
        """Join what is due of `day`; None when nothing is.

        Raises `StorageError` or OSError, with the date as it was.
        """
        self._folders.remove_dead(day)
        sized = [
            Sized(part, self._folders.path(part).stat().st_size) for part in self.parts(day, limit)
        ]
        groups = joining.due(
            sized,
            is_open=is_open,
            parts_min=parts_min,
            bytes_max=partlayout.PART_BYTES_MAX,
        )
        if not groups:
            return None
        gone = [one for group in groups for one in group]
        rows = 0
        with self._unfinished() as new:
            for group in groups:
                self._need_room(sum(one.bytes for one in group))
                part = joining.whole(group)
                output = self._folders.scratch(part.file_name)
                new.append((output, part))
                rows += self.compactor.join([one.part for one in group], output)
            bytes_after = sum(path.stat().st_size for path, _ in new)
            removals.forget(self.directory, self.files, day)
            self._replace(day, [one.part for one in gone], new)
        return Joined(
            date=day,
            parts_before=len(gone),
            parts_after=len(new),
            bytes_before=sum(one.bytes for one in gone),
            bytes_after=bytes_after,
            rows=rows,
        )

    def _need_room(self, size: int) -> None:
        left = self.files.free_bytes(self._folders.temporary) - _ROOM_FACTOR * size
        if left < self._free_bytes_min:
            raise DiskFull("there is not enough room on the disk to join parts")

    @contextmanager
    def _unfinished(self) -> Iterator[list[tuple[Path, Part]]]:
        """A list of files under construction, and of what each is to be; they go at the end."""
        new: list[tuple[Path, Part]] = []
        try:
            yield new
        finally:
            for path, _ in new:
                self.files.remove(path)

    # --- removing rows

    def matching(self, condition: str, day: date, limit: int) -> list[Cut]:
        """The parts of `day` with rows that meet `condition`, an SQL expression; no others.

        Raises `StorageError` or OSError.
        """
        self._folders.remove_dead(day)
        counts = self.compactor.count(self.parts(day, limit), condition)
        return [Cut(part, sum(one.rows for one in of), of) for part, of in sorted(counts.items())]

    def cut(self, day: date, cuts: Sequence[Cut], condition: str, reason: Reason) -> None:
        """Write `cuts`, all of them parts of `day`, anew without the rows that meet `condition`.

        Raises `StorageError` or OSError, with the date as it was.
        """
        with self._unfinished() as new:
            for cut in cuts:
                part = cut.part
                revised = Part(part.date, part.first, part.last, part.revision + 1)
                output = self._folders.scratch(revised.file_name)
                new.append((output, revised))
                self.compactor.without(self._folders.path(part), condition, cut.rows, output)
            self._note(day, reason, {cut.part: cut.of for cut in cuts})
            self._replace(day, [cut.part for cut in cuts], new)

    def retire(self, day: date, cuts: Sequence[Cut], parts: Sequence[Part]) -> bool:
        """Remove all of `day`, that is `parts`, whose rows are counted by `cuts`.

        False, and nothing done, when its folder has something else in it. Raises `StorageError` or
        OSError.
        """
        self._note(day, "expired", {cut.part: cut.of for cut in cuts})
        self._summaries.drop(parts)
        return self._folders.retire(day, parts)

    def _replace(self, day: date, gone: Sequence[Part], new: Sequence[tuple[Path, Part]]) -> None:
        # Of the new ones there may be some from a try whose exchange did not outlast a crash.
        self._summaries.drop([*gone, *(part for _, part in new)])
        self._folders.replace(day, gone, new)

    def _note(self, day: date, reason: Reason, rows: Mapping[Part, list[Rows]]) -> None:
        removals.remember(self.directory, self.files, day, reason, rows)
