"""The recovery table: every combination has exactly one answer, and it is the safe one."""

from datetime import date, timedelta
from itertools import product
from pathlib import Path

import pytest

from storage import Corruption, Files, layout, recovery
from storage.layout import Part
from storage.recovery import (
    CutTail,
    Ignore,
    RemovePart,
    RemoveSegment,
    RemoveTemporary,
    SegmentState,
    Stop,
)
from tests.support.rows import TODAY, make_segment

OTHER_DAY = TODAY - timedelta(days=1)


def _state(number: int, kind: str, day: date | None = TODAY) -> SegmentState:
    return {
        "whole": SegmentState(number, day, 3, 100, 100),
        "torn": SegmentState(number, day, 3, 100, 80, "torn"),
        "goes on": SegmentState(number, day, 3, 100, 80, "rot", goes_on=True),
        "no group": SegmentState(number, None, 0, 40, 0, "torn"),
        "no group, goes on": SegmentState(number, None, 0, 40, 0, "rot", goes_on=True),
        "empty": SegmentState(number, None, 0, 0, 0),
    }[kind]


KINDS = ["whole", "torn", "goes on", "no group", "no group, goes on", "empty"]
COVERS = ["none", "own date", "wider", "other date"]


@pytest.mark.parametrize(("kind", "cover", "is_last"), list(product(KINDS, COVERS, [True, False])))
def test_every_combination(kind: str, cover: str, is_last: bool) -> None:
    """All 48 combinations of a segment's state, its coverage and its place."""
    parts = {
        "none": [],
        "own date": [Part(TODAY, 5, 5)],
        "wider": [Part(TODAY, 3, 7)],
        "other date": [Part(OTHER_DAY, 5, 5)],
    }[cover]
    segments = [_state(5, kind)] + ([] if is_last else [_state(9, "whole")])
    actions = recovery.plan(segments, parts)
    has_group = kind in {"whole", "torn", "goes on"}
    if has_group and cover in {"own date", "wider"}:
        expected: list[recovery.Action] = [RemoveSegment(5)]
    elif kind == "whole":
        expected = []
    elif is_last and kind == "torn":
        expected = [CutTail(5, 80)]
    elif is_last and kind in {"no group", "empty"}:
        expected = [RemoveSegment(5, copies=kind == "no group")]
    else:
        valid_bytes = 80 if has_group else 0
        expected = [Stop(5, valid_bytes, segments[0].damage or "the file is empty")]
    assert actions == expected


def test_dead_parts_temporaries_and_strangers() -> None:
    """Dead parts and temporary files go, live parts stay, foreign names are left alone."""
    parts = [Part(TODAY, 1, 4), Part(TODAY, 2, 3), Part(OTHER_DAY, 2, 3), Part(TODAY, 5, 5)]
    actions = recovery.plan([], parts, ["part-x.parquet"], ["wal/notes.txt"])
    assert actions == [
        RemoveTemporary("part-x.parquet"),
        RemovePart(Part(TODAY, 2, 3)),
        Ignore("wal/notes.txt"),
    ]


def test_stop_changes_nothing(tmp_path: Path) -> None:
    """Damage stops the start before anything is removed, naming path, offset and a hint."""
    for folder in layout.FOLDERS:
        (tmp_path / folder).mkdir()
    temporary = tmp_path / layout.TEMPORARY / "x"
    temporary.write_bytes(b"x")
    actions = [RemoveTemporary("tmp/x"), Stop(3, 17, "rot")]
    with pytest.raises(Corruption, match=r"000000000003.ndjson.*byte 17.*inspect-log"):
        recovery.apply(actions, tmp_path, Files(), print)
    assert temporary.exists()


def test_cut_keeps_a_copy(tmp_path: Path) -> None:
    """A torn tail is kept aside before it is cut off."""
    for folder in layout.FOLDERS:
        (tmp_path / folder).mkdir()
    path = tmp_path / layout.WAL / layout.segment_name(7)
    whole = make_segment(7, [1, 2])
    path.write_bytes(whole + b'{"event_id":"torn')
    warnings: list[str] = []
    state, _ = recovery.judge_bytes(7, path.read_bytes())
    recovery.apply(recovery.plan([state], []), tmp_path, Files(), warnings.append)
    assert path.read_bytes() == whole
    assert (path.parent / f"torn-000000000007-{len(whole)}").read_bytes() == b'{"event_id":"torn'
    assert "cut at byte" in warnings[0]


def test_header_of_another_number_is_damage() -> None:
    """A file that was renamed or copied over is not taken for what its name says."""
    state, _ = recovery.judge_bytes(8, make_segment(7, [1]))
    assert isinstance(recovery.plan([state], [])[0], Stop)


def test_mend_gives_up_only_what_is_damaged(tmp_path: Path) -> None:
    """On demand damage is cut off with a copy kept, and the store can start again."""
    for folder in layout.FOLDERS:
        (tmp_path / folder).mkdir()
    wal = tmp_path / layout.WAL
    data = bytearray(make_segment(1, [1, 2], [3], [4]))
    data[data.index(b'"event_id":"00000000-0000-0000-0000-000000000003"') + 5] ^= 1
    (wal / layout.segment_name(1)).write_bytes(data)
    (wal / layout.segment_name(2)).write_bytes(b"rot from the first byte on")
    (wal / layout.segment_name(3)).write_bytes(make_segment(3, [5]))
    before = {path.name: path.read_bytes() for path in wal.iterdir()}
    actions = recovery.mend(tmp_path, Files(), print, cuts=False)
    assert [type(action) for action in actions] == [Stop, Stop]
    assert {path.name: path.read_bytes() for path in wal.iterdir()} == before
    recovery.mend(tmp_path, Files(), print, cuts=True)
    assert recovery.mend(tmp_path, Files(), print, cuts=False) == []
    kept = sorted(path.name for path in wal.iterdir())
    assert kept[:2] == ["000000000001.ndjson", "000000000003.ndjson"]
    first = (wal / kept[0]).read_bytes()
    assert first + (wal / f"torn-000000000001-{len(first)}").read_bytes() == bytes(data)
    assert (wal / "torn-000000000002-0").read_bytes() == b"rot from the first byte on"
