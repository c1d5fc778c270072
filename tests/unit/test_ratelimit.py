"""The rate limiter: token buckets, monthly counts, and what an address stands for."""

from datetime import UTC, datetime

import pytest

from collector.ratelimit import Buckets, MonthlyUsage, address_key

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_000_000 * SECOND


def unix_us(text: str) -> int:
    """Microseconds of an ISO time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * SECOND)


NOVEMBER = unix_us("2026-11-21T10:00:00")


class TestBuckets:
    """Token buckets."""

    def test_a_minutes_allowance_may_come_at_once_and_no_more(self):
        """A fresh bucket holds exactly one minute's allowance."""
        buckets = Buckets(10, 100)
        taken = [buckets.take("a", START) for _ in range(12)]
        assert [t.admitted for t in taken] == [True] * 10 + [False] * 2
        assert [*range(9, -1, -1), 0, 0] == [t.remaining for t in taken]

    def test_a_token_comes_back_every_sixtieth_of_the_allowance(self):
        """With 10 a minute, an empty bucket admits one request every 6 s, to the microsecond."""
        buckets = Buckets(10, 100)
        for _ in range(10):
            buckets.take("a", START)
        assert not buckets.take("a", START + 6 * SECOND - 1).admitted
        assert buckets.take("a", START + 6 * SECOND).admitted
        assert not buckets.take("a", START + 6 * SECOND).admitted

    def test_an_allowance_that_does_not_divide_a_minute_is_not_rounded(self):
        """With 7 a minute, exactly 7 tokens come back in each minute of a long time."""
        buckets = Buckets(7, 100)
        for _ in range(7):
            buckets.take("a", START)
        admitted = sum(
            buckets.take("a", START + us).admitted for us in range(1, 10 * MINUTE, 9_973)
        )
        assert admitted == 69
        assert buckets.take("a", START + 10 * MINUTE).admitted

    def test_a_refusal_tells_when_to_come_back(self):
        """`retry_after_s` is rounded up to whole seconds and is enough."""
        buckets = Buckets(10, 100)
        for _ in range(10):
            buckets.take("a", START)
        refused = buckets.take("a", START + 500_000)
        assert (refused.admitted, refused.retry_after_s) == (False, 6)
        assert buckets.take("a", START + 500_000 + 6 * SECOND).admitted

    def test_a_refusal_never_says_zero_seconds(self):
        """Even when the token is a microsecond away, the wait is at least a second."""
        buckets = Buckets(1_000, 100)
        for _ in range(1_000):
            buckets.take("a", START)
        assert buckets.take("a", START + 59_999).retry_after_s == 1
        assert buckets.take("a", START + 60_000).retry_after_s == 0

    def test_the_time_until_full_is_exact(self):
        """`until_full_us` is after how many microseconds nothing is missing."""
        buckets = Buckets(7, 100)
        taken = buckets.take("a", START)
        assert taken.until_full_us == 8_571_429  # a seventh of a minute, rounded up
        assert buckets.peek("a", START + 8_571_428).remaining == 6
        assert buckets.peek("a", START + 8_571_429).remaining == 7

    def test_requests_refused_take_nothing(self):
        """Hammering an empty bucket does not put off the next token."""
        buckets = Buckets(10, 100)
        for _ in range(10):
            buckets.take("a", START)
        for us in range(0, 6 * SECOND, 1_000):
            assert not buckets.take("a", START + us).admitted
        assert buckets.take("a", START + 6 * SECOND).admitted

    def test_callers_do_not_share(self):
        """One caller's requests leave another's bucket alone."""
        buckets = Buckets(1, 100)
        assert buckets.take("a", START).admitted
        assert not buckets.take("a", START).admitted
        assert buckets.take("b", START).admitted

    def test_zero_switches_the_limit_off(self):
        """0 requests per minute admit everything and keep nothing."""
        buckets = Buckets(0, 100)
        assert all(buckets.take("a", START).admitted for _ in range(1_000))
        assert buckets.peek("a", START).admitted
        assert len(buckets) == 0

    def test_peeking_takes_nothing(self):
        """`peek` tells what is there, before and after the last token."""
        buckets = Buckets(2, 100)
        assert buckets.peek("a", START).remaining == 2
        assert len(buckets) == 0
        buckets.take("a", START)
        assert [buckets.peek("a", START).remaining for _ in range(2)] == [1, 1]
        buckets.take("a", START)
        refused = buckets.peek("a", START)
        assert (refused.admitted, refused.remaining, refused.retry_after_s) == (False, 0, 30)

    def test_a_clock_that_steps_back_does_not_lock_anybody_out(self):
        """After a step back by a year, tokens come back as if the clock had stood still."""
        buckets = Buckets(10, 100)
        for _ in range(10):
            buckets.take("a", START)
        early = START - 365 * 86_400 * SECOND
        assert not buckets.take("a", early).admitted
        assert not buckets.peek("a", early + 6 * SECOND - 1).admitted
        assert buckets.take("a", early + 6 * SECOND).admitted

    def test_a_clock_that_starts_below_zero_works(self):
        """The origin of the monotonic clock does not matter."""
        buckets = Buckets(1, 100)
        assert buckets.take("a", -5 * MINUTE).admitted
        assert not buckets.take("a", -4 * MINUTE - 1).admitted
        assert buckets.take("a", -4 * MINUTE).admitted

    def test_memory_is_bounded_and_nobody_is_forgotten(self):
        """Beyond `entries_max`, newcomers share; those who are known keep what they have used."""
        buckets = Buckets(2, 100)
        for _ in range(2):
            buckets.take("known", START)
        for number in range(10_000):
            buckets.take(number, START)
        assert len(buckets) == 100
        assert not buckets.take("known", START).admitted

    def test_newcomers_that_share_are_limited_too(self):
        """An overflow bucket is a bucket: the same newcomer cannot send without end."""
        buckets = Buckets(3, 1)
        buckets.take("known", START)
        assert [buckets.take("new", START).admitted for _ in range(4)] == [True] * 3 + [False]
        assert not buckets.peek("new", START).admitted
        assert buckets.take("new", START + 20 * SECOND).admitted

    def test_a_bucket_that_is_full_again_makes_room(self):
        """Callers of more than a minute ago do not hold places."""
        buckets = Buckets(10, 100)
        for number in range(100):
            buckets.take(number, START)
        later = START + 6 * SECOND  # every bucket is full again
        for number in range(1_000, 1_100):
            buckets.take(number, later)
        assert len(buckets) == 100
        for number in range(1_000, 1_100):
            assert buckets.take(number, later).remaining == 8

    def test_full_buckets_are_swept_as_newcomers_come(self):
        """The table does not grow with callers that came once."""
        buckets = Buckets(60, 1_000_000)
        for number in range(10_000):
            buckets.take(number, START + number * SECOND)
        assert len(buckets) < 10


class TestMonthlyUsage:
    """Counts per month and in total."""

    def test_counts_start_anew_on_the_first_of_the_month(self):
        """The last microsecond of a month and the first of the next are told apart, in UTC."""
        usage = MonthlyUsage()
        december = unix_us("2026-12-01T00:00:00")
        usage.count("a", december - 1)
        usage.count("a", december - 1)
        assert (usage.used("a", december - 1), usage.total("a")) == (2, 2)
        assert (usage.used("a", december), usage.total("a")) == (0, 2)
        usage.count("a", december)
        assert (usage.used("a", december), usage.total("a")) == (1, 3)

    @pytest.mark.parametrize(
        ("now", "reset"),
        [
            ("2026-11-21T10:00:00", "2026-12-01T00:00:00"),
            ("2026-12-31T23:59:59", "2027-01-01T00:00:00"),
            ("2028-02-29T00:00:00", "2028-03-01T00:00:00"),
        ],
    )
    def test_the_reset_is_the_first_of_the_next_month(self, now, reset):
        """The reset is told as a Unix second, across years and leap days."""
        assert unix_us(reset) // SECOND == MonthlyUsage().reset_s(unix_us(now))

    def test_what_was_dumped_is_loaded(self):
        """A restart loses no count that was kept, neither of the month nor in total."""
        usage = MonthlyUsage()
        usage.count("a", unix_us("2026-10-31T00:00:00"))
        usage.count("a", NOVEMBER)
        usage.count("b", NOVEMBER)
        restarted = MonthlyUsage()
        restarted.load(usage.dump())
        assert (restarted.used("a", NOVEMBER), restarted.total("a")) == (1, 2)
        assert (restarted.used("b", NOVEMBER), restarted.total("b")) == (1, 1)

    def test_a_month_that_passed_while_stopped_is_not_charged(self):
        """Counts loaded from an earlier month are total, not used."""
        usage = MonthlyUsage()
        usage.count("a", NOVEMBER)
        restarted = MonthlyUsage()
        restarted.load(usage.dump())
        january = unix_us("2027-01-05T00:00:00")
        assert (restarted.used("a", january), restarted.total("a")) == (0, 1)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"null",
            b"[]",
            b'{"a":1}',
            b'{"a":{"month":"2026-11","used":-1,"total":1}}',
            b'{"a":{"month":"2026-11","used":1.5,"total":1}}',
            b'{"\xff":{}}',
            b"[" * 10_000,
            b'{"a":{"month":"2026-11","used":1,"total":1}',
        ],
    )
    def test_unreadable_bytes_are_refused_and_change_nothing(self, data):
        """A damaged record is told, and does not wipe what was counted."""
        usage = MonthlyUsage()
        usage.count("a", NOVEMBER)
        with pytest.raises(ValueError, match=r"not a record|codec"):
            usage.load(data)
        assert usage.used("a", NOVEMBER) == 1

    def test_dirty_tells_whether_there_is_something_to_keep(self):
        """Counting makes it dirty, dumping and loading make it clean, asking changes nothing."""
        usage = MonthlyUsage()
        assert not usage.dirty
        usage.used("a", NOVEMBER)
        assert not usage.dirty
        usage.count("a", NOVEMBER)
        assert usage.dirty
        data = usage.dump()
        assert not usage.dirty
        usage.count("a", NOVEMBER)
        usage.load(data)
        assert not usage.dirty


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.42", "203.0.113.42"),
        ("::ffff:203.0.113.42", "203.0.113.42"),
        ("::FFFF:cb00:712a", "203.0.113.42"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("not an address", "unknown"),
        ("1.2.3.4:80", "unknown"),
    ],
)
def test_an_address_stands_for_one_subscriber(address, key):
    """IPv6 is limited by /64, mapped IPv4 is IPv4, and nonsense shares one bucket."""
    assert key == address_key(address)
