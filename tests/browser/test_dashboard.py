"""The dashboard in a real browser: what was sent stays text, nobody is let in by accident."""

import base64
import copy
import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from collector.keys import DEMO_KEY, digest, new_admin_token
from tests.browser.browsing import PageServer
from tests.support.dialects import APP_ID
from tests.support.process import CollectorProcess

pytestmark = [pytest.mark.end_to_end, pytest.mark.browser]

TOKEN: Final = new_admin_token()
# Ways out of being text, in 300 characters, which is what most members take; and in 50.
NASTY: Final = (
    (
        "<script>hacked=1</script>\"><img src=x onerror=hacked=1>' onmouseover='hacked=1' x='"
        "</pre></dd></details><svg onload=hacked=1>]]>--><!--<style>*{display:none}</style>"
        "javascript:hacked=1//{{7*7}}${7*7}<%=7*7%>&lt;b&#60;"
        "\u202etxt.exe\u0007\u001b[31m\u2028\u200b"
    ),
    "<img src=x onerror=hacked=1>",
)
# Of a header only what is ASCII and no control.
NASTY_HEADER: Final = "<script>hacked=1</script>\"'><img src=x onerror=hacked=1>{{7*7}}"
_PAGE: Final = 15  # fewer than the page shows
_LOOKS_MAX: Final = 300
_WATCH: Final = """
    window.violations = [];
    document.addEventListener('securitypolicyviolation',
        event => window.violations.push(event.violatedDirective + ' ' + event.blockedURI));
"""
_NOW_MS: Final = "now"


def scanova_browser() -> dict[str, Any]:
    """A browser event with every member."""
    return {
        "site_id": "demo",
        "event_type": "click",
        "event_id": "new",
        "scan_session_id": str(uuid.uuid4()),
        "web_session_id": str(uuid.uuid4()),
        "visitor_id": str(uuid.uuid4()),
        "page_url": "http://localhost/",
        "page_title": "title",
        "referrer": "http://localhost/",
        "timestamp": "2026-01-01T00:00:00Z",
        "consent": "granted",
        "device": {"user_agent": "agent", "language": "de", "screen_width": 1},
        "metadata": {"text": "value", "list": ["value"], "inner": {"text": "value"}},
        "unknown": "value",
    }


def scanova_server() -> dict[str, Any]:
    """A server event with every member."""
    return {
        "site_id": "demo",
        "event_name": "purchase",
        "event_id": "new",
        "scan_session_id": str(uuid.uuid4()),
        "visitor_id": str(uuid.uuid4()),
        "conversion_value": {"amount": 1.5, "currency": "EUR"},
        "user_identifiers": {"email_hash": "ab" * 32, "external_id": "id"},
        "properties": {"text": "value", "inner": {"text": ["value"]}},
    }


def croct(payload: dict[str, Any]) -> dict[str, Any]:
    """A beacon with every member of its envelope."""
    return {
        "originalTime": _NOW_MS,
        "departureTime": _NOW_MS,
        "context": {
            "url": "http://localhost/",
            "tabId": str(uuid.uuid4()),
            "timeZone": "Europe/Berlin",
            "metadata": {"text": "value"},
            "unknown": "value",
        },
        "payload": payload,
        "unknown": "value",
    }


def zenovay(kind: str, props: dict[str, Any]) -> dict[str, Any]:
    """A batch of one event with every member."""
    return {
        "trackingCode": "ZV_demo",
        "events": [
            {
                "type": kind,
                "ts": _NOW_MS,
                "props": props,
                "visitorId": str(uuid.uuid4()),
                "sessionId": str(uuid.uuid4()),
                "idempotencyKey": "new",
                "consent": "opt-in",
            }
        ],
        "serverContext": {"clientIp": "203.0.113.9", "userAgent": "a", "acceptLanguage": "de"},
    }


_BEACON: Final = {"X-App-Id": APP_ID, "X-Client-Id": uuid.uuid4().hex}
KEY_HEADERS: Final = {"Authorization": f"Bearer {DEMO_KEY}"}
_ORIGIN: Final = {"Origin": "http://localhost"}
_PRODUCT: Final = {"productId": "p", "name": "n", "displayPrice": 1, "url": "http://localhost/"}
REQUESTS: Final = (
    ("/ct", _ORIGIN, scanova_browser()),
    ("/collect/batch", _ORIGIN, {"events": [scanova_browser()]}),
    ("/server-events", KEY_HEADERS, scanova_server()),
    ("/client/web/track", _BEACON, croct({"type": "pageOpened", "url": "http://localhost/x"})),
    (
        "/client/web/track",
        _BEACON,
        croct({"type": "eventOccurred", "name": "n", "details": {"a": "value"}}),
    ),
    ("/client/web/track", _BEACON, croct({"type": "productViewed", "product": _PRODUCT})),
    ("/api/v1/events", KEY_HEADERS, zenovay("pageview", {"url": "http://x/", "title": "t"})),
    ("/api/v1/events", KEY_HEADERS, zenovay("event", {"name": "n", "inner": {"a": ["b"]}})),
    ("/api/v1/events", KEY_HEADERS, zenovay("identify", {"email": "e", "customer_id": "c"})),
)
HEADERS: Final = (
    *("User-Agent", "Accept-Language", "Referer", "X-Client-Library", "Sec-CH-UA", "Cookie"),
    *("Sec-CH-UA-Platform", "Sec-CH-UA-Mobile", "Sec-GPC", "X-Forwarded-For", "X-Request-Id"),
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values in a body, and of the names of its free-form members."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, member in members:
        if isinstance(member, dict | list):
            yield from leaves(member, (*path, name))
        else:
            yield (*path, name)


def with_text(body: dict[str, Any], path: tuple[Any, ...], text: str) -> dict[str, Any]:
    """`body` with `text` in one place, and as the name of a new member beside it."""
    changed = copy.deepcopy(body)
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = text
    if isinstance(at, dict):
        at[text] = "name"
    return changed


def send(collector: CollectorProcess, path: str, headers: dict[str, str], body: Any) -> bool:
    """Send a body as a new event; whether it was stored."""
    now_ms = str(time.time_ns() // 1_000_000)
    text = json.dumps(body).replace('"now"', now_ms).replace('"new"', f'"{uuid.uuid4()}"')
    fields = {"Content-Type": "application/json"} | headers
    answer = collector.request("POST", path, body=text.encode(), headers=fields)
    assert answer.status < 500, answer
    if answer.status not in {200, 204}:
        return False
    return b'"rejected"' not in answer.body and b'"rejectedCount":1' not in answer.body


class Watched:
    """One page, and all that must not happen on it."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.add_init_script(_WATCH)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.url = url

    def open(self, path: str) -> Page:
        """Go to a page, and look for what must not be there."""
        self.page.goto(self.url + path)
        for _ in range(_LOOKS_MAX):
            if not self.page.locator("main .pending").count():
                break
            self.page.wait_for_timeout(100)
        else:
            raise TimeoutError(f"still being counted: {path}")
        self.page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
        self.page.mouse.move(200, 200)
        assert self.page.evaluate("typeof hacked") == "undefined"
        assert self.page.evaluate("violations") == []
        assert self.faults == []
        # Of ours: one script, and drawings where charts are.
        strange = "script:not([src^='/dashboard/']), svg:not(.plot > svg, .bar-drawn), svg [href]"
        never = "style, img, iframe, object, embed, base, foreignObject, image, use, animate"
        assert self.page.locator(f"{strange}, {never}").count() == 0
        strange = """() => [...document.querySelectorAll('*')].flatMap(one =>
            [...one.attributes].filter(a => /^(on|style$|srcdoc)/.test(a.name) ||
                (/^(href|action|src)$/.test(a.name) && !a.value.startsWith('/dashboard')
                    && a.value !== '#main'))
                .map(a => a.name + '=' + a.value))"""
        assert self.page.evaluate(strange) == []
        return self.page


def test_what_was_sent_is_shown_as_text(tmp_path: Path, chromium: Browser) -> None:
    """In every member of every body, in headers, in the query: no script runs, nothing is broken
    out of, the policy has nothing to block, and people see what was sent.
    """
    with CollectorProcess(tmp_path) as collector:
        watched = Watched(chromium, collector.url)
        stored = shown = 0
        for path, headers, body in REQUESTS:
            waiting = 0
            for place in leaves(body):
                for text in NASTY:
                    if not send(collector, path, headers, with_text(body, place, text)):
                        continue
                    stored += 1
                    waiting += 1
                    if waiting == _PAGE:
                        shown += _count(watched)
                        waiting = 0
            for name in HEADERS:
                stored += send(collector, path, headers | {name: NASTY_HEADER}, body)
            claims = {"iss": "croct.io", "aud": "croct.io", "iat": 1, "sub": NASTY[1]}
            stored += send(collector, path, headers | {"X-Token": _unsigned(claims)}, body)
            stored += send(collector, f"{path}?x=%3Cscript%3Ehacked=1%3C/script%3E", headers, body)
            shown += _count(watched)
        assert stored > 150, "most members take any text"
        assert shown > stored // 3
        for text in NASTY:
            page = watched.open(f"/dashboard/receipt?id={quote(text)}")
            # As an idempotency key the short one was stored; as an event id both were refused, and
            # are shown as they are kept.
            assert re.search("Accepted|Refused", page.inner_text("main"))
            assert page.input_value("#look-up")
            for path in ("pages", "referrers", "devices", "countries", "live", "keys", "lake"):
                member = quote(text)
                page = watched.open(f"/dashboard/{path}?site={member}&value={member}&key={member}")
                assert page.locator("h1").count() == 1
        # The id of an event leads to its receipt, which shows its members, too.
        watched.open("/dashboard").click("text=its receipt >> nth=0")
        assert "Accepted" in watched.page.inner_text("main")
        watched.context.close()


def _count(watched: Watched) -> int:
    """Open the page; how many events on it show what was sent."""
    page = watched.open("/dashboard")
    texts = page.locator(".events > li").all_inner_texts()
    assert texts
    return sum("hacked=1" in text for text in texts)


def _unsigned(claims: dict[str, Any]) -> str:
    parts = ({"typ": "JWT", "alg": "none", "appId": APP_ID}, claims)
    coded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return f"{b'.'.join(coded).decode()}."


def test_the_page_fits(tmp_path: Path, chromium: Browser) -> None:
    """On a phone and on a desk, light and dark: nothing sticks out at the side, fields have labels,
    text stands out from its ground.
    """
    with CollectorProcess(tmp_path) as collector:
        for path, headers, body in REQUESTS:
            for text in ("x" * 300, NASTY[1]):
                send(collector, path, headers, with_text(body, list(leaves(body))[-1], text))
        for width in (390, 1024):
            for scheme in ("light", "dark"):
                viewport = {"width": width, "height": 900}
                watched = Watched(chromium, collector.url, viewport=viewport, color_scheme=scheme)
                for path in (
                    "/dashboard",
                    "/dashboard/login",
                    "/dashboard/pages",
                    "/dashboard/lake",
                    "/dashboard/receipt?id=unknown",
                ):
                    page = watched.open(path)
                    _assert_usable(page)
                    name = f"{path.strip('/').replace('/', '-').partition('?')[0]}-{width}-{scheme}"
                    page.screenshot(path=tmp_path / f"{name}.png")
                watched.context.close()


def _assert_usable(page: Page) -> None:
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    for field in page.locator("input:not([type=hidden]):not([hidden])").all():
        assert page.locator(f"label[for='{field.get_attribute('id')}']").count() == 1
    for selector in ("h1", "h2", "dt", "dd", "button", "caption", "a", "p", "td", "summary *"):
        assert all(ratio >= 4.5 for ratio in page.evaluate(_CONTRASTS, selector)), selector


# Contrast by the formula of WCAG 2.2, against the nearest ground that is not transparent.
_CONTRASTS: Final = """selector =>
    [...document.querySelectorAll(selector)].slice(0, 40).map(one => {
    const numbers = text => text.match(/[0-9.]+/g).map(Number);
    const light = text => numbers(text).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    let ground = one;
    while (ground && numbers(getComputedStyle(ground).backgroundColor)[3] === 0) {
        ground = ground.parentElement;
    }
    const back = ground ? getComputedStyle(ground).backgroundColor : 'rgb(255, 255, 255)';
    const pair = [light(getComputedStyle(one).color), light(back)].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
})"""


def test_logging_in_with_a_browser(tmp_path: Path, chromium: Browser) -> None:
    """The token opens the pages, the cookie is out of reach, a page elsewhere cannot log out."""
    # Where a proxy is to be expected, this machine is not trusted by itself.
    server = {"admin_token_sha256": digest(TOKEN), "trusted_proxies": ["127.0.0.1"]}
    with CollectorProcess(tmp_path, server=server) as collector, PageServer() as other:
        url = f"http://localhost:{collector.port}"
        watched = Watched(chromium, url)
        page = watched.page
        page.goto(f"{url}/dashboard")
        assert page.url == f"{url}/dashboard/login"
        page.fill("#token", "wrong")
        page.press("#token", "Enter")
        assert "That is not the token." in page.inner_text("main")
        watched.faults.clear()  # the browser tells of the 401
        page.fill("#token", TOKEN)
        page.click("text=Log in >> nth=-1")
        page.wait_for_url(f"{url}/dashboard")
        [cookie] = watched.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == ""
        # Another port is another origin, though the same site: the cookie goes along.
        page.goto(f"http://localhost:{other.port}/settings.js")
        form = f"<form method=post action='{url}/dashboard/logout'><button>x</button></form>"
        page.set_content(form)
        with page.expect_response(f"{url}/dashboard/logout") as refused:
            page.click("button")
        assert refused.value.status == 403
        watched.faults.clear()
        page.goto(f"http://localhost:{other.port}/settings.js")
        page.set_content(f"<iframe src='{url}/dashboard'></iframe>")
        page.wait_for_timeout(200)
        assert page.frames[-1].url.startswith("chrome-error:"), "in no frame"
        watched.faults.clear()
        watched.open("/dashboard")
        page.click("text=Log out")
        page.wait_for_url(f"{url}/dashboard/login")
        page.goto(f"{url}/dashboard")
        assert page.url == f"{url}/dashboard/login"
        assert TOKEN not in collector.log_tail()
        watched.context.close()
