"""The audit: whether each event received is a row, a duplicate, refused, or gone on purpose.

Pure: compares days of the book with rows that were found and rows that were removed. Two equations
hold per site, protocol and hour, and what is missing in them is the difference:

    received = stored + duplicates + rejected + dropped
    stored = rows found + erased + expired

where rows are those of segments that the book counts. What is newer is told as not yet counted.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from collector.book import DayFile, hour_of, shown_hour

Place = tuple[str, str, int]  # site, protocol, start of the hour in microseconds


class Removed(msgspec.Struct, frozen=True):
    """Rows that left on purpose."""

    site: str
    protocol: str
    hour_us: int
    rows: int
    reason: Literal["erased", "expired"]


class Found(msgspec.Struct, frozen=True):
    """Rows on disk. `is_counted`: in a segment that the book counts."""

    site: str
    protocol: str
    hour_us: int
    rows: int
    is_counted: bool = True


class Line(msgspec.Struct, kw_only=True):
    """One site, protocol and hour, or day.

    `time`: where it begins, as `2026-11-26T16:00Z`; of a day its date. `stored`: rows, new ones and
    marked repeats; `duplicate`: not stored; `rows`: found on disk; `not_counted`: found, but too
    new for the book. `difference`: events that are missing (positive) or too many (negative) in one
    of the two equations; 0 when both hold.
    """

    site: str
    protocol: str
    time: str
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: int = 0
    erased: int = 0
    expired: int = 0
    rows: int = 0
    not_counted: int = 0
    difference: int = 0


NUMBERS: Final = tuple(field.name for field in msgspec.structs.fields(Line) if field.type is int)


def reconcile(
    days: Iterable[DayFile], found: Iterable[Found], removed: Iterable[Removed] = ()
) -> list[Line]:
    """A line for every site, protocol and hour of which anything is known, in order of time."""
    lines: dict[Place, Line] = {}
    unaccounted: dict[Place, int] = {}

    def line_of(place: Place) -> Line:
        line = lines.get(place)
        if line is None:
            site, protocol, hour_us = place
            line = lines[place] = Line(site=site, protocol=protocol, time=shown_hour(hour_us))
        return line

    for day in days:
        for name, entries in day.hours.items():
            for entry in entries:
                place = (entry.site, entry.protocol, hour_of(name))
                line = line_of(place)
                line.received += entry.received
                line.stored += entry.stored + entry.repeats
                line.duplicate += entry.duplicates
                line.rejected += sum(entry.rejected.values())
                line.dropped += sum(entry.dropped.values())
                missing = entry.received - entry.decided
                unaccounted[place] = unaccounted.get(place, 0) + missing
    for rows in found:
        line = line_of((rows.site, rows.protocol, rows.hour_us))
        if rows.is_counted:
            line.rows += rows.rows
        else:
            line.not_counted += rows.rows
    for gone in removed:
        line = line_of((gone.site, gone.protocol, gone.hour_us))
        if gone.reason == "erased":
            line.erased += gone.rows
        else:
            line.expired += gone.rows
    for place, line in lines.items():
        lost = line.stored - line.rows - line.erased - line.expired
        line.difference = unaccounted.get(place, 0) or lost
        if unaccounted.get(place, 0) and lost:
            # Never so that one makes up for the other.
            line.difference = abs(unaccounted[place]) + abs(lost)
    return [lines[place] for place in sorted(lines, key=lambda place: (place[2], *place[:2]))]


def by_day(lines: Sequence[Line]) -> list[Line]:
    """Sums per site, protocol and day; hours with a difference stand by themselves."""
    days: dict[tuple[str, str, str], Line] = {}
    shown: list[Line] = []
    for line in lines:
        if line.difference:
            shown.append(line)
            continue
        place = (line.time[:10], line.site, line.protocol)
        if place not in days:
            days[place] = Line(site=line.site, protocol=line.protocol, time=line.time[:10])
            shown.append(days[place])
        for name in NUMBERS:
            setattr(days[place], name, getattr(days[place], name) + getattr(line, name))
    return shown


def total(lines: Sequence[Line]) -> Line:
    """The sum of all lines; its difference adds up what is missing and what is too many alike."""
    result = Line(site="total", protocol="", time="")
    for name in NUMBERS:
        values = (getattr(line, name) for line in lines)
        setattr(result, name, sum(map(abs, values) if name == "difference" else values))
    return result
