"""The rate limiter: who is limited by what, and what they are told."""

from datetime import UTC, datetime

import pytest

from collector.config import DEFAULT_TIERS, Limits, Tier
from collector.ratelimit import Decision, Limiter

SECOND = 1_000_000
START = 1_000_000 * SECOND


def unix_us(text: str) -> int:
    """Microseconds of an ISO time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * SECOND)


NOVEMBER = unix_us("2026-11-21T10:00:00")


def ask(limiter: Limiter, name: str, who: str) -> Decision:
    """One request under the limit called `name`."""
    return getattr(limiter, name)(who, START, NOVEMBER)


class TestLimiter:
    """Who is limited by what."""

    @pytest.mark.parametrize(
        ("name", "limit"), [("browser", 100), ("server", 1_000), ("application", 50)]
    )
    def test_each_limit_is_its_own(self, name, limit):
        """The configured allowance is admitted, then 429 with the wait; other limits go on."""
        limiter = Limiter(Limits(croct_requests_per_minute=50), {})
        for left in range(limit - 1, -1, -1):
            decision = ask(limiter, name, "203.0.113.1")
            assert decision.refusal is None
            assert (limit, left) == (decision.budget.limit, decision.budget.remaining)
        refused = ask(limiter, name, "203.0.113.1")
        assert refused.refusal is not None
        assert refused.refusal.kind.code == "rate_limited"
        assert f"{limit} per minute" in refused.refusal.message
        wait = max(1, -(-60 // limit))
        assert (wait, wait) == (refused.refusal.retry_after_s, refused.budget.retry_after_s)
        others = {"browser", "server", "application"} - {name}
        assert all(ask(limiter, other, "203.0.113.1").refusal is None for other in others)

    def test_one_subscriber_of_ipv6_has_one_budget(self):
        """Addresses of one /64 share; changing the last bits buys nothing."""
        limiter = Limiter(Limits(browser_requests_per_minute=1), {})
        assert ask(limiter, "browser", "2001:db8::1").refusal is None
        assert ask(limiter, "browser", "2001:db8::2").refusal is not None
        assert ask(limiter, "browser", "2001:db8:0:1::1").refusal is None

    def test_croct_is_not_limited_by_default(self):
        """0 means off: no refusal, and a budget without a limit."""
        limiter = Limiter(Limits(), {})
        decisions = [ask(limiter, "application", "203.0.113.1") for _ in range(2_000)]
        assert all(decision.refusal is None for decision in decisions)
        assert (decisions[0].budget.limit, decisions[0].budget.remaining) == (0, 0)

    def test_the_reset_is_the_second_at_which_the_bucket_is_full(self):
        """`reset_s` is Unix time, rounded up; without a wall clock it is unknown."""
        limiter = Limiter(Limits(), {})
        half_past = NOVEMBER + 500_000
        decision = limiter.browser("203.0.113.1", START, half_past)
        assert decision.budget.reset_s == NOVEMBER // SECOND + 2  # 0.5 s + 0.6 s
        assert limiter.browser("203.0.113.1", START).budget.reset_s == 0

    def test_a_tier_limits_the_minute(self):
        """The free tier admits 10; the eleventh is told the wait and does not count."""
        limiter = Limiter(Limits(), dict(DEFAULT_TIERS))
        for number in range(1, 11):
            decision = limiter.tier("backend", "free", START, NOVEMBER)
            assert decision.refusal is None
            budget = decision.budget
            assert (10, 10 - number, number, 1_000, number) == (
                budget.limit,
                budget.remaining,
                budget.month_used,
                budget.month_limit,
                budget.total_used,
            )
        refused = limiter.tier("backend", "free", START, NOVEMBER)
        assert refused.refusal is not None
        assert (refused.refusal.kind.code, refused.refusal.retry_after_s) == ("rate_limited", 6)
        assert (
            refused.budget.month_used,
            refused.budget.total_used,
            refused.budget.retry_after_s,
        ) == (10, 10, 6)
        assert refused.budget.reset_s == NOVEMBER // SECOND + 60
        assert unix_us("2026-12-01T00:00:00") // SECOND == refused.budget.month_reset_s

    def test_a_tier_limits_the_month(self):
        """A used-up month is refused until the first of the next, and costs no token."""
        tiers = {"tiny": Tier(requests_per_minute=5, requests_per_month=2)}
        limiter = Limiter(Limits(), tiers)
        assert all(limiter.tier("k", "tiny", START, NOVEMBER).refusal is None for _ in range(2))
        december = unix_us("2026-12-01T00:00:00")
        for _ in range(10):
            decision = limiter.tier("k", "tiny", START, december - 1)
            assert decision.refusal is not None
            assert (
                decision.refusal.kind.code,
                decision.refusal.retry_after_s,
            ) == ("month_exhausted", 1)
            assert (
                decision.budget.remaining,
                decision.budget.month_used,
                decision.budget.total_used,
            ) == (3, 2, 2)
        admitted = limiter.tier("k", "tiny", START, december)
        assert admitted.refusal is None
        assert (admitted.budget.month_used, admitted.budget.total_used) == (1, 3)

    def test_a_tier_may_have_no_limits(self):
        """0 a minute and 0 a month admit all, and usage is counted all the same."""
        limiter = Limiter(Limits(), {"open": Tier(requests_per_minute=0)})
        for _ in range(5_000):
            decision = limiter.tier("k", "open", START, NOVEMBER)
            assert decision.refusal is None
        assert (
            decision.budget.limit,
            decision.budget.month_limit,
            decision.budget.month_used,
        ) == (0, 0, 5_000)

    def test_keys_of_a_tier_do_not_share(self):
        """A tier's limits are per key."""
        limiter = Limiter(Limits(), {"one": Tier(requests_per_minute=1, requests_per_month=1)})
        assert limiter.tier("a", "one", START, NOVEMBER).refusal is None
        assert limiter.tier("a", "one", START, NOVEMBER).refusal is not None
        assert limiter.tier("b", "one", START, NOVEMBER).refusal is None

    def test_failed_authentications_are_throttled_by_address(self):
        """After 30 failures in a minute an address is turned away, until a token is back."""
        limiter = Limiter(Limits(), {})
        for _ in range(30):
            assert limiter.failed_auth_blocked("203.0.113.1", START) is None
            limiter.failed_auth("203.0.113.1", START)
        refusal = limiter.failed_auth_blocked("203.0.113.1", START)
        assert refusal is not None
        assert (refusal.kind.code, refusal.retry_after_s) == ("auth_throttled", 2)
        assert limiter.failed_auth_blocked("203.0.113.2", START) is None
        assert limiter.failed_auth_blocked("203.0.113.1", START + 2 * SECOND) is None

    def test_asking_alone_is_no_failure(self):
        """Requests that authenticate never use up the allowance of failures."""
        limiter = Limiter(Limits(failed_auth_per_minute=1), {})
        assert all(limiter.failed_auth_blocked("::1", START) is None for _ in range(100))
