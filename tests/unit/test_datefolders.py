"""Folders of dates: they change in one step, and what cannot be exchanged is replaced in order."""

import errno
import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest

from storage import layout, recovery
from storage.datefolders import GRACE_S
from storage.layout import Part
from tests.support.files import Operation, failing, io_error, no_fault, no_space, of_date, of_events
from tests.support.parts import NO_LIMIT, Parts

_DAY = date(2024, 2, 29)
_WHOLE = f"date={_DAY}/part-000000000001-000000000003.parquet"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Three parts of one row each."""
    made = Parts(tmp_path)
    for number in (1, 2, 3):
        made.publish(_DAY, number, number)
    yield made
    made.work.compactor.close()


def _join(parts: Parts) -> None:
    parts.work.join(_DAY, is_open=False, limit=NO_LIMIT, parts_min=2)


def _open_folder(parts: Parts) -> Path:
    return parts.folders.events / f"date={_DAY}"


def test_exchange_leaves_the_new_set(parts: Parts) -> None:
    """One part in the place of three, with their rows."""
    _join(parts)
    assert parts.names() == [_WHOLE]
    assert parts.numbers() == [1, 2, 3]


def test_what_was_replaced_stays_for_those_who_are_reading(parts: Parts) -> None:
    """The old folder, out of the glob, until its time is over; nothing else is left behind."""
    _join(parts)
    (old,) = parts.temporaries()
    kept = sorted(path.name for path in (parts.folders.temporary / old).iterdir())
    assert [name[:17] for name in kept] == [f"part-{n:012d}" for n in (1, 2, 3)]
    parts.now_s += GRACE_S - 1
    assert parts.folders.clear() == pytest.approx(1)
    assert parts.temporaries() == [old]
    parts.now_s += 1
    assert parts.folders.clear() == 0
    assert parts.temporaries() == []


def test_a_folder_held_open_shows_the_old_set(parts: Parts) -> None:
    """Who is half through a listing sees the old names to the end, none of the new ones."""
    with os.scandir(_open_folder(parts)) as listing:
        first = next(listing).name
        _join(parts)
        names = {first, *(entry.name for entry in listing)}
    assert len(names) == 3


def test_files_that_stay_keep_their_names(parts: Parts) -> None:
    """A larger neighbour, and what is none of ours, is the same file before and after."""
    other = _open_folder(parts) / "notes.txt"
    other.write_text("mine")
    before = other.stat().st_ino
    _join(parts)
    assert other.read_text() == "mine"
    assert other.stat().st_ino == before


@pytest.mark.parametrize(
    "number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM]
)
@pytest.mark.parametrize("operation", ["link", "exchange"])
def test_without_exchange_it_publishes_then_deletes(
    parts: Parts, number: int, operation: str
) -> None:
    """Where the system cannot, the wide part is there before the narrow ones go."""
    seen: list[list[str]] = []

    def watch(one: Operation) -> None:
        if one.call == "unlink" and one.is_in("events"):
            seen.append(parts.names())

    parts.files.watch = watch
    parts.files.fail = failing(lambda: OSError(number, "cannot"), operation)
    _join(parts)
    parts.files.fail = no_fault
    assert parts.names() == [_WHOLE]
    assert parts.numbers() == [1, 2, 3]
    assert all(_WHOLE in names for names in seen)
    assert parts.temporaries() == []


def test_a_folder_inside_is_left_alone(parts: Parts) -> None:
    """What cannot be linked makes it publish and delete instead."""
    inside = _open_folder(parts) / "somebody's"
    inside.mkdir()
    (inside / "file").write_text("mine")
    _join(parts)
    assert (inside / "file").read_text() == "mine"
    assert _WHOLE in parts.names()
    assert parts.numbers() == [1, 2, 3]


@pytest.mark.parametrize("operation", ["sync", "link", "sync_folder", "exchange"])
@pytest.mark.parametrize("error", [io_error, no_space])
def test_failure_leaves_the_old_set(
    parts: Parts, operation: str, error: Callable[[], OSError]
) -> None:
    """Failed before the exchange: everything is as it was, and a repeat succeeds."""
    parts.files.fail = failing(error, operation)
    with pytest.raises(OSError, match=r"error|space"):
        _join(parts)
    parts.files.fail = no_fault
    assert len(parts.names()) == 3
    assert parts.numbers() == [1, 2, 3]
    _join(parts)
    assert parts.names() == [_WHOLE]
    assert parts.numbers() == [1, 2, 3]


def test_failure_behind_the_exchange_removes_nothing(parts: Parts) -> None:
    """Nobody knows which folder a crash would leave: both are kept until the next start."""
    parts.files.fail = failing(io_error, "sync_folder", where=of_events)
    with pytest.raises(OSError, match="error"):
        _join(parts)
    parts.files.fail = no_fault
    parts.now_s += 10 * GRACE_S
    parts.folders.clear()
    (old,) = parts.temporaries()
    assert len(list((parts.folders.temporary / old).iterdir())) == 3
    assert parts.numbers() == [1, 2, 3]


def test_damaged_part_is_told_and_left(parts: Parts) -> None:
    """A part that cannot be read keeps its date from being joined; nothing is lost."""
    path = parts.folders.path(Part(_DAY, 2, 2))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Exception, match="part-000000000002"):
        _join(parts)
    assert len(parts.names()) == 3
    assert parts.temporaries() == []


def test_joined_rows_are_sorted_and_the_same(tmp_path: Path) -> None:
    """Sorted by site and time; every value as it was."""
    made = Parts(tmp_path)
    for number in range(4):
        rows = made.rows(_DAY, 10 * number + 1, "b", "a", "c", "b")
        made.publish(_DAY, number + 1, *rows)
    every = "SELECT sum(hash(e)::HUGEINT), count(*) FROM {events} AS e"
    before = made.query(every)
    _join(made)
    made.work.compactor.close()
    assert made.query(every) == before
    path = made.folders.path(Part(_DAY, 1, 4))
    listed = duckdb.read_parquet(str(path)).select("site_id, event_time").fetchall()
    assert listed == sorted(listed)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("repeated_by", ["work", "start"])
def test_narrow_parts_stay_until_the_name_of_the_wide_one_lasts(
    tmp_path: Path, seed: int, repeated_by: str
) -> None:
    """Published, but not forced to disk: before what it covers goes, its name must last.

    Else a loss of power takes the wide part's name back, and the narrow ones are gone.
    """
    made = Parts(tmp_path, seed)
    made.files.exchanges = False
    for number in (1, 2, 3):
        made.publish(_DAY, number, number)
    made.files.fail = failing(io_error, "sync_folder", where=of_date)
    with pytest.raises(OSError, match="error"):
        _join(made)
    made.files.fail = no_fault
    assert _WHOLE in made.names()
    if repeated_by == "work":
        _join(made)
    else:
        found = recovery.look(tmp_path)
        actions = recovery.plan([], found.parts, found.temporaries)
        recovery.apply(actions, tmp_path, made.files, lambda _text: None)
    made.work.compactor.close()
    made.files.crash()
    live = layout.live_parts(layout.list_parts(made.folders.events))
    assert sum(part.last - part.first + 1 for part in live) == 3
