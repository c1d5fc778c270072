"""Joining runs: which, when, and that nothing gets lost or comes twice."""

from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import Files, keymerge
from storage.keymerge import RUNS_YOUNG, merge, plan
from storage.keyrun import Run, RunWriter
from tests.support.files import FaultyFiles
from tests.support.keys import keys_of, pairs_of, spread, write_run

WINDOW_US = 24 * 3600 * 1_000_000


class Sized(msgspec.Struct):
    """A run as the plan sees it."""

    keys: int
    oldest_us: int


_KEY = st.one_of(
    st.integers(0, 400).map(spread),
    st.integers(0, 600).map(lambda n: b"\xab" * 8 + n.to_bytes(8, "big")),
)
_RUNS = st.lists(st.dictionaries(_KEY, st.integers(0, 9), max_size=500), max_size=5)


@settings(max_examples=60, deadline=None)
@given(tables=_RUNS, blocks=st.integers(1, 3))
def test_a_merge_holds_every_key_once_with_its_latest_time(
    tmp_path_factory: pytest.TempPathFactory, tables: list[dict[bytes, int]], blocks: int
) -> None:
    """Whatever the runs share, and however few keys are read at a time."""
    folder = tmp_path_factory.mktemp("runs")
    files = FaultyFiles()
    numbers = count()
    runs = [write_run(folder / f"{next(numbers)}", files, list(t.items())) for t in tables]
    expected: dict[bytes, int] = {}
    for table in tables:
        for key, time_us in table.items():
            expected[key] = max(time_us, expected.get(key, 0))
    writer = RunWriter(folder / "merged", files, sum(run.keys for run in runs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keymerge, "_BLOCKS_AT_ONCE", blocks)
        patch.setattr(keymerge, "_KEYS_IN_MEMORY_MIN", 1)
        for _ in merge(runs, writer):
            pass
        assert writer.close()
    merged = Run(folder / "merged", Files())
    assert merged.keys == len(expected)
    found = [pair for keys in merged.read_keys(8) for pair in pairs_of(keys)]
    assert found == sorted(expected.items())


@given(pairs=st.lists(st.tuples(_KEY, st.integers(0, 9)), max_size=300))
def test_sorting_keeps_the_latest(pairs: list[tuple[bytes, int]]) -> None:
    """Keys ascend, each once, with its latest time, also when many share their first half."""
    expected: dict[bytes, int] = {}
    for key, time_us in pairs:
        expected[key] = max(time_us, expected.get(key, 0))
    assert pairs_of(keymerge.sort([keys_of(pairs)])) == sorted(expected.items())


def _joined(runs: list[Sized], group: slice) -> None:
    members = runs[group]
    runs[group] = [Sized(sum(run.keys for run in members), members[0].oldest_us)]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 10**6), min_size=1, max_size=200),
    step_us=st.integers(0, WINDOW_US // 40),
    keys_max=st.sampled_from([1, 10**6, 10**9]),
)
def test_plans_end_and_leave_few_runs(sizes: list[int], step_us: int, keys_max: int) -> None:
    """Joining comes to an end after each new run, and never makes more than `keys_max` of two."""
    runs: list[Sized] = []
    for number, keys in enumerate(sizes):
        runs.append(Sized(keys, number * step_us))
        for _ in range(1_000):
            group = plan(runs, WINDOW_US, keys_max)
            if group is None:
                break
            assert group.stop - group.start >= 2
            assert sum(run.keys for run in runs[group]) <= keys_max
            _joined(runs, group)
        else:
            pytest.fail("it never ends")
    spans = runs[-1].oldest_us // (WINDOW_US // 4) + 1
    if keys_max == 10**9:
        # A run for each span, and in the youngest one a geometric series.
        assert len(runs) <= spans + RUNS_YOUNG + 12


def test_a_day_of_steady_traffic_stays_within_a_handful_of_runs() -> None:
    """The series in the youngest span is geometric, and each closed span becomes one run."""
    runs: list[Sized] = []
    written = most = 0
    generations = 1_500
    for number in range(generations):
        runs.append(Sized(65_536, number * WINDOW_US // generations))
        while (group := plan(runs, WINDOW_US)) is not None:
            written += sum(run.keys for run in runs[group])
            _joined(runs, group)
        most = max(most, len(runs))
    assert most <= 3 + RUNS_YOUNG + 1
    assert written / (generations * 65_536) < 9, "how often a key is written again"


def test_what_is_large_is_left_alone() -> None:
    """A run that would become too large is not made; its smaller neighbours still join."""
    runs = [Sized(keys, 0) for keys in (900, 300, 300, 200, 200, 100, 100)]
    group = plan(runs, WINDOW_US, 1_000)
    assert group is not None
    assert sum(run.keys for run in runs[group]) <= 1_000
    assert group.start > 0
