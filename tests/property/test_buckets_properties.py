"""The token buckets against a naive model in fractions, over random times, bursts and callers."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.buckets import _OVERFLOW_BUCKETS, Buckets

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

    def __init__(self, allowance: int, burst: int, now_us: int) -> None:
        self.allowance = allowance
        self.capacity = burst or allowance
        self.tokens = Fraction(self.capacity)
        self.last_us = now_us

    def pass_time(self, now_us: int) -> None:
        """Refill for the time that passed since the last call."""
        elapsed_us = max(0, now_us - self.last_us)
        refill = Fraction(self.allowance * elapsed_us, MINUTE_US)
        self.tokens = min(Fraction(self.capacity), self.tokens + refill)
        self.last_us = now_us

    def take(self) -> bool:
        """Take a token if a whole one is there."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def wait_s(self) -> int:
        """Whole seconds until there is a token."""
        return max(0, ceil((1 - self.tokens) * 60 / self.allowance))


def ceil(number: Fraction) -> int:
    """Round up."""
    return -(-number.numerator // number.denominator)


def callers(count: int) -> list[str]:
    """Names of which no two share an overflow bucket; the hash has another salt in each process."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < count:
        found.setdefault(hash(str(number)) % _OVERFLOW_BUCKETS, str(number))
        number += 1
    return list(found.values())


CALLERS = callers(41)


@settings(max_examples=300, deadline=None)
@given(
    allowance=st.integers(1, 2_000),
    # None, smaller and larger than the minute's allowance.
    burst=st.one_of(st.just(0), st.integers(1, 20), st.integers(1, 10_000)),
    start_us=st.integers(-(10**12), 10**15),
    calls=st.lists(st.tuples(STEPS, st.integers(0, 3), st.booleans()), max_size=80),
)
def test_buckets_do_exactly_what_the_model_does(allowance, burst, start_us, calls):
    """Admission, tokens left, time until full and wait agree to the last microsecond."""
    buckets, twin = Buckets(allowance, burst, 100), Buckets(allowance, burst, 100)
    models = [Model(allowance, burst, start_us) for _ in range(4)]
    now_us = start_us
    for _ in range((burst or allowance) - 1):  # near the edge, where mistakes show
        buckets.take("0", now_us)
        twin.pay("0", now_us)
        models[0].take()
    for step_us, caller, takes in calls:
        now_us += step_us
        for model in models:
            model.pass_time(now_us)
        model, key = models[caller], str(caller)
        got = buckets.take(key, now_us) if takes else buckets.peek(key, now_us)
        left = twin.pay(key, now_us) if takes else twin.foresee(key, now_us)
        wait_s = model.wait_s()
        expected = model.take() if takes else model.tokens >= 1
        assert expected == got.admitted == (left >= 0)
        assert int(model.tokens) == got.remaining
        missing = model.capacity - model.tokens
        assert ceil(missing * MINUTE_US / allowance) == got.until_full_us
        assert wait_s == got.retry_after_s == twin.wait_s(left)


@settings(max_examples=200, deadline=None)
@given(
    allowance=st.integers(1, 5),
    burst=st.integers(0, 8),
    entries_max=st.integers(0, 8),
    calls=st.lists(st.tuples(STEPS, st.integers(0, 40)), max_size=120),
)
def test_memory_is_bounded_and_nobody_is_forgotten(allowance, burst, entries_max, calls):
    """However many callers come, the bound holds and every bucket stays exact, shared ones too."""
    buckets = Buckets(allowance, burst, entries_max)
    own = [Model(allowance, burst, 0) for _ in CALLERS]
    overflow = [Model(allowance, burst, 0) for _ in CALLERS]
    now_us = 0
    for step_us, caller in calls:
        now_us += step_us
        for model in (*own, *overflow):
            model.pass_time(now_us)
        got = buckets.take(CALLERS[caller], now_us)
        assert len(buckets) <= entries_max
        has_own = CALLERS[caller] in buckets._to_sweep
        model = own[caller] if has_own else overflow[caller]
        assert model.take() == got.admitted
        assert int(model.tokens) == got.remaining
    assert sorted(buckets._to_sweep) == sorted(key for shard in buckets._shards for key in shard)


@settings(max_examples=200, deadline=None)
@given(
    allowance=st.integers(1, 100),
    burst=st.integers(0, 200),
    entries_max=st.integers(1, 20),
    calls=st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(0, 60)), max_size=60),
)
def test_no_attacker_changes_what_a_known_caller_gets(allowance, burst, entries_max, calls):
    """A caller that has its bucket is told the same whether any number of others come or none.

    As long as it is busy: a bucket that is full again may be forgotten, and tells nothing.
    """
    alone, attacked = (
        Buckets(allowance, burst, entries_max),
        Buckets(allowance, burst, entries_max),
    )
    now_us, attackers = 0, 0
    assert alone.take("honest", now_us) == attacked.take("honest", now_us)
    for step_us, crowd in calls:
        now_us += step_us
        if alone.peek("honest", now_us).until_full_us == 0:
            return
        for _ in range(crowd):
            attackers += 1
            attacked.take(f"attacker {attackers}", now_us)
        assert alone.take("honest", now_us) == attacked.take("honest", now_us)
