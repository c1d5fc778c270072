"""How much a caller may send: which limit asks whom, and what he is told who sends too much.

Owns the limits of one configuration (a reload builds another, which takes the buckets and counts
over): per client address, per key, per tier and month, per site,
and failed authentications per address. `buckets` does the arithmetic, `usage` counts months,
`addresses` tells who an address stands for. Used from the event loop only. Clocks are passed in, in
microseconds: `mono_us` is monotonic with any origin, the same for all calls; `wall_us` is Unix
time. Must not keep anything on disk, nor know how a refusal is answered.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from collector.adapters.contract import Budget
from collector.addresses import address_key
from collector.buckets import Buckets, Key, Taken
from collector.config import Limits, Site, Tier
from collector.refusal import AUTH_THROTTLED, MONTH_EXHAUSTED, RATE_LIMITED, Kind, Refusal
from collector.usage import MonthlyUsage

_SECOND_US: Final = 1_000_000


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a request goes on (`refusal` is None), and the budget to tell its sender of.

    `counted_in`: the month that it was counted in, "" for one that was not.
    """

    budget: Budget
    refusal: Refusal | None = None
    counted_in: str = ""


class _Limit(Buckets):
    """Buckets of one rate, and the refusal that goes with each time to wait.

    A token takes a minute at most, so there are 60 different refusals at most: they are made once,
    because refusing must cost next to nothing.
    """

    def __init__(
        self, requests_per_minute: int, burst: int, entries_max: int, kind: Kind, message: str
    ) -> None:
        super().__init__(requests_per_minute, burst, entries_max)
        self._kind = kind
        self.message = message
        self._refusals: dict[int, Refusal] = {}

    def adopt(self, other: "_Limit", entries_max: int, mono_us: int) -> "_Limit":
        """Go on with the rate, burst and words of `other`; what was taken stays taken."""
        self.change(other.requests_per_minute, other.burst, entries_max, mono_us)
        self.message = other.message
        self._refusals = {}
        return self

    def ask(self, key: Key, mono_us: int) -> Refusal | None:
        """Take a token; None when there was one."""
        left = self.pay(key, mono_us)
        return None if left >= 0 else self.refused(left)

    def would_refuse(self, key: Key, mono_us: int) -> Refusal | None:
        """What `ask` would say; nothing is taken."""
        left = self.foresee(key, mono_us)
        return None if left >= 0 else self.refused(left)

    def refused(self, left: int) -> Refusal:
        """The refusal that goes with what is left in a bucket, below 0."""
        wait_s = self.wait_s(left)
        return self._refusals.get(wait_s) or self.refusal(wait_s)

    def refusal(self, wait_s: int) -> Refusal:
        """What somebody is told who has to wait so long for a token."""
        refusal = Refusal(self._kind, self.message, retry_after_s=wait_s)
        return self._refusals.setdefault(wait_s, refusal)


class Limiter:
    """Every limit of the collector, by who is limited.

    `usage` counts what `tier` admits; loading and keeping it is up to the owner.
    """

    def __init__(self, limits: Limits, tiers: dict[str, Tier], sites: Iterable[Site]) -> None:
        self._addresses_max = entries_max = limits.addresses_max
        self.usage = MonthlyUsage()
        self._tiers = tiers
        self.browser_limit = _per_minute(
            limits.browser_requests_per_minute, limits.browser_burst, entries_max
        )
        self.server_limit = _per_minute(
            limits.server_requests_per_minute, limits.server_burst, entries_max
        )
        self.application_limit = _per_minute(
            limits.croct_requests_per_minute, limits.croct_burst, entries_max
        )
        self.failed_auth_limit = _Limit(
            limits.failed_auth_per_minute,
            limits.failed_auth_burst,
            entries_max,
            AUTH_THROTTLED,
            "Too many failed authentications from this address",
        )
        self.by_tier = {
            name: _per_minute(tier.requests_per_minute, tier.burst, entries_max)
            for name, tier in tiers.items()
        }
        self.by_site = {
            site.id: _Limit(
                site.requests_per_minute,
                site.burst,
                1,
                RATE_LIMITED,
                f"Too many requests for this site; the limit is {site.requests_per_minute} "
                "per minute",
            )
            for site in sites
            if site.requests_per_minute
        }

    def take_over(
        self, before: "Limiter", moved: Iterable[tuple[str, str, str]], mono_us: int
    ) -> None:
        """Go on where the limiter of the rules before this one is: nobody gets a fresh budget.

        `moved`: the keys that have another tier now, each with the old one and the new. `before`
        may go on being asked by requests under way, and pays from the same buckets.
        """
        self.usage = before.usage

        def adopt(old: _Limit, new: _Limit) -> _Limit:
            return old.adopt(new, self._addresses_max, mono_us)

        self.browser_limit = adopt(before.browser_limit, self.browser_limit)
        self.server_limit = adopt(before.server_limit, self.server_limit)
        self.application_limit = adopt(before.application_limit, self.application_limit)
        self.failed_auth_limit = adopt(before.failed_auth_limit, self.failed_auth_limit)
        for name in self.by_tier.keys() & before.by_tier.keys():
            self.by_tier[name] = adopt(before.by_tier[name], self.by_tier[name])
        for name in self.by_site.keys() & before.by_site.keys():
            self.by_site[name] = before.by_site[name].adopt(self.by_site[name], 1, mono_us)
        for key_name, tier_before, tier_now in moved:
            self.by_tier[tier_now].carry(key_name, before.by_tier[tier_before], mono_us)

    @property
    def has_site_limits(self) -> bool:
        """Whether any site has a limit of its own."""
        return bool(self.by_site)

    @property
    def limits_browsers(self) -> bool:
        """Whether `browser` ever refuses."""
        return bool(self.browser_limit.requests_per_minute)

    @property
    def limits_failed_auth(self) -> bool:
        """Whether `failed_auth_blocked` ever refuses."""
        return bool(self.failed_auth_limit.requests_per_minute)

    def browser(self, address: str, mono_us: int) -> Refusal | None:
        """Ask for a request from a browser; all browser endpoints of Scanova share this budget."""
        limit = self.browser_limit
        left = limit.pay(address_key(address), mono_us)
        return None if left >= 0 else limit.refused(left)

    def server(self, key_name: str, mono_us: int) -> Refusal | None:
        """Ask for a request with an API key to Scanova's server endpoints, which share this one."""
        return self.server_limit.ask(key_name, mono_us)

    def application(self, address: str, site_id: str, mono_us: int) -> Refusal | None:
        """Ask for a Croct beacon: of its sender and of its site, and of neither if one says no."""
        site = self.by_site.get(site_id)
        refusal = None if site is None else site.would_refuse(site_id, mono_us)
        if refusal is None:
            refusal = self.application_limit.ask(address_key(address), mono_us)
        if refusal is None and site is not None:
            refusal = site.ask(site_id, mono_us)
        return refusal

    def site(self, site_id: str, mono_us: int) -> Refusal | None:
        """Ask for a request that writes to the site, however many of its events do."""
        site = self.by_site.get(site_id)
        return None if site is None else site.ask(site_id, mono_us)

    def site_exhausted(self, site_id: str, mono_us: int) -> Refusal | None:
        """What `site` would say; nothing is taken."""
        site = self.by_site.get(site_id)
        return None if site is None else site.would_refuse(site_id, mono_us)

    def tier(self, key_name: str, tier_name: str, mono_us: int, wall_us: int) -> Decision:
        """Ask for a request with an API key of the tier; only what is admitted counts in the month.

        A key whose month is used up is told so rather than to come back in a minute. `tier_name`
        is one of the configured tiers.
        """
        tier = self._tiers[tier_name]
        limit = self.by_tier[tier_name]
        refusal: Refusal | None = None
        counted_in = ""
        if 0 < tier.requests_per_month <= self.usage.used(key_name, wall_us):
            taken = limit.peek(key_name, mono_us)
            retry_after_s = self.usage.reset_s(key_name, wall_us) - wall_us // _SECOND_US
            message = f"The allowance of {tier.requests_per_month} requests per month is used up"
            refusal = Refusal(MONTH_EXHAUSTED, message, retry_after_s=retry_after_s)
        else:
            taken = limit.take(key_name, mono_us)
            if taken.admitted:
                counted_in = self.usage.count(key_name, wall_us)
            else:
                refusal = limit.refusal(taken.retry_after_s)
        return Decision(self._budget(key_name, tier, taken, wall_us), refusal, counted_in)

    def budget(self, key_name: str, tier_name: str, mono_us: int, wall_us: int) -> Budget:
        """What is left to a key of the tier; nothing is taken and nothing counted."""
        taken = self.by_tier[tier_name].peek(key_name, mono_us)
        return self._budget(key_name, self._tiers[tier_name], taken, wall_us)

    def _budget(self, key_name: str, tier: Tier, taken: Taken, wall_us: int) -> Budget:
        return Budget(
            limit=tier.requests_per_minute,
            remaining=taken.remaining,
            reset_s=_reset_s(taken, wall_us),
            month_used=self.usage.used(key_name, wall_us),
            month_limit=tier.requests_per_month,
            month_reset_s=self.usage.reset_s(key_name, wall_us),
            total_used=self.usage.total(key_name),
        )

    def give_back(self, key_name: str, counted_in: str, wall_us: int, budget: Budget) -> Budget:
        """Take out of its month what `tier` admitted at `wall_us` and was refused after all.

        Its token stays taken: the request was read. What is to be told instead of `budget`: the
        counts as they are now, because other requests of the key were counted meanwhile.
        """
        usage = self.usage
        usage.give_back(key_name, counted_in)
        return msgspec.structs.replace(
            budget,
            month_used=usage.used(key_name, wall_us),
            month_reset_s=usage.reset_s(key_name, wall_us),
            total_used=usage.total(key_name),
        )

    def allows(self, tier_name: str) -> bool:
        """Whether keys of the tier may send at all."""
        return self._tiers[tier_name].allowed

    def failed_auth_blocked(self, address: str, mono_us: int) -> Refusal | None:
        """Ask whether so many authentications from `address` failed that no more are looked at."""
        return self.failed_auth_limit.would_refuse(address_key(address), mono_us)

    def failed_auth(self, address: str, mono_us: int) -> None:
        """Note a failed authentication from `address`."""
        self.failed_auth_limit.ask(address_key(address), mono_us)


def _per_minute(requests_per_minute: int, burst: int, entries_max: int) -> _Limit:
    message = f"Too many requests; the limit is {requests_per_minute} per minute"
    return _Limit(requests_per_minute, burst, entries_max, RATE_LIMITED, message)


def _reset_s(taken: Taken, wall_us: int) -> int:
    """The Unix second by which the bucket is full again."""
    return -(-(wall_us + taken.until_full_us) // _SECOND_US)
