"""The book of events against a model: crashes at any point, hours and dates that change, a disk
that does not take every write.
"""

import asyncio
from collections import Counter
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector import audit, book
from collector.audit import Found
from collector.bookkeeper import BookKeeper
from collector.config import Site
from collector.metrics import Metrics
from collector.refusal import INVALID_FIELD, LATE, QUEUE_FULL, RATE_LIMITED
from collector.tally import Counts, Tally
from storage import census, day_of
from storage.layout import Part

_MIDNIGHT_US = 1_795_737_600_000_000  # 2026-11-27
_MINUTE_US = 60_000_000
_SITES = [Site(id="a"), Site(id="b")]


class Disk:
    """A folder of small files, and the rows: per segment its date and what it holds."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rows: dict[int, tuple[date, Counter[tuple[str, str, int, bool]]]] = {}
        self.fails = False
        self.is_unreadable = False

    def read(self, name: str) -> bytes | None:
        """See SmallFiles."""
        if self.is_unreadable:
            raise OSError(24, "Too many open files")
        return self.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        """See SmallFiles."""
        if self.fails:
            raise OSError(28, "no space")
        self.files[name] = data

    def move(self, name: str, other: str) -> None:
        """See SmallFiles."""
        self.files[other] = self.files.pop(name)

    def count(self, border: Any) -> census.Census:
        """What `census.take` finds."""
        sides: tuple[list[census.FoundRows], list[census.FoundRows]] = ([], [])
        newest: dict[date, int] = {}
        for number, (day, rows) in self.rows.items():
            newest[day] = max(number, newest.get(day, 0))
            side = sides[number > border(day)]
            side += [census.FoundRows(day, *place, count) for place, count in rows.items()]
        highest = max(self.rows, default=0)
        return census.Census(tuple(sides[0]), tuple(sides[1]), newest, highest, ())


class World:
    """One collector after the other on one disk, and what is true."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.now_us = _MIDNIGHT_US - 30 * _MINUTE_US
        self.segment = 0
        self.refused: Counter[tuple[str, str, int]] = Counter()
        self.lost = False
        self.leaves_rows = False
        self.start()

    def start(self) -> None:
        """A new process over what is on disk."""

        async def here(function: Any, *arguments: Any) -> None:
            function(*arguments)

        self.keeper = BookKeeper(self.disk, count=self.disk.count, in_thread=here)
        self.keeper.load()
        self.leaves_rows = self.disk.is_unreadable
        self.counts = Counts(self.keeper.book, Metrics())
        self.open_segment()
        self.flying: list[tuple[Tally, dict[str, list[int]], int]] = []

    def open_segment(self) -> None:
        """The log goes on with another segment; its date never steps back."""
        latest = max((day for day, _ in self.disk.rows.values()), default=date.min)
        self.segment = max([self.segment, *self.disk.rows]) + 1
        self.day = max(latest, day_of(self.now_us))

    def request(self, new: int, repeats: int, unstored: int, refused: int) -> None:
        """A request whose events meet all fates; its rows stay in flight."""
        events = new + repeats + unstored + refused
        if not events:
            return  # no protocol takes a request without events
        tally = self.counts.open("scanova", self.now_us)
        site = _SITES[new % 2]
        tally.receive([site] * events)
        for _ in range(refused):
            tally.refuse(INVALID_FIELD, site)
        for _ in range(unstored):
            tally.repeat(site.id)
        self.refused[site.id, "scanova", self.now_us // book.HOUR_US] += refused
        if not new + repeats:
            tally.is_answered = True
            tally.close()
            return
        rows = {site.id: [new, repeats]}
        tally.submit(rows)
        self.flying.append((tally, rows, self.now_us))

    def commit(self, *, fails: bool) -> None:
        """The log writes what is in flight, or cannot."""
        if day_of(self.now_us) > self.day:
            self.seal()
        for tally, rows, time_us in self.flying:
            if fails:
                tally.fail(rows)
                for site, (new, repeats) in rows.items():
                    tally.refuse(QUEUE_FULL, Site(id=site), new + repeats)
            tally.is_answered = True
            tally.close()
            if fails:
                continue
            _, found = self.disk.rows.setdefault(self.segment, (self.day, Counter()))
            for site, counts in rows.items():
                for is_duplicate, count in enumerate(counts):
                    if count:
                        hour_us = time_us - time_us % book.HOUR_US
                        found[site, "scanova", hour_us, bool(is_duplicate)] += count
                hour_us = time_us - time_us % book.HOUR_US
                place = (site, "scanova", hour_us)
                self.counts.stored(self.segment, place, *counts)
        self.flying.clear()

    def seal(self) -> None:
        """The segment gets no more rows."""
        if self.segment in self.disk.rows:
            self.keeper.book.seal(self.segment, self.day)
        self.open_segment()

    def save(self, *, fails: bool) -> None:
        """Once a second."""
        self.disk.fails = fails
        asyncio.run(self.keeper.save())
        self.disk.fails = False

    def crash(self) -> None:
        """Kill -9: what is in memory is gone, rows that were written are not."""
        self.lost = True
        self.start()

    def damage(self) -> None:
        """The newest file is no day any more, and was read by nobody since the start."""
        self.lost = True
        self.start()
        if self.disk.files:
            self.leaves_rows = True
            self.disk.files[max(self.disk.files)] = b"{"

    def days(self) -> list[book.DayFile]:
        """What the files say, but for damaged ones."""
        files = sorted(self.disk.files.items())
        return [book.read_day(data) for _, data in files if data != b"{"]

    def audit(self) -> list[audit.Line]:
        """`collector audit` now."""
        days = self.days()
        borders = {date.fromisoformat(day.date): day.through for day in days}
        found = self.disk.count(lambda day: borders.get(day, 0))
        rows = [
            Found(one.site, one.protocol, one.hour_us, one.rows, is_counted)
            for side, is_counted in ((found.before, True), (found.behind, False))
            for one in side
        ]
        return audit.reconcile(days, rows)


_few = st.integers(0, 3)
_steps = st.one_of(
    st.tuples(st.just("request"), st.tuples(_few, _few, _few, _few)),
    st.tuples(st.just("commit"), st.booleans()),
    st.tuples(st.just("seal"), st.none()),
    st.tuples(st.just("save"), st.booleans()),
    st.tuples(st.just("crash"), st.none()),
    st.tuples(st.just("damage"), st.none()),
    st.tuples(st.just("unreadable"), st.booleans()),
    st.tuples(st.just("minutes"), st.integers(-40, 90)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_steps, max_size=60))
def test_no_crash_and_no_clock_makes_a_difference(steps: list[tuple[str, Any]]) -> None:
    """At every moment the files balance, and after a last save they hold every row."""
    world = World()
    for name, value in steps:
        if name == "request":
            world.request(*value)
        elif name == "commit":
            world.commit(fails=value)
        elif name == "save":
            world.save(fails=value)
        elif name == "minutes":
            world.now_us += value * _MINUTE_US
        elif name == "unreadable":
            world.disk.is_unreadable = value
        else:
            getattr(world, name)()
        assert [line for line in world.audit() if line.difference] == []
    world.disk.is_unreadable = False
    world.commit(fails=False)
    world.seal()
    world.save(fails=False)
    if world.leaves_rows:
        assert [line for line in world.audit() if line.difference] == []
        world.start()
        world.save(fails=False)
    lines = world.audit()
    assert [line for line in lines if line.difference or line.not_counted] == []
    rows = sum(sum(found.values()) for _, found in world.disk.rows.values())
    assert sum(line.stored for line in lines) == sum(line.rows for line in lines) == rows
    rejected = sum(line.rejected for line in lines)
    if not world.lost:
        assert rejected >= sum(world.refused.values())
    assert world.keeper.book.counted >= max(world.disk.rows, default=0)


def test_what_nobody_accounts_for_is_a_difference() -> None:
    """A path that forgets its outcome, or tells it twice, shows in the audit."""
    for told in (0, 2):
        world = World()
        tally = world.counts.open("croct", world.now_us)
        tally.receive([_SITES[0]])
        for _ in range(told):
            tally.refuse(LATE, _SITES[0])
        tally.is_answered = True
        tally.close()
        world.save(fails=False)
        assert [line.difference for line in world.audit()] == [1 - told]


def test_a_fault_of_ours_is_accounted_for() -> None:
    """A request that ends without an answer leaves its events refused, not missing."""
    world = World()
    tally = world.counts.open("croct", world.now_us)
    tally.receive([_SITES[0], None])
    tally.refuse(RATE_LIMITED, None)
    tally.close()
    world.save(fails=False)
    [known, unknown] = world.audit()
    assert (known.site, known.rejected, known.difference) == ("a", 1, 0)
    assert (unknown.site, unknown.rejected, unknown.difference) == ("unknown", 1, 0)
    [day] = world.days()
    reasons = [entry.rejected for entries in day.hours.values() for entry in entries]
    assert reasons == [{"rate_limited": 1}, {"internal_error": 1}]


def test_rows_are_counted_anew_where_a_file_straddles_the_border() -> None:
    """A file of which the book counts some rows and not others has all rows of its date counted."""
    world = World()
    for new in (1, 2):
        world.request(new, 0, 0, 1)
        world.commit(fails=False)
        world.seal()
        world.save(fails=False)
    straddling = Part(world.day, 1, 2)
    [(name, data)] = world.disk.files.items()
    world.disk.files[name] = data.replace(b'"through":2', b'"through":1')
    count = world.disk.count

    def with_straddling(border: Any) -> census.Census:
        parts = (straddling,) if border(world.day) == 1 else ()
        found = count(border)
        behind = () if parts else found.behind
        return census.Census(found.before, behind, found.newest, found.highest, parts)

    world.disk.count = with_straddling  # type: ignore[method-assign]
    world.crash()
    world.save(fails=False)
    assert [line for line in world.audit() if line.difference] == []
    assert sum(line.stored for line in world.audit()) == 3


def test_a_damaged_day_is_kept_aside_and_its_rows_counted_again() -> None:
    """Whatever a file of the book holds, a start goes on; stored counts are those of the rows."""
    for data in (b"", b"{}", b"\xff", b'{"format":2}', b"[" * 100_000):
        world = World()
        world.request(2, 1, 0, 4)
        world.commit(fails=False)
        world.seal()
        world.save(fails=False)
        [name] = world.disk.files
        world.disk.files[name] = data
        world.crash()
        assert world.disk.files.pop(f"damaged-{name}") == data
        world.save(fails=False)
        [line] = world.audit()
        assert (line.received, line.stored, line.rows, line.difference) == (3, 3, 3, 0)


def test_a_file_that_cannot_be_read_for_a_moment_is_not_written_over() -> None:
    """Too many open files at the first event after a start: what was counted before stays."""
    world = World()
    world.request(3, 0, 1, 7)
    world.commit(fails=False)
    world.seal()
    world.save(fails=False)
    world.start()
    world.disk.is_unreadable = True
    world.request(2, 0, 0, 1)
    world.commit(fails=False)
    world.seal()
    before = dict(world.disk.files)
    world.save(fails=False)
    assert world.disk.files == before
    assert world.keeper.book.counted < world.segment - 1, "nor are its rows said to be counted"
    world.disk.is_unreadable = False
    world.save(fails=False)
    [day] = world.days()
    [entries] = day.hours.values()
    assert sum(entry.rejected.get("invalid_field", 0) for entry in entries) == 8
    assert sum(entry.stored for entry in entries) == 5
    assert sum(entry.duplicates for entry in entries) == 1
    assert world.keeper.book.counted == day.through == world.segment - 1


def test_rows_of_a_day_found_damaged_are_counted_at_the_next_start() -> None:
    """Until then they are not counted, and no difference: the file says that none are."""
    world = World()
    world.request(3, 0, 0, 0)
    world.commit(fails=False)
    world.seal()
    world.save(fails=False)
    world.damage()
    world.request(2, 0, 0, 4)
    world.commit(fails=False)
    world.seal()
    world.save(fails=False)
    [day] = world.days()
    assert day.through == 0
    assert sorted((line.stored, line.not_counted) for line in world.audit()) == [(0, 2), (0, 3)]
    world.start()
    world.save(fails=False)
    assert sum(line.stored for line in world.audit()) == 5
    assert [line for line in world.audit() if line.difference or line.not_counted] == []
    assert sum(line.rejected for line in world.audit()) == 4
