"""Which origins get in, value by value, on every endpoint that asks: a table, nothing computed.

The site allows the five entries of `DOMAINS`. Whatever is refused is told 403 in the dialect, and
its answer can be read by the page that asked.
"""

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from collector.keys import DEMO_KEY
from tests.support.app import Answer, Collector, example, run, running, with_site
from tests.support.asking import ENDPOINTS
from tests.support.dialects import Croct, Scanova, ScanovaServer, Zenovay

DOMAINS = (
    "shop.example",
    "*.only.example",
    "xn--mnchen-3ya.example",
    "127.0.0.1",
    "::1",
)

IN = [
    b"https://shop.example",
    b"http://shop.example",
    b"https://shop.example:8443",
    b"https://shop.example:",
    b"HTTPS://SHOP.Example",
    b"https://shop.example.",
    b"https://x.only.example",
    b"https://a.b.c.only.example:80",
    b"https://a.only.example.",
    b"https://xn--mnchen-3ya.example",
    b"http://127.0.0.1:3000",
    b"http://[::1]:3000",
    b"http://[0:0:0:0:0:0:0:1]",
    # No browser sends the rest as an Origin; the host that they name is the site's all the same.
    b"https://shop.example/",
    b"https://shop.example?@evil.net",
    b"https://shop.example#@evil.net",
    b"https://evil.net@shop.example",
    b"https://evil.net:443@shop.example",
]

OUT = [
    b"null",
    b"",
    b"NULL",
    b"undefined",
    # suffixes, prefixes, apex
    b"https://evil-shop.example",
    b"https://evilshop.example",
    b"https://www.shop.example",
    b"https://shop.example.evil.net",
    b"https://shop.examplee",
    b"https://shop.exampl",
    b"https://shopxexample",
    b"https://only.example",
    b"https://xonly.example",
    b"https://.only.example",
    b"https://a.only.example.evil.net",
    b"https://*.only.example",
    b"https://shop.example..",
    b"https://shop..example",
    b"https://.shop.example",
    b"https://example",
    # user info
    b"https://shop.example@evil.net",
    b"https://shop.example:443@evil.net",
    b"https://shop.example@@evil.net",
    b"https://shop.example%40evil.net",
    # another path than host
    b"https://evil.net/shop.example",
    b"https://evil.net/@shop.example",
    b"https://evil.net?@shop.example",
    b"https://evil.net#@shop.example",
    b"https://evil.net;shop.example",
    b"https://shop.example;evil.net",
    b"https://shop.example&evil.net",
    # backslashes, blanks, tabs, escapes
    b"https://evil.net\\@shop.example",
    b"http://shop.example\\@evil.net",
    b"https://shop.example\\.evil.net",
    b"https:\\\\shop.example",
    b"https://shop.example\\",
    b"https://shop.example\t.evil.net",
    b"https://shop.example .evil.net",
    b"https://evil.net\t@shop.example",
    b"https://evil.net https://shop.example",
    b"https://evil.net,https://shop.example",
    b"https://shop.example, https://evil.net",
    b"https://shop.example%2eevil.net",
    b"https://shop%2eexample",
    b"https://shop.example%00.evil.net",
    b"https://shop.example%0d%0a",
    # several ports, or none that is one
    b"https://shop.example:80:80",
    b"https://shop.example:99999",
    b"https://shop.example:-1",
    b"https://shop.example:http",
    b"https://shop.example:80evil.net",
    # other spellings of addresses
    b"http://127.1",
    b"http://2130706433",
    b"http://0x7f000001",
    b"http://0177.0.0.1",
    b"http://127.0.0.1.evil.net",
    b"http://127.0.0.2",
    b"http://[::ffff:127.0.0.1]",
    b"http://[::1%25lo]",
    b"http://[::1].evil.net",
    b"http://[::1]evil.net",
    b"http://[::1",
    b"http://::1",
    b"https://[shop.example]",
    # other scripts in ASCII
    b"https://xn--mnchen-3ya.example.evil.net",
    b"https://mnchen.example",
    b"https://xn--shop-.example",
    # schemes
    b"shop.example",
    b"//shop.example",
    b"https:shop.example",
    b"https:/shop.example",
    b"https:///shop.example",
    b"https//shop.example",
    b" https",
    b"httpss://shop.example",
    b"ftp://shop.example",
    b"file://shop.example",
    b"ws://shop.example",
    b"chrome-extension://shop.example",
    b"javascript://shop.example",
    b"blob:https://shop.example/1",
    b"data:text/html,https://shop.example",
    b"view-source:https://shop.example",
    b"https://",
]

# Bytes outside of ASCII: one front hands none of them over, the other reads UTF-8, as UTS 46 does.
# In both, what is let in is a spelling of a name that is allowed.
RAW = {
    "https://m\u00fcnchen.example": {"rsgi": False, "asgi": True},
    "https://MU\u0308NCHEN.example": {"rsgi": False, "asgi": True},
    "https://shop\u3002example": {"rsgi": False, "asgi": True},
    "https://\uff53hop.example": {"rsgi": False, "asgi": True},
    "https://\u0455hop.example": {"rsgi": False, "asgi": False},
    "https://shop.example\u2024evil.net": {"rsgi": False, "asgi": False},
    "https://shop.example\uff0fevil.net": {"rsgi": False, "asgi": False},
    "https://evil.net\uff20shop.example": {"rsgi": False, "asgi": False},
    "https://shop.example\u200b.evil.net": {"rsgi": False, "asgi": False},
    "https://sho\u00adp.example": {"rsgi": False, "asgi": False},
    "https://shop.example\u2028": {"rsgi": False, "asgi": False},
}
BROKEN = [b"https://m\xfcnchen.example", b"https://shop.example\xff", b"\xff", b"https://\xc0\xae"]

Fields = list[tuple[str, str]]


def _field(name: str, value: bytes) -> tuple[str, str]:
    return name, value.decode("latin-1")


def _body(path: str) -> Any:
    if path == "/client/web/track":
        sent = Croct().event(uuid.uuid4().hex)
        now_ms = time.time_ns() // 1_000_000
        return sent.body | {"originalTime": now_ms, "departureTime": now_ms}
    event = Scanova().event(uuid.uuid4().hex).body
    return {"events": [event]} if path.endswith("/batch") else event


async def _ask(collector: Collector, path: str, *fields: tuple[str, str]) -> Answer:
    if path == "/client/web/cid":
        return await collector.request("GET", path, headers=list(fields))
    own = [("Content-Type", "application/json")]
    if path == "/client/web/track":
        good = Croct().event("").headers
        own += [(name, good[name]) for name in ("X-App-Id", "X-Client-Id")]
    return await collector.request("POST", path, headers=[*own, *fields], body=_body(path))


def _is_in(path: str, answer: Answer) -> bool:
    """Whether it was let in; what was not says so in the dialect."""
    if answer.status == 403:
        if path.startswith("/client"):
            assert answer.json["type"].endswith("/forbidden-origin")
        else:
            assert isinstance(answer.json["detail"], str)
        return False
    if path == "/collect/batch":
        assert answer.status == 200
        assert answer.json["accepted"] + answer.json["rejected"] == 1
        return bool(answer.json["accepted"] == 1)
    assert answer.status == (204 if path == "/client/web/track" else 200), answer
    return True


def _play(folder: Path, *cases: tuple[Fields, bool], paths: tuple[str, ...]) -> None:
    """Ask with the fields of each case on each path; as many rows as were let in."""

    async def play() -> None:
        config = with_site(example(folder), allowed_domains=DOMAINS)
        async with running(folder, config) as collector:
            rows = 0
            for fields, is_in in cases:
                for path in paths:
                    answer = await _ask(collector, path, *fields)
                    assert _is_in(path, answer) is is_in, (path, fields, answer)
                    origins = [value for name, value in fields if name == "Origin"]
                    if origins and origins[0].isascii():
                        assert answer.headers["access-control-allow-origin"] == origins[0]
                        assert answer.headers["vary"] == "Origin"
                    rows += is_in and path != "/client/web/cid"
            [found] = collector.rows("SELECT count(*) AS rows FROM events")
            assert found["rows"] == rows

    run(play())


BROWSER = ("/ct", "/collect", "/collect/batch")
ASKING = (*BROWSER, "/client/web/track", "/client/web/cid")
both_fronts = pytest.mark.usefixtures("each_front")


@both_fronts
def test_origins_that_get_in(tmp_path: Path) -> None:
    """Scheme, port, case, a trailing dot and what is no part of the host do not matter."""
    _play(tmp_path, *(([_field("Origin", value)], True) for value in IN), paths=ASKING)


@both_fronts
def test_origins_that_are_kept_out(tmp_path: Path) -> None:
    """Whatever looks like the site's host to a careless reader is told 403 and leaves no row."""
    _play(tmp_path, *(([_field("Origin", value)], False) for value in OUT), paths=ASKING)


@both_fronts
def test_origins_in_other_scripts(tmp_path: Path) -> None:
    """Browsers send punycode; raw, a name is unreadable or a spelling of one that is allowed."""
    front = Collector.front
    cases = [([_field("Origin", v.encode())], fronts[front]) for v, fronts in RAW.items()]
    cases += [([_field("Origin", value)], False) for value in BROKEN]
    _play(tmp_path, *cases, paths=ASKING)


@both_fronts
def test_several_origins(tmp_path: Path) -> None:
    """The first one counts, wherever a `Referer` points."""
    good, evil = ("Origin", "https://shop.example"), ("Origin", "https://evil.net")
    page = ("Referer", "https://shop.example/page")
    null = ("Origin", "null")
    cases = [
        ([good, evil], True),
        ([evil, good], False),
        ([null, good], False),
        ([evil, page], False),
        ([page, evil], False),
        ([null, page], False),
        ([("Origin", ""), page], False),
        ([_field("Origin", b"\xff"), page], False),
        ([good, ("Referer", "https://evil.net/")], True),
    ]
    _play(tmp_path, *cases, paths=ASKING)


@both_fronts
def test_no_origin_but_a_referer(tmp_path: Path) -> None:
    """To Scanova's browser endpoints the page's address says where a request comes from."""
    pages = [
        (b"https://shop.example/page?x=https://evil.net", True),
        (b"https://a.only.example/#@evil.net", True),
        (b"https://shop.example/a\\b", True),
        (b"https://evil.net/https://shop.example", False),
        (b"https://evil.net/?u=https://shop.example/", False),
        (b"https://shop.example@evil.net/", False),
        (b"https://shop.example.evil.net/", False),
        (b"https://evil.net\\@shop.example/", False),
        (b"https://shop.example/ https://evil.net/", False),
        (b"android-app://shop.example/", False),
        (b"about:blank", False),
        (b"/page", False),
        (b"", False),
        (b"https://shop.example/\xff", False),
    ]
    cases = [([_field("Referer", value)], is_in) for value, is_in in pages]
    if Collector.front == "asgi":
        cases.pop()  # there a page's path may be of any bytes
    _play(tmp_path, *cases, ([], False), paths=BROWSER)


@both_fronts
def test_no_origin_is_no_browser(tmp_path: Path) -> None:
    """To Croct's endpoints a request without `Origin` is a server's, whatever `Referer` says."""
    pages = ["https://evil.net/", "https://shop.example/", "null", ""]
    cases: list[tuple[Fields, bool]] = [([("Referer", page)], True) for page in pages]
    _play(tmp_path, *cases, ([], True), paths=ASKING[3:])


@both_fronts
def test_back_ends_have_no_origin_to_be_refused(tmp_path: Path) -> None:
    """With a key, where a request says it comes from does not matter."""

    async def play() -> None:
        config = with_site(example(tmp_path), allowed_domains=DOMAINS)
        async with running(tmp_path, config) as collector:
            for value in (*OUT, *BROKEN):
                for dialect in (ScanovaServer(), Zenovay()):
                    sent = dialect.event(uuid.uuid4().hex)
                    fields = [*sent.headers.items(), _field("Origin", value)]
                    answer = await collector.request(
                        "POST", sent.path, headers=fields, body=sent.body
                    )
                    assert dialect.is_success(answer.status, answer.body), (value, answer)

    run(play())


@both_fronts
def test_preflights_of_anybody(tmp_path: Path) -> None:
    """Whoever asks whether he may ask is told yes; the real request is the one that is judged."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for value in (*IN, *OUT):
                for endpoint in ENDPOINTS:
                    fields = [_field("Origin", value), ("X-API-Key", DEMO_KEY)]
                    answer = await collector.request("OPTIONS", endpoint.path, headers=fields)
                    assert (answer.status, answer.body) == (204, b"")
                    echoed = answer.headers["access-control-allow-origin"]
                    assert echoed == value.decode()

    run(play())
