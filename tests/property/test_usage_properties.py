"""Monthly usage against plain counting, over restarts and over requests that are given back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.usage import MonthlyUsage


@settings(max_examples=200, deadline=None)
@given(
    # Days that pass, who asks, and which earlier request is refused after all, if any.
    calls=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from("abc"), st.none() | st.integers(0, 5)),
        max_size=60,
    ),
    restart_at=st.integers(0, 60),
)
def test_usage_counts_every_request_in_its_month(calls, restart_at):
    """Counts per key agree with plain counting, also over a dump and a load in between."""
    day_us = 86_400_000_000
    months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]  # of 2026, then of 2027
    day = 0
    usage = MonthlyUsage()
    counted: list[tuple[int, str, int]] = []
    for number, (days, name, given_back) in enumerate(calls):
        day = min(day + days, 729)
        month, rest = 0, day
        while rest >= months[month % 12]:
            rest -= months[month % 12]
            month += 1
        now_us = 1_767_225_600_000_000 + day * day_us  # 2026-01-01
        if number == restart_at:
            restarted = MonthlyUsage()
            restarted.load(usage.dump())
            usage = restarted
        usage.count(name, now_us)
        counted.append((month, name, now_us))
        if given_back is not None and given_back < len(counted):
            _, other, then_us = counted.pop(-1 - given_back)
            usage.give_back(other, then_us)
        of_month = [one for one in counted if one[:2] == (month, name)]
        assert len(of_month) == usage.used(name, now_us)
        assert sum(other == name for _, other, _ in counted) == usage.total(name)
