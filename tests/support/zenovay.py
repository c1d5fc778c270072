"""Zenovay requests for tests of the adapter: events of every type, and what becomes of them."""

import json

from collector.adapters import zenovay
from collector.adapters.contract import Request
from collector.event import Batch, Event, Row
from collector.refusal import Refusal

NOW_MS = 1_795_257_000_123  # 2026-11-21T10:30:00.123Z
DAY_MS = 86_400_000
VISITOR = "11111111-1111-4111-9111-111111111111"
SESSION = "22222222-2222-4222-9222-222222222222"
REQUEST_ID = "0d9f3ed0-6b2a-4a7e-9b7b-2f6f0a1c9e55"

PAGEVIEW = {
    "type": "pageview",
    "ts": NOW_MS,
    "visitorId": VISITOR,
    "sessionId": SESSION,
    "props": {"url": "https://example.com/pricing"},
}
CUSTOM = {"type": "event", "ts": NOW_MS, "props": {"name": "x"}}
IDENTIFY = {
    "type": "identify",
    "ts": NOW_MS,
    "visitorId": VISITOR,
    "props": {"email": "jane@example.com"},
}
GOAL = {**PAGEVIEW, "type": "goal", "props": {"name": "signup"}}
PURCHASE = {"type": "purchase", "ts": NOW_MS, "props": {"amount": 49.5}}
EVERY_TYPE = [PAGEVIEW, CUSTOM, IDENTIFY, GOAL, PURCHASE]


class Rules:
    """A site with one goal."""

    goals = frozenset({"signup"})


def request(body: object = None, **headers: str) -> Request:
    """A request with `body` as JSON (bytes as they are); `sec_gpc="1"` is a header."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Request(
        method="POST",
        path="/api/v1/events",
        query=b"",
        headers=names,
        body=raw,
        id=REQUEST_ID,
        now_us=NOW_MS * 1_000 + 456,
    )


def decode(*events: object, **members: object) -> Batch:
    """The batch of these events, checked against the site's goals."""
    batch = zenovay.decode(request({"trackingCode": "ZV_demo", "events": events, **members}))
    assert isinstance(batch, Batch), batch
    zenovay.check(batch, Rules())
    return batch


def row_of(event: object, **members: object) -> Row:
    """The row of an event that must be accepted."""
    (item,) = decode(event, **members).items
    assert isinstance(item, Event), item
    return item.row


def reason_of(event: object) -> str:
    """Why an event is refused, "" if it is not; the same whether or not its batch decodes."""
    (alone,) = decode(event).items
    beside = decode(17, event).items[1]
    assert alone == beside
    return alone.kind.code if isinstance(alone, Refusal) else ""


def without(event: dict[str, object], *names: str) -> dict[str, object]:
    """`event` less some members."""
    return {name: value for name, value in event.items() if name not in names}
