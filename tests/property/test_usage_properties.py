"""Monthly usage against plain counting, over restarts and over requests that are given back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.usage import MonthlyUsage


@settings(max_examples=200, deadline=None)
@given(
    # Days that pass or that the clock steps back, who asks, and which earlier request is refused
    # after all, if any.
    calls=st.lists(
        st.tuples(st.integers(-40, 40), st.sampled_from("abc"), st.none() | st.integers(0, 5)),
        max_size=60,
    ),
    restart_at=st.integers(0, 60),
)
def test_usage_counts_every_request_in_its_month(calls, restart_at):
    """Counts per key agree with plain counting, also over a dump and a load in between.

    A key's month is the latest in which it was ever counted: no step of the clock undoes one.
    """
    day_us = 86_400_000_000
    months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]  # of 2026, then of 2027
    day = 0
    usage = MonthlyUsage()
    counted: list[tuple[int, str, str]] = []
    latest: dict[str, int] = {}
    for number, (days, name, given_back) in enumerate(calls):
        day = min(max(day + days, 0), 729)
        month, rest = 0, day
        while rest >= months[month % 12]:
            rest -= months[month % 12]
            month += 1
        now_us = 1_767_225_600_000_000 + day * day_us  # 2026-01-01
        if number == restart_at:
            restarted = MonthlyUsage()
            restarted.load(usage.dump())
            usage = restarted
        month = latest[name] = max(month, latest.get(name, 0))
        counted_in = usage.count(name, now_us)
        assert counted_in == f"{2026 + month // 12}-{month % 12 + 1:02}"
        counted.append((month, name, counted_in))
        if given_back is not None and given_back < len(counted):
            _, other, then = counted.pop(-1 - given_back)
            usage.give_back(other, then)
        of_month = [one for one in counted if one[:2] == (month, name)]
        assert len(of_month) == usage.used(name, now_us)
        assert sum(other == name for _, other, _ in counted) == usage.total(name)
        MonthlyUsage().load(usage.dump())
