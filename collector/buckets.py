"""Token buckets: how many requests a caller may send at once, and how fast tokens come back.

Rules that this module keeps:

1. A bucket holds its burst and refills by requests_per_minute / 60 tokens a second, exactly: one
   whole number per caller, in units of which no division is ever rounded.
2. Only admitted requests take a token.
3. Memory is bounded, and nobody's state is thrown away to make room for somebody else's: only a
   bucket that is full again, and so tells nothing, is forgotten.
4. Where a caller's state lies depends on a salted hash, so that nobody can aim at somebody else's.
5. No call does more than a few steps of housekeeping: nothing is copied, no table is large. But
   for a change to a smaller burst, which looks at every bucket once.
6. A clock that steps back counts as one that stood still: nobody waits longer for it.
7. A change of rate or burst forgets no token that was taken: scaled time goes on where it was, at
   another pace.

Used from the event loop only. `now_us` is microseconds of a monotonic clock with any origin. Must
not know who the callers are, nor how a refusal is answered.
"""

from collections import deque
from typing import Final

import msgspec

# Texts and bytes have a salted hash (that of a number is the number), and keep it once it is known.
Key = bytes | str

_MINUTE_US: Final = 60_000_000
_SECOND_US: Final = 1_000_000
# A dictionary that grows is copied at once, which takes milliseconds per 100,000 entries.
_SHARDS: Final = 64
# What newcomers share when no bucket of their own is left: enough that one flooding address seldom
# meets an honest one, few enough to cost nothing.
_OVERFLOW_BUCKETS: Final = 1_024
# Entries looked at per newcomer: more than one, so that sweeping outruns growth; and some more
# while the table is full, so that a newcomer seldom shares as long as there are places to be had.
_SWEEP_STEPS: Final = 2
_SWEEP_STEPS_FULL: Final = 4


class Taken(msgspec.Struct, frozen=True, gc=False):
    """What became of one request, and what is left in its bucket now.

    `remaining` counts whole tokens. `until_full_us` rounds up. `retry_after_s` is the whole number
    of seconds until there is a token, at least 1; 0 when there is one already.
    """

    admitted: bool
    remaining: int
    until_full_us: int
    retry_after_s: int


_UNLIMITED: Final = Taken(admitted=True, remaining=0, until_full_us=0, retry_after_s=0)


class Buckets:
    """One token bucket per key, all with the same rate and burst; 0 requests per minute admit all.

    `burst` is how many tokens a bucket holds; 0: one minute's allowance. A bucket is kept as the
    time at which it will be full (the generic cell rate algorithm). Time is scaled by the rate: a
    token is worth a minute of scaled time whatever the rate.
    """

    def __init__(self, requests_per_minute: int, burst: int, entries_max: int) -> None:
        self._set(requests_per_minute, burst, entries_max)
        self._forget()
        self._last_us = 0
        self._stepped_back_us = 0

    def _set(self, requests_per_minute: int, burst: int, entries_max: int) -> None:
        self.requests_per_minute = requests_per_minute
        self.burst = burst
        self._second = requests_per_minute * _SECOND_US
        self._capacity = (burst or requests_per_minute) * _MINUTE_US
        self._entries_max = entries_max

    def _forget(self) -> None:
        self._offset = 0
        self._shards: list[dict[Key, int]] = [{} for _ in range(_SHARDS)]
        self._overflow = [0] * _OVERFLOW_BUCKETS
        # Every key that has a bucket, once; the next to be looked at stands first.
        self._to_sweep: deque[Key] = deque()

    def __len__(self) -> int:
        """How many callers have a bucket of their own; never more than `entries_max`."""
        return len(self._to_sweep)

    def pay(self, key: Key, now_us: int) -> int:
        """Take one token from the bucket of `key`.

        What is left in scaled time; below 0 nothing was taken, and `wait_s` tells how long to wait.
        """
        rate = self.requests_per_minute
        if not rate:
            return 0
        # `_scale`, without the cost of a call.
        now_us += self._stepped_back_us
        if now_us < self._last_us:
            self._stepped_back_us += self._last_us - now_us
            now_us = self._last_us
        self._last_us = now_us
        now = now_us * rate + self._offset
        shard = self._shards[hash(key) % _SHARDS]
        full_at = shard.get(key)
        if full_at is None:
            if not self._has_room(now):
                return self._pay_shared(key, now)
            self._to_sweep.append(key)
            full_at = now
        elif full_at < now:
            full_at = now
        full_at += _MINUTE_US
        left = self._capacity - full_at + now
        if left >= 0:
            shard[key] = full_at
        return left

    def wait_s(self, left: int) -> int:
        """The whole seconds until there is a token; `left` is what `pay` or `foresee` returned."""
        return 0 if left >= 0 else -(left // self._second)

    def take(self, key: Key, now_us: int) -> Taken:
        """Take one token from the bucket of `key`, if there is one, and tell what is left."""
        if not self.requests_per_minute:
            return _UNLIMITED
        left = self.pay(key, now_us)
        return self._state(True, left) if left >= 0 else self._state(False, left + _MINUTE_US)

    def peek(self, key: Key, now_us: int) -> Taken:
        """What `take` would say, but for `remaining` and `until_full_us`: nothing is taken."""
        if not self.requests_per_minute:
            return _UNLIMITED
        left = self._left(key, now_us)
        return self._state(left >= _MINUTE_US, left)

    def foresee(self, key: Key, now_us: int) -> int:
        """What `pay` would return; nothing is taken."""
        return self._left(key, now_us) - _MINUTE_US if self.requests_per_minute else 0

    def change(self, requests_per_minute: int, burst: int, entries_max: int, now_us: int) -> None:
        """Go on with another rate, burst and number of entries.

        What was taken stays taken, and comes back at the new pace; of a burst that is smaller now
        at most all is taken. A limit that is switched off forgets; one that is switched on begins
        with full buckets.
        """
        if not requests_per_minute or not self.requests_per_minute:
            self._set(requests_per_minute, burst, entries_max)
            self._forget()
            return
        now, before = self._scale(now_us), self._capacity
        self._offset = now - self._last_us * requests_per_minute
        self._set(requests_per_minute, burst, entries_max)
        if self._capacity < before:
            self._shorten(now + self._capacity)

    def carry(self, key: Key, other: "Buckets", now_us: int) -> None:
        """Take over what `key` took of `other` and has not got back, unless it took more here."""
        if not self.requests_per_minute or not other.requests_per_minute:
            return
        taken = min(other.missing(key, now_us), self._capacity)
        if taken <= self.missing(key, now_us):
            return
        now = self._scale(now_us)
        shard = self._shards[hash(key) % _SHARDS]
        if key not in shard:
            if not self._has_room(now):
                return
            self._to_sweep.append(key)
        shard[key] = now + taken

    def missing(self, key: Key, now_us: int) -> int:
        """What the bucket of `key` lacks until it is full, in scaled time: 60 s are a token."""
        return self._capacity - self._left(key, now_us) if self.requests_per_minute else 0

    def _shorten(self, full_at_max: int) -> None:
        """Nobody's bucket is full later than `full_at_max`."""
        self._overflow = [min(full_at, full_at_max) for full_at in self._overflow]
        for shard in self._shards:
            for key, full_at in shard.items():
                if full_at > full_at_max:
                    shard[key] = full_at_max  # a name that is there: nothing moves

    def _pay_shared(self, key: Key, now: int) -> int:
        slot = hash(key) % _OVERFLOW_BUCKETS
        full_at = max(self._overflow[slot], now) + _MINUTE_US
        left = self._capacity - full_at + now
        if left >= 0:
            self._overflow[slot] = full_at
        return left

    def _left(self, key: Key, now_us: int) -> int:
        """What the bucket of `key` holds, in scaled time."""
        now = self._scale(now_us)
        full_at = self._shards[hash(key) % _SHARDS].get(key)
        if full_at is None:
            if len(self._to_sweep) < self._entries_max or self._has_room(now):
                return self._capacity
            full_at = self._overflow[hash(key) % _OVERFLOW_BUCKETS]
        return self._capacity - full_at + now if full_at > now else self._capacity

    def _state(self, admitted: bool, left: int) -> Taken:
        """`left` is what the bucket holds, in scaled time."""
        return Taken(
            admitted,
            left // _MINUTE_US,
            -((left - self._capacity) // self.requests_per_minute),
            # Seconds from now, rounded up; the token that is missing is never there at once.
            0 if admitted else -((left - _MINUTE_US) // self._second),
        )

    def _scale(self, now_us: int) -> int:
        """`now_us` made monotonic: by how much the clock ever stepped back is added to it."""
        now_us += self._stepped_back_us
        if now_us < self._last_us:
            self._stepped_back_us += self._last_us - now_us
            now_us = self._last_us
        self._last_us = now_us
        return now_us * self.requests_per_minute + self._offset

    def _has_room(self, now: int) -> bool:
        """Make room for a newcomer: forget some of the buckets that are full again.

        Sweeps a little with every newcomer, because only newcomers make the table grow.
        """
        to_sweep = self._to_sweep
        is_full = len(to_sweep) >= self._entries_max
        for _ in range(min(len(to_sweep), _SWEEP_STEPS_FULL if is_full else _SWEEP_STEPS)):
            key = to_sweep.popleft()
            shard = self._shards[hash(key) % _SHARDS]
            if shard[key] <= now:
                del shard[key]
            else:
                to_sweep.append(key)
        return len(to_sweep) < self._entries_max
