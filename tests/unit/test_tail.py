"""Following the log: every row once and in order, whatever becomes of the files meanwhile."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from storage import Corruption, Files, encode, tail
from storage.query import Lake, QueryError, Result
from tests.support.lake import DataDirectory
from tests.support.rows import NOW_US, make_row

Step = Callable[[], object]


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A data directory without rows."""
    return DataDirectory(tmp_path / "data")


def nothing() -> None:
    """Let nothing happen."""


def number(line: bytes) -> int:
    """The number of the row in a line."""
    return int(msgspec.json.decode(line)["event_id"].replace("-", ""), 16)


def follow(data: DataDirectory, *steps: Step, **options: object) -> list[list[int]]:
    """Numbers seen at first, and after each of `steps`, which happen between two looks."""
    seen: list[list[int]] = [[]]
    pending = iter(steps)

    def wait(_seconds: float) -> bool:
        step = next(pending, None)
        if step is None:
            return True
        seen.append([])
        step()
        return False

    for line in tail.follow(data.path, Files(), wait=wait, **options):  # type: ignore[arg-type]
        seen[-1].append(number(line))
    return seen


def later(*numbers: int, after_us: int = 1, **members: object) -> list[object]:
    """Rows received after those of `DataDirectory`."""
    return [make_row(n, received_time=NOW_US + n + after_us, **members) for n in numbers]


# --- beginning


@pytest.mark.parametrize(
    ("last", "expected"), [(0, []), (1, [5]), (3, [3, 4, 5]), (9, [1, 2, 3, 4, 5])]
)
def test_following_begins_with_the_last_rows(
    data: DataDirectory, last: int, expected: list[int]
) -> None:
    """The newest rows come first if asked for, from parts and log alike, oldest of them first."""
    data.publish(1, 1, *later(1, 2))  # type: ignore[arg-type]
    data.append(2, *later(3, 4, 5))  # type: ignore[arg-type]
    assert follow(data, last=last) == [expected]


def test_following_an_empty_directory_waits_for_the_first_row(data: DataDirectory) -> None:
    """There need not be anything yet."""
    assert follow(data, nothing, lambda: data.append(1, 1), last=5) == [[], [], [1]]


def test_following_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """A wrong storage.directory is told."""
    with pytest.raises(QueryError, match="no such data directory"):
        next(tail.follow(tmp_path / "x", Files(), wait=lambda _s: True))


def test_a_segment_flushed_while_following_begins_costs_no_row(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding the end and opening the segment it may have become a part."""
    data.append(1, 1)
    real = tail._Follower._open
    flushed: list[int] = []

    def flush_first(follower: tail._Follower, segment: int) -> bool:
        if not flushed:
            flushed.append(segment)
            data.append(1, 2)
            data.flush(1)
        return real(follower, segment)

    monkeypatch.setattr(tail._Follower, "_open", flush_first)
    assert follow(data, lambda: data.append(2, 3), last=5) == [[1], [2, 3]]


def test_a_segment_joined_while_following_begins_costs_no_row(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it if that part was joined with others before the first look."""
    data.append(1, *later(1))  # type: ignore[arg-type]
    monkeypatch.setattr(tail._Follower, "_open", lambda _self, _number: False)

    def flush_and_join() -> None:
        data.append(1, *later(2))  # type: ignore[arg-type]
        data.append(2, *later(3))  # type: ignore[arg-type]
        data.flush(1)
        data.flush(2)
        data.join(1, 2)

    assert follow(data, flush_and_join, nothing, last=5) == [[1], [2, 3], []]


def test_an_empty_last_segment_hides_no_part(data: DataDirectory) -> None:
    """A number may be missing: its first group failed, and it went without a part."""
    data.append_bytes(1, b"")
    data.publish(2, 2, 1)
    assert follow(data, nothing, lambda: data.append(3, 2)) == [[], [], [2]]


def test_parts_joined_while_following_begins_are_no_trouble(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First rows and place are of one moment, even if the session had to look again."""
    data.publish(1, 1, *later(1))  # type: ignore[arg-type]
    data.publish(2, 2, *later(2))  # type: ignore[arg-type]
    real = Lake.run
    pending: list[Step] = [lambda: (data.join(1, 2), data.append(3, 3)), nothing]

    def join_first(lake: Lake, sql: str) -> Result:
        if pending:
            pending.pop()()
        return real(lake, sql)

    monkeypatch.setattr(Lake, "run", join_first)
    assert follow(data, lambda: data.append(3, 4), last=1) == [[2], [4]]


def test_a_beginning_that_never_holds_still_is_an_error(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beginning again is bounded."""
    real = Lake.run

    def change(lake: Lake, sql: str) -> Result:
        lake.listing = msgspec.structs.replace(lake.listing)
        return real(lake, sql)

    monkeypatch.setattr(Lake, "run", change)
    with pytest.raises(QueryError, match="too fast"):
        follow(data)


# --- going on


def test_rows_appended_are_seen_once_in_order(data: DataDirectory) -> None:
    """Each look gives what was committed since the last one, and no group that is unfinished."""
    whole = DataDirectory(data.path.parent / "other")
    group = whole.append(1, 1).read_bytes()
    whole.append(1, 4)
    unfinished = whole.segment(1).read_bytes()[len(group) :]
    data.append_bytes(1, group)
    seen = follow(
        data,
        lambda: data.append(1, 2, 3),
        nothing,
        lambda: data.append_bytes(1, unfinished[:50]),
        lambda: data.append_bytes(1, unfinished[50:]),
    )
    assert seen == [[], [2, 3], [], [], [4]]


def test_the_next_segment_is_followed(data: DataDirectory) -> None:
    """Numbers may have gaps, and a segment may have grown after its last look."""
    data.append(1, 1)
    seen = follow(
        data,
        lambda: (data.append(1, 2), data.append(2, 3)),
        lambda: (data.append(2, 4), data.append(5, 5), data.append(6, 6)),
        lambda: data.append(6, 7),
    )
    assert seen == [[], [2, 3], [4, 5, 6], [7]]


def test_a_segment_flushed_between_two_looks_is_read_to_its_end(data: DataDirectory) -> None:
    """Rows that were not read yet are not lost when the segment is removed."""
    data.append(1, 1)
    seen = follow(
        data,
        lambda: data.append(1, 2),
        lambda: (data.append(1, 3), data.flush(1)),
        lambda: (data.append(2, 4), data.flush(2, remove=False)),
        lambda: data.segment(2).unlink(),
        lambda: data.append(3, 5),
    )
    assert seen == [[], [2], [3], [4], [], [5]]


def test_segments_that_came_and_went_are_read_from_their_parts(data: DataDirectory) -> None:
    """What was flushed between two looks comes from the parts, in the order of the log."""
    data.append(1, 1)

    def much() -> None:
        data.append(2, 9, 8, 7)
        data.flush(2)
        data.append(3, 6)
        data.flush(3)
        data.flush(1)
        data.append(4, 5)

    assert follow(data, much, lambda: data.append(4, 4)) == [[], [9, 8, 7, 6, 5], [4]]


def test_lines_from_parts_are_the_lines_of_the_log(data: DataDirectory) -> None:
    """A row looks the same wherever it was read."""
    rows = [
        make_row(
            1,
            metadata={"b": [1.0, None], "a": "ü"},
            context={"tab": "x"},
            flags=("late", "bot"),
            conversion_value=12.5,
            screen_width=3,
            is_duplicate=1,
            event_time=-1,
        ),
        make_row(2),
    ]

    def come_and_go() -> None:
        data.append(1, *rows)
        data.flush(1)

    steps = iter([come_and_go])

    def wait(_seconds: float) -> bool:
        step = next(steps, None)
        if step is not None:
            step()
        return step is None

    lines = list(tail.follow(data.path, Files(), wait=wait))
    assert b"".join(line + b"\n" for line in lines) == encode(rows)


def test_parts_joined_across_the_place_reached_repeat_and_lose_nothing(
    data: DataDirectory,
) -> None:
    """A joined part holds rows seen before and rows that are new; only the new ones come."""
    data.append(1, *later(1, 2))  # type: ignore[arg-type]

    def flush_and_join() -> None:
        # Row 5 was received before row 4, which is in the log before it.
        data.append(2, *later(6), *later(5, after_us=-1))  # type: ignore[arg-type]
        data.append(3, *later(7))  # type: ignore[arg-type]
        for segment in (1, 2, 3):
            data.flush(segment)
        data.join(1, 3)

    seen = follow(
        data,
        lambda: data.append(1, *later(4), *later(3)),  # type: ignore[arg-type]
        flush_and_join,
        lambda: data.append(4, *later(8)),  # type: ignore[arg-type]
    )
    assert seen == [[], [4, 3], [5, 6, 7], [8]]


def test_repeats_stored_again_are_told_apart_in_joined_parts(data: DataDirectory) -> None:
    """Three copies of one event in one request are three rows, no more and no less."""
    copies = [make_row(1, is_duplicate=mark) for mark in (0, 1, 1)]

    def flush_and_join() -> None:
        data.append(2, *(make_row(1, received_time=NOW_US + 5, is_duplicate=1) for _ in range(2)))
        data.flush(1)
        data.flush(2)
        data.join(1, 2)

    assert follow(data, lambda: data.append(1, *copies), flush_and_join) == [
        [],
        [1, 1, 1],
        [1, 1],
    ]


def test_only_so_many_rows_are_remembered(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is forgotten is told from new rows by the time of receipt."""
    monkeypatch.setattr(tail, "_REMEMBERED_MAX", 2)

    def flush_and_join() -> None:
        data.append(2, *later(6, 7))  # type: ignore[arg-type]
        data.flush(1)
        data.flush(2)
        data.join(1, 2)

    seen = follow(data, lambda: data.append(1, *later(1, 2, 3, 4, 5)), flush_and_join)  # type: ignore[arg-type]
    assert seen == [[], [1, 2, 3, 4, 5], [6, 7]]


def test_a_part_that_goes_before_it_is_read_is_found_joined(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining between listing and reading delays rows by one look."""
    real = tail.look
    pending: list[Step] = []

    def look(directory: Path) -> object:
        listing = real(directory)
        if pending:
            pending.pop()()
        return listing

    monkeypatch.setattr(tail, "look", look)

    def come_and_go() -> None:
        data.append(1, *later(1))  # type: ignore[arg-type]
        data.append(2, *later(2))  # type: ignore[arg-type]
        data.flush(1)
        data.flush(2)
        pending.append(lambda: data.join(1, 2))

    assert follow(data, come_and_go, nothing) == [[], [], [1, 2]]


def test_a_segment_that_goes_before_it_is_read_is_found_in_its_part(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushing between listing and opening delays rows by one look."""
    real = tail.look
    pending: list[Step] = []

    def look(directory: Path) -> object:
        listing = real(directory)
        if pending:
            pending.pop()()
        return listing

    monkeypatch.setattr(tail, "look", look)

    def come() -> None:
        data.append(1, 1)
        data.append(2, 2)
        pending.append(lambda: (data.flush(1), data.append(2, 3)))

    assert follow(data, come, nothing) == [[], [], [1, 2, 3]]


def test_a_number_used_again_after_a_torn_first_group_is_followed(data: DataDirectory) -> None:
    """A segment that never had a whole group is removed at a start, and its number comes again."""
    data.append(1, 1)

    def restart() -> None:
        data.segment(2).unlink()
        data.append(2, 3)

    seen = follow(
        data,
        lambda: (data.append(1, 2), data.append_bytes(2, b'{"segment"')),
        restart,
        lambda: data.append(2, 4),
    )
    assert seen == [[], [2], [3], [4]]


def test_damage_ends_following(data: DataDirectory) -> None:
    """Bytes that do not count, with a valid group or a segment behind them, are told."""
    data.append(1, 1)
    offset = data.segment(1).stat().st_size

    def damage() -> None:
        data.append_bytes(1, b"{")
        data.append(2, 2)

    with pytest.raises(Corruption) as caught:
        follow(data, damage)
    assert (caught.value.path, caught.value.offset) == (data.segment(1), offset)


def test_damage_in_a_part_ends_following(data: DataDirectory) -> None:
    """A part that is there but cannot be read is an error, not a reason to wait."""

    def damage() -> None:
        data.publish(1, 1, 1)
        data.publish(2, 2, 2).write_bytes(b"no parquet")

    with pytest.raises(QueryError, match="part-000000000002"):
        follow(data, damage)


# --- choosing


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        ({"site": "b"}, [[2, 3], [5, 6], [8, 9]]),
        ({"protocol": "croct"}, [[3], [6], [9]]),
        ({"site": "a", "protocol": "croct"}, [[], [], []]),
        ({"site": "it's"}, [[], [], []]),
    ],
)
def test_site_and_protocol_leave_other_rows_out(
    data: DataDirectory, options: dict[str, object], expected: list[list[int]]
) -> None:
    """The choice holds for the first rows, for rows of the log, and for rows of parts."""

    def rows(first: int) -> list[object]:
        return [
            *later(first, site_id="a"),
            *later(first + 1, site_id="b"),
            *later(first + 2, site_id="b", protocol="croct"),
        ]

    data.append(1, *rows(1))  # type: ignore[arg-type]

    def come_and_go() -> None:
        data.append(2, *rows(7))  # type: ignore[arg-type]
        data.flush(2)

    assert follow(data, lambda: data.append(1, *rows(4)), come_and_go, last=9, **options) == (  # type: ignore[arg-type]
        expected
    )


def test_stopping_lets_go_of_the_segment(data: DataDirectory) -> None:
    """Whoever stops listening holds no file open any more."""
    data.append(1, 1)
    lines = tail.follow(data.path, Files(), wait=lambda _s: False, last=1)
    assert number(next(lines)) == 1
    data.append(1, 2)
    assert number(next(lines)) == 2
    assert isinstance(lines, Iterator)
    lines.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(lines)


def test_readable_lines_have_readable_times() -> None:
    """People see ISO times in UTC; all other members stay byte for byte."""
    line = encode([make_row(1, event_time=-1, metadata=msgspec.Raw(b'{ "a": 1.0 }'), flags=("x",))])
    shown = tail.readable(line.removesuffix(b"\n"))
    assert b'"event_time":"1969-12-31T23:59:59.999999Z"' in shown
    assert b'"received_time":"2026-11-18T11:06:40Z"' in shown
    assert b'"metadata":{ "a": 1.0 }' in shown
    assert tail.readable(b'{"event_id":"x"}') == b'{"event_id":"x"}'


# --- all at once


def test_following_a_busy_collector_gives_every_row_once(data: DataDirectory) -> None:
    """Beside appending, flushing and joining, the rows seen are exactly those committed."""
    stop = threading.Event()
    committed: list[int] = []

    def write() -> None:
        next_number, segment, first = 1, 1, 1
        while not stop.is_set():
            for _ in range(4):
                rows = [
                    make_row(n, received_time=NOW_US + n) for n in (next_number, next_number + 1)
                ]
                data.append(segment, *rows)
                committed.extend((next_number, next_number + 1))
                next_number += 2
            data.flush(segment)
            if segment % 5 == 0:
                data.join(first, segment)
            segment += 1

    writer = threading.Thread(target=write)
    seen: list[int] = []
    looks = 0

    def wait(_seconds: float) -> bool:
        nonlocal looks
        looks += 1
        if looks == 60:
            stop.set()
            writer.join()
        return looks > 61 or threading.Event().wait(0.02)

    lines = tail.follow(data.path, Files(), wait=wait)
    writer.start()
    try:
        seen.extend(map(number, lines))
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 100
    # Following may have begun after the first rows.
    assert seen == committed[committed.index(seen[0]) :]
