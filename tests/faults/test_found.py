"""What the sweeps found in the product, one test each: see docs/BUGS_FOUND.md."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from storage import Files, Person, Retention, StorageError, byhand, erasure, layout
from storage.datefolders import DateFolders
from storage.flusher import Flusher
from storage.layout import Part
from storage.wal import Sealed
from tests.support.files import FaultyFiles, Operation, failing, io_error, no_fault, no_space
from tests.support.parts import NO_LIMIT, Parts
from tests.support.rows import NOW_US, TODAY, make_lines, make_segment
from tests.support.store import Harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """A store on a faulty disk, not opened yet."""
    made = Harness(tmp_path / "data")
    yield made
    made.end()


def _nothing_more(files: FaultyFiles) -> None:
    """Lose power; nothing got to the disk that was not forced to it."""
    files.crash(next(files.states(1)))


def test_the_name_of_a_new_data_directory_lasts(harness: Harness) -> None:
    """Made by a start that could not force its name to disk, it is forced there by the next one."""
    harness.files.fail = failing(io_error, "sync_folder", times=1)
    with pytest.raises(OSError, match="error"):
        harness.open()
    harness.files.fail = no_fault
    harness.open()
    assert harness.submit(1)
    harness.kill()
    _nothing_more(harness.files)
    harness.open()
    assert harness.readable() == [1]


def test_what_was_cut_off_does_not_come_back_in_front_of_a_later_segment(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed write is cut off, and that lasts: else a crash leaves damage, and nothing starts."""
    store = harness.open()
    monkeypatch.setattr(store._flush_thread, "put", lambda _sealed: None)  # it does not keep up
    assert harness.submit(1)
    harness.files.fail = failing(no_space, "write", times=1)
    assert not harness.submit(*range(2, 20))
    harness.files.fail = no_fault
    harness.advance(2)
    assert harness.submit(20)
    segments = layout.list_segments(harness.directory / layout.WAL)
    assert len(segments) == 2
    every = list(harness.files.states(50))
    harness.kill()
    for state in every:
        harness.files.crash(state)
        harness.open()
        assert sorted(harness.readable()) == [1, 20]
        harness.kill()


def test_a_segment_without_rows_is_never_left_in_front_of_another(harness: Harness) -> None:
    """Its first group failed, and it cannot be removed: it goes on, whatever day it is."""
    harness.open()
    harness.files.fail = failing(no_space, "write")
    assert not harness.submit(1)
    harness.files.fail = failing(io_error, "unlink", folder="wal")
    harness.now_us += 86_400_000_000
    harness.advance(2)
    assert harness.submit(2)
    harness.now_us += 86_400_000_000
    assert harness.submit(3)
    harness.kill()
    harness.files.fail = no_fault
    harness.open()
    assert sorted(harness.readable()) == [2, 3]


def test_orders_end_while_a_segment_cannot_be_removed(harness: Harness) -> None:
    """Sealing never fails, so nobody waits for ever for what others asked to have sealed."""
    harness.open()
    harness.files.fail = failing(no_space, "write")
    assert not harness.submit(1)
    harness.files.fail = failing(io_error, "unlink", folder="wal")
    harness.advance(2)
    assert harness.compact()


def test_the_folder_of_a_new_date_lasts_before_a_segment_goes(tmp_path: Path) -> None:
    """A part was named, its folder's name not forced to disk: the next try does that, too."""
    files = FaultyFiles(root=tmp_path / "data")
    for name in layout.FOLDERS:
        files.make_folder(tmp_path / "data" / name)
    path = tmp_path / "data" / layout.WAL / layout.segment_name(1)
    path.write_bytes(make_segment(1, [1, 2]))
    files.adopt()
    folders = DateFolders(tmp_path / "data", files, lambda: 0.0)
    flusher = Flusher(folders, files)
    sealed = Sealed(1, TODAY, 2, path.stat().st_size, path.stat().st_size, path)
    part = Part(TODAY, 1, 1)
    folders.path(part).parent.mkdir()  # made by a process that was killed then
    files.fail = failing(io_error, "sync_folder", where=lambda one: one.path.name == "events")
    with pytest.raises(Exception, match="error"):
        flusher.flush(sealed)
    assert folders.path(part).exists()
    files.fail = no_fault
    assert flusher.flush(sealed) == part
    flusher.close()
    _nothing_more(files)
    assert folders.path(part).exists() or path.exists()


def test_what_is_left_of_the_log_of_a_person_does_not_come_back(tmp_path: Path) -> None:
    """An erasure that was reported is not undone by a loss of power."""
    parts = Parts(tmp_path)
    torn = tmp_path / layout.WAL / "torn-000000000009-0"
    torn.write_bytes(make_lines(9, visitor_id="somebody"))
    parts.publish(date(2024, 2, 29), 1, 1)
    erased = erasure.erase(parts.work, Person("demo", "visitor", "somebody"), NO_LIMIT)
    assert erased.torn == [torn.name]
    parts.work.compactor.close()
    _nothing_more(parts.files)
    assert not torn.exists()


def test_an_erasure_is_not_done_because_an_earlier_try_failed(tmp_path: Path) -> None:
    """Nothing is left to be removed, and the removal does not last yet: the repeat sees to it."""
    parts = Parts(tmp_path)
    torn = tmp_path / layout.WAL / "torn-000000000009-0"
    torn.write_bytes(make_lines(9, visitor_id="somebody"))
    parts.publish(date(2024, 2, 29), 1, 1)
    person = Person("demo", "visitor", "somebody")
    parts.files.fail = failing(io_error, "sync_folder", folder="wal")
    with pytest.raises(OSError, match="error"):
        erasure.erase(parts.work, person, NO_LIMIT)
    parts.files.fail = no_fault
    erasure.erase(parts.work, person, NO_LIMIT)
    parts.work.compactor.close()
    _nothing_more(parts.files)
    assert not torn.exists()


def test_retention_is_not_done_because_an_earlier_try_failed(tmp_path: Path) -> None:
    """A date is out of sight, and a crash could bring it back: only then it is said to be gone."""
    harness = Harness(
        tmp_path / "data", retention=Retention(days=1), tends_parts=False, join_parts_min=2
    )
    harness.open()
    assert harness.submit(1)
    harness.advance(1.1)
    assert harness.settle_flushes()
    harness.now_us += 3 * 86_400_000_000
    assert harness.submit(2)

    def expire() -> None:
        assert harness.store is not None
        order = byhand.expire(harness.store, harness.now_us, dry_run=False)
        harness.loop.run_until_complete(order)

    harness.files.fail = failing(io_error, "sync_folder", where=_is_behind_a_move(harness))
    for _ in range(2):
        with pytest.raises((OSError, StorageError), match="error"):
            expire()
    assert harness.glob() == [2]
    harness.files.fail = no_fault
    expire()
    harness.kill()
    _nothing_more(harness.files)
    assert harness.glob() == [2]
    harness.end()


def _is_behind_a_move(harness: Harness) -> Callable[[Operation], bool]:
    """Whether the folder of a date was moved away."""
    tmp = harness.directory / layout.TEMPORARY
    return lambda one: one.path.name in {"tmp", "events"} and any(tmp.glob("*-date=*"))


def test_removed_parts_do_not_come_back(tmp_path: Path) -> None:
    """Where folders cannot be exchanged, what was replaced is gone for good as well."""
    parts = Parts(tmp_path)
    parts.files.exchanges = False
    day = date(2024, 2, 29)
    parts.publish(day, 1, *parts.rows(day, 1, "demo", "demo"))
    erased = erasure.erase(parts.work, Person("demo", "visitor", "visitor-1"), NO_LIMIT)
    assert erased.rows == 1
    parts.work.compactor.close()
    for state in list(parts.files.states(20)):
        parts.files.crash(state)
        assert parts.numbers() == [2]


def test_a_stop_goes_on_where_an_empty_segment_cannot_be_removed(harness: Harness) -> None:
    """The directory is unlocked, and the next start removes what was left."""
    harness.open()
    harness.files.fail = failing(no_space, "write")
    assert not harness.submit(1)
    harness.files.fail = failing(io_error, "unlink", folder="wal")
    harness.close()
    harness.files.fail = no_fault
    Files().close(Files().lock(harness.directory / layout.LOCK))
    harness.open()
    assert harness.submit(1)
    assert harness.now_us == NOW_US
