"""A start reads whole segments in pieces, and sees in them what a scan of all bytes sees."""

from pathlib import Path

import pytest

from storage import Files, census, keyrecovery, logreader, segment
from storage.logreader import LogReader
from tests.support.rows import NOW_US, TODAY, make_lines, make_segment


def _group(lines: bytes, rows: int) -> bytes:
    return lines + segment.encode_commit(lines, rows)


# Rows that look like something else, keys that are none, repeats, an hour that changes.
WHOLE = (
    make_segment(42, [1, 2], [3], [4, 5, 6])
    + _group(make_lines(7, is_duplicate=1) + make_lines(8, dedup_key=None), 2)
    + _group(make_lines(9, received_time=NOW_US + 3_600_000_000, page_title='{"commit":{'), 1)
    + _group(make_lines(10, site_id="other", page_title="x" * 1_500), 1)
)
FOREIGN = [
    b"",
    b"\n",
    b"no log",
    segment.encode_header(42, TODAY),
    WHOLE + b"\n",
    WHOLE + bytes(4096),
    WHOLE + _group(b"\n", 1),
    WHOLE.replace(b'"rows":1', b'"rows":2'),
    WHOLE.replace(b'{"rows":1,"bytes":', b'{"rows":1,"bytes":1'),
    WHOLE.replace(b'{"commit":{', b'{"commit":' + b" " * 200 + b"{"),
    WHOLE.replace(b'"format":1', b'"format":9'),
]


@pytest.fixture(params=[64, 1_000, 1_000_000])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LogReader:
    """One that begins with pieces of so many bytes."""
    monkeypatch.setattr(logreader, "_PIECE_BYTES", request.param)
    return LogReader(Files())


def _agree(reader: LogReader, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    scan = segment.scan(data)
    found = reader.maybe_whole(path)
    if not scan.groups or scan.damage:
        assert found is None
        return
    assert found is not None
    lines = keyrecovery.lines_in(data, scan.groups)
    keys = keyrecovery.keys_of(lines)
    assert (found.header, found.rows, found.bytes) == (scan.header, scan.rows, len(data))
    assert [column.tolist() for column in found.keys] == [column.tolist() for column in keys]
    assert found.places == census.places_of(lines)
    assert found.last == (scan.groups[-2].next if len(scan.groups) > 1 else 0)
    assert found.group_bytes_max == max(group.next - group.start for group in scan.groups)


def test_whole_segments_are_taken(reader: LogReader, tmp_path: Path) -> None:
    """Rows, keys, counts and borders are those of the scan, however large the pieces are."""
    assert segment.scan(WHOLE).damage == ""
    for groups in ([[1]], [[1, 2]], [[1], [2, 3]]):
        _agree(reader, tmp_path / "x", make_segment(1, *groups))
    _agree(reader, tmp_path / "x", WHOLE)
    assert reader.maybe_whole(tmp_path / "x") is not None


@pytest.mark.parametrize("data", FOREIGN)
def test_what_is_not_whole_is_left_alone(reader: LogReader, tmp_path: Path, data: bytes) -> None:
    """Where the scan finds damage, or nothing, the reader says nothing."""
    _agree(reader, tmp_path / "x", data)


def test_wherever_it_is_cut_or_rotten(tmp_path: Path) -> None:
    """Byte by byte: what the scan takes for whole is taken, and nothing else."""
    reader = LogReader(Files())
    for at in range(0, len(WHOLE), 23):
        _agree(reader, tmp_path / "cut", WHOLE[:at])
        _agree(reader, tmp_path / "rotten", WHOLE[:at] + b"\n" + WHOLE[at + 1 :])
    for end in (group.next for group in segment.scan(WHOLE).groups):
        _agree(reader, tmp_path / "cut", WHOLE[:end])


def test_leading_groups_are_those_of_the_scan() -> None:
    """Cut or rotten anywhere: the same groups, up to the first that is not valid."""
    body = WHOLE.index(b"\n") + 1
    for at in range(body, len(WHOLE), 3):
        for data in (
            WHOLE[:at],
            WHOLE[:at] + b"\n" + WHOLE[at + 1 :],
            WHOLE[:at] + b"X" + WHOLE[at + 1 :],
        ):
            assert segment.leading_groups(memoryview(data), body) == segment.scan(data).groups


def test_a_commit_line_ends_a_group_that_has_lines() -> None:
    """One right behind the header, or behind another one, is a line of the group that follows."""
    header = segment.encode_header(42, TODAY)
    odd = b'{"commit":{}}\n' + make_lines(1)
    data = _group(header + odd, 2) + _group(odd, 2)
    scan = segment.scan(data)
    assert (len(scan.groups), scan.damage) == (2, "")
    assert segment.leading_groups(memoryview(data), len(header)) == scan.groups


def test_a_group_too_large_is_left_to_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: pieces grow up to a limit, and no further."""
    monkeypatch.setattr(logreader, "_PIECE_BYTES", 1_000)
    monkeypatch.setattr(logreader, "_PIECE_BYTES_MAX", 1_000)
    (tmp_path / "x").write_bytes(WHOLE)
    assert LogReader(Files()).maybe_whole(tmp_path / "x") is None
