"""Retention: whole dates for everybody, rows of single sites, at midnight UTC and not before."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from storage import Files, Retention, removed_rows, retention
from storage.layout import Part
from tests.support.files import failing, io_error, no_fault
from tests.support.parts import NO_LIMIT, Parts

_DAY = date(2024, 2, 28)
_LEAP = date(2024, 2, 29)
_MARCH = date(2024, 3, 1)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Three dates around a leap day, two parts each, sites a, b and c in all of them."""
    made = Parts(tmp_path)
    for index, day in enumerate((_DAY, _LEAP, _MARCH)):
        for half in range(2):
            number = 2 * index + half + 1
            made.publish(day, number, *made.rows(day, 10 * number, "a", "b", "c"))
    yield made
    made.work.compactor.close()


def _expire(parts: Parts, today: date, *, dry_run: bool = False, **rules: object) -> list[object]:
    sites = {k: v for k, v in rules.items() if k != "days"}
    rule = Retention(rules.get("days", 0), sites)  # type: ignore[arg-type]
    return [
        (one.date, one.rows, one.is_whole, one.sites)
        for one in retention.expire(parts.work, rule, today, NO_LIMIT, dry_run=dry_run)[0]
    ]


def _dates(parts: Parts) -> set[str]:
    return {name.split("/")[0] for name in parts.names()}


def _left(parts: Parts) -> list[tuple[object, ...]]:
    return parts.query("SELECT date, site_id, count(*) FROM {events} GROUP BY ALL ORDER BY ALL")


@pytest.mark.parametrize(
    ("today", "gone"),
    [
        (_DAY + timedelta(days=2), []),
        (_DAY + timedelta(days=3), [_DAY]),
        (_LEAP + timedelta(days=3), [_DAY, _LEAP]),
        (_MARCH + timedelta(days=3), [_DAY, _LEAP, _MARCH]),
        (_DAY - timedelta(days=400), []),
    ],
)
def test_a_date_goes_when_it_is_more_than_so_many_days_old(
    parts: Parts, today: date, gone: list[date]
) -> None:
    """Two days: a row of the 28th, whenever on it, is there all of the 1st, and not on the 2nd."""
    assert _expire(parts, today, days=2) == [(day, 6, True, ("a", "b", "c")) for day in gone]
    kept = {f"date={day}" for day in (_DAY, _LEAP, _MARCH) if day not in gone}
    assert _dates(parts) == kept
    assert not (parts.folders.events / f"date={_DAY}").exists() or _DAY not in gone


def test_for_ever_is_the_default(parts: Parts) -> None:
    """Without a rule nothing goes."""
    assert _expire(parts, date(2099, 1, 1)) == []
    assert len(_dates(parts)) == 3


def test_a_site_may_be_kept_for_less(parts: Parts) -> None:
    """Its rows go from every part, all others stay as they were."""
    others = "SELECT sum(hash(e)::HUGEINT), count(*) FROM {events} AS e WHERE site_id <> 'b'"
    before = parts.query(others)
    done = _expire(parts, _MARCH, b=1)
    assert done == [(_DAY, 2, False, ("b",))]
    assert parts.query(others) == before
    assert (_DAY, "b", 2) not in _left(parts)
    assert (_LEAP, "b", 2) in _left(parts)


def test_a_site_may_be_kept_for_longer(parts: Parts) -> None:
    """Everything else of the date goes."""
    done = _expire(parts, _MARCH, days=1, c=0)
    assert done == [(_DAY, 4, False, ("a", "b"))]
    assert [row for row in _left(parts) if row[0] == _DAY] == [(_DAY, "c", 2)]


def test_done_twice_is_done_once(parts: Parts) -> None:
    """The second time there is nothing to do, and nothing is written."""
    _expire(parts, _MARCH, b=1)
    names = parts.names()
    assert _expire(parts, _MARCH, b=1) == []
    assert parts.names() == names


def test_the_last_site_takes_the_folder_along(parts: Parts) -> None:
    """Site after site, until none is left."""
    for site in "abc":
        _expire(parts, _MARCH, **{site: 1})
    assert _dates(parts) == {f"date={_LEAP}", f"date={_MARCH}"}


def test_a_dry_run_changes_nothing(parts: Parts) -> None:
    """It tells the same."""
    names = parts.names()
    said = _expire(parts, _MARCH, dry_run=True, days=1, c=0)
    assert parts.names() == names
    assert said == _expire(parts, _MARCH, days=1, c=0)


def test_what_is_none_of_ours_stays(parts: Parts) -> None:
    """A folder with a stranger in it is emptied, not removed."""
    mine = parts.folders.events / f"date={_DAY}" / "notes.txt"
    mine.write_text("mine")
    (_, rows, is_whole, _) = _expire(parts, _MARCH, days=1)[0]  # type: ignore[misc]
    assert (rows, is_whole) == (6, False)
    assert mine.read_text() == "mine"
    assert [row for row in _left(parts) if row[0] == _DAY] == []


def test_removed_rows_are_accounted_for(parts: Parts) -> None:
    """By site, protocol and hour; what is left and what was removed is what there was."""
    _expire(parts, _MARCH, b=1)
    _expire(parts, _MARCH + timedelta(days=1), days=1)
    counted = removed_rows(parts.directory.path, Files())
    assert sum(one.of.rows for one in counted) == 12
    assert {one.reason for one in counted} == {"expired"}
    assert {(one.of.site, one.of.hour_us // 3_600_000_000 % 24) for one in counted} == {
        ("a", 0),
        ("b", 1),
        ("c", 2),
    }


def test_a_count_without_removal_does_not_count(parts: Parts) -> None:
    """Interrupted between the note and the exchange, nothing is gone and nothing is counted."""
    parts.files.fail = failing(io_error, "exchange")
    assert _expire(parts, _MARCH, b=1) == []
    parts.files.fail = no_fault
    assert removed_rows(parts.directory.path, Files()) == []
    assert len(parts.numbers()) == 18
    _expire(parts, _MARCH, b=1)
    assert sum(one.of.rows for one in removed_rows(parts.directory.path, Files())) == 2


def test_two_hundred_sites(tmp_path: Path) -> None:
    """Each with a rule of its own: those of few days go, one rewrite of the date."""
    made = Parts(tmp_path)
    names = [f"site-{n}" for n in range(200)]
    made.publish(_DAY, 1, *made.rows(_DAY, 1, *names))
    rules = {name: index % 3 for index, name in enumerate(names)}
    done = _expire(made, _MARCH, **rules)
    made.work.compactor.close()
    gone = tuple(sorted(name for name, days in rules.items() if days == 1))
    assert done == [(_DAY, len(gone), False, gone)]
    assert len(made.numbers()) == 200 - len(gone)


def test_a_note_of_what_did_not_happen_is_taken_back(parts: Parts) -> None:
    """Failed after the note, then joined: the note's part is gone, its rows are not."""
    parts.files.fail = failing(io_error, "exchange")
    _expire(parts, _MARCH, b=1)
    parts.files.fail = no_fault
    parts.work.join(_DAY, is_open=False, limit=NO_LIMIT, parts_min=2)
    assert removed_rows(parts.directory.path, Files()) == []
    _expire(parts, _MARCH, b=1)
    assert sum(one.of.rows for one in removed_rows(parts.directory.path, Files())) == 2
    assert len(parts.numbers()) == 16


def test_a_damaged_file_holds_up_its_date_only(parts: Parts) -> None:
    """All other dates are done, and what could not be is told."""
    path = parts.folders.path(Part(_DAY, 1, 1))
    path.write_bytes(path.read_bytes()[:-20])
    rule = Retention(days=1)
    today = _MARCH + timedelta(days=1)
    done, failed = retention.expire(parts.work, rule, today, NO_LIMIT)
    assert [one.date for one in done] == [_LEAP]
    assert list(failed) == [_DAY]
    assert "part-000000000001" in failed[_DAY]


def test_a_part_that_comes_meanwhile_is_not_taken_along(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushed between the count and the removal of the folder: its rows stay."""
    note = parts.work._note

    def late(*arguments: object) -> None:
        note(*arguments)  # type: ignore[arg-type]
        if not parts.folders.path(Part(_DAY, 9, 9)).exists():
            parts.publish(_DAY, 9, *parts.rows(_DAY, 900, "late"))

    monkeypatch.setattr(parts.work, "_note", late)
    _expire(parts, _MARCH, days=1, late=0)
    assert [row for row in _left(parts) if row[0] == _DAY] == [(_DAY, "late", 1)]
    assert sum(one.of.rows for one in removed_rows(parts.directory.path, Files())) == 6


def test_a_date_without_rows_goes(parts: Parts) -> None:
    """Emptied by an erasure before: its folder goes when its time has come."""
    for cut in [parts.work.matching("true", _DAY, NO_LIMIT)]:
        parts.work.cut(_DAY, cut, "true", "erased")
    assert f"date={_DAY}" in _dates(parts)
    assert _expire(parts, _MARCH, days=1) == [(_DAY, 0, True, ())]
    assert f"date={_DAY}" not in _dates(parts)
