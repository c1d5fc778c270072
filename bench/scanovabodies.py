"""Scanova's events: what a page's script and a shop's back end send. Pure."""

import random
from typing import Final

from bench.pages import Page, pages, query
from bench.template import ID_SLOT, iso_slot
from bench.visitors import Visitor, draw_uuid

Metadata = dict[str, object]

_BUTTONS: Final = [
    *("Start free trial", "In den Warenkorb", "Add to cart", "Comprar agora", "See the menu"),
    *("カートに入れる", "अभी खरीदें", "Voir la suite →", "Show more", "Size guide", "Pay now"),
]
_SECTIONS: Final = ["hero", "header", "footer", "product-grid", "recommendations", "modal"]
_CURRENCIES: Final = ["EUR", "USD", "GBP", "BRL", "INR", "JPY", "CHF"]
# Percent of the events, by type.
_TYPES: Final = {
    "pageview": 42,
    "click": 21,
    "scroll": 14,
    "section_view": 6,
    "view_item": 5,
    "add_to_cart": 3,
    "search": 2,
    "form_submit": 2,
    "video_progress": 2,
    "web_vitals": 2,
    "checkout_step": 1,
}


def browser_event(
    rng: random.Random, site: str, origin: str, visitor: Visitor
) -> dict[str, object]:
    """One event of a page's script; most events carry little metadata, a few a lot."""
    kind = rng.choices([*_TYPES], [*_TYPES.values()])[0]
    page = pages().draw(rng)
    width, height = visitor.screen
    body: dict[str, object] = {
        "event_id": ID_SLOT,
        "site_id": site,
        "event_type": kind,
        "scan_session_id": draw_uuid(rng),
        "web_session_id": draw_uuid(rng),
        "visitor_id": visitor.id,
        "page_url": origin + page.path + query(rng),
        "referrer": pages().referrer(rng, origin),
        "timestamp": iso_slot(rng.randrange(1000)),
        "device": {
            "user_agent": visitor.browser.user_agent,
            "screen_width": width,
            "screen_height": height,
            "language": visitor.language,
        },
        "metadata": _metadata(rng, kind, page),
        "consent": "granted",
    }
    if kind == "pageview":
        body["page_title"] = page.title
    return body


def server_event(rng: random.Random, site: str) -> dict[str, object]:
    """One purchase as a back end tells of it."""
    count = rng.choices((1, 2, 3, 4, 6), (60, 22, 10, 5, 3))[0]
    properties: Metadata = {
        "order_id": f"2026-{rng.randrange(10**6):06d}",
        "items": count,
        "skus": [f"HD-{rng.randrange(10**4):04d}" for _ in range(count)],
        "payment": rng.choice(("card", "paypal", "pix", "invoice", "apple_pay")),
    }
    if rng.random() < 0.3:
        properties["coupon"] = rng.choice(("HERBST-10", "WELCOME5", "VOLTE-SEMPRE"))
    return {
        "event_id": ID_SLOT,
        "site_id": site,
        "event_name": rng.choices(("purchase", "refund", "subscription"), (90, 4, 6))[0],
        "scan_session_id": draw_uuid(rng),
        "visitor_id": draw_uuid(rng),
        "timestamp": iso_slot(rng.randrange(1000)),
        "conversion_value": {
            "amount": rng.randrange(500, 20_000) / 100,
            "currency": rng.choices(_CURRENCIES, (50, 20, 10, 8, 5, 4, 3))[0],
        },
        "user_identifiers": {"email_hash": f"{rng.getrandbits(256):064x}"},
        "properties": properties,
    }


def _metadata(rng: random.Random, kind: str, page: Page) -> Metadata:
    sku = f"HD-{rng.randrange(400):04d}"
    section = rng.choice(_SECTIONS)
    match kind:
        case "click":
            return {
                "element_type": rng.choice(("button", "a", "img")),
                "element_text": rng.choice(_BUTTONS),
                "section": section,
            }
        case "scroll":
            return {"scroll_depth": rng.choice((25, 50, 75, 90, 100))}
        case "section_view":
            return {"section": section, "visible_ms": rng.randrange(300, 30_000)}
        case "view_item" | "add_to_cart":
            price = rng.randrange(990, 25_990, 500) / 100
            tags = rng.sample(("sale", "running", "new", "vegan", "wide fit"), rng.randrange(4))
            return {"sku": sku, "name": page.title, "price": price, "quantity": 1, "tags": tags}
        case "search":
            words = rng.choice(("wasserdicht größe 43", "trail shoes", "靴 メンズ", "tênis"))
            return {"query": words, "results": rng.randrange(120)}
        case "form_submit":
            return {"form_name": "newsletter", "form_action": "/subscribe", "fields": 3}
        case "video_progress":
            return {"video": {"id": "intro-30s", "position_s": rng.randrange(30), "muted": True}}
        case "web_vitals":
            return _vitals(rng)
        case "checkout_step":
            return {
                "step": rng.randrange(1, 5),
                "cart": [_line(rng) for _ in range(1 + int(rng.paretovariate(1.2)) % 12)],
            }
        case _:
            # Page views carry something only where somebody configured it.
            return {} if rng.random() < 0.7 else _experiments(rng)


def _vitals(rng: random.Random) -> Metadata:
    resources = [
        {
            "name": f"/static/{rng.getrandbits(32):08x}.{rng.choice(('js', 'css', 'woff2'))}",
            "duration_ms": round(rng.expovariate(1 / 80), 1),
            "bytes": rng.randrange(400, 90_000),
        }
        for _ in range(rng.randrange(4, 24))
    ]
    images = [{"name": f"/img/hero-{rng.randrange(40)}@2x.png", "duration_ms": 31.5}]
    return {
        "lcp_ms": round(rng.lognormvariate(7.4, 0.5)),
        "inp_ms": round(rng.lognormvariate(4.4, 0.8)),
        "cls": round(rng.expovariate(20), 4),
        "resources": resources + images,
    }


def _line(rng: random.Random) -> Metadata:
    return {
        "sku": f"HD-{rng.randrange(400):04d}",
        "price": rng.randrange(990, 25_990, 500) / 100,
        "quantity": rng.choices((1, 2, 3), (85, 12, 3))[0],
    }


def _experiments(rng: random.Random) -> Metadata:
    names = ("new-checkout", "price-badge", "hero-video", "search-v2")
    return {
        "experiments": {name: rng.choice("AB") for name in rng.sample(names, rng.randrange(1, 4))},
        "logged_in": rng.random() < 0.2,
    }
