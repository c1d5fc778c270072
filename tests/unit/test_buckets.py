"""Token buckets: exact to the microsecond, bounded, and nobody is pushed out."""

from collector.buckets import Buckets

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_000_000 * SECOND


class TestBuckets:
    """A rate, a burst, and what callers are told."""

    def test_a_minutes_allowance_may_come_at_once_and_no_more(self):
        """A fresh bucket holds exactly one minute's allowance."""
        buckets = Buckets(10, 0, 100)
        taken = [buckets.take("a", START) for _ in range(12)]
        assert [t.admitted for t in taken] == [True] * 10 + [False] * 2
        assert [*range(9, -1, -1), 0, 0] == [t.remaining for t in taken]

    def test_a_token_comes_back_every_sixtieth_of_the_allowance(self):
        """With 10 a minute, an empty bucket admits one request every 6 s, to the microsecond."""
        buckets = Buckets(10, 0, 100)
        for _ in range(10):
            buckets.take("a", START)
        assert not buckets.take("a", START + 6 * SECOND - 1).admitted
        assert buckets.take("a", START + 6 * SECOND).admitted
        assert not buckets.take("a", START + 6 * SECOND).admitted

    def test_an_allowance_that_does_not_divide_a_minute_is_not_rounded(self):
        """With 7 a minute, exactly 7 tokens come back in each minute of a long time."""
        buckets = Buckets(7, 0, 100)
        for _ in range(7):
            buckets.take("a", START)
        admitted = sum(
            buckets.take("a", START + us).admitted for us in range(1, 10 * MINUTE, 9_973)
        )
        assert admitted == 69
        assert buckets.take("a", START + 10 * MINUTE).admitted

    def test_a_refusal_tells_when_to_come_back(self):
        """`retry_after_s` is rounded up to whole seconds and is enough."""
        buckets = Buckets(10, 0, 100)
        for _ in range(10):
            buckets.take("a", START)
        refused = buckets.take("a", START + 500_000)
        assert (refused.admitted, refused.retry_after_s) == (False, 6)
        assert buckets.take("a", START + 500_000 + 6 * SECOND).admitted

    def test_a_refusal_never_says_zero_seconds(self):
        """Even when the token is a microsecond away, the wait is at least a second."""
        buckets = Buckets(1_000, 0, 100)
        for _ in range(1_000):
            buckets.take("a", START)
        assert buckets.take("a", START + 59_999).retry_after_s == 1
        assert buckets.take("a", START + 60_000).retry_after_s == 0

    def test_the_time_until_full_is_exact(self):
        """`until_full_us` is after how many microseconds nothing is missing."""
        buckets = Buckets(7, 0, 100)
        taken = buckets.take("a", START)
        assert taken.until_full_us == 8_571_429  # a seventh of a minute, rounded up
        assert buckets.peek("a", START + 8_571_428).remaining == 6
        assert buckets.peek("a", START + 8_571_429).remaining == 7

    def test_a_burst_is_how_many_may_come_at_once(self):
        """The burst comes at once, then the rate goes on as before, whichever is larger."""
        for burst in (3, 25):
            buckets = Buckets(10, burst, 100)
            taken = [buckets.take("a", START) for _ in range(burst + 1)]
            assert [t.admitted for t in taken] == [True] * burst + [False]
            assert [t.remaining for t in taken] == [*range(burst - 1, -1, -1), 0]
            assert taken[-1].until_full_us == burst * 6 * SECOND
            assert taken[-1].retry_after_s == 6
            assert not buckets.take("a", START + 6 * SECOND - 1).admitted
            assert buckets.take("a", START + 6 * SECOND).admitted
            # After a long pause it is the burst again, not more.
            later = START + 60 * MINUTE
            assert sum(buckets.take("a", later).admitted for _ in range(100)) == burst

    def test_paying_tells_the_wait_as_taking_does(self):
        """`pay` and `wait_s` are `take` without what only some are told; `foresee` is `peek`."""
        one, other = Buckets(7, 3, 100), Buckets(7, 3, 100)
        for us in (0, 0, 0, 0, 1, 8_571_428, 1, 1, 5 * MINUTE):
            now = START + us
            seen, foreseen = one.peek("a", now), other.foresee("a", now)
            assert (foreseen >= 0, other.wait_s(foreseen)) == (seen.admitted, seen.retry_after_s)
            taken, left = one.take("a", now), other.pay("a", now)
            assert (left >= 0, other.wait_s(left)) == (taken.admitted, taken.retry_after_s)
        off = Buckets(0, 3, 100)
        assert [off.pay("a", START), off.foresee("a", START), off.wait_s(0), len(off)] == [0] * 4

    def test_requests_refused_take_nothing(self):
        """Hammering an empty bucket does not put off the next token."""
        buckets = Buckets(10, 0, 100)
        for _ in range(10):
            buckets.take("a", START)
        for us in range(0, 6 * SECOND, 1_000):
            assert not buckets.take("a", START + us).admitted
        assert buckets.take("a", START + 6 * SECOND).admitted

    def test_callers_do_not_share(self):
        """One caller's requests leave another's bucket alone."""
        buckets = Buckets(1, 0, 100)
        assert buckets.take("a", START).admitted
        assert not buckets.take("a", START).admitted
        assert buckets.take("b", START).admitted

    def test_zero_switches_the_limit_off(self):
        """0 requests per minute admit everything and keep nothing."""
        buckets = Buckets(0, 0, 100)
        assert all(buckets.take("a", START).admitted for _ in range(1_000))
        assert buckets.peek("a", START).admitted
        assert len(buckets) == 0

    def test_peeking_takes_nothing(self):
        """`peek` tells what is there, before and after the last token."""
        buckets = Buckets(2, 0, 100)
        assert buckets.peek("a", START).remaining == 2
        assert len(buckets) == 0
        buckets.take("a", START)
        assert [buckets.peek("a", START).remaining for _ in range(2)] == [1, 1]
        buckets.take("a", START)
        refused = buckets.peek("a", START)
        assert (refused.admitted, refused.remaining, refused.retry_after_s) == (False, 0, 30)

    def test_a_clock_that_steps_back_does_not_lock_anybody_out(self):
        """After a step back by a year, tokens come back as if the clock had stood still."""
        buckets = Buckets(10, 0, 100)
        for _ in range(10):
            buckets.take("a", START)
        early = START - 365 * 86_400 * SECOND
        assert not buckets.take("a", early).admitted
        assert not buckets.peek("a", early + 6 * SECOND - 1).admitted
        assert buckets.take("a", early + 6 * SECOND).admitted

    def test_a_clock_that_starts_below_zero_works(self):
        """The origin of the monotonic clock does not matter."""
        buckets = Buckets(1, 0, 100)
        assert buckets.take("a", -5 * MINUTE).admitted
        assert not buckets.take("a", -4 * MINUTE - 1).admitted
        assert buckets.take("a", -4 * MINUTE).admitted

    def test_memory_is_bounded_and_nobody_is_forgotten(self):
        """Beyond `entries_max`, newcomers share; those who are known keep what they have used."""
        buckets = Buckets(2, 0, 100)
        for _ in range(2):
            buckets.take("known", START)
        for number in range(10_000):
            buckets.take(str(number), START)
        assert len(buckets) == 100
        assert not buckets.take("known", START).admitted

    def test_newcomers_that_share_are_limited_too(self):
        """An overflow bucket is a bucket: the same newcomer cannot send without end."""
        buckets = Buckets(3, 0, 1)
        buckets.take("known", START)
        assert [buckets.take("new", START).admitted for _ in range(4)] == [True] * 3 + [False]
        assert not buckets.peek("new", START).admitted
        assert buckets.take("new", START + 20 * SECOND).admitted

    def test_looking_ahead_finds_the_places_that_are_free_again(self):
        """A newcomer is not judged by an exhausted shared bucket while there are places."""
        buckets = Buckets(60, 0, 100)
        for number in range(100):
            buckets.take(str(number), START)
        for _ in range(60):
            assert buckets.take("new", START).admitted
        assert not buckets.peek("new", START).admitted
        assert buckets.peek("new", START + SECOND).remaining == 60  # all 100 are full again

    def test_a_bucket_that_is_full_again_makes_room(self):
        """Callers of more than a minute ago do not hold places."""
        buckets = Buckets(10, 0, 100)
        for number in range(100):
            buckets.take(str(number), START)
        later = START + 6 * SECOND  # every bucket is full again
        for number in range(1_000, 1_100):
            buckets.take(str(number), later)
        assert len(buckets) == 100
        for number in range(1_000, 1_100):
            assert buckets.take(str(number), later).remaining == 8

    def test_full_buckets_are_swept_as_newcomers_come(self):
        """The table does not grow with callers that came once."""
        buckets = Buckets(60, 0, 1_000_000)
        for number in range(10_000):
            buckets.take(str(number), START + number * SECOND)
        assert len(buckets) < 10

    def test_many_attackers_cannot_reset_the_bucket_of_a_busy_honest_caller(self):
        """100,000 newcomers and a full table later, an honest caller has what it had left, exactly.

        Neither more, as if its bucket had been forgotten, nor less.
        """
        buckets = Buckets(100, 0, 20_000)
        for _ in range(60):
            assert buckets.take("honest", START).admitted
        for number in range(100_000):
            buckets.take(f"attacker {number}", START)
        assert len(buckets) == 20_000
        assert buckets.take("honest", START).remaining == 39
        for _ in range(39):
            assert buckets.take("honest", START).admitted
        assert not buckets.take("honest", START).admitted

    def test_a_newcomer_finds_a_place_while_attackers_keep_the_table_full(self):
        """As long as buckets fill up again, an honest newcomer soon has one of its own."""
        buckets = Buckets(60, 0, 1_000)
        now = START
        for number in range(50_000):  # 900 a second, each of which is full again after a second
            now += SECOND // 900
            buckets.take(f"attacker {number}", now)
        assert buckets.take("newcomer", now).remaining == 59
        assert "newcomer" in buckets._to_sweep

    def test_keys_spread_over_tables_and_shared_buckets_whatever_an_attacker_picks(self):
        """No table grows large and no shared bucket is hit often, although the keys are in a row.

        The hash is salted, so this holds for any choice that is made without knowing the salt.
        """
        buckets = Buckets(100, 0, 64_000)
        for number in range(64_000):  # /64s of one /48
            buckets.take((0x2001_0DB8_0001_0000 + number).to_bytes(8, "big"), START)
        assert max(map(len, buckets._shards)) < 1_300
        for number in range(20_000):
            buckets.take((0x2001_0DB8_0002_0000 + number).to_bytes(8, "big"), START)
        used = sum(full_at > START * 100 for full_at in buckets._overflow)
        assert used > 1_000

    def test_housekeeping_is_a_few_steps_per_call(self):
        """No call looks at more than 4 entries, however large the table is and whatever is due."""
        buckets = Buckets(60, 0, 10_000)
        for number in range(10_000):
            buckets.take(str(number), START)
        buckets.take("new", START + MINUTE)  # all 10,000 could go
        assert len(buckets) == 10_000 - 4 + 1


class TestChange:
    """Another rate and burst, under way."""

    def test_what_was_taken_stays_taken(self):
        """A larger burst gives the difference; tokens come back at the new pace."""
        buckets = Buckets(10, 0, 100)
        for _ in range(10):
            buckets.take("a", START)
        buckets.change(60, 20, 100, START)
        assert [buckets.take("a", START).admitted for _ in range(11)] == [True] * 10 + [False]
        assert not buckets.take("a", START + SECOND - 1).admitted
        assert buckets.take("a", START + SECOND).admitted

    def test_a_smaller_burst_is_empty_at_most(self):
        """Who took more than there may be now waits for one token, not for all of them."""
        buckets = Buckets(100, 0, 100)
        for _ in range(100):
            buckets.take("a", START)
        buckets.take("b", START)
        buckets.change(10, 0, 100, START)
        assert buckets.wait_s(buckets.foresee("a", START)) == 6
        assert buckets.take("a", START).retry_after_s == 6
        assert buckets.peek("b", START).remaining == 9
        assert buckets.peek("c", START).remaining == 10
        assert buckets.take("a", START + 6 * SECOND).admitted

    def test_no_change_changes_nothing(self):
        """The same numbers once more: the same answers to the microsecond."""
        one, other = Buckets(7, 3, 100), Buckets(7, 3, 100)
        for step in range(200):
            now_us = START + step * 1_234_567
            other.change(7, 3, 100, now_us)
            assert one.take("a", now_us) == other.take("a", now_us)

    def test_what_newcomers_share_is_kept_too(self):
        """Without room for a bucket of one's own."""
        buckets = Buckets(10, 0, 1)
        buckets.take("a", START)
        for _ in range(10):
            assert buckets.take("b", START).admitted
        buckets.change(20, 5, 1, START)
        assert not buckets.take("b", START).admitted
        assert buckets.take("b", START + 3 * SECOND).admitted

    def test_off_forgets_and_on_begins_full(self):
        """Nothing is known of the time in between."""
        buckets = Buckets(1, 0, 100)
        buckets.take("a", START)
        buckets.change(0, 0, 100, START)
        assert buckets.take("a", START).admitted
        assert len(buckets) == 0
        buckets.change(1, 0, 100, START)
        assert [buckets.take("a", START).admitted for _ in range(2)] == [True, False]

    def test_a_caller_moves_with_what_it_took(self):
        """To other buckets, which may hold less; what it took there counts if it is more."""
        free, pro = Buckets(10, 0, 100), Buckets(30, 0, 100)
        for _ in range(8):
            free.take("a", START)
        pro.carry("a", free, START)
        assert pro.peek("a", START).remaining == 22
        for _ in range(22):
            pro.take("a", START)
        free.carry("a", pro, START)
        assert free.peek("a", START).remaining == 0
        pro.carry("a", Buckets(10, 0, 100), START)
        assert pro.peek("a", START).remaining == 0
