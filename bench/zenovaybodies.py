"""Zenovay's batches: what a back end collected. Pure."""

import random
from typing import Final

from bench.pages import pages, query
from bench.template import ID_SLOT, ms_slot
from bench.visitors import draw_uuid, draw_visitor

_ORIGIN: Final = "https://shop.example.com"
_EVENTS: Final = [
    *("newsletter_subscribed", "filter_applied", "size_selected", "coupon_applied", "video_played"),
    *("store_selected", "wishlist_added", "review_written"),
]
_NAMES: Final = [
    *("Ada Example", "Jürgen Müller", "María-José Peña", "João da Conceição", "佐藤 花子"),
    *("अनिल कुमार", "Zoë O'Brien", "Łukasz Żak"),
]
# Percent of the events, by type.
_TYPES: Final = {"pageview": 60, "event": 25, "identify": 5, "goal": 5, "purchase": 5}


def batch(rng: random.Random, size: int, tracking_code: str) -> dict[str, object]:
    """`size` events of one back end, and what it says of the visitor they belong to."""
    visitor = draw_visitor(rng)
    return {
        "trackingCode": tracking_code,
        "events": [_event(rng, index) for index in range(size)],
        "serverContext": {
            "clientIp": f"203.0.113.{rng.randrange(256)}",
            "userAgent": visitor.browser.user_agent,
            "acceptLanguage": visitor.accept_language,
        },
    }


def _event(rng: random.Random, index: int) -> dict[str, object]:
    kind = rng.choices([*_TYPES], [*_TYPES.values()])[0]
    return {
        "type": kind,
        "ts": ms_slot(rng.randrange(1000)),
        "visitorId": draw_uuid(rng),
        "sessionId": draw_uuid(rng),
        "props": _props(rng, kind),
        "idempotencyKey": f"{kind}-{ID_SLOT}-{index:04d}",
    }


def _props(rng: random.Random, kind: str) -> dict[str, object]:
    match kind:
        case "pageview":
            page = pages().draw(rng)
            referrer = pages().referrer(rng, _ORIGIN)
            props: dict[str, object] = {"url": _ORIGIN + page.path + query(rng)}
            if referrer:
                props["referrer"] = referrer
            if rng.random() < 0.3:
                props["title"] = page.title
            return props
        case "event":
            props = {"name": rng.choice(_EVENTS), "source": "footer_form", "list": "weekly"}
            if rng.random() < 0.1:
                props["choices"] = [f"option-{rng.randrange(90)}" for _ in range(12)]
            return props
        case "identify":
            return {
                "email": f"visitor{rng.randrange(10**6)}@example.com",
                "name": rng.choice(_NAMES),
                "plan": rng.choice(("team", "free", "pro")),
            }
        case "goal":
            return {"name": "signup", "value": rng.randrange(100, 5_000) / 100}
        case _:
            return {
                "amount": rng.randrange(500, 20_000) / 100,
                "currency": rng.choice(("USD", "EUR", "BRL")),
                "payment_provider": rng.choice(("stripe", "polar", "lemonsqueezy", "server")),
                "provider_event_id": f"evt_{rng.getrandbits(96):024x}",
                "plan_name": "team-yearly",
            }
