"""The roll call: every numbered row once, every file that cannot be read by name."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage import Files, Row, layout, rollcall
from tests.support.lake import DataDirectory
from tests.support.rows import TODAY, make_row

TAG = "0123abcd"


def _row(number: int, *, marked: bool = False, tag: str = TAG) -> Row:
    return make_row(visitor_id=f"{tag}-0000-4000-8000-0000{number:08x}", is_duplicate=int(marked))


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """An empty data directory."""
    return DataDirectory(tmp_path)


@pytest.fixture
def call(data: DataDirectory) -> Iterator[rollcall.RollCall]:
    """A roll call over it."""
    with rollcall.RollCall(data.path, Files(), TAG) as call:
        yield call


def _sorted(files: list[rollcall.Numbers]) -> list[int]:
    return sorted(int(number) for number in np.concatenate([*files, np.zeros(0, np.uint32)]))


def test_rows_of_parts_and_log_once(data: DataDirectory, call: rollcall.RollCall) -> None:
    """Rows are found in parts and in the log; of a segment that a part covers, in the part only."""
    data.append(1, _row(1), _row(2))
    data.publish(1, 1, _row(1), _row(2))
    data.append(2, _row(3), _row(4, marked=True))
    roll = call.take()
    assert _sorted(roll.first) == [1, 2, 3]
    assert _sorted(roll.marked) == [4]
    assert roll.unreadable == []
    assert roll.parts == 1
    assert roll.bytes > 0


def test_a_row_twice_is_there_twice(data: DataDirectory, call: rollcall.RollCall) -> None:
    """Nothing is made one that is two."""
    data.publish(1, 1, _row(1))
    data.publish(2, 2, _row(1))
    assert _sorted(call.take().first) == [1, 1]


def test_rows_of_a_joined_part_count_in_it_only(
    data: DataDirectory, call: rollcall.RollCall
) -> None:
    """Parts that a wider one covers do not count, and need to be readable all the same."""
    narrow = data.publish(1, 1, _row(1))
    data.publish(1, 2, _row(1), _row(2))
    assert _sorted(call.take().first) == [1, 2]
    narrow.write_bytes(b"PAR1")
    [found] = call.take().unreadable
    assert found.path == str(narrow)


def test_rows_without_the_tag_are_strange(data: DataDirectory, call: rollcall.RollCall) -> None:
    """Rows of somebody else, or without a number, are told as such, in parts and in the log."""
    data.publish(1, 1, _row(1), _row(2, tag="ffffffff"), make_row())
    data.append(2, _row(3, tag="ffffffff"), make_row(), make_row(visitor_id=f"{TAG}-zzzzzzzz"))
    assert _sorted(call.take().first) == [1, *[rollcall.STRANGE] * 5]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100])
def test_unreadable_part(data: DataDirectory, call: rollcall.RollCall, content: bytes) -> None:
    """A file that is no Parquet is named; the rows of the others are found."""
    data.publish(1, 1, _row(1))
    bad = data.publish(2, 2, _row(2))
    bad.write_bytes(content)
    roll = call.take()
    assert [one.path for one in roll.unreadable] == [str(bad)]
    assert roll.unreadable[0].reason
    assert _sorted(roll.first) == [1]


def test_damage_in_any_column(data: DataDirectory, call: rollcall.RollCall) -> None:
    """Every value is read: damage in a column that nobody asks for is met."""
    text = "damage me " * 50
    path = data.publish(1, 1, *(make_row(visitor_id=None, page_title=f"{text}{n}") for n in (1, 2)))
    content = path.read_bytes()
    at = content.index(b"damage me")
    path.write_bytes(content[: at - 40] + bytes([0xFF]) * 60 + content[at + 20 :])
    assert [one.path for one in call.take().unreadable] == [str(path)]


def test_a_strange_file_in_the_glob_must_be_readable(
    data: DataDirectory, call: rollcall.RollCall
) -> None:
    """Whoever reads the glob would meet it."""
    half = data.events / layout.partition_name(TODAY) / "half.parquet"
    data.publish(1, 1, _row(1))
    half.write_bytes(b"PAR1")
    assert [one.path for one in call.take().unreadable] == [str(half)]


def test_torn_tail_is_no_fault(data: DataDirectory, call: rollcall.RollCall) -> None:
    """What a kill leaves of a group that was never acknowledged is neither a row nor damage."""
    data.append(1, _row(1))
    data.append_bytes(1, b'{"event_id":"')
    roll = call.take()
    assert _sorted(roll.first) == [1]
    assert roll.unreadable == []


def test_damaged_segment(data: DataDirectory, call: rollcall.RollCall) -> None:
    """Damage that a start would refuse to go on with is told; rows before it are found."""
    data.append(1, _row(1))
    data.append_bytes(1, b"broken\n")
    data.append(1, _row(2))
    data.append(2, _row(3))
    roll = call.take()
    assert [one.path for one in roll.unreadable] == [str(data.segment(1))]
    assert _sorted(roll.first) == [1, 3]


def test_what_was_read_is_kept_until_asked_anew(
    data: DataDirectory, call: rollcall.RollCall
) -> None:
    """A file is read again when it is another one, and when all are to be read again."""
    path = data.publish(1, 1, _row(1))
    assert _sorted(call.take().first) == [1]
    path.unlink()
    data.publish(1, 1, _row(2))
    assert _sorted(call.take().first) == [2]
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-4] + b"XXXX")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert call.take().unreadable == []
    assert len(call.take(anew=True).unreadable) == 1


def test_part_that_goes_meanwhile(
    data: DataDirectory, call: rollcall.RollCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is joined away between listing and reading: all is looked at again."""
    data.publish(1, 1, _row(1))
    data.publish(2, 2, _row(2))
    read = rollcall.RollCall._part
    gone = []

    def part(self: rollcall.RollCall, path: Path) -> object:
        if not gone:
            gone.append(data.publish(1, 2, _row(1), _row(2)))
            for one in (1, 2):
                (data.events / layout.Part(TODAY, one, one).name).unlink()
        return read(self, path)

    monkeypatch.setattr(rollcall.RollCall, "_part", part)
    roll = call.take()
    assert _sorted(roll.first) == [1, 2]
    assert roll.unreadable == []
