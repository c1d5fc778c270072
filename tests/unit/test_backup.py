"""Backups: what is in them, what is left out, what is replaced, and what is not."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from collector.cli import main
from storage import Files, Lake, backup, layout
from storage.backup import BackupError, Report
from tests.support.files import FaultyFiles
from tests.support.lake import DataDirectory
from tests.support.meddling import Meddling


class OtherDisk(Files):
    """The data directory is on another file system than the backup."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.copies = 0

    def link(self, path: Path, other: Path) -> None:
        """See System."""
        if path.is_relative_to(self._data):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        super().link(path, other)

    def copy(self, source: Path, target: Path) -> None:
        """See Files."""
        self.copies += 1
        super().copy(source, target)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """Two dates with parts, a log of two segments, and every other folder with something in it."""
    made = DataDirectory(tmp_path / "data")
    made.publish(1, 2, 1, 2)
    made.publish(3, 3, 3)
    made.append(4, 4, 5)
    made.append(5, 6)
    made.append_bytes(5, b'{"half of a line')
    for name, content in {
        "state/salt-2026-11-26": "secret",
        "state/usage.json": "{}",
        "state/usage.json.tmp": "{",
        "audit/2026-11-26.json": "counts",
        "removed/2026-11-25.json": "{}",
        "quarantine/part-000000000001-000000000001-000000.parquet": "dead",
        "quarantine/part-000000000001-000000000001-000001.parquet": "live",
        "quarantine/damaged-part-000000000009-000000000009-000000.parquet": "damaged",
        "wal/torn-000000000003-0": "torn",
        "keys/run-000000000001-000000000003.keys": "keys",
        "summaries/1-2.0/date=2026-11-26/part-000000000001-000000000002.parquet": "counted",
        "orders/1.json": "erase somebody",
        "tmp/1-date=2026-11-26": "unfinished",
        "views.sql": "views",
        "lock": "",
    }.items():
        (made.path / name).parent.mkdir(parents=True, exist_ok=True)
        (made.path / name).write_text(content)
    return made


def make(data: DataDirectory, target: Path, files: Files | None = None) -> Report:
    """A backup without waiting."""
    return backup.make(
        data.path, target, files or Files(), secret_state="salt-", wait=lambda _seconds: None
    )


def numbers(directory: Path) -> list[int]:
    """Numbers of the rows that a query finds, ascending."""
    with Lake(directory, Files()) as lake:
        return sorted(row[0].int for row in lake.run("SELECT event_id FROM events").rows())


def names(folder: Path) -> set[str]:
    """Every file below `folder`."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_it_holds_every_row_and_leaves_out_what_is_made_again(
    data: DataDirectory, tmp_path: Path
) -> None:
    """Parts, log, counts and refused events are there; secrets, orders, keys and copies are not."""
    target = tmp_path / "copy"
    report = make(data, target)
    day = layout.partition_name(layout.list_parts(data.events)[0].date)
    assert names(target) == {
        f"events/{day}/part-000000000001-000000000002.parquet",
        f"events/{day}/part-000000000003-000000000003.parquet",
        "wal/000000000004.ndjson",
        "wal/000000000005.ndjson",
        "wal/torn-000000000003-0",
        "state/usage.json",
        "audit/2026-11-26.json",
        "removed/2026-11-25.json",
        "quarantine/part-000000000001-000000000001-000001.parquet",
        "quarantine/damaged-part-000000000009-000000000009-000000.parquet",
        backup.MARK,
    }
    assert numbers(target) == numbers(data.path) == [1, 2, 3, 4, 5, 6]
    assert b"half of a line" not in (target / "wal/000000000005.ndjson").read_bytes()
    assert (report.parts, report.linked, report.segments, report.log_rows) == (2, 2, 2, 3)
    assert report.newest == 5
    assert (target / "wal").stat().st_mode & 0o777 == 0o750


def test_published_files_take_no_room_on_the_same_file_system(
    data: DataDirectory, tmp_path: Path
) -> None:
    """They have a second name; whatever is written is a file of its own."""
    make(data, tmp_path / "copy")
    for part in layout.list_parts(data.events):
        assert (tmp_path / "copy/events" / part.name).samefile(data.events / part.name)
    for name in ("wal/000000000005.ndjson", "audit/2026-11-26.json"):
        assert (tmp_path / "copy" / name).stat().st_nlink == 1


def test_files_are_copied_once_to_another_file_system(data: DataDirectory, tmp_path: Path) -> None:
    """What the copy before has is taken from there; what has its name only is not."""
    target, files = tmp_path / "copy", OtherDisk(data.path)
    first = make(data, target, files)
    assert (first.linked, first.kept, first.copied) == (0, 0, 2)
    data.publish(6, 6, 7)
    files.copies = 0
    second = make(data, target, files)
    assert (second.linked, second.kept, second.copied) == (0, 2, 1)
    assert files.copies == 2, "one part, and one file of the quarantine"
    # Another data directory begins to count at 1 as well.
    [part] = [p for p in layout.list_parts(data.events) if p.first == 3]
    path = data.events / part.name
    before = path.stat()
    path.unlink()
    data.publish(3, 3, 8)
    padding = before.st_size - path.stat().st_size
    assert padding == 0, "the same size"
    third = make(data, target, files)
    assert (third.kept, third.copied) == (2, 1)
    assert numbers(target) == numbers(data.path)


def test_a_second_backup_is_as_the_directory_is_now(data: DataDirectory, tmp_path: Path) -> None:
    """What was joined, flushed or removed since is so in the copy, and nothing else is left."""
    target = tmp_path / "copy"
    make(data, target)
    data.join(1, 3)
    data.flush(4)
    (data.path / "audit/2026-11-26.json").unlink()
    make(data, target)
    assert [part.file_name for part in sorted(layout.list_parts(target / "events"))] == [
        "part-000000000001-000000000003.parquet",
        "part-000000000004-000000000004.parquet",
    ]
    assert layout.list_segments(target / "wal") == [5]
    assert not (target / "audit/2026-11-26.json").exists()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_segment_that_becomes_a_part_meanwhile_is_there_once(
    data: DataDirectory, tmp_path: Path
) -> None:
    """The log is copied first; a segment that a copied part covers goes from the copy."""

    class Flushing(Files):
        def link(self, path: Path, other: Path) -> None:
            if data.segment(4).exists():
                data.flush(4)
            super().link(path, other)

    target = tmp_path / "copy"
    make(data, target, Flushing())
    assert numbers(target) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("moment", range(12))
def test_files_that_are_joined_meanwhile_are_looked_for_again(
    data: DataDirectory, tmp_path: Path, moment: int
) -> None:
    """Whenever that happens, the copy has all rows, and counts that fit to its files."""
    seen = 0

    def join() -> None:
        nonlocal seen
        if seen == moment:
            data.join(1, 3)
            (data.path / "audit/2026-11-26.json").write_text("newer counts")
        seen += 1

    target = tmp_path / "copy"
    report = make(data, target, Meddling(join))
    assert seen > moment, "it did happen"
    assert numbers(target) == [1, 2, 3, 4, 5, 6]
    [part, *rest] = sorted(layout.list_parts(target / "events"))
    if (part.first, part.last) == (1, 3):
        assert rest == []
        # A part that only the newer counts know whole.
        assert (target / "audit/2026-11-26.json").read_text() == "newer counts"
        assert report.looks == 2


def test_refused_events_that_are_replayed_meanwhile_are_looked_for_again(
    data: DataDirectory, tmp_path: Path
) -> None:
    """An event that left the quarantine for the log is not in both."""
    newest = data.segment(5)
    newest.write_bytes(newest.read_bytes().removesuffix(b'{"half of a line'))
    gone = data.path / "quarantine/part-000000000001-000000000001-000001.parquet"

    class Replaying(Files):
        def read_bytes(self, path: Path) -> bytes:
            if path.suffix == ".ndjson" and gone.exists():
                data.append(6, 7)
                gone.rename(gone.with_name("part-000000000001-000000000001-000002.parquet"))
            return super().read_bytes(path)

    target = tmp_path / "copy"
    assert make(data, target, Replaying()).looks == 2
    assert 7 in numbers(target)
    assert not (target / "quarantine" / gone.name).exists()


def test_files_that_never_hold_still_are_told(data: DataDirectory, tmp_path: Path) -> None:
    """Looking again is bounded; the copy before stays."""
    target = tmp_path / "copy"
    make(data, target)
    before = names(target)
    numbers_left: Iterator[int] = iter(range(10, 100))

    class Restless(Files):
        def link(self, path: Path, other: Path) -> None:
            super().link(path, other)
            if "date=" in str(path):
                path.unlink()
                data.publish(one := next(numbers_left), one + 1, one)

    with pytest.raises(BackupError, match="kept changing"):
        make(data, target, Restless())
    assert names(target) == before


def test_a_backup_that_fails_leaves_the_one_before(data: DataDirectory, tmp_path: Path) -> None:
    """Whatever operation fails: the copy before is whole, and nothing else is left behind."""
    target = tmp_path / "copy"
    make(data, target)
    before = names(target)
    data.publish(6, 6, 7)
    failed = 0
    for number in range(1, 200):
        files = FaultyFiles()
        files.fail = lambda operation, n=number: (  # type: ignore[misc]
            OSError(errno.EIO, "broken") if operation.number == n else None
        )
        try:
            make(data, target, files)
        except OSError:
            failed += 1
            assert (target / backup.MARK).exists()
            assert names(target) == before or len(layout.list_parts(target / "events")) == 3
            assert list(tmp_path.glob(".copy*")) == []
        else:
            break
    assert failed > 20
    assert numbers(target) == [1, 2, 3, 4, 5, 6, 7]


def test_a_finished_backup_survives_a_loss_of_power(tmp_path: Path) -> None:
    """When it is reported, everything in it is on the disk, names included."""
    data = DataDirectory(tmp_path / "root/data")
    data.publish(1, 1, 1)
    data.append(2, 2)
    (tmp_path / "root/there").mkdir()
    files = FaultyFiles(root=tmp_path / "root")
    files.adopt()
    backup.make(
        data.path,
        tmp_path / "root/there/copy",
        files,
        secret_state="salt-",
        wait=lambda _seconds: None,
    )
    for state in list(files.states(50)):
        files.crash(state)
        assert numbers(tmp_path / "root/there/copy") == [1, 2]
        assert (tmp_path / "root/there/copy" / backup.MARK).exists()


def _something(target: Path) -> None:
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")


def _worked_in(target: Path) -> None:
    target.mkdir()
    (target / backup.MARK).write_text("{}")
    (target / "lock").touch()


def _a_file(target: Path) -> None:
    target.write_text("years of work")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (_something, "neither empty nor a backup"),
        (_worked_in, "a collector has worked there"),
        (_a_file, "is no folder"),
    ],
)
def test_nothing_but_a_backup_is_replaced(
    data: DataDirectory, tmp_path: Path, there: Callable[[Path], None], message: str
) -> None:
    """A folder with something else in it, or in use by a collector, stays as it is."""
    target = tmp_path / "copy"
    there(target)
    before = {path: path.read_bytes() for path in (target, *target.rglob("*")) if path.is_file()}
    with pytest.raises(BackupError, match=message):
        make(data, target)
    after = {path: path.read_bytes() for path in (target, *target.rglob("*")) if path.is_file()}
    assert after == before


def test_it_lies_outside_the_data_directory(data: DataDirectory, tmp_path: Path) -> None:
    """Neither inside nor around: a copy of a copy would have no end."""
    for target in (data.path, data.path / "events/copy", tmp_path):
        with pytest.raises(BackupError, match="neither lie in the data directory nor hold it"):
            make(data, target)
    with pytest.raises(BackupError, match="no data directory"):
        backup.make(
            tmp_path / "no", tmp_path / "c", Files(), secret_state="", wait=lambda _seconds: None
        )


def test_a_mounted_file_system_is_not_replaced(
    data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not change places: that is told before anything is copied, not after all is."""
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with pytest.raises(BackupError, match="name a folder in it"):
        make(data, tmp_path / "disk")
    assert list((tmp_path / "disk").iterdir()) == []
    monkeypatch.undo()
    make(data, tmp_path / "disk/copy")
    assert numbers(tmp_path / "disk/copy") == numbers(data.path)


def test_what_a_killed_backup_left_is_removed_by_the_next(
    data: DataDirectory, tmp_path: Path
) -> None:
    """Second names of files, half a copy and all, would keep rows that were erased since."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = tmp_path / f".copy-{process.pid}-abc.partial"
    (left / "copy/events").mkdir(parents=True)
    for part in layout.list_parts(data.events):
        (left / "copy/events" / part.file_name).hardlink_to(data.events / part.name)
    make(data, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


def test_where_folders_cannot_change_places_the_old_one_is_moved_aside(
    data: DataDirectory, tmp_path: Path
) -> None:
    """Network file systems often cannot."""

    class Plain(Files):
        def rename_exchange(self, path: Path, other: Path) -> None:
            del path, other
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    target = tmp_path / "copy"
    make(data, target, Plain())
    data.publish(6, 6, 7)
    make(data, target, Plain())
    assert numbers(target) == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


def test_damage_is_copied_as_it_is(data: DataDirectory, tmp_path: Path) -> None:
    """A damaged segment is whoever restores's to judge: no byte of it is given up."""
    path = data.segment(4)
    damaged = bytearray(path.read_bytes())
    damaged[-20] ^= 0xFF
    path.write_bytes(damaged)
    make(data, tmp_path / "copy")
    assert (tmp_path / "copy/wal" / path.name).read_bytes() == bytes(damaged)


@pytest.mark.usefixtures("data")
def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    """Words for people, JSON for programs, one line and exit code 1 when it cannot be done."""
    config = tmp_path / "config.toml"
    config.write_text('[storage]\ndirectory = "data"\n')
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    run: Callable[..., Any] = CliRunner().invoke
    target = str(tmp_path / "copy")
    told = run(main, ["backup", "--config", str(config), target])
    assert (told.exit_code, "2 files of" in told.output) == (0, True), told.output
    assert "2 segments of the log with 3 rows" in told.output
    told = run(main, ["backup", "--config", str(config), "--json", target])
    assert json.loads(told.output)["parts"] == 2
    assert not list((tmp_path / "copy/state").glob("salt-*"))
    told = run(main, ["backup", "--config", str(config), str(tmp_path)])
    assert (told.exit_code, told.output.count("\n")) == (1, 1)
