"""Monthly usage: counts per key, months in UTC, and the file that outlives the process."""

import asyncio
import logging
import threading
from datetime import UTC, datetime

import pytest

from collector.usage import MonthlyUsage, UsageKeeper

SECOND = 1_000_000


def unix_us(text: str) -> int:
    """Microseconds of an ISO time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * SECOND)


NOVEMBER = unix_us("2026-11-21T10:00:00")


class TestMonthlyUsage:
    """Counts per month and in total."""

    def test_counts_start_anew_on_the_first_of_the_month(self):
        """The last microsecond of a month and the first of the next are told apart, in UTC."""
        usage = MonthlyUsage()
        december = unix_us("2026-12-01T00:00:00")
        usage.count("a", december - 1)
        usage.count("a", december - 1)
        assert (usage.used("a", december - 1), usage.total("a")) == (2, 2)
        assert (usage.used("a", december), usage.total("a")) == (0, 2)
        usage.count("a", december)
        assert (usage.used("a", december), usage.total("a")) == (1, 3)

    @pytest.mark.parametrize(
        ("now", "reset"),
        [
            ("2026-11-21T10:00:00", "2026-12-01T00:00:00"),
            ("2026-12-31T23:59:59", "2027-01-01T00:00:00"),
            ("2028-02-29T00:00:00", "2028-03-01T00:00:00"),
        ],
    )
    def test_the_reset_is_the_first_of_the_next_month(self, now, reset):
        """The reset is told as a Unix second, across years and leap days."""
        assert unix_us(reset) // SECOND == MonthlyUsage().reset_s("a", unix_us(now))

    def test_what_was_dumped_is_loaded(self):
        """A restart loses no count that was kept, neither of the month nor in total."""
        usage = MonthlyUsage()
        usage.count("a", unix_us("2026-10-31T00:00:00"))
        usage.count("a", NOVEMBER)
        usage.count("b", NOVEMBER)
        restarted = MonthlyUsage()
        restarted.load(usage.dump())
        assert (restarted.used("a", NOVEMBER), restarted.total("a")) == (1, 2)
        assert (restarted.used("b", NOVEMBER), restarted.total("b")) == (1, 1)

    def test_a_month_that_passed_while_stopped_is_not_charged(self):
        """Counts loaded from an earlier month are total, not used."""
        usage = MonthlyUsage()
        usage.count("a", NOVEMBER)
        restarted = MonthlyUsage()
        restarted.load(usage.dump())
        january = unix_us("2027-01-05T00:00:00")
        assert (restarted.used("a", january), restarted.total("a")) == (0, 1)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b'{"a":1}',
            b'{"a":{"month":"2026-11","used":-1,"total":1}}',
            b'{"a":{"month":"2026-11","used":1.5,"total":1}}',
            b'{"a":{"month":"november","used":1,"total":1}}',
            b'{"a":{"month":"9999-12","used":1,"total":1}}',
            b'{"a":{"month":"2026-13","used":1,"total":1}}',
            b'{"\xff":{}}',
            b"[" * 10_000,
            b'{"a":{"month":"2026-11","used":1,"total":1}',
        ],
    )
    def test_unreadable_bytes_are_refused_and_change_nothing(self, data):
        """A damaged record is told, and does not wipe what was counted."""
        usage = MonthlyUsage()
        usage.count("a", NOVEMBER)
        with pytest.raises(ValueError, match=r"not a record|codec"):
            usage.load(data)
        assert usage.used("a", NOVEMBER) == 1

    def test_dirty_tells_whether_there_is_something_to_keep(self):
        """Counting makes it dirty, dumping and loading make it clean, asking changes nothing."""
        usage = MonthlyUsage()
        assert not usage.dirty
        usage.used("a", NOVEMBER)
        assert not usage.dirty
        usage.count("a", NOVEMBER)
        assert usage.dirty
        data = usage.dump()
        assert not usage.dirty
        usage.count("a", NOVEMBER)
        usage.load(data)
        assert not usage.dirty

    def test_what_was_refused_after_all_is_given_back(self):
        """Giving back undoes the count, in the month and in total."""
        usage = MonthlyUsage()
        usage.count("a", NOVEMBER)
        usage.count("a", NOVEMBER)
        usage.dump()
        usage.give_back("a", "2026-11")
        assert (usage.used("a", NOVEMBER), usage.total("a"), usage.dirty) == (1, 1, True)

    @pytest.mark.parametrize("counted_since", [0, 2])
    def test_giving_back_after_the_month_turned_leaves_the_new_month_alone(self, counted_since):
        """Counted on the 30th, refused on the 1st: nothing is taken from the new month."""
        usage = MonthlyUsage()
        december = unix_us("2026-12-01T00:00:00")
        counted_in = usage.count("a", december - 1)
        for _ in range(counted_since):
            usage.count("a", december)
        usage.give_back("a", counted_in)
        assert (usage.used("a", december), usage.total("a")) == (counted_since, counted_since)

    def test_a_clock_that_steps_back_over_the_first_of_the_month_wipes_nothing(self):
        """1,000 used in November, one on 1 December, a second back: it is December still.

        Neither is December's count lost, nor November's allowance there once more; the reset that
        is told is that of the month that is counted in, also after a restart.
        """
        usage = MonthlyUsage()
        december, january = unix_us("2026-12-01T00:00:00"), unix_us("2027-01-01T00:00:00")
        for _ in range(1_000):
            usage.count("a", december - 1)
        assert usage.count("a", december) == "2026-12"
        before = december - SECOND
        assert (usage.used("a", before), usage.total("a")) == (1, 1_001)
        assert usage.count("a", before) == "2026-12"
        restarted = MonthlyUsage()
        restarted.load(usage.dump())
        for one in (usage, restarted):
            assert (one.used("a", before), one.used("a", december)) == (2, 2)
            assert one.reset_s("a", before) == january // SECOND
            assert one.reset_s("b", before) == december // SECOND, "no key but this one is ahead"
            assert one.count("a", january) == "2027-01"
            assert (one.used("a", january), one.total("a")) == (1, 1_003)
        assert december // SECOND == MonthlyUsage().reset_s("a", before)

    def test_what_is_kept_is_never_negative(self):
        """Whatever is given back: a negative count could not be loaded, and all would be lost."""
        usage = MonthlyUsage()
        counted_in = usage.count("a", NOVEMBER)
        for _ in range(3):
            usage.give_back("a", counted_in)
        restarted = MonthlyUsage()
        restarted.load(usage.dump())
        assert (restarted.used("a", NOVEMBER), restarted.total("a")) == (0, 0)


class Disk:
    """State in memory; can fail and can be slow."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.error: OSError | None = None
        self.writing = 0
        self.writers: list[str] = []
        self.before_write = threading.Event()
        self.before_write.set()

    def read_state(self, name: str) -> bytes | None:
        """See `KeepsState`."""
        return self.files.get(name)

    def write_state(self, name: str, data: bytes) -> None:
        """See `KeepsState`."""
        self.writers.append(threading.current_thread().name)
        self.before_write.wait(5)
        if self.error is not None:
            raise self.error
        self.files[name] = data


def keeper(usage: MonthlyUsage, disk: Disk) -> UsageKeeper:
    """As the service makes it."""
    return UsageKeeper(usage, disk, wall_us=NOVEMBER, in_thread=asyncio.to_thread)


class TestUsageKeeper:
    """The file."""

    def test_what_was_saved_is_loaded(self):
        """Counts go on where they were; without a file they start at zero."""
        disk, usage, later = Disk(), MonthlyUsage(), MonthlyUsage()
        keeper(usage, disk).load()
        usage.count("a", NOVEMBER)
        asyncio.run(keeper(usage, disk).save())
        keeper(later, disk).load()
        assert later.used("a", NOVEMBER) == 1

    def test_the_event_loop_does_not_wait_for_the_disk(self):
        """Writing happens on another thread, and requests are counted meanwhile, not lost."""

        async def play() -> None:
            disk, usage = Disk(), MonthlyUsage()
            kept = keeper(usage, disk)
            usage.count("a", NOVEMBER)
            disk.before_write.clear()
            saving = asyncio.create_task(kept.save())
            await asyncio.sleep(0.01)
            assert not saving.done()
            usage.count("a", NOVEMBER)
            disk.before_write.set()
            await saving
            assert disk.writers != [threading.current_thread().name]
            assert usage.dirty, "what was counted during the write needs another one"
            await kept.save()
            after = MonthlyUsage()
            after.load(disk.files["usage.json"])
            assert after.used("a", NOVEMBER) == 2

        asyncio.run(play())

    def test_nothing_new_is_not_written(self):
        """An idle collector writes nothing."""
        disk, usage = Disk(), MonthlyUsage()
        kept = keeper(usage, disk)
        usage.count("a", NOVEMBER)
        asyncio.run(kept.save())
        asyncio.run(kept.save())
        assert len(disk.writers) == 1

    def test_a_failed_write_is_told_and_tried_again(self, caplog):
        """Counts are not lost with the write."""
        disk, usage = Disk(), MonthlyUsage()
        kept = keeper(usage, disk)
        usage.count("a", NOVEMBER)
        disk.error = OSError(28, "No space left on device")
        asyncio.run(kept.save())
        assert "could not be kept: No space left" in caplog.text
        disk.error = None
        asyncio.run(kept.save())
        assert b'"used":1' in disk.files["usage.json"]

    def test_a_damaged_file_is_set_aside_before_another_is_written(self, caplog):
        """Nothing is overwritten that cannot be read: it is kept under a name that the log tells.

        While it cannot be kept, nothing is written in its place either.
        """
        caplog.set_level(logging.WARNING)
        disk, usage = Disk(**{"usage.json": b'{"a": half a rec'}), MonthlyUsage()
        kept = keeper(usage, disk)
        kept.load()
        aside = f"usage-damaged-{NOVEMBER // SECOND}.json"
        assert f"state/{aside}" in caplog.text
        assert "half a rec" not in caplog.text
        usage.count("a", NOVEMBER)
        disk.error = OSError(28, "No space left on device")
        asyncio.run(kept.save())
        assert disk.files == {"usage.json": b'{"a": half a rec'}
        disk.error = None
        asyncio.run(kept.save())
        assert disk.files[aside] == b'{"a": half a rec'
        assert b'"used":1' in disk.files["usage.json"]
        written = len(disk.writers)
        asyncio.run(kept.save())
        assert len(disk.writers) == written
