"""The token buckets against a naive model in fractions, over random times and callers."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.ratelimit import Buckets, MonthlyUsage

MINUTE_US = 60_000_000

# Mostly forward, by anything from nothing to hours; now and then back.
STEPS = st.one_of(
    st.integers(0, 3),
    st.integers(0, 100_000),
    st.integers(0, 90_000_000),
    st.integers(-10_000_000_000, 10_000_000_000),
)


class Model:
    """One bucket as the rule reads: tokens are a fraction, time that runs back does not pass."""

    def __init__(self, allowance: int, now_us: int) -> None:
        self.allowance = allowance
        self.tokens = Fraction(allowance)
        self.last_us = now_us

    def pass_time(self, now_us: int) -> None:
        """Refill for the time that passed since the last call."""
        elapsed_us = max(0, now_us - self.last_us)
        refill = Fraction(self.allowance * elapsed_us, MINUTE_US)
        self.tokens = min(Fraction(self.allowance), self.tokens + refill)
        self.last_us = now_us

    def take(self) -> bool:
        """Take a token if a whole one is there."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def ceil(number: Fraction) -> int:
    """Round up."""
    return -(-number.numerator // number.denominator)


@settings(max_examples=200, deadline=None)
@given(
    allowance=st.integers(1, 2_000),
    start_us=st.integers(-(10**12), 10**15),
    calls=st.lists(st.tuples(STEPS, st.integers(0, 3), st.booleans()), max_size=80),
)
def test_buckets_do_exactly_what_the_model_does(allowance, start_us, calls):
    """Admission, tokens left, time until full and wait agree to the last microsecond."""
    buckets = Buckets(allowance, 100)
    models = [Model(allowance, start_us) for _ in range(4)]
    now_us = start_us
    for _ in range(allowance - 1):  # near the edge, where mistakes show
        buckets.take(0, now_us)
        models[0].take()
    for step_us, caller, takes in calls:
        now_us += step_us
        for model in models:
            model.pass_time(now_us)
        model = models[caller]
        got = buckets.take(caller, now_us) if takes else buckets.peek(caller, now_us)
        expected = model.take() if takes else model.tokens >= 1
        assert expected == got.admitted
        assert int(model.tokens) == got.remaining
        missing = allowance - model.tokens
        assert ceil(missing * MINUTE_US / allowance) == got.until_full_us
        wait = 0 if expected else ceil((1 - model.tokens) * 60 / allowance)
        assert wait == got.retry_after_s


@settings(max_examples=200, deadline=None)
@given(
    allowance=st.integers(1, 5),
    entries_max=st.integers(0, 8),
    calls=st.lists(st.tuples(STEPS, st.integers(0, 40)), max_size=120),
)
def test_memory_is_bounded_and_nobody_is_forgotten(allowance, entries_max, calls):
    """However many callers come, the bound holds and every bucket stays exact, shared ones too.

    Callers are few and their hashes differ, so that each has an overflow bucket to itself.
    """
    buckets = Buckets(allowance, entries_max)
    own = [Model(allowance, 0) for _ in range(41)]
    overflow = [Model(allowance, 0) for _ in range(41)]
    now_us = 0
    for step_us, caller in calls:
        now_us += step_us
        for model in (*own, *overflow):
            model.pass_time(now_us)
        got = buckets.take(caller, now_us)
        assert len(buckets) <= entries_max
        model = own[caller] if caller in buckets._full_at else overflow[caller]
        assert model.take() == got.admitted
        assert int(model.tokens) == got.remaining


@settings(max_examples=200, deadline=None)
@given(
    calls=st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc")), max_size=60),
    restart_at=st.integers(0, 60),
)
def test_usage_counts_every_request_in_its_month(calls, restart_at):
    """Counts per key agree with plain counting, also over a dump and a load in between."""
    day_us = 86_400_000_000
    months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]  # of 2026, then of 2027
    day = 0
    usage = MonthlyUsage()
    counted: list[tuple[int, str]] = []
    for number, (days, name) in enumerate(calls):
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
        counted.append((month, name))
        assert counted.count((month, name)) == usage.used(name, now_us)
        assert sum(other == name for _, other in counted) == usage.total(name)
