"""The rate limiter: who is limited by what, and what they are told."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.config import DEFAULT_TIERS, Limits, Site, Tier
from collector.ratelimit import Limiter
from collector.refusal import Refusal

SECOND = 1_000_000
START = 1_000_000 * SECOND


def unix_us(text: str) -> int:
    """Microseconds of an ISO time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * SECOND)


NOVEMBER = unix_us("2026-11-21T10:00:00")


ASK = {
    "browser": lambda limiter, who, us=START: limiter.browser(who, us),
    "server": lambda limiter, who, us=START: limiter.server(who, us),
    "application": lambda limiter, who, us=START: limiter.application(who, "shop", us),
    "site": lambda limiter, who, us=START: limiter.site(who, us),
}


def ask(limiter: Limiter, name: str, who: str, us: int = START) -> Refusal | None:
    """One request under the limit called `name`."""
    return ASK[name](limiter, who, us)


def test_memory_stays_under_64_mb_however_many_addresses_come():
    """300,000 addresses, half IPv4 and half IPv6, through every limit that is kept by address.

    Three times as many as are remembered, so more cannot cost more; `bench/limits.py` measures, in
    a process of its own, and takes any number.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.limits", "300000", "0"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
    )
    grown_bytes = json.loads(done.stdout)["grown_bytes"]
    assert 10_000_000 < grown_bytes < 64_000_000


class TestLimiter:
    """Who is limited by what."""

    @pytest.mark.parametrize(
        ("name", "limit"), [("browser", 100), ("server", 1_000), ("application", 50), ("site", 30)]
    )
    def test_each_limit_is_its_own(self, name, limit):
        """The configured allowance is admitted, then 429 with the wait; other limits go on."""
        sites = [Site(id="203.0.113.1", requests_per_minute=30)]
        limiter = Limiter(Limits(croct_requests_per_minute=50), {}, sites)
        assert [ask(limiter, name, "203.0.113.1") for _ in range(limit)] == [None] * limit
        refused = ask(limiter, name, "203.0.113.1")
        assert refused is not None
        assert refused.kind.code == "rate_limited"
        assert f"{limit} per minute" in refused.message
        assert max(1, -(-60 // limit)) == refused.retry_after_s
        assert all(ask(limiter, other, "203.0.113.1") is None for other in ASK if other != name)

    @pytest.mark.parametrize("name", ["browser", "server", "application", "site", "failed_auth"])
    def test_each_limit_has_its_burst(self, name):
        """A burst smaller than the allowance comes at once; then the rate goes on."""
        limits = Limits(
            browser_requests_per_minute=60,
            browser_burst=3,
            server_requests_per_minute=60,
            server_burst=3,
            croct_requests_per_minute=60,
            croct_burst=3,
            failed_auth_per_minute=60,
            failed_auth_burst=3,
        )
        limiter = Limiter(limits, {}, [Site(id="::1", requests_per_minute=60, burst=3)])
        if name == "failed_auth":

            def one(us: int) -> bool:
                limiter.failed_auth("::1", us)
                return limiter.failed_auth_blocked("::1", us) is None

            assert [one(START) for _ in range(3)] == [True, True, False]
            assert limiter.failed_auth_blocked("::1", START + SECOND) is None
            return
        assert [ask(limiter, name, "::1") is None for _ in range(4)] == [True] * 3 + [False]
        assert ask(limiter, name, "::1", START + SECOND) is None
        assert ask(limiter, name, "::1", START + SECOND) is not None

    def test_one_subscriber_of_ipv6_has_one_budget(self):
        """Addresses of one /64 share; changing the last bits buys nothing."""
        limiter = Limiter(Limits(browser_requests_per_minute=1), {}, [])
        assert ask(limiter, "browser", "2001:db8::1") is None
        assert ask(limiter, "browser", "2001:db8::2") is not None
        assert ask(limiter, "browser", "2001:db8:0:1::1") is None

    def test_croct_and_sites_are_not_limited_by_default(self):
        """0 means off: no refusal, ever."""
        limiter = Limiter(Limits(), {}, [Site(id="shop")])
        for name in ("application", "site"):
            assert all(ask(limiter, name, "shop") is None for _ in range(2_000))

    def test_a_beacon_takes_a_token_of_its_sender_and_of_its_site_or_of_neither(self):
        """Whichever of the two is exhausted, the other keeps what it has."""
        site = Site(id="shop", requests_per_minute=2)
        limiter = Limiter(Limits(croct_requests_per_minute=3), {}, [site])
        assert [limiter.application("::1", "shop", START) for _ in range(2)] == [None] * 2
        for _ in range(5):
            refused = limiter.application("::1", "shop", START)
            assert refused is not None
            assert "for this site" in refused.message
        assert limiter.application("::1", "other", START) is None, "the sender had one left"
        sender = Limiter(Limits(croct_requests_per_minute=1), {}, [site])
        assert sender.application("::1", "shop", START) is None
        for _ in range(5):
            refused = sender.application("::1", "shop", START)
            assert refused is not None
            assert "for this site" not in refused.message
        assert sender.application("192.0.2.2", "shop", START) is None, "the site had one left"
        assert sender.application("192.0.2.3", "shop", START) is not None

    def test_a_tier_has_its_burst(self):
        """`limit` stays the requests per minute, `remaining` counts up to the burst."""
        limiter = Limiter(Limits(), {"t": Tier(requests_per_minute=10, burst=12)}, [])
        decisions = [limiter.tier("k", "t", START, NOVEMBER) for _ in range(13)]
        assert [d.refusal is None for d in decisions] == [True] * 12 + [False]
        assert [d.budget.limit for d in decisions] == [10] * 13
        assert [d.budget.remaining for d in decisions] == [*range(11, -1, -1), 0]
        assert decisions[-1].budget.reset_s == NOVEMBER // SECOND + 72

    def test_the_reset_is_the_second_at_which_the_bucket_is_full(self):
        """`reset_s` is Unix time, rounded up."""
        limiter = Limiter(Limits(), {"t": Tier(requests_per_minute=100)}, [])
        decision = limiter.tier("k", "t", START, NOVEMBER + 500_000)
        assert decision.budget.reset_s == NOVEMBER // SECOND + 2  # 0.5 s + 0.6 s

    def test_what_is_given_back_was_not_one_of_the_month(self):
        """The count goes back, the token does not."""
        tiers = {"t": Tier(requests_per_minute=3, requests_per_month=2)}
        limiter = Limiter(Limits(), tiers, [])
        given_back = limiter.tier("k", "t", START, NOVEMBER)
        told = limiter.give_back("k", given_back.counted_in, NOVEMBER, given_back.budget)
        assert (told.month_used, told.total_used, told.remaining) == (0, 0, 2)
        for used in (1, 2):
            decision = limiter.tier("k", "t", START, NOVEMBER)
            assert decision.refusal is None
            assert (decision.budget.month_used, decision.budget.remaining) == (used, 2 - used)

    def test_what_is_told_after_giving_back_is_what_is_counted(self):
        """Others that were counted between the two are in the numbers, also of a new month."""
        limiter = Limiter(Limits(), {"t": Tier(requests_per_minute=10)}, [])
        first, second = (limiter.tier("k", "t", START, NOVEMBER) for _ in range(2))
        told = limiter.give_back("k", first.counted_in, NOVEMBER, first.budget)
        assert (told.month_used, told.total_used) == (1, 1)
        december = unix_us("2026-12-01T00:00:00")
        newest = [limiter.tier("k", "t", START, december) for _ in range(3)][-1].budget
        told = limiter.give_back("k", second.counted_in, NOVEMBER, second.budget)
        assert (told.month_used, told.total_used) == (3, 3)
        assert told.month_reset_s == newest.month_reset_s

    def test_an_exhausted_month_ahead_of_the_clock_is_told_with_its_own_end(self):
        """Counted in December, then the clock is in November: come back in January."""
        tiers = {"tiny": Tier(requests_per_minute=5, requests_per_month=1)}
        limiter = Limiter(Limits(), tiers, [])
        december = unix_us("2026-12-01T00:00:00")
        assert limiter.tier("k", "tiny", START, december).refusal is None
        decision = limiter.tier("k", "tiny", START, december - SECOND)
        assert decision.refusal is not None
        assert decision.refusal.retry_after_s == 31 * 24 * 3600 + 1
        assert unix_us("2027-01-01T00:00:00") // SECOND == decision.budget.month_reset_s

    def test_refusals_are_made_once_per_wait(self):
        """Refusing costs next to nothing: at most 60 different refusals are ever made."""
        limiter = Limiter(Limits(browser_requests_per_minute=1), {}, [])
        ask(limiter, "browser", "::1")
        refusals = [
            ask(limiter, "browser", "::1", START + us) for us in range(0, 60 * SECOND, 9_973)
        ]
        assert {r.retry_after_s for r in refusals if r} == set(range(1, 61))
        assert len({id(r) for r in refusals}) == 60

    def test_a_tier_limits_the_minute(self):
        """The free tier admits 10; the eleventh is told the wait and does not count."""
        limiter = Limiter(Limits(), dict(DEFAULT_TIERS), [])
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
        assert (refused.budget.month_used, refused.budget.total_used) == (10, 10)
        assert refused.budget.reset_s == NOVEMBER // SECOND + 60
        assert unix_us("2026-12-01T00:00:00") // SECOND == refused.budget.month_reset_s

    def test_a_tier_limits_the_month(self):
        """A used-up month is refused until the first of the next, and costs no token."""
        tiers = {"tiny": Tier(requests_per_minute=5, requests_per_month=2)}
        limiter = Limiter(Limits(), tiers, [])
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
        limiter = Limiter(Limits(), {"open": Tier(requests_per_minute=0)}, [])
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
        limiter = Limiter(Limits(), {"one": Tier(requests_per_minute=1, requests_per_month=1)}, [])
        assert limiter.tier("a", "one", START, NOVEMBER).refusal is None
        assert limiter.tier("a", "one", START, NOVEMBER).refusal is not None
        assert limiter.tier("b", "one", START, NOVEMBER).refusal is None

    def test_failed_authentications_are_throttled_by_address(self):
        """After 30 failures in a minute an address is turned away, until a token is back."""
        limiter = Limiter(Limits(), {}, [])
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
        limiter = Limiter(Limits(failed_auth_per_minute=1), {}, [])
        assert all(limiter.failed_auth_blocked("::1", START) is None for _ in range(100))


class TestTakeOver:
    """Another configuration, the same callers."""

    @pytest.mark.parametrize("name", ASK)
    def test_nobody_gets_a_fresh_budget(self, name):
        """Each limit goes on where it was, with the number of now."""
        limits = Limits(
            browser_requests_per_minute=2,
            server_requests_per_minute=2,
            croct_requests_per_minute=2,
        )
        sites = [Site(id="shop"), Site(id="a", requests_per_minute=2)]
        before = Limiter(limits, {}, sites)
        assert [ask(before, name, "a") is None for _ in range(3)] == [True, True, False]
        same, other = Limiter(limits, {}, sites), Limiter(Limits(), {}, [Site(id="shop")])
        same.take_over(before, [], START)
        assert ask(same, name, "a") is not None
        assert ask(before, name, "a") is not None, "requests under way pay from the same"
        other.take_over(same, [], START)
        assert ask(other, name, "a") is None, "more than before, or no limit"

    def test_months_go_on_and_tiers_are_no_way_out(self):
        """A key that moves to another tier takes its month and what it took of the minute along."""
        old = {"free": Tier(requests_per_minute=5, requests_per_month=100)}
        new = {"pro": Tier(requests_per_minute=6, requests_per_month=100)}
        before, now = Limiter(Limits(), old, []), Limiter(Limits(), new, [])
        for _ in range(5):
            assert before.tier("k", "free", START, NOVEMBER).refusal is None
        now.take_over(before, [("k", "free", "pro")], START)
        decision = now.tier("k", "pro", START, NOVEMBER)
        assert (decision.budget.remaining, decision.budget.month_used) == (0, 6)
        assert now.tier("k", "pro", START, NOVEMBER).refusal is not None
        assert before.tier("k", "free", START, NOVEMBER).refusal is not None

    def test_a_changed_limit_tells_its_new_number(self):
        """What is told is what holds, also where a refusal was made before."""
        before = Limiter(Limits(server_requests_per_minute=1), {}, [])
        now = Limiter(Limits(server_requests_per_minute=2), {}, [])
        assert before.server("k", START) is None
        refusal = before.server("k", START)
        assert refusal is not None
        assert "1 per minute" in refusal.message
        now.take_over(before, [], START)
        assert now.server("k", START) is None
        refusal = now.server("k", START)
        assert refusal is not None
        assert "2 per minute" in refusal.message
