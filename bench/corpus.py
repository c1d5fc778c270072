"""What is sent: realistic requests of each protocol, the same for the same seed.

Owns contents only: user agents, pages, shapes and sizes as the vendors' pages and SDKs show them.
Every body is accepted by the real adapters (a test holds that). Must not open a connection.
"""

import random
import uuid
from typing import Any, Final, Literal

import msgspec

from bench.http1 import request_head
from bench.template import ID_SLOT, Template, iso_slot, ms_slot

Traffic = Literal["scanova", "scanova_server", "croct", "zenovay"]

# Enough that no server-side cache of parsed headers or texts looks better than it would be.
SINGLES: Final = 512
# Events in all templates of batches together; a batch of 1,000 is about 330 KB.
BATCHED_EVENTS: Final = 8_000

SCREENS: Final = [(1920, 1080), (2560, 1440), (1440, 900), (390, 844), (412, 915), (820, 1180)]
LANGUAGES: Final = ["en-US", "en-GB", "de-DE", "fr-FR", "pt-BR", "es-ES", "hi-IN", "ja-JP"]
USER_AGENTS: Final = [
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36"
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/18.6 Safari/605.1.15"
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Mobile Safari/537.36"
    ),
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
    ),
]
PAGES: Final = [
    "/",
    "/pricing?plan=team&billing=yearly",
    "/menu/lunch?table=14&utm_source=qr&utm_medium=print&utm_campaign=autumn",
    "/products/trail-running-shoes?color=slate&size=43",
    "/blog/2026/11/how-we-measure%20things#results",
    "/checkout/shipping",
    "/account/orders/2026-118-0042",
    "/stores/z%C3%BCrich-hauptbahnhof?lang=de",
]
_SCANOVA: Final[list[tuple[str, dict[str, object]]]] = [
    ("pageview", {}),
    ("click", {"element_type": "button", "element_text": "Start free trial", "section": "hero"}),
    ("click", {"element_type": "a", "element_text": "See the menu", "destination_url": "/menu"}),
    ("scroll", {"scroll_depth": 50}),
    ("form_submit", {"form_name": "newsletter", "form_action": "/subscribe", "fields": 3}),
    (
        "add_to_cart",
        {"sku": "TR-4711", "price": 129.9, "quantity": 1, "tags": ["sale", "running"]},
    ),
    ("video_progress", {"video": {"id": "intro-30s", "position_s": 15, "muted": True}}),
]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Where and as whom requests are sent; `origin` is a browser's, with scheme.

    `is_forwarded`: browsers' requests come through a proxy, each with a public address of its own.
    """

    host: str
    origin: str = "http://localhost"
    site: str = "bench"
    key: str = "zv_bench" + "0" * 38
    tracking_code: str = "ZV_bench"
    app_id: str = "0d3f5b1e-7c1a-4f52-9a36-2f6f4f0a9c11"
    is_forwarded: bool = False


def templates(traffic: Traffic, size: int, account: Account, seed: int) -> list[Template]:
    """Requests of one protocol in random order; `size` is events per request, 1 except Zenovay."""
    rng = random.Random(f"{traffic} {size} {seed}")
    if traffic == "zenovay":
        return [_zenovay(rng, size, account) for _ in range(max(4, BATCHED_EVENTS // size))]
    makers = {"scanova": _scanova, "scanova_server": _scanova_server, "croct": _croct}
    make = makers[traffic]
    return [make(rng, account) for _ in range(SINGLES)]


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _template(path: str, headers: list[tuple[str, str]], body: object, events: int) -> Template:
    encoded = msgspec.json.encode(body)
    return Template(request_head("POST", path, headers, len(encoded)), encoded, events)


def _browser_headers(rng: random.Random, account: Account, agent: str) -> list[tuple[str, str]]:
    language = rng.choice(LANGUAGES)
    return [
        *(_forwarded(rng) if account.is_forwarded else ()),
        ("Host", account.host),
        ("Connection", "keep-alive"),
        ("User-Agent", agent),
        ("Content-Type", "application/json"),
        ("Accept", "*/*"),
        ("Origin", account.origin),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Dest", "empty"),
        ("Referer", account.origin + "/"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Accept-Language", f"{language},{language[:2]};q=0.9"),
    ]


def _forwarded(rng: random.Random) -> list[tuple[str, str]]:
    """What a proxy adds: the address of a browser, in a network of the size of 65,536."""
    return [("X-Forwarded-For", f"93.184.{rng.randrange(256)}.{rng.randrange(1, 255)}")]


def _scanova(rng: random.Random, account: Account) -> Template:
    agent = rng.choice(USER_AGENTS)
    width, height = rng.choice(SCREENS)
    kind, metadata = rng.choice(_SCANOVA)
    page = account.origin + rng.choice(PAGES)
    body = {
        "event_id": ID_SLOT,
        "site_id": account.site,
        "event_type": kind,
        "scan_session_id": _uuid(rng),
        "web_session_id": _uuid(rng),
        "visitor_id": _uuid(rng),
        "page_url": page,
        "referrer": account.origin + rng.choice(PAGES),
        "timestamp": iso_slot(rng.randrange(1000)),
        "device": {
            "user_agent": agent,
            "screen_width": width,
            "screen_height": height,
            "language": rng.choice(LANGUAGES),
        },
        "metadata": metadata,
        "consent": "granted",
    }
    return _template("/ct", _browser_headers(rng, account, agent), body, 1)


def _backend_headers(account: Account, name: str, credential: str) -> list[tuple[str, str]]:
    """What a back end sends; its key stands in the header `name`."""
    return [
        ("Host", account.host),
        ("Connection", "keep-alive"),
        ("User-Agent", "shop-backend/3.2"),
        ("Accept", "*/*"),
        ("Content-Type", "application/json"),
        (name, credential),
    ]


def _scanova_server(rng: random.Random, account: Account) -> Template:
    body = {
        "event_id": ID_SLOT,
        "site_id": account.site,
        "event_name": "purchase",
        "scan_session_id": _uuid(rng),
        "visitor_id": _uuid(rng),
        "timestamp": iso_slot(rng.randrange(1000)),
        "conversion_value": {"amount": rng.randrange(500, 20_000) / 100, "currency": "EUR"},
        "user_identifiers": {"email_hash": f"{rng.getrandbits(256):064x}"},
        "properties": {"order_id": f"2026-{rng.randrange(10**6):06d}", "items": 3},
    }
    headers = _backend_headers(account, "X-API-Key", account.key)
    return _template("/server-events", headers, body, 1)


def _product(rng: random.Random) -> dict[str, object]:
    number = rng.randrange(1, 400)
    price = rng.randrange(500, 20_000) / 100
    return {
        "productId": f"P-{number:05d}",
        "name": f"Trail running shoe, model {number}",
        "category": "Shoes/Running",
        "brand": "Hill & Dale",
        "displayPrice": price,
        "originalPrice": price + 20,
        "currency": "EUR",
        "url": f"https://shop.example.com/p/{number}",
    }


def _cart(rng: random.Random) -> dict[str, object]:
    items: list[dict[str, Any]] = []
    for index in range(rng.randrange(1, 4)):
        product = _product(rng)
        items.append(
            {"index": index, "product": product, "quantity": 1, "total": product["displayPrice"]}
        )
    total = round(sum(item["total"] for item in items), 2)
    return {"currency": "EUR", "items": items, "total": total, "lastUpdateTime": ms_slot(0)}


def _croct_payload(rng: random.Random, page: str, tab: str) -> dict[str, object]:
    size = {"width": 1440, "height": rng.randrange(900, 6_000)}
    point = {"x": rng.randrange(1440), "y": rng.randrange(900)}
    weighted: list[tuple[int, dict[str, object]]] = [
        (20, {"type": "pageOpened", "url": page, "referrer": "https://www.example.org/search"}),
        (15, {"type": "pageLoaded", "url": page, "title": "Shop", "lastModifiedTime": ms_slot(0)}),
        (15, {"type": "userClicked", "point": point, "surfaceSize": size}),
        (15, {"type": "userScrolled", "end": point, "surfaceSize": size}),
        (10, {"type": "tabVisibilityChanged", "tabId": tab, "visibility": "hidden"}),
        (10, {"type": "productViewed", "product": _product(rng)}),
        (5, {"type": "cartModified", "cart": _cart(rng)}),
        (5, {"type": "eventOccurred", "name": "filterChanged", "details": {"price": "low"}}),
        (5, {"type": "linkOpened", "link": page + "#reviews"}),
    ]
    chosen = rng.choices(weighted, [weight for weight, _ in weighted])
    return chosen[0][1]


def _croct(rng: random.Random, account: Account) -> Template:
    agent = rng.choice(USER_AGENTS)
    page = account.origin + rng.choice(PAGES)
    original_ms = rng.randrange(990)
    # Beacons carry no id: a tab of its own makes each of them another event.
    body = {
        "context": {
            "url": page,
            "tabId": ID_SLOT,
            "timeZone": "Europe/Berlin",
            "metadata": {"sdkVersion": "0.22.1"},
        },
        "payload": _croct_payload(rng, page, ID_SLOT),
        "originalTime": ms_slot(original_ms),
        "departureTime": ms_slot(original_ms + 3),
    }
    headers = [
        *_browser_headers(rng, account, agent),
        ("X-App-Id", account.app_id),
        ("X-Client-Id", f"{rng.getrandbits(128):032x}"),
        ("X-Client-Library", "Croct SDK JS v0.22.1"),
    ]
    return _template("/client/web/track", headers, body, 1)


def _zenovay_event(rng: random.Random, index: int) -> dict[str, object]:
    page = "https://shop.example.com" + rng.choice(PAGES)
    custom = {"name": "newsletter_subscribed", "source": "footer_form", "list": "weekly"}
    person = {
        "email": f"visitor{rng.randrange(10**6)}@example.com",
        "name": "Ada Example",
        "plan": "team",
    }
    purchase = {
        "amount": rng.randrange(500, 20_000) / 100,
        "currency": rng.choice(["USD", "EUR", "BRL"]),
        "payment_provider": "stripe",
        "provider_event_id": f"evt_{rng.getrandbits(96):024x}",
        "plan_name": "team-yearly",
    }
    kinds: list[tuple[int, str, dict[str, object]]] = [
        (60, "pageview", {"url": page, "referrer": "https://www.example.org/"}),
        (25, "event", dict(custom)),
        (5, "identify", dict(person)),
        (5, "goal", {"name": "signup", "value": 12.5}),
        (5, "purchase", dict(purchase)),
    ]
    _, kind, props = rng.choices(kinds, [weight for weight, _, _ in kinds])[0]
    return {
        "type": kind,
        "ts": ms_slot(rng.randrange(1000)),
        "visitorId": _uuid(rng),
        "sessionId": _uuid(rng),
        "props": props,
        "idempotencyKey": f"{kind}-{ID_SLOT}-{index:04d}",
    }


def _zenovay(rng: random.Random, size: int, account: Account) -> Template:
    body = {
        "trackingCode": account.tracking_code,
        "events": [_zenovay_event(rng, index) for index in range(size)],
        "serverContext": {
            "clientIp": f"203.0.113.{rng.randrange(256)}",
            "userAgent": rng.choice(USER_AGENTS),
            "acceptLanguage": "en-US,en;q=0.9",
        },
    }
    headers = _backend_headers(account, "Authorization", f"Bearer {account.key}")
    return _template("/api/v1/events", headers, body, size)
