"""Who may send what, and how much: credentials, origins, tokens and budgets of one request.

Names no protocol: which rule applies is told by the endpoint's row. Refuses by value; the order of
checks is the address (`address_refusal`), the head (`head`), then, with the body decoded, the sites
of its events (`batch_site`, `item_site`), then what their site is asked (`batch_refused`,
`site_refusal`).
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from collector.adapters.contract import Budget, Endpoint, Head, Request
from collector.config import Key, Site
from collector.event import Event
from collector.origin import request_host
from collector.ratelimit import Limiter
from collector.refusal import LATE, PLAN_REQUIRED, SUSPENDED, Refusal
from collector.sites import Sites
from collector.tokens import TokenVerifier

_LATE: Final = Refusal(LATE, "the event is older than this site takes")
_PLAN_REQUIRED: Final = Refusal(PLAN_REQUIRED, "the tier of this API key may not send events")


class Caller(msgspec.Struct, kw_only=True):
    """Who sends a request, as far as its head tells.

    `site` is known in the head phase only where the head names it. `origin` is None when the
    request has neither Origin nor Referer. `budget` is there where the request was counted, at
    `counted_us`, towards the month `counted_in`.
    """

    head: Head
    address: str
    origin: str | None = None
    key: Key | None = None
    site: Site | None = None
    budget: Budget | None = None
    counted_us: int = 0
    counted_in: str = ""


class Refused(msgspec.Struct, frozen=True):
    """The whole request is refused; `budget` is what the caller is told of its limits.

    `site`: whose limit it is, or where it would have gone, if that is known.
    """

    refusal: Refusal
    budget: Budget | None = None
    site: Site | None = None


class Access:
    """The rules of one configuration."""

    def __init__(
        self,
        sites: Sites,
        limiter: Limiter,
        *,
        monotonic_us: Callable[[], int],
    ) -> None:
        self._sites = sites
        self._limiter = limiter
        self._monotonic_us = monotonic_us
        self._verifiers: dict[str, TokenVerifier] = {}
        self._by_address: dict[
            Literal["browser", "server", "tier", "application"],
            Callable[[str, int], Refusal | None] | None,
        ] = {
            "browser": limiter.browser if limiter.limits_browsers else None,
            "server": limiter.failed_auth_blocked if limiter.limits_failed_auth else None,
            "tier": limiter.failed_auth_blocked if limiter.limits_failed_auth else None,
            "application": None,
        }
        self._heads: dict[
            Literal["origin", "key", "app"],
            Callable[[Endpoint, Request, str], Caller | Refused],
        ] = {"origin": self._head_origin, "key": self._head_key, "app": self._head_app}

    def address_refusal(self, endpoint: Endpoint, address: str) -> Refusal | None:
        """Judge a request by where it comes from alone; asks once, so call it once."""
        ask = self._by_address[endpoint.limit]
        return None if ask is None else ask(address, self._monotonic_us())

    def head(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        """Judge a request that `address_refusal` let pass by its head, before its body is read."""
        return self._heads[endpoint.credentials](endpoint, request, address)

    def budget(self, key: Key, wall_us: int) -> Budget:
        """What a key may still send by the limits of its tier; nothing is taken nor counted.

        `wall_us`: Unix time.
        """
        return self._limiter.budget(key.name, key.tier, self._monotonic_us(), wall_us)

    def batch_site(self, caller: Caller, name: str) -> Site | Refusal:
        """The site that a body names once for all its events, if the caller's key reaches it."""
        assert caller.key is not None, "only keyed endpoints name a site per batch"
        return self._sites.key_tracking_code(caller.key, name)

    def only_site(self, caller: Caller) -> Site | None:
        """The one site that the caller's key reaches, if it is one only and switched on."""
        key = caller.key
        if key is None or key.scope != "site_access":
            return None
        site = self._sites.by_id(key.site)
        return site if site is not None and site.active else None

    def item_site(self, caller: Caller, site_id: str) -> Site | Refusal:
        """The site that an event names for itself, if the caller may write to it."""
        if caller.key is not None:
            return self._sites.key_site(caller.key, site_id)
        return self._sites.browser_site(site_id, caller.origin or "")

    def batch_refused(
        self, endpoint: Endpoint, caller: Caller, site: Site, items: Sequence[Event | Refusal]
    ) -> Refused | None:
        """What is asked of a request with one site: its token, suspension, what is left to send."""
        if endpoint.limit_at == "head":
            refusal = self.site_refusal(site)
            return None if refusal is None else self.over_site_limit(caller, refusal, site)
        if not any(isinstance(item, Event) for item in items):
            # Only what is valid is throttled: what can never succeed must not be told to come back.
            return None
        refusal = None
        if endpoint.credentials == "app":
            refusal = self._application_refusal(caller, site, items)
        if refusal is None:
            refusal = self._limiter.application(caller.address, site.id, self._monotonic_us())
        return None if refusal is None else Refused(refusal, site=site)

    def site_refusal(self, site: Site) -> Refusal | None:
        """Ask the site's own limit for one request, however many of its events go there."""
        return self._limiter.site(site.id, self._monotonic_us())

    def within_limits(
        self, caller: Caller, items: list[Event | Refusal], sites: "list[Site | None]"
    ) -> "list[Site | None] | Refused":
        """One request of each site's limit; the items of one that is over it become refusals."""
        if not self._limiter.has_site_limits:
            return sites
        asked: dict[str, Refusal | None] = {}
        for index, site in enumerate(sites):
            if site is None:
                continue
            if site.id not in asked:
                asked[site.id] = self.site_refusal(site)
            refusal = asked[site.id]
            if refusal is not None:
                items[index] = refusal
        if len(asked) == 1:
            site = next(site for site in sites if site is not None)
            refusal = asked[site.id]
            if refusal is not None:
                return self.over_site_limit(caller, refusal, site)
        return sites

    def over_site_limit(self, caller: Caller, refusal: Refusal, site: Site) -> Refused:
        """The request has no other site: it is refused, and was not one of its month either."""
        budget = caller.budget
        if budget is not None:
            assert caller.key is not None, "only keys have a month"
            budget = self._limiter.give_back(
                caller.key.name, caller.counted_in, caller.counted_us, budget
            )
        return Refused(refusal, budget, site)

    def _head_origin(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        head = endpoint.read_head(request)
        if isinstance(head, Refusal):
            return Refused(head)
        return Caller(head=head, address=address, origin=request_host(request.headers))

    def _head_key(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        monotonic_us = self._monotonic_us()
        head = endpoint.read_head(request)
        key = head if isinstance(head, Refusal) else self._sites.key_holder(head.key)
        if isinstance(key, Refusal) or isinstance(head, Refusal):
            self._limiter.failed_auth(address, monotonic_us)
            assert isinstance(key, Refusal)
            return Refused(key)
        if endpoint.limit == "tier" and not self._limiter.allows(key.tier):
            return Refused(_PLAN_REQUIRED)
        if key.scope == "site_access":
            # Its one site is known already: what that would refuse is not read, nor counted.
            refusal = self._limiter.site_exhausted(key.site, monotonic_us)
            if refusal is not None:
                return self._only_site_exhausted(endpoint, request, key, refusal, monotonic_us)
        if endpoint.limit == "tier":
            decision = self._limiter.tier(key.name, key.tier, monotonic_us, request.now_us)
            if decision.refusal is not None:
                return Refused(decision.refusal, decision.budget)
            return Caller(
                head=head,
                address=address,
                key=key,
                budget=decision.budget,
                counted_us=request.now_us,
                counted_in=decision.counted_in,
            )
        refusal = self._limiter.server(key.name, monotonic_us)
        if refusal is not None:
            return Refused(refusal)
        return Caller(head=head, address=address, key=key)

    def _only_site_exhausted(
        self, endpoint: Endpoint, request: Request, key: Key, refusal: Refusal, monotonic_us: int
    ) -> Refused:
        budget = None
        if endpoint.limit == "tier":
            budget = self._limiter.budget(key.name, key.tier, monotonic_us, request.now_us)
        return Refused(refusal, budget, self._sites.by_id(key.site))

    def _head_app(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        head = endpoint.read_head(request)
        if isinstance(head, Refusal):
            return Refused(head)
        # A caller that is no browser sends no Origin; a Referer then says nothing either.
        origin = request_host(request.headers) if "origin" in request.headers else None
        site = self._sites.application(head.app_id, origin)
        if isinstance(site, Refusal):
            return Refused(site)
        return Caller(head=head, address=address, origin=origin, site=site)

    def _application_refusal(
        self, caller: Caller, site: Site, items: Sequence[Event | Refusal]
    ) -> Refusal | None:
        refusal = self._identify(caller, site, items)
        if refusal is None and site.croct_suspended:
            refusal = Refusal(SUSPENDED, site.croct_suspended)
        if refusal is None and site.croct_late == "drop" and _are_late(items):
            refusal = _LATE
        return refusal

    def _identify(
        self, caller: Caller, site: Site, items: Sequence[Event | Refusal]
    ) -> Refusal | None:
        """Verify the token, if one was sent, and put its subject on the events."""
        if not caller.head.token:
            return None
        verifier = self._verifiers.get(site.id)
        if verifier is None:
            verifier = self._verifiers[site.id] = TokenVerifier(
                site.croct_public_keys, require_signed=site.croct_require_signed_tokens
            )
        for item in items:
            if isinstance(item, Refusal):
                continue
            token = verifier.verify(
                caller.head.token, app_id=caller.head.app_id, at_us=item.row.event_time
            )
            if isinstance(token, Refusal):
                return token
            if token.subject:
                item.row.user_id = token.subject
        return None


def _are_late(items: Sequence[Event | Refusal]) -> bool:
    return all(isinstance(item, Event) and "late" in item.row.flags for item in items)
