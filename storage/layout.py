"""What file names mean: numbers, coverage, and which files are live. Reads folders, no file.

Names are the only state there is. Rules:

1. Segment n becomes part n-n; joining makes part a-b out of consecutive parts of one date.
2. A segment is done when a part of its date covers its number. A part is dead when a wider part of
   its date covers it.
3. The next segment number is one more than any number seen in a segment or part name.
4. One segment belongs to one UTC date; dates never step back as numbers grow.
"""

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

WAL: Final = "wal"
EVENTS: Final = "events"
STATE: Final = "state"
# Files under construction live here, outside every glob over `events`.
TEMPORARY: Final = "tmp"
QUARANTINE: Final = "quarantine"
FOLDERS: Final = (WAL, EVENTS, STATE, TEMPORARY, QUARANTINE)
LOCK: Final = "lock"
VIEWS: Final = "views.sql"

_SEGMENT: Final = re.compile(r"(\d{12})\.ndjson")
_PART: Final = re.compile(r"part-(\d{12})-(\d{12})\.parquet")
_PARTITION: Final = re.compile(r"date=(\d{4}-\d{2}-\d{2})")


class Part(msgspec.Struct, frozen=True, order=True):
    """One published file: it holds the rows of segments `first` to `last` of `date`."""

    date: date
    first: int
    last: int

    @property
    def name(self) -> str:
        """Path below the events folder."""
        return f"date={self.date.isoformat()}/part-{self.first:012d}-{self.last:012d}.parquet"

    def covers(self, other: "Part") -> bool:
        """Whether all rows of `other` are in here."""
        return self.date == other.date and self.first <= other.first and other.last <= self.last


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
    partition, part = _PARTITION.fullmatch(folder), _PART.fullmatch(name)
    if partition is None or part is None:
        return None
    try:
        day = date.fromisoformat(partition[1])
    except ValueError:
        return None
    first, last = int(part[1]), int(part[2])
    return Part(day, first, last) if first <= last else None


def live_parts(parts: Iterable[Part]) -> list[Part]:
    """The parts that no other part covers, by date and number."""
    live: list[Part] = []
    # Widest first among those that start alike, so that whatever covers a part comes before it.
    for part in sorted(parts, key=lambda p: (p.date, p.first, -p.last)):
        if not live or not live[-1].covers(part):
            live.append(part)
    return live


def is_covered(number: int, day: date, parts: Iterable[Part]) -> bool:
    """Whether segment `number` of `day` is already in one of `parts`."""
    segment = Part(day, number, number)
    return any(part.covers(segment) for part in parts)


def next_number(segments: Iterable[int], parts: Iterable[Part]) -> int:
    """The number the next segment gets: above every number ever seen (rule 3)."""
    return max([0, *segments, *(part.last for part in parts)]) + 1


def list_parts(events: Path) -> list[Part]:
    """Parts found below `events`, dead ones included; foreign names are left out."""
    found = (maybe_part(f"{p.parent.name}/{p.name}") for p in events.glob("date=*/part-*.parquet"))
    return [part for part in found if part is not None]


def list_segments(wal: Path) -> list[int]:
    """Numbers of the segments found in `wal`, ascending."""
    found = (maybe_segment(p.name) for p in wal.iterdir()) if wal.is_dir() else ()
    return sorted(number for number in found if number is not None)
