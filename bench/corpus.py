"""What is sent: realistic requests of each protocol, the same for the same seed.

Owns who sends what with which headers; what stands in the bodies is told by `scanovabodies`,
`croctbodies` and `zenovaybodies`, who sends them by `visitors` and `browsers`, from where by
`pages`. Every body is accepted by the real adapters (a test holds that). Must not open a
connection.
"""

import random
from typing import Final, Literal

import msgspec

from bench import croctbodies, scanovabodies, zenovaybodies
from bench.http1 import request_head
from bench.template import Template
from bench.visitors import Visitor, draw_visitor

Traffic = Literal["scanova", "scanova_server", "croct", "zenovay"]

# Enough that no server-side cache of parsed headers or texts looks better than it would be.
SINGLES: Final = 2_048
# Events in all templates of batches together; a batch of 1,000 is about 330 KB.
BATCHED_EVENTS: Final = 8_000


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Where and as whom requests are sent; `origin` is a browser's, with scheme.

    `host` is the Host header; `prefix` stands before every path, for a collector that a proxy
    serves below one ("" or "/events", say). `is_forwarded`: browsers' requests come through a
    proxy, each with a public address of its own.
    """

    host: str
    origin: str = "http://localhost"
    site: str = "bench"
    key: str = "zv_bench" + "0" * 38
    tracking_code: str = "ZV_bench"
    app_id: str = "0d3f5b1e-7c1a-4f52-9a36-2f6f4f0a9c11"
    prefix: str = ""
    is_forwarded: bool = False


def templates(traffic: Traffic, size: int, account: Account, seed: int) -> list[Template]:
    """Requests of one protocol in random order; `size` is events per request, 1 except Zenovay."""
    rng = random.Random(f"{traffic} {size} {seed}")
    if traffic == "zenovay":
        return [_zenovay(rng, size, account) for _ in range(max(4, BATCHED_EVENTS // size))]
    makers = {"scanova": _scanova, "scanova_server": _scanova_server, "croct": _croct}
    make = makers[traffic]
    return [make(rng, account) for _ in range(SINGLES)]


def _template(
    account: Account, path: str, headers: list[tuple[str, str]], body: object, events: int
) -> Template:
    encoded = msgspec.json.encode(body)
    head = request_head("POST", account.prefix + path, headers, len(encoded))
    return Template(head, encoded, events)


def _scanova(rng: random.Random, account: Account) -> Template:
    visitor = draw_visitor(rng)
    body = scanovabodies.browser_event(rng, account.site, account.origin, visitor)
    return _template(account, "/ct", _browser_headers(rng, account, visitor), body, 1)


def _scanova_server(rng: random.Random, account: Account) -> Template:
    body = scanovabodies.server_event(rng, account.site)
    headers = _backend_headers(account, "X-API-Key", account.key)
    return _template(account, "/server-events", headers, body, 1)


def _croct(rng: random.Random, account: Account) -> Template:
    visitor = draw_visitor(rng)
    headers = [
        *_browser_headers(rng, account, visitor),
        ("X-App-Id", account.app_id),
        ("X-Client-Id", f"{rng.getrandbits(128):032x}"),
        ("X-Client-Library", "Croct SDK JS v0.22.1"),
    ]
    body = croctbodies.beacon(rng, account.origin)
    return _template(account, "/client/web/track", headers, body, 1)


def _zenovay(rng: random.Random, size: int, account: Account) -> Template:
    body = zenovaybodies.batch(rng, size, account.tracking_code)
    headers = _backend_headers(account, "Authorization", f"Bearer {account.key}")
    return _template(account, "/api/v1/events", headers, body, size)


def _browser_headers(
    rng: random.Random, account: Account, visitor: Visitor
) -> list[tuple[str, str]]:
    headers = visitor.headers(account.host, account.origin)
    if account.is_forwarded:
        # In a network of the size of 65,536.
        address = f"93.184.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        headers.append(("X-Forwarded-For", address))
    return headers


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
