"""The collector's script in a real Chromium, on pages of another origin: what it sees and sends."""

import base64
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import FLAGS, executable
from tests.browser.shop import EVERYTHING, SCAN, STUB, Shop, Visitor
from tests.support import pages
from tests.support.process import CollectorProcess

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]

_YEAR_S: Final = 31_536_000
# How long nothing has to happen to be taken for nothing.
_QUIET_MS: Final = 600
_UUID: Final = r"^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$"

_BODY: Final = """
    <a id="pricing" href="/visit/pricing?plan=a&amp;mail=ann@example.org#secret"
        onclick="return false">See   our <b>pricing</b></a>
    <a id="mail" href="mailto:ann@example.org" onclick="return false">ann@example.org</a>
    <button id="buy" data-scnv-name="Buy now"><b>Buy</b></button>
    <button id="close" aria-label="Close"></button>
    <div id="note" role="button" contenteditable aria-label="A note">typed-note</div>
    <p id="plain">Not a button</p>
    <form name="signup" action="/visit/join?from=ann%40example.org" onsubmit="return false">
        <input name="name" id="typed"><input name="id" type="password" id="password">
        <textarea name="action" id="area"></textarea><button id="join">Join</button>
    </form>
    <form onsubmit="return false"><button id="bare">Send</button></form>
"""


def _types(rows: list[dict[str, Any]]) -> list[str]:
    return [row["event_type"] for row in rows]


def _of(rows: list[dict[str, Any]], event_type: str) -> list[dict[str, Any]]:
    return [row["metadata"] for row in rows if row["event_type"] == event_type]


def _expect_silence(visitor: Visitor) -> None:
    """Nothing leaves the browser for a while."""
    before = len(visitor.requests)
    visitor.page.wait_for_timeout(_QUIET_MS)
    assert visitor.sent[before:] == []


# --- what is seen


def test_a_visit_after_a_scan_becomes_rows(shop: Shop) -> None:
    """Page, clicks, forms, scrolling and what the page tells are rows; nothing typed is in them."""
    early = "<script>scanova('track', 'early', {stars: 5, of: [1, {a: null}]});</script>"
    shop.make("/visit/landing", head=early, body=_BODY, **EVERYTHING)
    visitor = shop.visit(f"/visit/landing?scnv={SCAN}&mail=ann@example.org#secret")
    for field in ("#typed", "#password", "#area"):
        visitor.page.fill(field, "typed-value")
    visitor.click("#pricing", "#mail", "#buy", "#close", "#note", "#plain", "#join", "#bare")
    visitor.page.mouse.wheel(0, 5_000)
    rows = shop.wait_for(visitor, "visit", 15)

    assert sorted(_types(rows)) == sorted(
        ["pageview", "early", *["click"] * 7, *["form_submit"] * 2, *["scroll"] * 4]
    )
    assert _types(rows)[:2] == ["pageview", "early"], "in the order of the page's calls"
    assert _of(rows, "early") == [{"stars": 5, "of": [1, {"a": None}]}]
    assert _of(rows, "pageview") == [{}]
    assert _of(rows, "click") == [
        {
            "element_type": "A",
            "element_text": "See our pricing",
            "destination_url": shop.url("/visit/pricing?plan=a&mail=***#secret"),
        },
        {"element_type": "A", "element_text": "***"},
        {"element_type": "BUTTON", "element_text": "Buy now"},
        {"element_type": "BUTTON", "element_text": "Close"},
        {"element_type": "DIV", "element_text": "A note"},
        {"element_type": "BUTTON", "element_text": "Join"},
        {"element_type": "BUTTON", "element_text": "Send"},
    ]
    assert _of(rows, "form_submit") == [
        {"form_name": "signup", "form_action": "/visit/join?from=***"},
        {"form_name": "unnamed-form", "form_action": "/visit/landing"},
    ]
    depths = [{"scroll_depth": depth} for depth in (25, 50, 75, 100)]
    assert _of(rows, "scroll") == depths
    _check_sender_of(rows, visitor)
    _check_requests_of(visitor)


def _check_sender_of(rows: list[dict[str, Any]], visitor: Visitor) -> None:
    """Every row tells page, scan, visitor and browser, and no more of the address than a page."""
    agent = visitor.page.evaluate("navigator.userAgent")
    page_url = visitor.page.url.replace("ann@example.org", "***").replace("#secret", "")
    for row in rows:
        assert (row["protocol"], row["source"], row["site_id"]) == ("scanova", "browser", "demo")
        assert str(row["scan_session_id"]) == SCAN
        assert row["page_url"] == page_url
        assert row["user_agent"] == agent
        assert row["language"] == "de-DE"
        assert (row["screen_width"], row["screen_height"]) == (1280, 720)
        assert (row["browser_family"], row["os_family"]) == ("Chrome", "Linux")
        assert "webdriver" in row["flags"]
        assert (row["is_duplicate"], row["consent"]) == (0, None)
        assert "typed-" not in str(row)
        assert "example" not in str(row)
    for name in ("visitor_id", "session_id"):
        assert len({row[name] for row in rows}) == 1
        assert rows[0][name] is not None
    assert len({row["event_id"] for row in rows}) == len(rows)


def _check_requests_of(visitor: Visitor) -> None:
    """What happened together travels together, without preflights, cookies or errors."""
    assert [event["event_type"] for event in visitor.sent[0]] == ["pageview", "early"]
    assert {method for method, _, _ in visitor.answers} == {"GET", "POST"}
    assert {status for _, _, status in visitor.answers} == {200}
    for request in visitor.requests:
        headers = request.all_headers()
        assert headers["content-type"] == "text/plain;charset=UTF-8"
        assert "cookie" not in headers
    assert visitor.failures == []
    assert visitor.console_errors == []


def test_only_what_is_asked_for_is_seen(shop: Shop) -> None:
    """Without the options nothing is sent by itself."""
    shop.make("/quiet/page", body=_BODY)
    visitor = shop.visit(f"/quiet/page?scnv={SCAN}")
    visitor.click("#pricing", "#buy", "#join")
    visitor.page.mouse.wheel(0, 5_000)
    visitor.page.evaluate("history.pushState(null, '', '/quiet/other')")
    _expect_silence(visitor)
    visitor.call("track", "told")
    [row] = shop.wait_for(visitor, "quiet", 1)
    assert row["event_type"] == "told"


def test_pages_of_an_application_are_seen(shop: Shop) -> None:
    """`pushState`, `replaceState` and going back are page views where they change the page."""
    shop.make("/spa/one", **EVERYTHING)
    visitor = shop.visit(f"/spa/one?scnv={SCAN}")
    visitor.page.mouse.wheel(0, 1_200)
    visitor.wait_until(
        lambda: "scroll" in str(visitor.sent), timeout_s=10, what="scrolling is seen"
    )
    visitor.page.evaluate("scrollTo(0, 0)")
    for path in ("/spa/two", "/spa/two", "/spa/two#part", "/spa/two#/route"):
        visitor.page.evaluate("path => history.pushState({}, '', path)", path)
    visitor.page.evaluate("history.replaceState({}, '', '/spa/three?q=1')")
    visitor.page.evaluate("history.back()")
    visitor.page.wait_for_function("location.href.endsWith('#part')")
    visitor.page.mouse.wheel(0, 1_200)
    rows = shop.wait_for(visitor, "spa", 7)

    seen = [
        (row["page_url"].partition("/spa/")[2], (row["referrer"] or "").partition("/spa/")[2])
        for row in rows
        if row["event_type"] == "pageview"
    ]
    one = f"one?scnv={SCAN}"
    assert seen == [
        (one, ""),
        ("two", one),
        ("two#/route", "two"),
        ("three?q=1", "two#/route"),
        ("two", "three?q=1"),
    ]
    depths = [
        row["page_url"].partition("/spa/")[2] for row in rows if row["event_type"] == "scroll"
    ]
    assert depths == [one, "two"], "each page is scrolled for itself"
    assert visitor.console_errors == []


# --- who is seen


def test_nothing_happens_without_a_scan(shop: Shop) -> None:
    """Who did not come by a code, or by what is none, leaves no trace, here or there."""
    shop.make("/unscanned/page", **EVERYTHING)
    for query in ("", "?scnv=", "?scnv=me", f"?scnv={SCAN}0", "?scnv=%00"):
        visitor = shop.visit(f"/unscanned/page{query}")
        visitor.call("track", "told")
        _expect_silence(visitor)
        assert visitor.sent == []
        assert visitor.storage() == {"cookie": "", "local": {}, "tab": {}}


def test_a_site_may_track_without_scans(shop: Shop) -> None:
    """`requireScan: false`: every visit is sent, without a scan."""
    shop.make("/open/page", autoPageview=True, requireScan=False)
    visitor = shop.visit("/open/page")
    [row] = shop.wait_for(visitor, "open", 1)
    assert row["scan_session_id"] is None
    assert row["visitor_id"] is not None


def test_a_scan_lasts_sixty_days_a_session_half_an_hour(shop: Shop) -> None:
    """Pages share scan, visitor and session; each ends in its own time; the newest scan counts."""
    shop.make("/times/one", "/times/two", autoPageview=True)
    visitor = shop.visitor()
    visitor.page.clock.install()
    shop.go(visitor, f"/times/one?scnv={SCAN}")
    shop.wait_for(visitor, "times", 1)
    for number, (wait_for_s, page) in enumerate(
        [(29 * 60, "two"), (29 * 60, "one"), (31 * 60, "two"), (59 * 86_400, "one")], start=2
    ):
        visitor.page.clock.fast_forward(wait_for_s * 1_000)
        shop.go(visitor, f"/times/{page}")
        shop.wait_for(visitor, "times", number)
    other = SCAN.replace("7", "1")
    shop.go(visitor, f"/times/two?scnv={other}")
    rows = shop.wait_for(visitor, "times", 6)

    assert len({row["visitor_id"] for row in rows}) == 1
    sessions = [row["session_id"] for row in rows]
    assert [sessions.index(session) for session in sessions] == [0, 0, 0, 3, 4, 4]
    assert [str(row["scan_session_id"]) for row in rows] == [SCAN] * 5 + [other]
    visitor.page.clock.fast_forward(61 * 86_400 * 1_000)
    shop.go(visitor, "/times/one")
    _expect_silence(visitor)


def test_a_scan_is_kept_from_its_landing_page_on(shop: Shop) -> None:
    """Also where that page sends nothing: a back end reads it there, later pages tell of it."""
    shop.make("/landed/page", "/landed/next")
    visitor = shop.visit(f"/landed/page?scnv={SCAN}")
    _expect_silence(visitor)
    assert visitor.sent == []
    kept = visitor.storage()
    assert json.loads(kept["local"].pop("_scnv"))["sid"] == SCAN
    assert kept == {"cookie": "", "local": {}, "tab": {}}
    shop.go(visitor, "/landed/next")
    visitor.call("track", "told")
    [row] = shop.wait_for(visitor, "landed", 1)
    assert str(row["scan_session_id"]) == SCAN


def test_a_visitor_is_a_cookie_of_a_year(shop: Shop) -> None:
    """One cookie, which no other site gets, and the scan where the vendor's readers look."""
    shop.make("/cookie/page", autoPageview=True)
    visitor = shop.visit(f"/cookie/page?scnv={SCAN}")
    [row] = shop.wait_for(visitor, "cookie", 1)
    [cookie] = visitor.page.context.cookies()
    assert cookie["value"] == str(row["visitor_id"])
    assert (cookie["domain"], cookie["path"], cookie["sameSite"]) == ("localhost", "/", "Lax")
    assert cookie["expires"] == pytest.approx(time.time() + _YEAR_S, abs=3_600)
    kept = visitor.storage()
    # How the vendor's pages say that a back end gets at the scan.
    assert json.loads(kept["local"]["_scnv"])["sid"] == SCAN
    assert kept["local"].keys() == {"_scnv", "_scnv_s"}
    assert kept["tab"] == {}


def test_blocked_cookies_are_not_got_round(shop: Shop, chromium: Browser, tmp_path: Path) -> None:
    """Where the browser forbids cookies and storage, events come without a visitor."""
    profile = tmp_path / "profile" / "Default"
    profile.mkdir(parents=True)
    forbidden = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (profile / "Preferences").write_text(json.dumps(forbidden), encoding="utf-8")
    context = chromium.browser_type.launch_persistent_context(
        profile.parent, executable_path=executable(), args=FLAGS
    )
    visitor = shop.visitor(context)
    shop.make("/blocked/one", "/blocked/two", autoPageview=True, requireScan=False)
    shop.go(visitor, f"/blocked/one?scnv={SCAN}")
    visitor.page.evaluate("document.cookie = 'taken=yes'")
    assert visitor.page.evaluate("document.cookie") == "", "they are blocked"
    visitor.call("track", "told")
    shop.wait_for(visitor, "blocked", 2)
    shop.go(visitor, "/blocked/two")
    rows = shop.wait_for(visitor, "blocked", 3)

    assert _types(rows) == ["pageview", "told", "pageview"]
    assert [row["visitor_id"] for row in rows] == [None] * 3
    scans = [row["scan_session_id"] for row in rows]
    assert [str(scan) for scan in scans[:2]] == [SCAN] * 2
    assert scans[2] is None, "nothing led from one page to the next"
    assert rows[0]["session_id"] == rows[1]["session_id"] != rows[2]["session_id"]
    assert visitor.console_errors == []


# --- who does not want to be seen


def test_global_privacy_control_is_honoured(shop: Shop) -> None:
    """Nothing is sent, and what was kept of the visitor before is gone."""
    shop.make("/gpc/page", **EVERYTHING, requireScan=False)
    visitor = shop.visit(f"/gpc/page?scnv={SCAN}")
    shop.wait_for(visitor, "gpc", 1)
    assert visitor.storage()["cookie"]
    visitor.page.context.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})"
    )
    shop.go(visitor, f"/gpc/page?scnv={SCAN}")
    visitor.call("consent", "granted")
    visitor.call("track", "told")
    _expect_silence(visitor)
    assert len(visitor.ids) == 1
    assert visitor.storage() == {"cookie": "", "local": {}, "tab": {}}


def test_consent_is_waited_for(shop: Shop) -> None:
    """While it is pending nothing leaves or is kept; once given, everything has its time."""
    shop.make("/consent/page", autoPageview=True, consent="pending")
    visitor = shop.visit(f"/consent/page?scnv={SCAN}")
    visitor.call("track", "told")
    _expect_silence(visitor)
    assert visitor.storage() == {"cookie": "", "local": {}, "tab": {}}
    asked_ms = visitor.page.evaluate("Date.now()")
    visitor.call("consent", "granted")
    rows = shop.wait_for(visitor, "consent", 2)

    assert _types(rows) == ["pageview", "told"]
    assert {row["consent"] for row in rows} == {"granted"}
    assert max(row["event_time"].timestamp() for row in rows) * 1_000 <= asked_ms
    assert visitor.storage()["cookie"]

    # Asked for anew before the event could leave: it is not sent or kept on leaving either.
    visitor.page.evaluate(
        "scanova('track', 'asked anew'); scanova('consent', 'pending');"
        "dispatchEvent(new PageTransitionEvent('pagehide'));"
    )
    _expect_silence(visitor)
    assert visitor.storage()["tab"] == {}
    assert len(visitor.ids) == 2
    visitor.call("consent", "denied")
    visitor.call("track", "too late")
    _expect_silence(visitor)
    assert visitor.storage() == {"cookie": "", "local": {}, "tab": {}}


@pytest.mark.parametrize("consent", ["denied", "no", None])
def test_what_is_not_consent_is_none(shop: Shop, consent: object) -> None:
    """`denied`, and whatever is not understood, sends nothing and keeps nothing."""
    folder = f"denied-{consent}"
    shop.make(f"/{folder}/page", **EVERYTHING, consent=consent)
    visitor = shop.visit(f"/{folder}/page?scnv={SCAN}")
    visitor.call("track", "told")
    _expect_silence(visitor)
    assert visitor.sent == []
    assert visitor.storage() == {"cookie": "", "local": {}, "tab": {}}


def test_what_was_said_before_init_holds(shop: Shop, tracking: CollectorProcess) -> None:
    """A banner may be quicker than `init`, which takes nothing back by saying nothing."""
    for said in ("denied", "granted"):
        calls = f"scanova('consent', '{said}'); scanova('init', 'demo', {{autoPageview: true}});"
        script = f'<script async src="{tracking.url}/s.js"></script>'
        shop.write(f"/said-{said}/page", head=f"<script>{STUB}{calls}</script>{script}")
    refused = shop.visit(f"/said-denied/page?scnv={SCAN}")
    refused.call("consent")
    refused.call("track", "told")
    _expect_silence(refused)
    assert refused.sent == []
    assert refused.storage() == {"cookie": "", "local": {}, "tab": {}}
    visitor = shop.visit(f"/said-granted/page?scnv={SCAN}")
    [row] = shop.wait_for(visitor, "said-granted", 1)
    assert row["consent"] == "granted"


def test_what_fails_after_consent_was_withdrawn_is_given_up(shop: Shop) -> None:
    """It is neither sent on leaving nor kept for the next page."""
    shop.make("/withdrawn/page", "/withdrawn/next", consent="granted", requireScan=False)
    visitor = shop.visit("/withdrawn/page")
    visitor.page.evaluate(
        """() => {
            const {fetch} = window;
            window.fetch = () => new Promise((_, reject) => {
                window.lose = () => {
                    window.fetch = fetch;
                    reject(new TypeError('lost'));
                };
            });
        }"""
    )
    visitor.call("track", "told")
    visitor.page.wait_for_function("() => Boolean(window.lose)")
    visitor.call("consent", "denied")
    visitor.page.evaluate("lose()")
    # Longer than the first wait for another try.
    visitor.page.wait_for_timeout(1_200)
    shop.go(visitor, "/withdrawn/next")
    _expect_silence(visitor)
    assert visitor.sent == []
    assert visitor.storage() == {"cookie": "", "local": {}, "tab": {}}
    assert shop.rows("withdrawn") == []


# --- the page it runs in


def test_included_twice_it_runs_once(shop: Shop, tracking: CollectorProcess) -> None:
    """Two copies, two stubs and two calls of `init` send each event once."""
    script = f'<script src="{tracking.url}/s.js"></script>'
    forced = "<script>scanova = function () {(scanova.q = scanova.q || []).push(arguments)};"
    again = "scanova('init', 'demo', {autoPageview: true, requireScan: false});"
    shop.make(
        "/twice/page",
        head=f"{script}{forced}{again}scanova('track', 'second');</script>{script}{script}",
        body='<button id="buy">Buy</button>',
        **EVERYTHING,
    )
    visitor = shop.visit(f"/twice/page?scnv={SCAN}")
    visitor.click("#buy")
    visitor.page.evaluate("history.pushState({}, '', '/twice/other')")
    rows = shop.wait_for(visitor, "twice", 4)
    _expect_silence(visitor)
    assert _types(rows) == ["pageview", "second", "click", "pageview"]
    assert len(visitor.ids) == 4


def test_nothing_is_thrown_into_the_page(shop: Shop) -> None:
    """Whatever the page hands over, and whatever fails, is no error of the page."""
    shop.make("/calm/page", autoPageview=True)
    visitor = shop.visit(f"/calm/page?scnv={SCAN}")
    answers = visitor.page.evaluate(
        """() => {
            const circle = {};
            circle.circle = circle;
            const calls = [
                [], ['nonsense'], [null, null], ['constructor'], ['track'], ['track', ''],
                ['track', Symbol('name')], ['track', 'circle', circle], ['track', 'big', {big: 1n}],
                ['track', 'large', {text: 'x'.repeat(30000)}], ['init'], ['init', 'other', null],
                ['track', 'thrown', {get boom() { throw new Error('from the page'); }}],
            ];
            return calls.map(given => scanova(...given) === undefined);
        }"""
    )
    assert set(answers) == {True}
    thrown = visitor.page.evaluate(
        """() => {
            try { history.pushState(() => 0, ''); } catch (error) { return error.name; }
        }"""
    )
    assert thrown == "DataCloneError", "the page's own mistakes stay the page's"
    visitor.page.evaluate("void (crypto.getRandomValues = () => { throw new Error('no chance'); })")
    visitor.call("track", "without an id")
    visitor.page.evaluate("delete crypto.getRandomValues; scanova('track', 'last')")
    rows = shop.wait_for(visitor, "calm", 2)
    _expect_silence(visitor)
    assert _types(rows) == ["pageview", "last"]
    assert visitor.console_errors == []


def test_what_the_page_hands_over_is_taken_as_it_is(shop: Shop) -> None:
    """Metadata that changes after the call is sent as it was."""
    shop.make("/copy/page", consent="pending")
    visitor = shop.visit(f"/copy/page?scnv={SCAN}")
    visitor.page.evaluate("const cart = {n: 1}; scanova('track', 'cart', cart); cart.n = 2")
    visitor.call("consent", "granted")
    [row] = shop.wait_for(visitor, "copy", 1)
    assert row["metadata"] == {"n": 1}


def test_a_strict_policy_lets_it_work(shop: Shop, tracking: CollectorProcess) -> None:
    """With the two sources that SNIPPET.md names, and a known hash, it works as ever."""
    script = tracking.request("GET", "/s.js").body
    integrity = base64.b64encode(sha256(script).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'nonce-here' {tracking.url}; connect-src {tracking.url}; "
        f"require-trusted-types-for 'script'"
    )
    shop.write(
        "/policy/page",
        head=(
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f"<script nonce=here>{STUB}scanova('init', 'demo', {json.dumps(EVERYTHING)});</script>"
            f'<script async crossorigin integrity="sha256-{integrity}" '
            f'src="{tracking.url}/s.js"></script>'
        ),
    )
    visitor = shop.visit(f"/policy/page?scnv={SCAN}")
    [row] = shop.wait_for(visitor, "policy", 1)
    assert row["event_type"] == "pageview"
    assert visitor.console_errors == []


def test_the_snippet_of_the_page_works(shop: Shop, tracking: CollectorProcess) -> None:
    """What SNIPPET.md tells people to copy, with their own address in it, tracks a page."""
    [block, *_] = list(pages.blocks(pages.page("docs/SNIPPET.md"), "html"))
    assert STUB in block.text
    shop.write(
        "/documented/page", head=block.text.replace("https://events.example.com", tracking.url)
    )
    visitor = shop.visit(f"/documented/page?scnv={SCAN}")
    [row] = shop.wait_for(visitor, "documented", 1)
    assert (row["event_type"], row["site_id"]) == ("pageview", "demo")


def test_debug_tells_what_happens(shop: Shop) -> None:
    """`debug: true`: what was sent, and why not, is in the console, which is empty without it."""
    shop.make("/debug/page", autoPageview=True, debug=True)
    shop.make("/debug/silent", autoPageview=True)
    for page, is_told in (("page", True), ("silent", False)):
        visitor = shop.visitor()
        said: list[str] = []
        visitor.page.on("console", lambda message, said=said: said.append(message.text))
        shop.go(visitor, f"/debug/{page}")
        visitor.page.evaluate(f"history.pushState({{}}, '', '?scnv={SCAN}')")
        shop.go(visitor, f"/debug/{page}?scnv={SCAN}")
        shop.wait_for(visitor, "debug", 1)
        text = "\n".join(said)
        assert ("without a scan" in text) == is_told
        assert ("[scanova] 200" in text) == is_told
        assert bool(text) == is_told
