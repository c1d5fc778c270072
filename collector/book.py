"""The book of events: what came in, and what became of it, by site, protocol and hour.

Rules that this module keeps:

1. Hours are those of receipt, in UTC.
2. What is written down is at any moment true: an event is counted as received in the same step in
   which its outcome is. Events in flight are in no dump; what a request brought and nobody
   accounted for is counted as received when the request ends, and shows as a difference.
3. Rows are counted by the segment that holds them, at the moment their receipt exists, and enter a
   day when the segment gets no more rows. Each day says up to which segment of its date rows are
   counted (`through`); after a crash what lies behind is counted from the rows themselves. So
   stored counts equal the rows on disk; refusals may lose what was not written yet, as received
   and as refused alike.
4. A day whose file cannot be read is counted apart and not written until it could be: then both
   are added up. Where that, or damage, makes it unknown which rows are counted, none of this run
   are, and `through` stays: the next start counts them.
5. Rows go into the day of their segment, all else into the day of its hour: the clock may step back
   over midnight, and then a segment holds rows of another date than its own.

Touched from the event loop only. Knows no clock and no disk: days are handed in and out as bytes.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

import msgspec

from storage import day_of

HOUR_US: Final = 3_600_000_000
FORMAT: Final = 1
_SECOND_US: Final = 1_000_000
# Days that are looked at again when the clock steps back; older ones are read when they are needed.
_DAYS_MAX: Final = 3

Count = Annotated[int, msgspec.Meta(ge=0)]
Outcome = Literal["rejected", "dropped"]


class DamagedDay(Exception):
    """A day's file holds no day; it is kept under another name."""


class Entry(msgspec.Struct, omit_defaults=True):
    """Events of one site and protocol, received in one hour.

    `stored`: new rows. `repeats`: duplicates that were stored, marked. `duplicates`: not stored.
    `rejected` and `dropped` are by reason. `received` may differ from their sum only by a fault of
    ours, and could then even be negative.
    """

    site: str
    protocol: str
    received: int = 0
    stored: Count = 0
    repeats: Count = 0
    duplicates: Count = 0
    rejected: dict[str, Count] = {}
    dropped: dict[str, Count] = {}

    @property
    def decided(self) -> int:
        """Events whose outcome is known."""
        refused = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.stored + self.repeats + self.duplicates + refused

    def add(self, other: "Entry") -> None:
        """Count what `other` counts, too."""
        self.received += other.received
        self.stored += other.stored
        self.repeats += other.repeats
        self.duplicates += other.duplicates
        for mine, others in ((self.rejected, other.rejected), (self.dropped, other.dropped)):
            for reason, count in others.items():
                mine[reason] = mine.get(reason, 0) + count


class DayFile(msgspec.Struct, kw_only=True):
    """One file: the events of a day. `hours` is keyed as `2026-11-26T14:00:00Z`.

    `through`: of the segments of this date, the rows of all up to this number are counted.
    """

    format: Literal[1]
    date: str
    through: Count
    hours: dict[str, list[Entry]]


class _DayOut(msgspec.Struct):
    """`DayFile` with hours that are encoded already."""

    format: int
    date: str
    through: int
    hours: dict[str, msgspec.Raw]


class RowCount(msgspec.Struct, frozen=True):
    """Rows found on disk. `hour_us`: start of the hour of receipt, microseconds since the epoch."""

    site: str
    protocol: str
    hour_us: int
    is_duplicate: bool
    rows: int


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(DayFile)


def hour_name(hour_us: int) -> str:
    """The hour that begins at `hour_us`, in ISO 8601."""
    # Not by a format: of years before 1000 that writes three digits, which nobody reads again.
    hour = datetime.fromtimestamp(hour_us // _SECOND_US, UTC).replace(tzinfo=None)
    return f"{hour.isoformat(timespec='hours')}:00:00Z"


def shown_hour(hour_us: int) -> str:
    """The same as people are shown it; these names sort as the hours do."""
    return f"{datetime.fromtimestamp(hour_us // _SECOND_US, UTC):%Y-%m-%dT%H:%M}Z"


def hour_of(name: str) -> int:
    """The start of the hour called `name` in microseconds; ValueError if it is no full hour."""
    found = datetime.fromisoformat(name)
    if found.tzinfo is None:
        raise ValueError(f"{name}: no time zone")
    hour_us = int(found.timestamp()) * _SECOND_US
    if hour_us % HOUR_US:
        raise ValueError(f"{name}: no full hour")
    return hour_us


def file_name(day: date) -> str:
    """The name of a day's file."""
    return f"{day.isoformat()}.json"


def read_day(data: bytes) -> DayFile:
    """The day in `data`. Raises ValueError when it cannot be read."""
    try:
        found = _decoder.decode(data)
        for name in found.hours:
            hour_of(name)
    except (msgspec.DecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a day of the audit: {error}") from error
    return found


class _Day:
    """One day in memory. `dirty`: not as on disk.

    `is_unread`: what its file holds is to be added. `leaves_rows`: they are for the next start.
    """

    def __init__(self, day: date) -> None:
        self.date = day
        self.through = 0
        self.dirty = False
        self.is_unread = False
        self.leaves_rows = False
        self._forgets_rows = False
        self._hours: dict[int, dict[tuple[str, str], Entry]] = {}
        # Only the present hour changes: the others are encoded once.
        self._encoded: dict[int, msgspec.Raw] = {}

    def load(self, found: DayFile) -> None:
        """Add what the file holds to what was counted meanwhile."""
        self.through = max(self.through, found.through)
        was_dirty = self.dirty
        for name, entries in found.hours.items():
            for one in entries:
                if self._forgets_rows:
                    _forget_rows(one)
                self.entry(one.site, one.protocol, hour_of(name)).add(one)
        self.dirty = was_dirty
        self.is_unread = False

    def lose(self) -> None:
        """The file is no day: the rows in it, and of this run, are counted at the next start."""
        self.forget_rows()
        self.through = 0
        self.is_unread = False
        self.leaves_rows = True

    def entry(self, site: str, protocol: str, hour_us: int) -> Entry:
        """The entry, about to be changed."""
        self.dirty = True
        self._encoded.pop(hour_us, None)
        hour = self._hours.get(hour_us)
        if hour is None:
            hour = self._hours[hour_us] = {}
        entry = hour.get((site, protocol))
        if entry is None:
            entry = hour[site, protocol] = Entry(site, protocol)
        return entry

    def forget_rows(self) -> None:
        """Make as if no row had been counted."""
        for hour_us, hour in self._hours.items():
            for site, protocol in hour:
                _forget_rows(self.entry(site, protocol, hour_us))
        self._forgets_rows = self.is_unread

    def dump(self) -> bytes:
        for hour_us, hour in self._hours.items():
            if hour_us not in self._encoded:
                self._encoded[hour_us] = msgspec.Raw(_encoder.encode(list(hour.values())))
        hours = {hour_name(hour_us): self._encoded[hour_us] for hour_us in sorted(self._hours)}
        return _encoder.encode(_DayOut(FORMAT, self.date.isoformat(), self.through, hours))


def _forget_rows(entry: Entry) -> None:
    entry.received -= entry.stored + entry.repeats
    entry.stored = entry.repeats = 0


Rows = dict[tuple[str, str, int], list[int]]  # site, protocol, hour: new rows, repeats


class Book:
    """All counts. `read` gives a day that was written before, None without one.

    It raises OSError when that cannot be told at present, and `DamagedDay`.

    As many days as are written to are held in memory, and a few more; a day has as many entries as
    sites, protocols and hours there are. `counted`: the rows of all segments up to this number are
    in days that are on disk; parts may be joined up to it.
    """

    def __init__(self, read: Callable[[date], DayFile | None]) -> None:
        self._read = read
        self._days: dict[date, _Day] = {}
        # Entries changed since the last dump, by site and protocol: floods are counted here.
        self._recent: dict[tuple[str, str], tuple[int, Entry]] = {}
        self._segments: dict[int, Rows] = {}
        self._complete = 0
        self.counted = 0

    # --- counting

    def refused(
        self, place: tuple[str, str, int], outcome: Outcome, reason: str, count: int = 1
    ) -> None:
        """Events received in the hour of `place` (site, protocol, time) and refused."""
        entry = self._entry(place)
        entry.received += count
        reasons = entry.rejected if outcome == "rejected" else entry.dropped
        reasons[reason] = reasons.get(reason, 0) + count

    def repeated(self, place: tuple[str, str, int], count: int) -> None:
        """Events received that are duplicates and not stored."""
        entry = self._entry(place)
        entry.received += count
        entry.duplicates += count

    def unaccounted(self, place: tuple[str, str, int], count: int) -> None:
        """Events received of which nobody said what became of them, or said it twice."""
        self._entry(place).received += count

    def stored(self, segment: int, place: tuple[str, str, int], new: int, repeats: int) -> None:
        """Events received that are rows of `segment` now: the receipt is there."""
        site, protocol, time_us = place
        hour = (site, protocol, time_us - time_us % HOUR_US)
        try:
            counts = self._segments[segment][hour]
        except KeyError:
            counts = self._segments.setdefault(segment, {})[hour] = [0, 0]
        counts[0] += new
        counts[1] += repeats

    def seal(self, segment: int, day: date) -> None:
        """`segment`, of date `day`, gets no more rows."""
        self._add(self._segments.pop(segment, {}), day, segment)
        self._complete = max(self._complete, segment)

    def found(self, rows: Iterable[RowCount], day: date, through: int) -> None:
        """Rows on disk that no run counted: they lie in segments of `day` up to `through`."""
        counts: Rows = {}
        for one in rows:
            place = (one.site, one.protocol, one.hour_us)
            counts.setdefault(place, [0, 0])[one.is_duplicate] += one.rows
        self._add(counts, day, through)

    def forget_rows(self, day: date) -> None:
        """Uncount the rows of a date: all of them are going to be `found`."""
        self._day(day).forget_rows()

    def leave_rows(self, day: date) -> None:
        """Nobody knows which rows of a date are counted: this run counts none."""
        self._day(day).leaves_rows = True

    def complete(self, segment: int) -> None:
        """There are no rows in segments up to `segment` that were not told of."""
        self._complete = max(self._complete, segment)

    def through(self, day: date) -> int:
        """Up to which segment the rows of `day` are counted."""
        return self._day(day).through

    def _add(self, rows: Mapping[tuple[str, str, int], list[int]], day: date, number: int) -> None:
        target = self._day(day)
        if target.leaves_rows:
            return
        for (site, protocol, hour_us), (new, repeats) in rows.items():
            entry = target.entry(site, protocol, hour_us)
            entry.received += new + repeats
            entry.stored += new
            entry.repeats += repeats
        target.through = max(target.through, number)
        target.dirty = True

    def _entry(self, place: tuple[str, str, int]) -> Entry:
        site, protocol, time_us = place
        recent = self._recent.get((site, protocol))
        if recent is not None and 0 <= time_us - recent[0] < HOUR_US:
            return recent[1]
        hour_us = time_us - time_us % HOUR_US
        entry = self._day(day_of(hour_us)).entry(site, protocol, hour_us)
        self._recent[site, protocol] = (hour_us, entry)
        return entry

    def _day(self, day: date) -> _Day:
        found = self._days.get(day)
        if found is None:
            found = self._days[day] = _Day(day)
            found.is_unread = True
            self._maybe_load(found)
        return found

    def _maybe_load(self, day: _Day) -> None:
        """Add what the file of `day` holds, if it can be read at present."""
        try:
            kept = self._read(day.date)
        except OSError:
            return
        except DamagedDay:
            day.lose()
            return
        if kept is None:
            day.is_unread = False
        else:
            day.load(kept)

    # --- keeping

    def dump(self) -> "tuple[dict[date, bytes], int]":
        """Every day that has changed, and what to tell `kept` when all of them are on disk.

        A day whose file cannot be read is left out: what is in it must not be written over.
        """
        self._recent.clear()
        for day in self._days.values():
            if day.is_unread:
                self._maybe_load(day)
        dirty = [day for day in self._days.values() if day.dirty and not day.is_unread]
        dumped = {day.date: day.dump() for day in dirty}
        for day in dirty:
            day.dirty = False
        is_all = not any(day.is_unread for day in self._days.values())
        return dumped, self._complete if is_all else self.counted

    def kept(self, complete: int) -> None:
        """What `dump` gave is on disk."""
        self.counted = max(self.counted, complete)
        for day in sorted(self._days)[:-_DAYS_MAX]:
            one = self._days[day]
            if not (one.dirty or one.is_unread or one.leaves_rows):
                del self._days[day]

    def not_kept(self, days: Iterable[date]) -> None:
        """What `dump` gave of `days` could not be written: they are given again."""
        for day in days:
            self._day(day).dirty = True
