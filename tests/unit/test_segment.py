"""The bytes of one log file: what counts, and what damage does."""

from pathlib import Path

import pytest

from storage import segment
from tests.support.rows import TODAY, make_lines, make_segment

GOLDEN = Path(__file__).parent.parent / "golden" / "segment.ndjson"

WHOLE = make_segment(42, [1, 2], [3], [4, 5, 6])
STARTS = [group.next for group in segment.scan(WHOLE).groups]


def _rotten(at: int) -> bytes:
    return WHOLE[:at] + b"X" + WHOLE[at + 1 :]


def test_golden_segment_is_read_as_written() -> None:
    """A segment written by an earlier version is read, and written again to the same bytes."""
    data = GOLDEN.read_bytes()
    scan = segment.scan(data)
    assert scan.damage == ""
    assert scan.header == segment.Header(segment.FORMAT, 42, TODAY)
    assert [group.rows for group in scan.groups] == [2, 1]
    assert data == make_segment(42, [1, 2], [3])


def test_whole_segment_has_all_groups() -> None:
    """Every group of an undamaged segment is valid and holds its rows."""
    scan = segment.scan(WHOLE)
    assert (scan.rows, scan.valid_bytes, scan.damage) == (6, len(WHOLE), "")
    assert list(segment.row_lines(WHOLE, scan.groups)) == make_lines(1, 2, 3, 4, 5, 6).splitlines()


def test_every_prefix_keeps_exactly_the_whole_groups() -> None:
    """Cut anywhere, byte by byte: the groups before the cut survive, nothing else does."""
    for size in range(len(WHOLE)):
        scan = segment.scan(WHOLE[:size])
        expected = sum(1 for start in STARTS if start <= size)
        assert len(scan.groups) == expected, size
        assert not scan.goes_on, size
        assert bool(scan.damage) == (size not in {0, *STARTS}), size


@pytest.mark.parametrize(
    ("name", "data", "groups", "goes_on"),
    [
        ("garbage behind", WHOLE + b"garbage", 3, False),
        ("zeros behind", WHOLE + bytes(4096), 3, False),
        ("rot in the first group", _rotten(60), 0, True),
        ("rot in the second group", _rotten(STARTS[0] + 5), 1, True),
        ("rot in the last group", _rotten(STARTS[1] + 5), 2, False),
        ("zero page in the middle", WHOLE[:20] + bytes(500) + WHOLE[520:], 0, True),
        ("a group missing", WHOLE[: STARTS[0]] + WHOLE[STARTS[1] :], 2, False),
        ("wrong row count", WHOLE.replace(b'"rows":1', b'"rows":2'), 1, True),
        ("wrong byte count", WHOLE.replace(b'{"rows":1,"bytes":', b'{"rows":1,"bytes":1'), 1, True),
        ("header of another format", WHOLE.replace(b'"format":1', b'"format":9'), 0, True),
        ("no header", make_lines(1), 0, False),
        ("nothing but a line feed", b"\n", 0, False),
    ],
)
def test_damage(name: str, data: bytes, groups: int, goes_on: bool) -> None:
    """Damage ends the valid prefix, and is told from a torn tail by what stands behind it."""
    scan = segment.scan(data)
    assert len(scan.groups) == groups, name
    assert scan.goes_on == goes_on, name
    assert bool(scan.damage) == (name != "a group missing"), name


def test_commit_line_start_cannot_be_forged_by_a_row() -> None:
    """A row whose text looks like a commit line does not end a group."""
    forged = '\n{"commit":{"rows":1,"bytes":1,"xxh3":"0000000000000000"}}\n'
    body = segment.encode_header(1, TODAY) + make_lines(1, page_title=forged)
    scan = segment.scan(body + segment.encode_commit(body, 1))
    assert (scan.rows, scan.damage) == (1, "")
