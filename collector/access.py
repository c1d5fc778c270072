"""Who may send what, and how much: credentials, origins, tokens and budgets of one request.

Names no protocol: which rule applies is told by the endpoint's row. Refuses by value; the order of
checks is the head phase (`head`), then, with the body decoded, the sites of its events
(`batch_site`, `item_site`), then what only a valid body is asked for (`decoded`).
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
    request has neither Origin nor Referer.
    """

    head: Head
    origin: str | None = None
    key: Key | None = None
    site: Site | None = None
    budget: Budget | None = None


class Refused(msgspec.Struct, frozen=True):
    """The whole request is refused; `budget` is what the caller is told of its limits."""

    refusal: Refusal
    budget: Budget | None = None


class Access:
    """The rules of one configuration."""

    def __init__(
        self,
        sites: Sites,
        limiter: Limiter,
        *,
        monotonic_us: Callable[[], int],
        now_us: Callable[[], int],
    ) -> None:
        self._sites = sites
        self._limiter = limiter
        self._monotonic_us = monotonic_us
        self._now_us = now_us
        self._verifiers: dict[str, TokenVerifier] = {}
        self._heads: dict[
            Literal["origin", "key", "app"],
            Callable[[Endpoint, Request, str], Caller | Refused],
        ] = {"origin": self._head_origin, "key": self._head_key, "app": self._head_app}

    def head(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        """Judge a request by its head alone, before its body is read."""
        return self._heads[endpoint.credentials](endpoint, request, address)

    def batch_site(self, caller: Caller, name: str) -> Site | Refusal:
        """The site that a body names once for all its events, if the caller's key reaches it."""
        assert caller.key is not None, "only keyed endpoints name a site per batch"
        return self._sites.key_tracking_code(caller.key, name)

    def item_site(self, caller: Caller, site_id: str) -> Site | Refusal:
        """The site that an event names for itself, if the caller may write to it."""
        if caller.key is not None:
            return self._sites.key_site(caller.key, site_id)
        return self._sites.browser_site(site_id, caller.origin or "")

    def decoded(
        self,
        endpoint: Endpoint,
        caller: Caller,
        site: Site,
        items: Sequence[Event | Refusal],
        address: str,
    ) -> Refused | None:
        """What is asked of a request whose body is valid: its token, suspension, its budget."""
        if endpoint.credentials == "app":
            refusal = self._identify(caller, site, items)
            if refusal is None and site.croct_suspended:
                refusal = Refusal(SUSPENDED, site.croct_suspended)
            if refusal is None and site.croct_late == "drop" and _are_late(items):
                refusal = _LATE
            if refusal is not None:
                return Refused(refusal)
        if endpoint.limit_at == "decoded":
            decision = self._limiter.application(address, self._monotonic_us(), self._now_us())
            if decision.refusal is not None:
                return Refused(decision.refusal, decision.budget)
        return None

    def _head_origin(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        decision = self._limiter.browser(address, self._monotonic_us())
        if decision.refusal is not None:
            return Refused(decision.refusal, decision.budget)
        head = endpoint.read_head(request)
        if isinstance(head, Refusal):
            return Refused(head)
        return Caller(head=head, origin=request_host(request.headers))

    def _head_key(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        monotonic_us = self._monotonic_us()
        blocked = self._limiter.failed_auth_blocked(address, monotonic_us)
        if blocked is not None:
            return Refused(blocked)
        head = endpoint.read_head(request)
        key = head if isinstance(head, Refusal) else self._sites.key_holder(head.key)
        if isinstance(key, Refusal) or isinstance(head, Refusal):
            self._limiter.failed_auth(address, monotonic_us)
            assert isinstance(key, Refusal)
            return Refused(key)
        if endpoint.limit == "tier":
            if not self._limiter.allows(key.tier):
                return Refused(_PLAN_REQUIRED)
            decision = self._limiter.tier(key.name, key.tier, monotonic_us, request.now_us)
        else:
            decision = self._limiter.server(key.name, monotonic_us)
        if decision.refusal is not None:
            return Refused(decision.refusal, decision.budget)
        return Caller(head=head, key=key, budget=decision.budget)

    def _head_app(self, endpoint: Endpoint, request: Request, address: str) -> Caller | Refused:
        del address
        head = endpoint.read_head(request)
        if isinstance(head, Refusal):
            return Refused(head)
        # A caller that is no browser sends no Origin; a Referer then says nothing either.
        origin = request_host(request.headers) if b"origin" in request.headers else None
        site = self._sites.application(head.app_id, origin)
        if isinstance(site, Refusal):
            return Refused(site)
        return Caller(head=head, origin=origin, site=site)

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
