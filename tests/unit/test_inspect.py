"""What `collector inspect-log` shows: states by the rules of a start, counts, groups, rows."""

from pathlib import Path

import pytest

from storage import Files, StorageError, inspect
from storage.inspect import GroupReport, SegmentReport
from tests.support.lake import DataDirectory
from tests.support.rows import TODAY


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def states(data: DataDirectory) -> list[tuple[int, str]]:
    """Number and state of each segment."""
    return [(s.number, s.state) for s in inspect.segments(data.path, Files())]


def spoil(path: Path, offset: int) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_whole_segment_is_told_in_full(data: DataDirectory) -> None:
    """Number, date, groups, rows and bytes of a segment in which every byte counts."""
    data.append(3, 1, 2)
    path = data.append(3, 3)
    size = path.stat().st_size
    assert inspect.segments(data.path, Files()) == [
        SegmentReport(
            number=3,
            path=path,
            state="whole",
            date=TODAY,
            groups=2,
            rows=3,
            bytes=size,
            valid_bytes=size,
        )
    ]


def test_a_torn_tail_is_told_with_its_offset(data: DataDirectory) -> None:
    """An unfinished group at the very end is no damage, and what precedes it counts."""
    offset = data.append(1, 1).stat().st_size
    data.append_bytes(1, b'{"event_id":"x"}\n{"commit":')
    [report] = inspect.segments(data.path, Files())
    assert (report.state, report.valid_bytes, report.rows) == ("torn", offset, 1)
    assert report.bytes == offset + 27
    assert report.reason == "the commit line cannot be read"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (b"{", "no whole header line")]
)
def test_a_first_group_that_was_never_finished_is_torn(
    data: DataDirectory, content: bytes, reason: str
) -> None:
    """A segment without any group has no date and no rows."""
    data.append(1, 1)
    data.append_bytes(2, content)
    _, report = inspect.segments(data.path, Files())
    assert (report.state, report.date, report.rows, report.reason) == ("torn", None, 0, reason)


def test_damage_is_told_with_offset_and_reason(data: DataDirectory) -> None:
    """Bytes that changed behind our back are damage: a valid group stands behind them."""
    path = data.append(1, 1)
    offset = path.stat().st_size
    data.append(1, 2)
    data.append(1, 3)
    spoil(path, offset + 20)
    [report] = inspect.segments(data.path, Files())
    assert (report.state, report.groups, report.valid_bytes) == ("damaged", 1, offset)
    assert report.reason == "the checksum of the group is wrong"


def test_a_torn_segment_before_the_last_is_damaged(data: DataDirectory) -> None:
    """Only the last segment may be unfinished."""
    data.append(1, 1)
    data.append_bytes(1, b"{")
    data.append(2, 2)
    assert states(data) == [(1, "damaged"), (2, "whole")]


def test_a_segment_under_a_wrong_name_is_damaged(data: DataDirectory) -> None:
    """A file that says it is another segment is not believed."""
    data.append(1, 1).rename(data.segment(5))
    [report] = inspect.segments(data.path, Files())
    assert (report.state, report.valid_bytes) == ("damaged", 0)
    assert report.reason == "the header names segment 1"


def test_a_covered_segment_names_its_part(data: DataDirectory) -> None:
    """A segment that is in a part already is told so, whatever its own bytes look like."""
    data.append(1, 1)
    data.flush(1, remove=False)
    data.append_bytes(1, b"{")
    data.append(2, 2)
    first, second = inspect.segments(data.path, Files())
    assert (first.state, second.state) == ("covered", "whole")
    assert first.part == f"date={TODAY}/part-000000000001-000000000001.parquet"


def test_a_segment_flushed_meanwhile_is_left_out(data: DataDirectory) -> None:
    """Looking beside a running collector is no error."""
    data.append(1, 1)
    data.append(2, 2)

    class Flushing(Files):
        def read(self, path: Path) -> bytes:
            if data.segment(1).exists():
                data.flush(1)
            return super().read(path)

    assert [report.number for report in inspect.segments(data.path, Flushing())] == [2]


def test_an_empty_log_has_no_segments(data: DataDirectory) -> None:
    """Copies of torn tails and foreign names are no segments."""
    (data.wal / "torn-000000000001-10").write_bytes(b"{")
    assert inspect.segments(data.path, Files()) == []


def test_a_folder_that_is_no_data_directory_is_told(tmp_path: Path) -> None:
    """A wrong storage.directory is an error, not an empty answer."""
    with pytest.raises(StorageError, match="no data directory"):
        inspect.segments(tmp_path, Files())


@pytest.mark.parametrize(
    "name", ["42", "000000000042", "000000000042.ndjson", "data/wal/000000000042.ndjson"]
)
def test_a_segment_may_be_named_in_any_way(name: str) -> None:
    """A number, a file name and a path mean the same segment."""
    assert inspect.number_of(name) == 42


@pytest.mark.parametrize("name", ["", "x", "-1", "42.ndjson", "torn-000000000042-10", "1" * 13])
def test_what_names_no_segment_is_an_error(name: str) -> None:
    """A name that means nothing is told, not guessed."""
    with pytest.raises(StorageError, match="is no segment"):
        inspect.number_of(name)


def test_groups_are_listed_with_their_place(data: DataDirectory) -> None:
    """Groups follow each other without a gap; the first one holds the header line."""
    path = data.append(1, 1, 2)
    first = path.stat().st_size
    data.append(1, 3)
    whole = path.stat().st_size
    assert inspect.groups(path, Files()) == [
        GroupReport(offset=0, bytes=first, rows=2, is_valid=True),
        GroupReport(offset=first, bytes=whole - first, rows=1, is_valid=True),
    ]


def test_what_does_not_count_is_listed_last(data: DataDirectory) -> None:
    """Behind damage everything is one entry that says why it does not count."""
    path = data.append(1, 1)
    offset = path.stat().st_size
    data.append(1, 2)
    data.append(1, 3)
    spoil(path, offset + 20)
    *_, rest = inspect.groups(path, Files())
    size = path.stat().st_size
    reason = "the checksum of the group is wrong"
    assert rest == GroupReport(offset, size - offset, rows=0, is_valid=False, reason=reason)


def test_rows_are_those_of_valid_groups(data: DataDirectory) -> None:
    """Row lines come as they stand in the file, without header, commit lines and torn tail."""
    one = data.append(1, 1, 2)
    two = data.append(2, 3)
    data.append_bytes(2, b'{"event_id":"x"}\n')
    expected = [
        line
        for path in (one, two)
        for line in path.read_bytes().splitlines()
        if line.startswith(b'{"event_id":"0')
    ]
    assert list(inspect.rows([one, two], Files())) == expected
    assert len(expected) == 3


def test_inspecting_changes_nothing(data: DataDirectory) -> None:
    """Files and their times of change are as before."""
    path = data.append(1, 1)
    data.append_bytes(1, b"{")
    before = path.stat()
    inspect.segments(data.path, Files())
    inspect.groups(path, Files())
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert sorted(p.name for p in data.path.iterdir()) == ["events", "tmp", "wal"]
