"""What file names mean: numbers, coverage, and which files are live. Reads folders, no file.

Names are the only state there is. Rules:

1. Segment n becomes part n-n; joining makes part a-b out of consecutive parts of one date.
2. A segment is done when a part of its date covers its number. A part is dead when a wider one of
   its date covers it, or one that is as wide and of a higher revision: the same part without rows
   that were removed on purpose.
3. The next segment number is one more than any number seen in the name of a segment, part or run.
4. One segment belongs to one UTC date; dates never step back as numbers grow.
"""

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final, TypeVar

import msgspec

WAL: Final = "wal"
EVENTS: Final = "events"
STATE: Final = "state"
# Files under construction live here, outside every glob over `events`.
TEMPORARY: Final = "tmp"
QUARANTINE: Final = "quarantine"
# Rows that were removed on purpose, counted: see `removals`.
REMOVED: Final = "removed"
# What commands ask of the running collector.
ORDERS: Final = "orders"
KEYS: Final = "keys"
AUDIT: Final = "audit"
# What parts say, counted: see `summaries`. May go at any time; made when the first of them is.
SUMMARIES: Final = "summaries"
# What people sent, in the clear: readable by the user and the group of the collector only.
PRIVATE: Final = frozenset({WAL, STATE, QUARANTINE, ORDERS})
FOLDERS: Final = (WAL, EVENTS, KEYS, STATE, TEMPORARY, QUARANTINE, REMOVED, ORDERS, AUDIT)
_DAY_US: Final = 24 * 3600 * 1_000_000
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
LOCK: Final = "lock"
VIEWS: Final = "views.sql"

_SEGMENT: Final = re.compile(r"(\d{12})\.ndjson")
_PART: Final = re.compile(r"part-(\d{12})-(\d{12})(?:-r([1-9]\d*))?\.parquet")
_PARTITION: Final = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
_RUN: Final = re.compile(r"run-(\d{12})-(\d{12})\.keys")
_EXPIRED: Final = re.compile(r"expired-(\d{12})")


class Part(msgspec.Struct, frozen=True, order=True):
    """One published file: it holds the rows of segments `first` to `last` of `date`.

    `revision` counts how often it was written anew without some of its rows.
    """

    date: date
    first: int
    last: int
    revision: int = 0

    @property
    def name(self) -> str:
        """Path below the events folder."""
        return f"{partition_name(self.date)}/{self.file_name}"

    @property
    def file_name(self) -> str:
        """Name within the folder of its date."""
        revision = f"-r{self.revision}" if self.revision else ""
        return f"part-{self.first:012d}-{self.last:012d}{revision}.parquet"

    def covers(self, other: "Part") -> bool:
        """Whether whatever counts of `other` is in here."""
        if self.date != other.date or other.first < self.first or self.last < other.last:
            return False
        is_wider = (self.first, self.last) != (other.first, other.last)
        return is_wider or self.revision >= other.revision


class KeyRun(msgspec.Struct, frozen=True, order=True):
    """One file of keys: it holds those of all rows of segments `first` to `last`."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """File name below the keys folder."""
        return f"run-{self.first:012d}-{self.last:012d}.keys"

    def covers(self, other: "KeyRun") -> bool:
        """Whether all keys of `other` are in here."""
        return self.first <= other.first and other.last <= self.last


_Range = TypeVar("_Range", Part, KeyRun)


def partition_name(day: date) -> str:
    """Name of the folder of `day` below the events folder."""
    return f"date={day.isoformat()}"


def maybe_partition(name: str) -> date | None:
    """The date of the folder called `name`, None when it is none of ours."""
    match = _PARTITION.fullmatch(name)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


def expired_name(last: int) -> str:
    """File name that says: all keys of the segments up to `last` are out of the window."""
    return f"expired-{last:012d}"


def maybe_run(name: str) -> KeyRun | None:
    """The run called `name`, None when it is no run's name."""
    match = _RUN.fullmatch(name)
    run = KeyRun(int(match[1]), int(match[2])) if match else None
    return run if run and run.first <= run.last else None


def maybe_expired(name: str) -> int | None:
    """The number in an `expired_name`, None when it is none."""
    match = _EXPIRED.fullmatch(name)
    return int(match[1]) if match else None


def segment_name(number: int) -> str:
    """File name of segment `number` below the wal folder."""
    return f"{number:012d}.ndjson"


def maybe_segment(name: str) -> int | None:
    """Number of the segment called `name`, None when it is no segment's name."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match else None


def maybe_part(path: str) -> Part | None:
    """The part at `path` (`date=.../part-...`, below the events folder), None if it is none."""
    folder, _, name = path.partition("/")
    day, part = maybe_partition(folder), _PART.fullmatch(name)
    if day is None or part is None:
        return None
    first, last = int(part[1]), int(part[2])
    return Part(day, first, last, int(part[3] or 0)) if first <= last else None


def live_parts(parts: Iterable[Part]) -> list[Part]:
    """The parts that no other part covers, by date and number."""
    return _not_covered(
        sorted(parts, key=lambda part: (part.date, part.first, -part.last, -part.revision))
    )


def live_runs(runs: Iterable[KeyRun]) -> list[KeyRun]:
    """The runs that no other run covers, by number."""
    return _not_covered(sorted(runs, key=lambda run: (run.first, -run.last)))


def _not_covered(ranges: Iterable[_Range]) -> list[_Range]:
    """Those that none before them covers; the widest come first among those that start alike."""
    live: list[_Range] = []
    for one in ranges:
        if not live or not live[-1].covers(one):
            live.append(one)
    return live


def is_covered(number: int, day: date, parts: Iterable[Part]) -> bool:
    """Whether segment `number` of `day` is already in one of `parts`."""
    segment = Part(day, number, number)
    return any(part.covers(segment) for part in parts)


def next_number(segments: Iterable[int], parts: Iterable[Part], keys: Iterable[int] = ()) -> int:
    """The number the next segment gets: above every number ever seen (rule 3).

    `keys`: numbers in the names of runs. Parts may have been moved away; were their numbers given
    again, the run that covers them would be taken to know the new rows.
    """
    return max([0, *segments, *(part.last for part in parts), *keys]) + 1


def list_parts(events: Path, day: date | None = None) -> list[Part]:
    """Parts found below `events`, dead ones included; foreign names are left out.

    `day`: those of one date only.
    """
    return _parts_in(events, partition_name(day) if day else "date=*")


def list_date(events: Path, day: date) -> list[Part]:
    """Live parts of one date, by number."""
    return live_parts(_parts_in(events, partition_name(day)))


def dead_parts(events: Path, day: date) -> list[Part]:
    """Parts of one date that others cover."""
    parts = _parts_in(events, partition_name(day))
    live = set(live_parts(parts))
    return [part for part in parts if part not in live]


def _parts_in(events: Path, folders: str) -> list[Part]:
    """Parts in the folders of `events` whose names the pattern `folders` fits."""
    paths = events.glob(f"{folders}/part-*.parquet")
    found = (maybe_part(f"{path.parent.name}/{path.name}") for path in paths)
    return [part for part in found if part is not None]


def list_segments(wal: Path) -> list[int]:
    """Numbers of the segments found in `wal`, ascending."""
    found = (maybe_segment(p.name) for p in wal.iterdir()) if wal.is_dir() else ()
    return sorted(number for number in found if number is not None)


def day_of(time_us: int) -> date:
    """The UTC date of a time in microseconds since the epoch."""
    return date.fromordinal(_EPOCH_ORDINAL + time_us // _DAY_US)
