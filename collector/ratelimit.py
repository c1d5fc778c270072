"""How much a caller may send: token buckets per minute, and counts per month for Zenovay's tiers.

Rules that this module keeps:

1. A bucket holds one minute's allowance and refills by allowance / 60 tokens a second, exactly: one
   whole number per caller, in units of which no division is ever rounded.
2. Only admitted requests take a token or count towards a month.
3. Memory is bounded, and nobody's state is thrown away to make room for somebody else's.
4. A clock that steps back counts as one that stood still: nobody waits longer than a minute for it.

Used from the event loop only. Clocks are passed in, in microseconds: `mono_us` is monotonic with
any origin, `wall_us` is Unix time. Must not keep anything on disk, nor know how a refusal is
answered.
"""

import ipaddress
from collections.abc import Hashable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Final

import msgspec

from collector.adapters.contract import Budget
from collector.config import Limits, Tier
from collector.refusal import AUTH_THROTTLED, MONTH_EXHAUSTED, RATE_LIMITED, Refusal

_MINUTE_US: Final = 60_000_000
_SECOND_US: Final = 1_000_000
# What newcomers share when no bucket of their own is left: enough that one flooding address seldom
# meets an honest one, few enough to cost nothing.
_OVERFLOW_BUCKETS: Final = 1_024
# Entries looked at per newcomer: more than one, so that sweeping outruns growth.
_SWEEP_STEP: Final = 2
_ADDRESSES_CACHED: Final = 4_096


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
    """One token bucket per key, all with the same allowance; 0 requests per minute admit all.

    A bucket is kept as the time at which it will be full (the generic cell rate algorithm). Time
    is scaled by the allowance: a token is worth a minute of scaled time whatever the allowance.
    """

    def __init__(self, requests_per_minute: int, entries_max: int) -> None:
        self.requests_per_minute = requests_per_minute
        self._entries_max = entries_max
        self._capacity = requests_per_minute * _MINUTE_US
        self._full_at: dict[Hashable, int] = {}
        self._overflow = [0] * _OVERFLOW_BUCKETS
        self._to_sweep: list[Hashable] = []
        self._last_us = 0
        self._stepped_back_us = 0

    def __len__(self) -> int:
        """How many callers have a bucket of their own; never more than `entries_max`."""
        return len(self._full_at)

    def take(self, key: Hashable, now_us: int) -> Taken:
        """Take one token from the bucket of `key`, if there is one."""
        if not self.requests_per_minute:
            return _UNLIMITED
        now = self._scale(now_us)
        own = self._full_at.get(key)
        if own is None and not self._has_room(now):
            slot = hash(key) % _OVERFLOW_BUCKETS
            full_at = max(self._overflow[slot], now) + _MINUTE_US
            if full_at - now <= self._capacity:
                self._overflow[slot] = full_at
            return self._taken(full_at, now)
        full_at = (now if own is None or own < now else own) + _MINUTE_US
        if full_at - now <= self._capacity:
            self._full_at[key] = full_at
        return self._taken(full_at, now)

    def peek(self, key: Hashable, now_us: int) -> Taken:
        """What `take` would say, but for `remaining` and `until_full_us`: nothing is taken."""
        if not self.requests_per_minute:
            return _UNLIMITED
        now = self._scale(now_us)
        full_at = self._full_at.get(key)
        if full_at is None:
            has_room = len(self._full_at) < self._entries_max
            full_at = now if has_room else self._overflow[hash(key) % _OVERFLOW_BUCKETS]
        left = self._capacity - max(full_at - now, 0)
        return self._state(left >= _MINUTE_US, left)

    def _taken(self, full_at: int, now: int) -> Taken:
        """`full_at`: when the bucket is full again with this request paid for, or were it so."""
        left = self._capacity - full_at + now
        return self._state(True, left) if left >= 0 else self._state(False, left + _MINUTE_US)

    def _state(self, admitted: bool, left: int) -> Taken:
        """`left` is what the bucket holds, in scaled time."""
        return Taken(
            admitted,
            left // _MINUTE_US,
            -((left - self._capacity) // self.requests_per_minute),
            # Seconds from now, rounded up; the token that is missing is never there at once.
            0 if admitted else -((left - _MINUTE_US) // (self.requests_per_minute * _SECOND_US)),
        )

    def _scale(self, now_us: int) -> int:
        """`now_us` made monotonic: by how much the clock ever stepped back is added to it."""
        now_us += self._stepped_back_us
        if now_us < self._last_us:
            self._stepped_back_us += self._last_us - now_us
            now_us = self._last_us
        self._last_us = now_us
        return now_us * self.requests_per_minute

    def _has_room(self, now: int) -> bool:
        """Make room for a newcomer: forget some of the buckets that are full again.

        Sweeps a little with every newcomer, because only newcomers make the table grow.
        """
        full_at = self._full_at
        for _ in range(_SWEEP_STEP):
            if not self._to_sweep:
                # A copy of the keys takes about a millisecond per 200,000, once per round.
                self._to_sweep = list(full_at)
                if not self._to_sweep:
                    break
            key = self._to_sweep.pop()
            if full_at.get(key, now + 1) <= now:
                del full_at[key]
        return len(full_at) < self._entries_max


class _Usage(msgspec.Struct):
    """Requests of one key: in `month` (as "2026-11"), and ever."""

    month: str = ""
    used: Annotated[int, msgspec.Meta(ge=0)] = 0
    total: Annotated[int, msgspec.Meta(ge=0)] = 0


_encoder: Final = msgspec.json.Encoder()
_usages_decoder: Final = msgspec.json.Decoder(dict[str, _Usage])


class MonthlyUsage:
    """Requests per key name in the current month (UTC), and in total.

    As many entries as there are names in the configuration. `dirty`: something was counted since
    the last `dump`. Keeping the bytes of `dump` is up to somebody else.
    """

    def __init__(self) -> None:
        self.dirty = False
        self._usages: dict[str, _Usage] = {}
        self._month = ""
        self._month_start_us = 0
        self._month_end_us = 0

    def used(self, name: str, wall_us: int) -> int:
        """Requests of this month."""
        self._turn_page(wall_us)
        usage = self._usages.get(name)
        return usage.used if usage is not None and usage.month == self._month else 0

    def total(self, name: str) -> int:
        """Requests ever counted."""
        usage = self._usages.get(name)
        return 0 if usage is None else usage.total

    def count(self, name: str, wall_us: int) -> None:
        """Count one request."""
        self._turn_page(wall_us)
        usage = self._usages.get(name)
        if usage is None:
            usage = self._usages[name] = _Usage()
        if usage.month != self._month:
            usage.month, usage.used = self._month, 0
        usage.used += 1
        usage.total += 1
        self.dirty = True

    def reset_s(self, wall_us: int) -> int:
        """The Unix second at which the next month begins."""
        self._turn_page(wall_us)
        return self._month_end_us // _SECOND_US

    def dump(self) -> bytes:
        """All counts, for `load`; not `dirty` any more (set it again if the bytes are lost)."""
        self.dirty = False
        return _encoder.encode(self._usages)

    def load(self, data: bytes) -> None:
        """Replace all counts by those of a `dump`; ValueError, and no change, if unreadable."""
        try:
            self._usages = _usages_decoder.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"not a record of monthly usage: {error}") from error
        self.dirty = False

    def _turn_page(self, wall_us: int) -> None:
        if self._month_start_us <= wall_us < self._month_end_us:
            return
        now = datetime.fromtimestamp(wall_us // _SECOND_US, UTC)
        start = datetime(now.year, now.month, 1, tzinfo=UTC)
        end = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
        self._month = f"{start:%Y-%m}"
        self._month_start_us = int(start.timestamp()) * _SECOND_US
        self._month_end_us = int(end.timestamp()) * _SECOND_US


@lru_cache(maxsize=_ADDRESSES_CACHED)
def address_key(address: str) -> str:
    """Who an address stands for: itself, or its /64, which is what one IPv6 subscriber is given.

    An IPv4 address mapped into IPv6 is the IPv4 address. What is no address at all is "unknown".
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    network = int(parsed) >> 64 << 64
    return f"{ipaddress.IPv6Address(network)}/64"


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a request goes on (`refusal` is None), and the budget to tell its sender of."""

    budget: Budget
    refusal: Refusal | None = None


class Limiter:
    """Every limit of the collector, by who is limited.

    `usage` counts what `tier` admits; loading and keeping it is up to the owner. The `mono_us` of
    all calls come from one clock. Where `wall_us` is left out, `Budget.reset_s` is 0: unknown.
    """

    def __init__(self, limits: Limits, tiers: dict[str, Tier]) -> None:
        entries_max = limits.addresses_max
        self.usage = MonthlyUsage()
        self._tiers = tiers
        self._browser = Buckets(limits.browser_requests_per_minute, entries_max)
        self._server = Buckets(limits.server_requests_per_minute, entries_max)
        self._application = Buckets(limits.croct_requests_per_minute, entries_max)
        self._failed_auth = Buckets(limits.failed_auth_per_minute, entries_max)
        self._by_tier = {
            name: Buckets(tier.requests_per_minute, entries_max) for name, tier in tiers.items()
        }

    def browser(self, address: str, mono_us: int, wall_us: int = 0) -> Decision:
        """Ask for a request from a browser; all browser endpoints of Scanova share this budget."""
        return _decide(self._browser, address_key(address), mono_us, wall_us)

    def server(self, key_name: str, mono_us: int, wall_us: int = 0) -> Decision:
        """Ask for a request with an API key to Scanova's server endpoints, which share this one."""
        return _decide(self._server, key_name, mono_us, wall_us)

    def application(self, address: str, mono_us: int, wall_us: int = 0) -> Decision:
        """Ask for a Croct beacon."""
        return _decide(self._application, address_key(address), mono_us, wall_us)

    def tier(self, key_name: str, tier_name: str, mono_us: int, wall_us: int) -> Decision:
        """Ask for a request with an API key of the tier; only what is admitted counts in the month.

        A key whose month is used up is told so rather than to come back in a minute. `tier_name`
        is one of the configured tiers.
        """
        tier = self._tiers[tier_name]
        buckets = self._by_tier[tier_name]
        used = self.usage.used(key_name, wall_us)
        reset_s = self.usage.reset_s(wall_us)
        if 0 < tier.requests_per_month <= used:
            taken = buckets.peek(key_name, mono_us)
            retry_after_s = reset_s - wall_us // _SECOND_US
            message = f"The allowance of {tier.requests_per_month} requests per month is used up"
            refusal: Refusal | None = Refusal(MONTH_EXHAUSTED, message, retry_after_s=retry_after_s)
        else:
            taken = buckets.take(key_name, mono_us)
            retry_after_s = taken.retry_after_s
            refusal = None if taken.admitted else _rate_limited(buckets, retry_after_s)
            if refusal is None:
                self.usage.count(key_name, wall_us)
                used += 1
        budget = Budget(
            limit=buckets.requests_per_minute,
            remaining=taken.remaining,
            reset_s=_reset_s(taken, wall_us),
            month_used=used,
            month_limit=tier.requests_per_month,
            month_reset_s=reset_s,
            total_used=self.usage.total(key_name),
            retry_after_s=retry_after_s,
        )
        return Decision(budget, refusal)

    def allows(self, tier_name: str) -> bool:
        """Whether keys of the tier may send at all."""
        return self._tiers[tier_name].allowed

    def failed_auth_blocked(self, address: str, mono_us: int) -> Refusal | None:
        """Ask whether so many authentications from `address` failed that no more are looked at."""
        taken = self._failed_auth.peek(address_key(address), mono_us)
        if taken.admitted:
            return None
        return Refusal(
            AUTH_THROTTLED,
            "Too many failed authentications from this address",
            retry_after_s=taken.retry_after_s,
        )

    def failed_auth(self, address: str, mono_us: int) -> None:
        """Note a failed authentication from `address`."""
        self._failed_auth.take(address_key(address), mono_us)


def _decide(buckets: Buckets, key: str, mono_us: int, wall_us: int) -> Decision:
    taken = buckets.take(key, mono_us)
    budget = Budget(
        limit=buckets.requests_per_minute,
        remaining=taken.remaining,
        reset_s=_reset_s(taken, wall_us),
        retry_after_s=taken.retry_after_s,
    )
    if taken.admitted:
        return Decision(budget)
    return Decision(budget, _rate_limited(buckets, taken.retry_after_s))


def _rate_limited(buckets: Buckets, retry_after_s: int) -> Refusal:
    message = f"Too many requests; the limit is {buckets.requests_per_minute} per minute"
    return Refusal(RATE_LIMITED, message, retry_after_s=retry_after_s)


def _reset_s(taken: Taken, wall_us: int) -> int:
    """The Unix second by which the bucket is full again."""
    return -(-(wall_us + taken.until_full_us) // _SECOND_US) if wall_us else 0
