"""Rates: events by minute, and the age of the oldest row that is in no file."""

from hypothesis import given
from hypothesis import strategies as st

from collector.metrics import Metrics
from collector.rates import MINUTES, Rates, by_outcome

S = 1_000_000
MINUTE = 60 * S
LABELS = ("site", "scanova", "accepted", "")


def test_events_belong_to_their_minute() -> None:
    """Each is told once, of the minute in which it was seen; the present minute stands last."""
    metrics = Metrics()
    rates = Rates(metrics, lambda: 0)
    for second in range(180):
        metrics.count_event(LABELS, 1 + second // 60)
        rates.sample(second * S)
    found = [by_outcome(one)["accepted"] for one in rates.minutes(179 * S)]
    assert len(found) == MINUTES
    assert found[-4:] == [0, 60, 120, 180]
    assert sum(found) == metrics.events[LABELS]
    later = [by_outcome(one)["accepted"] for one in rates.minutes(240 * S)]
    assert later[-4:] == [120, 180, 0, 0], "minutes go by, also without a sample"


def test_an_hour_is_kept_and_no_more() -> None:
    """However long it runs, and after a pause."""
    metrics = Metrics()
    rates = Rates(metrics, lambda: 0)
    for minute in range(500):
        metrics.count_event(LABELS)
        rates.sample(minute * MINUTE)
    assert len(rates._minutes) == MINUTES
    assert sum(by_outcome(one)["accepted"] for one in rates.minutes(499 * MINUTE)) == MINUTES
    assert sum(by_outcome(one)["accepted"] for one in rates.minutes(2_000 * MINUTE)) == 0


def test_a_clock_that_steps_back_loses_nothing() -> None:
    """What comes meanwhile is told of the newest minute known."""
    metrics = Metrics()
    rates = Rates(metrics, lambda: 0)
    for now_us in (10 * MINUTE, 2 * MINUTE, 10 * MINUTE):
        metrics.count_event(LABELS)
        rates.sample(now_us)
    assert by_outcome(rates.minutes(10 * MINUTE)[-1])["accepted"] == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=80))
def test_the_oldest_row_has_its_age(steps: list[tuple[int, int]]) -> None:
    """Rows come and are published, first come first served: the age is that of the first left, as
    of the second in which it was seen.
    """
    metrics = Metrics()
    waiting: list[int] = []
    rates = Rates(metrics, lambda: len(waiting))
    rates.sample(0)
    for second, (come, go) in enumerate(steps, 1):
        waiting += [second] * come
        if come:
            metrics.observe_commit(0.0, come)
        del waiting[:go]
        rates.sample(second * S)
        expected = second - waiting[0] if waiting else 0
        assert rates.unflushed_age_s(second * S) == expected


def test_rows_of_before_are_as_old_as_the_start() -> None:
    """What a start finds in the log is told from then on."""
    metrics = Metrics()
    rates = Rates(metrics, lambda: 7)
    rates.sample(5 * S)
    assert rates.unflushed_age_s(65 * S) == 60


def test_what_is_never_published_costs_no_memory() -> None:
    """Marks are bounded; the age stays that of the first row."""
    metrics = Metrics()
    rows = 0
    rates = Rates(metrics, lambda: rows)
    rates.sample(0)
    for second in range(1, 20_000):
        rows += 1
        metrics.observe_commit(0.0, 1)
        rates.sample(second * S)
    assert len(rates._marks) <= 4_097
    assert rates.unflushed_age_s(20_000 * S) == 19_999
