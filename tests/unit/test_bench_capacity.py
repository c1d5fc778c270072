"""The search for the highest rate in time, and what is said to limit it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.bottleneck import Use, find_limit
from bench.capacity import Capacity, Probe, Prober, Search, shown, verdict
from bench.options import Options
from bench.target import Collector
from bench.threads import Thread, busiest, busy_s, cpu_between, threads_of
from bench.throughput import plan_for

IDLE = Use(handler=0.1, waiting=0.0, sync=0.1, generator=0.1, generator_lag_ms=1.5, thread="loop")


def _probe(rate: float, p99_ms: float, refused: int = 0) -> Probe:
    return Probe(rate=rate, answered=rate, p50_ms=1.0, p99_ms=p99_ms, refused=refused, use=IDLE)


def _search(probe: Callable[[float, float], Probe], most: int = 100) -> Search:
    search = Search(probe, 50.0, lambda: len(search.probes) >= most)
    return search


# --- the search


@given(st.floats(100, 50_000), st.floats(0.3, 3))
def test_the_search_ends_next_to_the_highest_rate(highest: float, wrong: float) -> None:
    """However far off the first guess, what is found holds and is no more than 5 % too low."""
    search = _search(lambda rate, _: _probe(rate, 10.0 if rate <= highest else 500.0))
    search.run(highest * wrong, 1.0)
    best, failed = search.best(), search.lowest_failed()
    assert best is not None
    assert failed is not None
    assert best.rate <= highest < failed.rate
    assert failed.rate / best.rate <= 1.05
    assert best is search.confirmed


def test_the_answer_was_tried_for_longer() -> None:
    """What holds only for a moment is not the answer; a little less is."""

    def probe(rate: float, seconds: float) -> Probe:
        return _probe(rate, 10.0 if rate <= 1_000 * (0.97 if seconds > 1 else 1) else 99.0)

    search = _search(probe)
    search.run(1_000.0, 1.0)
    assert search.confirmed is not None
    assert 900 < search.confirmed.rate <= 970


def test_what_held_once_is_told_as_that() -> None:
    """Without a confirmation the highest rate that held is the answer, with doubt."""
    search = _search(lambda rate, seconds: _probe(rate, 99.0 if seconds > 1 else rate / 20))
    search.run(1_000.0, 1.0)
    assert search.confirmed is None
    best = search.best()
    assert best is not None
    assert best.p99_ms <= 50
    limit = find_limit(IDLE, 50.0)
    found = Capacity(
        traffic="croct",
        size=1,
        p99_ms_max=50.0,
        best=best,
        is_confirmed=False,
        limit=limit,
        probes=[],
    )
    assert "held once" in verdict(found)
    assert "held once" not in verdict(msgspec.structs.replace(found, is_confirmed=True))


def test_a_neighbour_at_work_costs_a_second_try_only() -> None:
    """A rate counts as too high only when it failed twice."""
    tried: dict[float, int] = {}

    def probe(rate: float, _seconds: float) -> Probe:
        tried[rate] = tried.get(rate, 0) + 1
        return _probe(rate, 99.0 if tried[rate] == 1 or rate > 1_000 else 9.0)

    search = _search(probe)
    search.run(900.0, 1.0)
    assert search.confirmed is not None
    assert search.confirmed.rate > 950
    failed = search.lowest_failed()
    assert failed is not None
    assert failed.rate > 1_000


def test_a_refusal_is_too_much() -> None:
    """Fast answers that say no are none."""
    assert _probe(1.0, 10.0).holds(50.0)
    assert not _probe(1.0, 10.0, refused=1).holds(50.0)
    assert not _probe(1.0, 50.1).holds(50.0)


def test_the_search_is_bounded() -> None:
    """With no rate that holds it gives up; with no time left it stops where it is."""
    hopeless = _search(lambda rate, _: _probe(rate, 99.0), most=1_000)
    hopeless.run(1_000.0, 1.0)
    assert hopeless.best() is None
    assert len(hopeless.probes) <= 26
    hurried = _search(lambda rate, _: _probe(rate, 9.0), most=2)
    hurried.run(1_000.0, 1.0)
    assert len(hurried.probes) == 3  # two, and the confirmation


# --- what limits


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"handler": 0.85}, "handler"),
        ({"handler": 0.4, "sync": 0.5}, "sync"),
        ({"handler": 0.3, "waiting": 0.5, "sync": 0.2}, "machine"),
        # A neighbour makes syncs look long.
        ({"handler": 0.2, "waiting": 0.3, "sync": 0.5, "others": 1.5}, "machine"),
        ({"others": 1.5}, "machine"),
        ({"generator": 0.95, "handler": 0.9}, "generator"),
        ({"generator_lag_ms": 30.0}, "generator"),
        ({}, "nothing"),
    ],
)
def test_what_was_used_up_is_named(changes: dict[str, float], expected: str) -> None:
    """The generator before all, then the largest share of a full handler, then what is left."""
    limit = find_limit(msgspec.structs.replace(IDLE, **changes), 50.0)
    assert limit.name == expected
    assert limit.words


def test_lines_of_the_table_are_below_their_headings() -> None:
    """As many cells as headings, of the same width; the closed loop is no rate."""
    heading = shown(None, 50.0)
    line = shown(_probe(12_345.0, 70.0), 50.0)
    assert line[: len(heading)].split()[0] == "12,345"
    assert line.endswith("does not hold")
    assert len(line) == len(heading) + len("  does not hold")
    assert shown(_probe(0.0, 70.0), 50.0).split()[0] == "closed"


# --- what the kernel counts


def test_a_busy_thread_is_found() -> None:
    """Of this process, the thread that computes is the one that ran longest."""
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            sum(range(1_000))

    before, began_s = threads_of([os.getpid()]), busy_s()
    thread = threading.Thread(target=burn)
    thread.start()
    try:
        while busiest(before, after := threads_of([os.getpid()])).cpu_s < 0.05:
            stop.wait(0.01)
    finally:
        stop.set()
        thread.join()
    (new,) = after.keys() - before.keys()
    assert busiest(before, after).cpu_s == after[new].cpu_s
    assert cpu_between(before, after) >= after[new].cpu_s
    assert busy_s() > began_s
    assert threads_of([]) == {}


def test_names_with_blanks_and_brackets_are_read(tmp_path: Path) -> None:
    """A thread may be called anything; without `schedstat` its waiting is unknown."""
    folder = tmp_path / "7/task/8"
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"8 (a) b) S {'0 ' * 10}150 50 0 0\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert threads_of([7, 9], tmp_path) == {(7, 8): Thread("a) b", 200 / ticks, 0.0)}
    (folder / "schedstat").write_text("1500000000 250000000 12\n")
    assert threads_of([7], tmp_path) == {(7, 8): Thread("a) b", 1.5, 0.25)}


@pytest.mark.end_to_end
def test_one_try_on_a_real_collector(tmp_path: Path) -> None:
    """It is asked at the given rate, and what it used meanwhile is told."""
    options = Options(directory=tmp_path, connections=4)
    with Collector(tmp_path) as collector:
        collector.start()
        plan = plan_for("croct", 1, 4, collector, options)
        prober = Prober(collector, msgspec.structs.replace(plan, warm_up_s=0.1), 1)
        found = prober.probe(200.0, 0.5)
        assert [report.statuses.keys() for report in prober.reports] == [{204}]
    assert found.rate == 200.0
    assert found.answered == pytest.approx(200, rel=0.3)
    assert found.refused == 0
    assert 0 < found.p50_ms <= found.p99_ms
    use = found.use
    assert min(use.handler, use.sync, use.generator) > 0
    assert use.thread
    assert list(tmp_path.iterdir()) == []
