"""When parts are looked after: enough of them, midnight, a start; and after trouble."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage import Retention, layout
from storage.partwork import PartWork
from tests.support.files import failing, io_error
from tests.support.store import Harness

_DAY_S = 86_400


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Any]:
    """A function that opens a store with some settings."""
    harnesses: list[Harness] = []

    def make(**settings: object) -> Harness:
        harness = Harness(tmp_path / "data", **settings)
        harnesses.append(harness)
        harness.open()
        return harness

    yield make
    for harness in harnesses:
        harness.end()


def _flush(harness: Harness, *numbers: int) -> None:
    for number in numbers:
        assert harness.submit(number)
        harness.advance(1.5)
        assert harness.settle_flushes()


def _parts(harness: Harness) -> list[tuple[int, int]]:
    parts = layout.list_parts(harness.directory / layout.EVENTS)
    return sorted((part.first, part.last) for part in parts)


def test_the_open_date_is_joined_when_it_has_enough(made: Any) -> None:
    """Not before; the number of parts that is told follows."""
    harness = made(join_parts_min=4)
    _flush(harness, 1, 2, 3)
    harness.advance(20)
    assert _parts(harness) == [(1, 1), (2, 2), (3, 3)]
    _flush(harness, 4)
    harness.advance(20)
    assert _parts(harness) == [(1, 4)]
    assert harness.store.parts == 1
    assert sorted(harness.glob()) == [1, 2, 3, 4]
    assert harness.store.part_keeper.joins == 1


def test_a_date_is_joined_when_it_closes(made: Any) -> None:
    """After midnight UTC what is left of the day becomes one part, with no event needed."""
    harness = made(join_parts_min=100)
    _flush(harness, 1, 2, 3)
    harness.advance(20)
    assert _parts(harness) == [(1, 1), (2, 2), (3, 3)]
    harness.advance(_DAY_S)
    harness.advance(20)
    assert _parts(harness) == [(1, 3)]


def test_a_date_is_joined_at_the_next_start(made: Any) -> None:
    """A collector that was not running at midnight does it when it runs again."""
    harness = made(join_parts_min=100)
    _flush(harness, 1, 2)
    harness.close()
    harness.now_us += 3 * _DAY_S * 1_000_000
    harness.open()
    harness.advance(1)
    assert _parts(harness) == [(1, 2)]


def test_rows_that_are_not_counted_yet_wait(made: Any) -> None:
    """Who keeps the books says up to where; later it is joined without a further flush."""
    harness = made(join_parts_min=2)
    harness.store.counted = lambda: 1
    _flush(harness, 1, 2, 3)
    harness.advance(20)
    assert _parts(harness) == [(1, 1), (2, 2), (3, 3)]
    harness.store.counted = lambda: 3
    harness.advance(20)
    assert _parts(harness) == [(1, 3)]


def test_retention_at_midnight(made: Any) -> None:
    """The rows of a day are there on the last of their days, and gone a second after it."""
    harness = made(retention=Retention(days=1))
    day_us = _DAY_S * 1_000_000
    harness.now_us += day_us - harness.now_us % day_us + day_us // 2
    _flush(harness, 1)
    folder = harness.directory / layout.EVENTS / f"date={layout.day_of(harness.now_us)}"
    assert folder.is_dir()
    to_midnight_s = (day_us - harness.now_us % day_us) / 1e6
    harness.advance(to_midnight_s + _DAY_S - 1)
    assert folder.is_dir()
    harness.advance(20)
    assert not folder.exists()
    assert harness.store.parts == 0
    assert harness.store.part_keeper.rows_expired == 1


def test_retention_waits_for_rows_to_be_counted(made: Any) -> None:
    """Rows found at a start, and counted a second later: they go then, and not a day later."""
    harness = made(retention=Retention(days=1))
    _flush(harness, 1)
    harness.close()
    harness.now_us += 5 * _DAY_S * 1_000_000
    harness.open()
    harness.store.counted = lambda: 0
    harness.advance(20)
    assert harness.glob() == [1]
    harness.store.counted = lambda: 1
    harness.advance(20)
    assert harness.glob() == []


def test_a_failed_join_is_tried_again_after_an_hour(
    made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once, left alone for an hour, then done; other dates are not held up."""
    harness = made(join_parts_min=2)
    harness.files.fail = failing(io_error, "exchange", times=1)
    _flush(harness, 1, 2)
    harness.advance(20)
    assert _parts(harness) == [(1, 1), (2, 2)]
    assert "stay as they are for an hour" in caplog.text
    assert harness.store.part_keeper.failures == 1
    _flush(harness, 3)
    harness.advance(1_000)
    assert _parts(harness) == [(1, 1), (2, 2), (3, 3)]
    harness.advance(3_000)
    assert _parts(harness) == [(1, 3)]


@pytest.mark.parametrize("is_more", [True, False, None])
def test_summaries_that_are_for_later_are_made_after_an_hour(
    made: Any, monkeypatch: pytest.MonkeyPatch, *, is_more: bool | None
) -> None:
    """As joins that failed: a closed date, which nothing changes any more, must not go without."""
    answers = [is_more, False]
    asked: list[date] = []

    def summarise(_work: PartWork, day: date, *, is_open: bool) -> bool | None:
        assert is_open
        asked.append(day)
        return answers.pop(0) if answers else False

    monkeypatch.setattr(PartWork, "summarise", summarise)
    harness = made()
    _flush(harness, 1)
    for _ in range(20):
        harness.advance(50)
    assert len(asked) == (2 if is_more else 1)
    for _ in range(20):
        harness.advance(150)
    assert len(asked) == (1 if is_more is False else 2)
    assert len(set(asked)) == 1


def test_stopping_gives_up_and_loses_nothing(made: Any) -> None:
    """A stop in the middle of joining leaves parts that the next start joins."""
    harness = made(join_parts_min=2)
    _flush(harness, 1, 2)
    harness.now_us += 20_000_000
    harness.store.tick(harness.now_us)
    harness.close()
    assert sorted(harness.glob()) == [1, 2]
    harness.open()
    harness.advance(20)
    assert _parts(harness) == [(1, 2)]


def test_the_folder_for_unfinished_files_is_emptied_by_a_start(made: Any) -> None:
    """Folders that were exchanged, and whatever a crash left, go; rows stay."""
    harness = made(join_parts_min=2)
    _flush(harness, 1, 2)
    harness.advance(20)
    left = harness.directory / layout.TEMPORARY
    assert [path.is_dir() for path in left.iterdir()] == [True]
    harness.kill()
    harness.open()
    assert list(left.iterdir()) == []
    assert sorted(harness.glob()) == [1, 2]


def test_dates_of_a_clock_that_was_ahead_are_joined_apart(made: Any) -> None:
    """A date holds only its own parts, whatever numbers lie between them."""
    harness = made(join_parts_min=2)
    _flush(harness, 1, 2)
    harness.close()
    ahead = timedelta(days=40) // timedelta(microseconds=1)
    harness.now_us += ahead
    harness.open()
    _flush(harness, 3, 4)
    harness.close()
    harness.now_us -= ahead
    harness.open()
    _flush(harness, 5, 6)
    harness.advance(20)
    assert harness.compact()
    assert sorted(harness.glob()) == [1, 2, 3, 4, 5, 6]
    assert sorted(harness.readable()) == [1, 2, 3, 4, 5, 6]
