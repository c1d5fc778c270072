"""Croct's beacons: what the SDK sends from a page. Pure."""

import random
from collections.abc import Callable
from typing import Any, Final

from bench.pages import pages, query
from bench.template import ID_SLOT, ms_slot

Payload = dict[str, object]

_TIME_ZONES: Final = [
    *("America/New_York", "Europe/Berlin", "Europe/London", "America/Sao_Paulo", "Asia/Kolkata"),
    *("America/Los_Angeles", "Europe/Paris", "Asia/Tokyo", "America/Chicago", "Europe/Zurich"),
    *("America/Mexico_City", "Australia/Sydney", "UTC"),
]
_NAMES: Final = ["filterChanged", "sizeGuideOpened", "couponApplied", "chatStarted", "shareClicked"]
_TOPICS: Final = ["trail", "hiking", "winter", "sale", "Kinder", "チラシ", "promoção"]


def beacon(rng: random.Random, origin: str) -> dict[str, object]:
    """One beacon. It carries no id: a tab of its own makes each of them another event."""
    page = origin + pages().draw(rng).path + query(rng)
    original_ms = rng.randrange(900)
    metadata = {"sdkVersion": rng.choices(("0.22.1", "0.21.0", "0.18.2"), (80, 15, 5))[0]}
    if rng.random() < 0.2:
        metadata["custom_plan"] = rng.choice(("team", "pro", "família"))
    return {
        "context": {
            "url": page,
            "tabId": ID_SLOT,
            "timeZone": rng.choice(_TIME_ZONES),
            "metadata": metadata,
        },
        "payload": _payload(rng, origin, page),
        "originalTime": ms_slot(original_ms),
        # The queue sends at once, but for what waited for the network.
        "departureTime": ms_slot(original_ms + min(99, round(rng.expovariate(0.2)))),
    }


def _payload(rng: random.Random, origin: str, page: str) -> Payload:
    kinds = [*_KINDS]
    kind = rng.choices(kinds, [_KINDS[name][0] for name in kinds])[0]
    return {"type": kind, **_KINDS[kind][1](rng, origin, page)}


def _opened(rng: random.Random, origin: str, page: str) -> Payload:
    # The SDK leaves an empty referrer out.
    referrer = pages().referrer(rng, origin)
    return {"url": page, "referrer": referrer} if referrer else {"url": page}


def _loaded(rng: random.Random, _origin: str, page: str) -> Payload:
    return {"url": page, "title": pages().draw(rng).title, "lastModifiedTime": ms_slot(0)}


def _point(rng: random.Random) -> Payload:
    return {"x": rng.randrange(1440), "y": rng.randrange(5_000)}


def _surface(rng: random.Random) -> Payload:
    return {"width": rng.choice((390, 1440, 1920)), "height": rng.randrange(900, 6_000)}


def _clicked(rng: random.Random, _origin: str, _page: str) -> Payload:
    return {"point": _point(rng), "surfaceSize": _surface(rng)}


def _scrolled(rng: random.Random, _origin: str, _page: str) -> Payload:
    return {
        "start": _point(rng),
        "end": _point(rng),
        "surfaceSize": _surface(rng),
        "viewportSize": {"width": 390, "height": 844},
    }


def _visibility(rng: random.Random, _origin: str, _page: str) -> Payload:
    return {"tabId": ID_SLOT, "visibility": rng.choice(("hidden", "visible"))}


def _moved(_rng: random.Random, _origin: str, page: str) -> Payload:
    return {"tabId": ID_SLOT, "url": page}


def _idle(_rng: random.Random, _origin: str, _page: str) -> Payload:
    return {"sinceTime": ms_slot(0)}


def _viewed(rng: random.Random, _origin: str, _page: str) -> Payload:
    return {"product": _product(rng)}


def _cart_changed(rng: random.Random, _origin: str, _page: str) -> Payload:
    return {"cart": _cart(rng)}


def _ordered(rng: random.Random, _origin: str, _page: str) -> Payload:
    cart = _cart(rng)
    order = {name: cart[name] for name in ("currency", "items", "total")}
    return {"order": {"orderId": f"2026-{rng.randrange(10**6):06d}", **order, "status": "placed"}}


def _goal(rng: random.Random, _origin: str, _page: str) -> Payload:
    return {"goalId": rng.choice(("newsletter-signup", "quiz:completed", "store_locator"))}


def _interest(rng: random.Random, _origin: str, _page: str) -> Payload:
    return {"interests": rng.sample(_TOPICS, rng.randrange(1, 4))}


def _post(rng: random.Random, origin: str, page: str) -> Payload:
    post = {"postId": f"post-{rng.randrange(140)}", "title": pages().draw(rng).title}
    return {"post": {**post, "url": page if page.startswith(origin) else origin, "publishTime": 1}}


def _link(rng: random.Random, origin: str, _page: str) -> Payload:
    return {"link": origin + pages().draw(rng).path}


def _custom(rng: random.Random, _origin: str, _page: str) -> Payload:
    details: dict[str, object] = {"value": rng.choice(("low", "größte zuerst", "M", "🙂"))}
    if rng.random() < 0.3:
        details |= {"position": rng.randrange(40), "isFirst": rng.random() < 0.5}
    return {"name": rng.choice(_NAMES), "details": details}


def _attributes(rng: random.Random, _origin: str, _page: str) -> Payload:
    operation = {"type": "set", "path": "plan", "value": rng.choice(("team", "pro", "free"))}
    counter = {"type": "increment", "path": "visits", "value": 1}
    return {"patch": {"operations": [operation, counter]}}


def _product(rng: random.Random) -> dict[str, Any]:
    number = rng.randrange(1, 360)
    price = rng.randrange(990, 25_990, 500) / 100
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


def _cart(rng: random.Random) -> Payload:
    items: list[dict[str, Any]] = []
    for index in range(min(12, int(rng.paretovariate(1.1)))):
        product = _product(rng)
        items.append(
            {"index": index, "product": product, "quantity": 1, "total": product["displayPrice"]}
        )
    total = round(sum(item["total"] for item in items), 2)
    return {"currency": "EUR", "items": items, "total": total, "lastUpdateTime": ms_slot(0)}


# Percent of the beacons by type, and what makes the rest of the payload.
_KINDS: Final[dict[str, tuple[int, Callable[[random.Random, str, str], Payload]]]] = {
    "pageOpened": (18, _opened),
    "pageLoaded": (15, _loaded),
    "userClicked": (14, _clicked),
    "userScrolled": (14, _scrolled),
    "tabVisibilityChanged": (9, _visibility),
    "tabUrlChanged": (5, _moved),
    "nothingChanged": (3, _idle),
    "productViewed": (8, _viewed),
    "cartModified": (3, _cart_changed),
    "cartViewed": (1, _cart_changed),
    "orderPlaced": (1, _ordered),
    "goalCompleted": (1, _goal),
    "interestShown": (1, _interest),
    "postViewed": (1, _post),
    "linkOpened": (2, _link),
    "eventOccurred": (3, _custom),
    "sessionAttributesChanged": (1, _attributes),
}
