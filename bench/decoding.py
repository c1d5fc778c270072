"""What decoding alone costs: typed msgspec decoders of each protocol, and their speed in a loop.

Two of each. *Plain* is how anybody would declare the bodies: members typed, free-form ones built
into objects. *Checked* is the least that a decoder can do, in the collector's own shapes: free-form
members are found to be JSON and left as bytes.
"""

import time
from typing import Any, Final

import msgspec

from bench.corpus import Account, Traffic, templates
from bench.template import Ids
from collector.adapters.croct_events import WebBeacon
from collector.adapters.scanova_events import BrowserItem, ServerItem
from collector.adapters.zenovay_events import Item

# Bodies between two looks at the clock, at least.
_BODIES: Final = 64


class _Device(msgspec.Struct):
    user_agent: str
    screen_width: int
    screen_height: int
    language: str


class _BrowserEvent(msgspec.Struct):
    event_id: str
    site_id: str
    event_type: str
    scan_session_id: str
    web_session_id: str
    visitor_id: str
    page_url: str
    referrer: str
    timestamp: str
    device: _Device
    metadata: dict[str, Any]
    consent: str
    page_title: str = ""


class _Conversion(msgspec.Struct):
    amount: float
    currency: str


class _ServerEvent(msgspec.Struct):
    event_id: str
    site_id: str
    event_name: str
    scan_session_id: str
    visitor_id: str
    timestamp: str
    conversion_value: _Conversion
    user_identifiers: dict[str, str]
    properties: dict[str, Any]


class _Context(msgspec.Struct, rename="camel"):
    url: str
    tab_id: str
    time_zone: str
    metadata: dict[str, str]


class _Beacon(msgspec.Struct, rename="camel"):
    context: _Context
    payload: dict[str, Any]
    original_time: int
    departure_time: int


class _BatchItem(msgspec.Struct, rename="camel"):
    type: str
    ts: int
    props: dict[str, Any]
    visitor_id: str
    session_id: str
    idempotency_key: str


class _Batch(msgspec.Struct, rename="camel"):
    tracking_code: str
    events: list[_BatchItem]
    server_context: dict[str, str]


class _CheckedBatch(msgspec.Struct, rename="camel"):
    tracking_code: str
    events: list[Item]
    server_context: msgspec.Raw


PLAIN: Final[dict[Traffic, msgspec.json.Decoder[Any]]] = {
    "scanova": msgspec.json.Decoder(_BrowserEvent),
    "scanova_server": msgspec.json.Decoder(_ServerEvent),
    "croct": msgspec.json.Decoder(_Beacon),
    "zenovay": msgspec.json.Decoder(_Batch),
}
CHECKED: Final[dict[Traffic, msgspec.json.Decoder[Any]]] = {
    "scanova": msgspec.json.Decoder(BrowserItem),
    "scanova_server": msgspec.json.Decoder(ServerItem),
    "croct": msgspec.json.Decoder(WebBeacon),
    "zenovay": msgspec.json.Decoder(_CheckedBatch),
}


def bodies(traffic: Traffic, size: int, seed: int) -> list[bytes]:
    """The corpus' bodies of that traffic, `size` events each, with ids and the present time."""
    ids = Ids("dec0de00")
    now_ms = time.time_ns() // 1_000_000
    requests = [
        ids.next().join(template.stamped(now_ms))
        for template in templates(traffic, size, Account(host="localhost"), seed)
    ]
    return [request.partition(b"\r\n\r\n")[2] for request in requests]


def decoded_per_s(
    decoder: msgspec.json.Decoder[Any], found: list[bytes], size: int, seconds: float
) -> float:
    """Events per second of a loop that decodes `found`, `size` events each, and nothing else.

    It takes `seconds` and a little more.
    """
    decode = decoder.decode
    rounds = max(1, _BODIES // len(found))
    events, began_s = 0, time.perf_counter()
    while True:
        for _ in range(rounds):
            for body in found:
                decode(body)
        events += rounds * len(found) * size
        spent_s = time.perf_counter() - began_s
        if spent_s >= seconds:
            return events / spent_s
