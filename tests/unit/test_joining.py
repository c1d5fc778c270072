"""Which parts are joined: neighbours only, never beyond the size, few left, few written again."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from storage import joining
from storage.joining import Sized
from storage.layout import Part

_DAY = date(2024, 2, 29)
_MAX = 1_000


def _parts(*sizes: int, first: int = 1) -> list[Sized]:
    return [Sized(Part(_DAY, first + n, first + n), size) for n, size in enumerate(sizes)]


def _ranges(groups: list[joining.Group]) -> list[tuple[int, int]]:
    return [(joining.whole(group).first, joining.whole(group).last) for group in groups]


def _due(parts: list[Sized], *, is_open: bool = True, parts_min: int = 3) -> list[tuple[int, int]]:
    return _ranges(joining.due(parts, is_open=is_open, parts_min=parts_min, bytes_max=_MAX))


def test_an_open_date_waits_for_enough_parts() -> None:
    """One exchange for many parts, and none before."""
    assert _due(_parts(10, 10)) == []
    assert _due(_parts(10, 10, 10)) == [(1, 3)]


def test_a_larger_neighbour_is_left_alone() -> None:
    """What would be written again for little stays."""
    large = Sized(Part(_DAY, 1, 9), 31)
    assert _due([large, *_parts(10, 10, 10, first=10)]) == [(10, 12)]
    small = Sized(Part(_DAY, 1, 9), 30)
    assert _due([small, *_parts(10, 10, 10, first=10)]) == [(1, 12)]


def test_full_parts_begin_new_ones() -> None:
    """Parts of one segment are all taken, in as many groups as they need."""
    assert _due(_parts(*[400] * 6)) == [(1, 2), (3, 4), (5, 6)]


def test_a_closed_date_is_packed() -> None:
    """However few there are."""
    assert _due(_parts(10, 10), is_open=False) == [(1, 2)]
    assert _due(_parts(600, 600, 10, 900), is_open=False) == [(2, 3)]
    assert _due(_parts(600), is_open=False) == []


@given(
    sizes=st.lists(st.integers(1, 2 * _MAX), max_size=60),
    is_open=st.booleans(),
    parts_min=st.integers(2, 20),
)
def test_groups_are_neighbours_within_the_size(
    sizes: list[int], is_open: bool, parts_min: int
) -> None:
    """Groups are runs of neighbours, in order, apart, none too large, each of two at least."""
    parts = _parts(*sizes)
    groups = joining.due(parts, is_open=is_open, parts_min=parts_min, bytes_max=_MAX)
    flat = [one for group in groups for one in group]
    assert flat == sorted(flat, key=lambda one: one.part)
    assert len(flat) == len(set(flat))
    for group in groups:
        at = parts.index(group[0])
        assert parts[at : at + len(group)] == group
        assert len(group) > 1
        assert sum(one.bytes for one in group) <= _MAX


@given(st.lists(st.integers(1, 50), min_size=1, max_size=400), st.integers(2, 12))
def test_a_day_of_flushes_leaves_few_parts_and_writes_rows_few_times(
    sizes: list[int], parts_min: int
) -> None:
    """After the day a handful; on the way each byte is written a logarithmic number of times."""
    parts: list[Sized] = []
    written = 0

    def join(*, is_open: bool) -> None:
        nonlocal parts, written
        for group in joining.due(parts, is_open=is_open, parts_min=parts_min, bytes_max=10**9):
            at = parts.index(group[0])
            size = sum(one.bytes for one in group)
            written += size
            parts[at : at + len(group)] = [Sized(joining.whole(group), size)]

    for number, size in enumerate(sizes):
        parts = [*parts, Sized(Part(_DAY, number + 1, number + 1), size)]
        join(is_open=True)
        singles = sum(1 for one in parts if one.part.first == one.part.last)
        assert singles < parts_min
    joined = [one.bytes for one in parts if one.part.first < one.part.last]
    # Each was larger than all that is right of it when that was made.
    assert len(joined) <= 2 + (sum(sizes)).bit_length()
    assert written <= sum(sizes) * (2 + sum(sizes).bit_length())
    join(is_open=False)
    assert [(one.part.first, one.part.last) for one in parts] == [(1, len(sizes))]


def test_a_day_at_five_seconds_leaves_few_parts() -> None:
    """17,280 flushes of 20 KB: never more than the hundred that may wait, and a few joined ones."""
    parts: list[Sized] = []
    most = 0
    for number in range(1, 17_281):
        parts.append(Sized(Part(_DAY, number, number), 20_000))
        for group in joining.due(parts, is_open=True, parts_min=100, bytes_max=256 << 20):
            at = parts.index(group[0])
            size = sum(one.bytes for one in group)
            parts[at : at + len(group)] = [Sized(joining.whole(group), size)]
        most = max(most, len(parts))
    assert most <= 110
    groups = joining.due(parts, is_open=False, parts_min=100, bytes_max=256 << 20)
    left = len(parts) - sum(len(group) - 1 for group in groups)
    assert left <= 3


def test_joined_parts_keep_their_date() -> None:
    """A part is of one date, however many it was joined from."""
    parts = [Sized(Part(_DAY + timedelta(days=1), n, n), 1) for n in (1, 2, 5)]
    assert joining.whole(parts) == Part(_DAY + timedelta(days=1), 1, 5)
