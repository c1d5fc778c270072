"""The day's salt: one per day, on disk and in memory, and gone when the day is."""

import logging
from datetime import UTC, date, datetime, timedelta

import pytest

from collector.privacy import AddressHasher
from collector.salt import DailySalt
from tests.support.store import Harness

DAY_US = 86_400_000_000
MIDNIGHT_US = int(datetime(2028, 2, 29, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture
def harness(tmp_path):
    """An open store."""
    found = Harness(tmp_path / "data")
    found.open()
    yield found
    found.close()
    found.end()


def on_disk(harness: Harness) -> list[str]:
    """The salts that are kept."""
    return sorted(path.name for path in (harness.directory / "state").iterdir())


def name(days: int) -> str:
    """The file of the day that is so many days after the leap day of 2028."""
    return f"salt-{date(2028, 2, 29) + timedelta(days=days)}"


def test_a_salt_is_made_at_the_first_event_and_found_again(harness):
    """Looking after it makes none; a restart within the day gives the same."""
    salt = DailySalt(harness.store)
    salt.expire(MIDNIGHT_US)
    assert on_disk(harness) == []
    first = salt.of(MIDNIGHT_US + 1)
    assert len(first) == 32
    assert on_disk(harness) == [name(0)]
    again = DailySalt(harness.store)
    again.expire(MIDNIGHT_US + 2)
    assert again.of(MIDNIGHT_US + DAY_US - 1) == first


def test_a_day_that_is_over_leaves_no_salt_without_any_event(harness):
    """On the very first microsecond of the next day; a leap day has one, too."""
    salt = DailySalt(harness.store)
    first = salt.of(MIDNIGHT_US)
    assert salt.expire(MIDNIGHT_US + DAY_US - 1) is False
    assert on_disk(harness) == [name(0)]
    assert salt.expire(MIDNIGHT_US + DAY_US) is True
    assert on_disk(harness) == []
    assert first not in vars(salt).values()
    assert salt.expire(MIDNIGHT_US + DAY_US + 1) is False
    assert salt.of(MIDNIGHT_US + DAY_US + 2) != first
    assert on_disk(harness) == [name(1)]


def test_a_start_removes_what_an_earlier_day_left(harness):
    """The collector was down over midnight, or died while it removed or wrote one."""
    state = harness.directory / "state"
    for left in (name(-1), name(-400), name(1), f"{name(-1)}.tmp"):
        (state / left).write_bytes(b"s" * 32)
    (state / name(0)).write_bytes(b"t" * 32)
    (state / "usage.json").write_bytes(b"{}")
    salt = DailySalt(harness.store)
    salt.expire(MIDNIGHT_US)
    assert on_disk(harness) == [name(0), "usage.json"]
    assert salt.of(MIDNIGHT_US) == b"t" * 32


def test_a_clock_that_steps_back_over_midnight_brings_nothing_back(harness):
    """The day that comes back gets another salt, and no salt serves two days."""
    salt = DailySalt(harness.store)
    made = [salt.of(MIDNIGHT_US + days * DAY_US) for days in (0, 1, 0, 1, 0)]
    assert len(set(made)) == 5
    assert on_disk(harness) == [name(0)]
    assert salt.expire(MIDNIGHT_US + DAY_US) is True
    assert salt.expire(MIDNIGHT_US) is False
    assert salt.of(MIDNIGHT_US) not in made


def test_a_removal_that_fails_is_tried_again_and_told_once(harness, caplog, monkeypatch):
    """The disk may be read-only for a while."""
    caplog.set_level(logging.WARNING)
    salt = DailySalt(harness.store)
    salt.of(MIDNIGHT_US)
    keep = harness.store.keep_state

    def fail(_prefix, _name):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(harness.store, "keep_state", fail)
    assert salt.expire(MIDNIGHT_US + DAY_US) is True
    for second in range(5):
        salt.expire(MIDNIGHT_US + DAY_US + second * 1_000_000)
    told = "the salt of a past day could not be removed: Read-only file system"
    assert [record.getMessage() for record in caplog.records] == [told]
    monkeypatch.setattr(harness.store, "keep_state", keep)
    salt.expire(MIDNIGHT_US + DAY_US + 9_000_000)
    assert on_disk(harness) == []


def test_a_damaged_salt_is_replaced(harness):
    """Half a salt would be a weak one."""
    (harness.directory / "state" / name(0)).write_bytes(b"short")
    made = DailySalt(harness.store).of(MIDNIGHT_US)
    assert len(made) == 32
    assert (harness.directory / "state" / name(0)).read_bytes() == made


def test_a_hasher_forgets_the_salt_with_its_day():
    """Not even the state of the digest is left, which would do as well as the salt."""
    hasher = AddressHasher()
    salt = b"s" * 32
    before = hasher.hash("203.0.113.7", salt)
    prepared = hasher._salted.digest()
    hasher.forget()
    assert salt not in repr(vars(hasher)).encode()
    assert hasher._salted.digest() != prepared
    assert hasher.hash("203.0.113.7", salt) == before
