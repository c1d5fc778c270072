"""Erasing a person: all rows that are meant, no other, counted; twice is harmless."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from storage import Files, Person, StorageError, erasure, layout, recovery, removed_rows
from storage.layout import Part
from tests.support.files import failing, io_error, no_fault, of_events
from tests.support.parts import NO_LIMIT, Parts
from tests.support.rows import NOW_US, make_row

_DAYS = (date(2024, 2, 29), date(2024, 3, 1))
_UUID = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
_HASH = "ab" * 32
_REST = "SELECT count(*), sum(hash(e)::HUGEINT) FROM {{events}} AS e WHERE ({}) IS NOT TRUE"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Two dates, two parts each; one person under several names, and others."""
    made = Parts(tmp_path)
    number = 0
    for day in _DAYS:
        for _ in range(2):
            number += 1
            made.publish(
                day,
                number,
                make_row(10 * number, visitor_id=_UUID),
                make_row(10 * number + 1, visitor_id=_UUID.replace("-", "")),
                make_row(10 * number + 2, visitor_id=_UUID, site_id="other"),
                make_row(10 * number + 3, user_id="o'brien", visitor_id="v-user"),
                make_row(10 * number + 4, external_id="o'brien", email_hash=_HASH),
                make_row(10 * number + 5, visitor_id="v-user"),
                make_row(10 * number + 6),
            )
    yield made
    made.work.compactor.close()


def _erase(parts: Parts, who: erasure.Who, value: str, **more: object) -> erasure.Erased:
    dry_run = bool(more.pop("dry_run", False))
    person = Person("demo", who, value, **more)  # type: ignore[arg-type]
    return erasure.erase(parts.work, person, NO_LIMIT, dry_run=dry_run)


@pytest.mark.parametrize(
    ("who", "value", "rows"),
    [
        ("visitor", _UUID, 8),
        ("visitor", _UUID.upper(), 8),
        ("visitor", _UUID.replace("-", ""), 8),
        ("user", "o'brien", 8),
        ("email_hash", _HASH.upper(), 4),
        ("visitor", "nobody", 0),
        ("visitor", "' OR true --", 0),
        ("user", "O'BRIEN", 0),
    ],
)
def test_the_rows_that_are_meant_go_and_no_other(
    parts: Parts, who: erasure.Who, value: str, rows: int
) -> None:
    """Spellings of an id are one id; the rest is the same, value for value."""
    planned = _erase(parts, who, value, dry_run=True)
    rest = parts.query(_REST.format(planned.condition.replace("{", "{{")))
    names = parts.names()
    assert planned.rows == rows
    done = _erase(parts, who, value)
    assert done == planned
    assert sum(one.rows for one in done.files) == rows
    assert parts.query(_REST.format(done.condition)) == rest
    count = "SELECT count(*) FROM {{events}} WHERE {}"
    assert parts.query(count.format(done.condition)) == [(0,)]
    assert (parts.names() == names) == (rows == 0)
    assert _erase(parts, who, value).rows == 0


def test_files_are_named_and_revised(parts: Parts) -> None:
    """A part keeps its range and gets the next revision; the old name never comes back."""
    done = _erase(parts, "email_hash", _HASH)
    assert [one.part for one in done.files] == [
        f"date={day}/part-{n:012d}-{n:012d}.parquet"
        for day, n in zip((_DAYS[0], _DAYS[0], _DAYS[1], _DAYS[1]), range(1, 5), strict=True)
    ]
    again = _erase(parts, "visitor", _UUID)
    assert all("-r1.parquet" in one.part for one in again.files)
    assert parts.listed(_DAYS[0]) == [Part(_DAYS[0], 1, 1, 2), Part(_DAYS[0], 2, 2, 2)]


def test_linked_takes_what_the_visitor_did_before(parts: Parts) -> None:
    """Rows of a visitor that one of the user's rows names, one step far."""
    assert _erase(parts, "user", "o'brien", linked=True).rows == 12
    left = parts.query("SELECT count(*) FROM {events} WHERE visitor_id = 'v-user'")
    assert left == [(0,)]


def test_rows_that_came_later_stay(parts: Parts) -> None:
    """The moment of the order is the border, inclusive."""
    assert _erase(parts, "visitor", _UUID, until_us=NOW_US - 1, dry_run=True).rows == 0
    assert _erase(parts, "visitor", _UUID, until_us=NOW_US).rows == 8


def test_a_part_that_loses_its_last_row_stays_empty(tmp_path: Path) -> None:
    """Its number stays taken, and it can be read."""
    made = Parts(tmp_path)
    made.publish(_DAYS[0], 1, make_row(1, visitor_id="v"))
    made.publish(_DAYS[0], 2, make_row(2))
    assert _erase(made, "visitor", "v").rows == 1
    assert made.listed(_DAYS[0]) == [Part(_DAYS[0], 1, 1, 1), Part(_DAYS[0], 2, 2)]
    assert made.numbers() == [2]
    made.work.join(_DAYS[0], is_open=False, limit=NO_LIMIT, parts_min=2)
    made.work.compactor.close()
    assert made.listed(_DAYS[0]) == [Part(_DAYS[0], 1, 2)]
    assert made.numbers() == [2]


def test_what_was_erased_is_accounted_for(parts: Parts) -> None:
    """Counts without a name; joined afterwards, they still count."""
    _erase(parts, "visitor", _UUID)
    _erase(parts, "user", "o'brien")
    for day in _DAYS:
        parts.work.join(day, is_open=False, limit=NO_LIMIT, parts_min=2)
    counted = removed_rows(parts.directory.path, Files())
    assert sum(one.of.rows for one in counted) == 16
    assert {one.reason for one in counted} == {"erased"}
    for path in (parts.directory.path / "removed").iterdir():
        assert _UUID not in path.read_text()
        assert "brien" not in path.read_text()


@pytest.mark.parametrize("operation", ["rename", "sync", "link", "exchange", "sync_folder"])
def test_interrupted_and_repeated(parts: Parts, operation: str) -> None:
    """A failing disk in the middle: each date is as it was or as it was to be; a repeat ends it."""
    every = parts.numbers()
    parts.files.fail = failing(io_error, operation, skip=1, times=1)
    with pytest.raises(StorageError, match="error"):
        _erase(parts, "visitor", _UUID)
    parts.files.fail = no_fault
    assert set(parts.numbers()) <= set(every)
    assert len(parts.numbers()) == len(set(parts.numbers()))
    _erase(parts, "visitor", _UUID)
    meant = {n for number in range(1, 5) for n in (10 * number, 10 * number + 1)}
    assert parts.numbers() == sorted(set(every) - meant)
    assert sum(one.of.rows for one in removed_rows(parts.directory.path, Files())) == 8


def test_a_crash_between_two_revisions_is_mended(parts: Parts) -> None:
    """Without exchange both are there for a moment; a start removes the older one."""
    parts.files.exchanges = False
    parts.files.fail = failing(
        io_error, "unlink", where=lambda _op: bool(parts.listed(_DAYS[0])[0].revision)
    )
    with pytest.raises(StorageError, match="error"):
        _erase(parts, "visitor", _UUID)
    parts.files.fail = no_fault
    revised = Part(_DAYS[0], 1, 1, 1)
    found = layout.list_parts(parts.folders.events)
    assert {revised, Part(_DAYS[0], 1, 1)} <= set(found)
    assert revised in layout.live_parts(found)
    assert Part(_DAYS[0], 1, 1) not in layout.live_parts(found)
    assert recovery.RemovePart(Part(_DAYS[0], 1, 1)) in recovery.plan([], found)
    # A repeat does not say "nothing left" as long as a plain glob still sees the rows.
    _erase(parts, "visitor", _UUID)
    assert Part(_DAYS[0], 1, 1) not in layout.list_parts(parts.folders.events)
    count = "SELECT count(*) FROM {{events}} WHERE visitor_id = '{}'"
    assert parts.query(count.format(_UUID)) == [(4,)]


def test_a_folder_in_doubt_is_removed_before_an_erasure_is_done(parts: Parts) -> None:
    """The names of an exchange could not be forced to disk: the old rows go as soon as they are."""
    parts.files.fail = failing(io_error, "sync_folder", where=of_events, times=1)
    with pytest.raises(StorageError, match="error"):
        _erase(parts, "visitor", _UUID)
    parts.files.fail = failing(io_error, "sync_folder")
    with pytest.raises(OSError, match="error"):
        parts.work.clear()
    parts.files.fail = no_fault
    while parts.work.clear():
        parts.now_s += 60
    assert parts.temporaries() == []


def test_rows_of_a_clock_that_was_ahead_go(parts: Parts) -> None:
    """Which rows are meant is told by where they are, not by the time they claim."""
    late = NOW_US + 3_600_000_000
    parts.publish(_DAYS[1], 9, make_row(900, visitor_id=_UUID, received_time=late))
    assert _erase(parts, "visitor", _UUID).rows == 9


def test_a_damaged_file_is_told_and_the_rest_is_done(parts: Parts) -> None:
    """Nobody may believe that a person is gone who is in a file that cannot be read."""
    path = parts.folders.path(Part(_DAYS[0], 2, 2))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StorageError, match="part-000000000002"):
        _erase(parts, "visitor", _UUID)
    assert [part.revision for part in parts.listed(_DAYS[1])] == [1, 1]


def test_remains_of_the_log_go_as_a_whole(parts: Parts) -> None:
    """What recovery set aside and names the person is removed, other remains stay."""
    wal = parts.directory.wal
    (wal / "torn-000000000001-0").write_text(f'{{"visitor_id":"{_UUID}"')
    (wal / "torn-000000000002-7").write_text('{"visitor_id":"somebody"')
    assert _erase(parts, "visitor", _UUID.upper()).torn == ["torn-000000000001-0"]
    assert [path.name for path in wal.glob("torn-*")] == ["torn-000000000002-7"]


def test_nothing_above_the_limit_is_touched(parts: Parts) -> None:
    """Parts that are not counted yet wait."""
    person = Person("demo", "visitor", _UUID)
    done = erasure.erase(parts.work, person, 2)
    assert done.rows == 4
    assert parts.listed(_DAYS[1]) == [Part(_DAYS[1], 3, 3), Part(_DAYS[1], 4, 4)]
