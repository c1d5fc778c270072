"""The collector's script in a real Chromium: how events get through in spite of all."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Route

from tests.browser.browsing import FLAGS, executable
from tests.browser.shop import SCAN, STUB, Shop, Visitor
from tests.support.process import CollectorProcess

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]

_UNSENT: Final = "_scnv_q"
_EVENTS_MAX: Final = 50


def _types(rows: list[dict[str, Any]]) -> list[str]:
    return [row["event_type"] for row in rows]


def _start(shop: Shop, folder: str, **options: object) -> Visitor:
    """Somebody who came by a code to a page of which nothing was sent yet."""
    shop.make(f"/{folder}/page", f"/{folder}/next", **options)
    return shop.visit(f"/{folder}/page?scnv={SCAN}")


def _kept(visitor: Visitor) -> list[str]:
    """The types of the events that wait in the tab for its next page."""
    kept = json.loads(visitor.storage()["tab"].get(_UNSENT, '{"events": []}'))
    return [json.loads(event)["event_type"] for event in kept["events"]]


def _refuse(visitor: Visitor, tracking: CollectorProcess, status: int, **headers: str) -> None:
    """Have the next events answered with `status`, until `visitor.page.unroute_all()`."""

    def answer(route: Route) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields |= {
            "access-control-allow-origin": "*",
            "access-control-expose-headers": "Retry-After",
        }
        route.fulfill(status=status, headers=fields, body="{}")

    visitor.page.route(f"{tracking.url}/c*", answer)
    visitor.page.route(f"{tracking.url}/collect/batch", answer)


def _pass(visitor: Visitor, time_s: int) -> None:
    """Let the page's clock run, no faster than that requests are answered in time."""
    for _ in range(0, time_s, 20):
        visitor.page.clock.run_for(20_000)
        visitor.page.wait_for_timeout(20)


def _requests(tracking: CollectorProcess) -> int:
    """How many requests with events the collector answered, also to pages that are gone."""
    text = tracking.request("GET", "/metrics").body.decode()
    counts = re.findall(r'_requests_total\{endpoint="scanova_\w+",status="200"\} (\d+)', text)
    return sum(map(int, counts))


# --- leaving


_GOODBYE: Final = "addEventListener('pagehide', () => scanova('track', 'goodbye'))"


def test_what_waits_when_the_page_is_left_arrives(shop: Shop, tracking: CollectorProcess) -> None:
    """Events of the last moment leave in one request, and are rows although their page is gone."""
    visitor = _start(shop, "left")
    visitor.page.evaluate(_GOODBYE)
    visitor.page.evaluate(
        "addEventListener('pagehide', () => { for (const n of [1, 2]) scanova('track', 'last'); })"
    )
    before = _requests(tracking)
    visitor.page.goto("about:blank")
    rows = shop.wait_for(visitor, "left", 3)
    assert sorted(_types(rows)) == ["goodbye", "last", "last"]
    assert _requests(tracking) == before + 1


def test_a_click_that_leads_away_arrives(shop: Shop) -> None:
    """The click on a link, and the page behind it, are of one session."""
    shop.make(
        "/away/page",
        "/away/next",
        body='<a id="next" href="/away/next">Next</a>',
        autoClicks=True,
        autoPageview=True,
    )
    visitor = shop.visit(f"/away/page?scnv={SCAN}")
    visitor.click("#next")
    visitor.page.wait_for_url("**/away/next")
    rows = shop.wait_for(visitor, "away", 3)
    assert sorted(_types(rows)) == ["click", "pageview", "pageview"]
    assert len({row["session_id"] for row in rows}) == 1
    assert rows[-1]["referrer"] == shop.url(f"/away/page?scnv={SCAN}")


def test_a_page_that_hides_where_requests_come_from_is_left(shop: Shop) -> None:
    """Under `no-referrer`, too, the collector learns which site the last event is of."""
    hidden = '<meta name="referrer" content="no-referrer">'
    shop.make("/hidden/page", head=hidden)
    visitor = shop.visit(f"/hidden/page?scnv={SCAN}")
    visitor.page.evaluate(_GOODBYE)
    visitor.page.goto("about:blank")
    [row] = shop.wait_for(visitor, "hidden", 1)
    assert row["event_type"] == "goodbye"


def test_browsers_without_keepalive_send_a_beacon(shop: Shop, tracking: CollectorProcess) -> None:
    """Where a request would end with its page, `sendBeacon` takes the rest."""
    old = """<script>
        delete Request.prototype.keepalive;
        const send = navigator.sendBeacon;
        navigator.sendBeacon = function (url) {
            sessionStorage.beacon = url;
            return send.apply(this, arguments);
        };
    </script>"""
    shop.make("/beacon/page", "/beacon/next", head=old)
    visitor = shop.visit(f"/beacon/page?scnv={SCAN}")
    visitor.page.evaluate(_GOODBYE)
    shop.go(visitor, "/beacon/next")
    [row] = shop.wait_for(visitor, "beacon", 1)
    assert row["event_type"] == "goodbye"
    assert visitor.storage()["tab"] == {"beacon": f"{tracking.url}/ct"}


def test_a_page_that_is_hidden_sends_what_waits(shop: Shop) -> None:
    """Another tab in front may be the last that a page hears of: on telephones it often is."""
    visitor = _start(shop, "behind")
    visitor.page.evaluate(
        """() => {
            Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});
            scanova('track', 'seen');
            document.dispatchEvent(new Event('visibilitychange'));
            scanova('track', 'unseen');
            delete document.hidden;
        }"""
    )
    rows = shop.wait_for(visitor, "behind", 2)
    assert sorted(_types(rows)) == ["seen", "unseen"]
    assert [len(events) for events in visitor.sent] == [1, 1], "the first did not wait"


@pytest.fixture
def remembering(chromium: Browser) -> Iterator[Browser]:
    """A Chromium that keeps pages in memory when they are left, as it does for everybody else."""
    with chromium.browser_type.launch(
        executable_path=executable(),
        args=FLAGS,
        ignore_default_args=["--disable-back-forward-cache"],
    ) as browser:
        yield browser


def test_a_page_out_of_memory_is_seen_again(shop: Shop, remembering: Browser) -> None:
    """Back and forward: a page that was kept is a page view, sends once, and goes on sending."""
    shop.cache_control = "max-age=0"
    told = "addEventListener('pageshow', (event) => {scanova('track', `back_${event.persisted}`)})"
    shop.make("/memory/page", "/memory/next", head=f"<script>{told}</script>", autoPageview=True)
    visitor = shop.visitor(remembering.new_context())
    shop.go(visitor, f"/memory/page?scnv={SCAN}")
    shop.wait_for(visitor, "memory", 2)
    shop.go(visitor, "/memory/next")
    shop.wait_for(visitor, "memory", 4)
    visitor.page.evaluate("setTimeout(() => history.back(), 0)")
    rows = shop.wait_for(visitor, "memory", 6)

    assert [(row["event_type"], row["page_url"].partition("/memory/")[2]) for row in rows[4:]] == [
        ("back_true", f"page?scnv={SCAN}"),
        ("pageview", f"page?scnv={SCAN}"),
    ]
    assert _types(rows[:4]) == ["pageview", "back_false"] * 2
    assert len({row["session_id"] for row in rows}) == 1
    assert len({row["event_id"] for row in rows}) == 6


# --- offline


def test_what_happens_offline_arrives_when_back(shop: Shop) -> None:
    """Events wait, in their order and with their times, and leave when the network is there."""
    visitor = _start(shop, "offline")
    visitor.page.context.set_offline(offline=True)
    for number in range(3):
        visitor.call("track", "missed", {"number": number})
        visitor.page.wait_for_timeout(50)
    visitor.page.context.set_offline(offline=False)
    rows = shop.wait_for(visitor, "offline", 3)
    assert [row["metadata"]["number"] for row in rows] == [0, 1, 2]
    assert {row["is_duplicate"] for row in rows} == {0}


def test_the_next_page_sends_what_was_left_offline(shop: Shop) -> None:
    """Leaving without a network keeps the events in the tab, for the next page to send."""
    visitor = _start(shop, "offline-left", autoPageview=True)
    shop.wait_for(visitor, "offline-left", 1)
    visitor.page.context.set_offline(offline=True)
    visitor.page.evaluate(_GOODBYE)
    visitor.call("track", "missed")
    visitor.page.goto("about:blank")
    visitor.page.context.set_offline(offline=False)
    shop.go(visitor, "/offline-left/next")
    rows = shop.wait_for(visitor, "offline-left", 4)
    assert sorted(_types(rows)) == ["goodbye", "missed", "pageview", "pageview"]
    assert _kept(visitor) == []


def test_few_wait_and_the_oldest_go_first(shop: Shop) -> None:
    """An hour offline costs a bounded number of events, and no more memory."""
    visitor = _start(shop, "bounded")
    visitor.page.context.set_offline(offline=True)
    visitor.page.evaluate("for (let n = 0; n < 70; n++) scanova('track', 'missed', {number: n})")
    visitor.page.wait_for_timeout(200)
    visitor.page.context.set_offline(offline=False)
    rows = shop.wait_for(visitor, "bounded", _EVENTS_MAX)
    assert sorted(row["metadata"]["number"] for row in rows) == list(range(20, 70))


# --- tried again


def test_an_event_whose_answer_is_lost_is_stored_once(
    shop: Shop, tracking: CollectorProcess
) -> None:
    """It is sent again under the same id, so that the views have it once."""
    visitor = _start(shop, "lost")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    visitor.page.route(f"{tracking.url}/ct", lose, times=1)
    visitor.call("track", "once")
    rows = shop.wait_for(visitor, "lost", 2)
    first, second = visitor.ids
    assert first == second
    assert [str(row["event_id"]) for row in rows] == [first, first]
    assert sorted(row["is_duplicate"] for row in rows) == [0, 1]
    counted = tracking.query(
        "SELECT count(*) AS n FROM valid_events WHERE page_url LIKE '%/lost/%'"
    )
    assert counted == [{"n": 1}]


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_refusal_that_passes_is_waited_for(
    shop: Shop, tracking: CollectorProcess, status: int
) -> None:
    """Not before `Retry-After` is over, whatever happens meanwhile; then all in one request."""
    folder = f"busy-{status}"
    shop.make(f"/{folder}/page")
    visitor = shop.visitor()
    visitor.page.clock.install()
    shop.go(visitor, f"/{folder}/page?scnv={SCAN}")
    _refuse(visitor, tracking, status, retry_after="120")
    visitor.call("track", "first")
    visitor.page.clock.run_for(1_000)
    visitor.wait_until(lambda: visitor.requests, timeout_s=10, what="it is tried")
    visitor.page.wait_for_timeout(100)
    visitor.call("track", "second")
    _pass(visitor, 100)
    visitor.page.clock.run_for(15_000)
    visitor.page.evaluate("dispatchEvent(new Event('online'))")
    visitor.page.clock.run_for(1_000)
    assert len(visitor.requests) == 1
    visitor.page.unroute_all()
    visitor.page.clock.run_for(10_000)
    rows = shop.wait_for(visitor, folder, 2)
    assert _types(rows) == ["first", "second"]
    assert [len(events) for events in visitor.sent] == [1, 2]


def test_a_wait_goes_over_to_the_next_page(shop: Shop, tracking: CollectorProcess) -> None:
    """Leaving while the collector asked to wait asks it nothing: the next page does, in time."""
    shop.make("/wait/page", "/wait/next", autoPageview=True)
    visitor = shop.visitor()
    visitor.page.clock.install()
    _refuse(visitor, tracking, 503, retry_after="600")
    shop.go(visitor, f"/wait/page?scnv={SCAN}")
    visitor.wait_until(lambda: visitor.requests, timeout_s=10, what="it is tried")
    visitor.page.wait_for_timeout(100)
    visitor.page.evaluate(_GOODBYE)
    shop.go(visitor, "/wait/next")
    _pass(visitor, 300)
    assert len(visitor.requests) == 1
    visitor.page.unroute_all()
    _pass(visitor, 310)
    rows = shop.wait_for(visitor, "wait", 3)
    assert sorted(_types(rows)) == ["goodbye", "pageview", "pageview"]
    assert len(visitor.requests) == 2


def test_waits_grow_until_the_collector_is_back(shop: Shop, tracking: CollectorProcess) -> None:
    """Without a word from it: a second, two, four; a dozen requests in a third of an hour."""
    shop.make("/down/page")
    visitor = shop.visitor()
    visitor.page.clock.install()
    shop.go(visitor, f"/down/page?scnv={SCAN}")
    visitor.page.route(f"{tracking.url}/ct", lambda route: route.abort("connectionrefused"))
    visitor.call("track", "patient")
    _pass(visitor, 20 * 60)
    assert 5 <= len(visitor.requests) <= 15
    assert set(visitor.ids) == {visitor.ids[0]}
    visitor.page.unroute_all()
    _pass(visitor, 10 * 60)
    [row] = shop.wait_for(visitor, "down", 1)
    assert str(row["event_id"]) == visitor.ids[0]


def test_a_refusal_that_stays_is_not_asked_twice(shop: Shop, tracking: CollectorProcess) -> None:
    """A site that does not exist: told once under `debug`, and never sent again."""
    script = f'<script src="{tracking.url}/s.js"></script>'
    init = "scanova('init', 'nobody', {autoPageview: true, debug: true});"
    shop.write("/final/page", head=f"<script>{STUB}{init}</script>{script}")
    visitor = shop.visitor()
    said: list[str] = []
    visitor.page.on("console", lambda message: said.append(message.text))
    visitor.page.clock.install()
    shop.go(visitor, f"/final/page?scnv={SCAN}")
    visitor.page.clock.run_for(1_000)
    visitor.wait_until(lambda: "site" in str(said[1:]), timeout_s=10, what="the refusal is told")
    visitor.page.clock.run_for(600_000)
    visitor.page.evaluate("dispatchEvent(new Event('online'))")
    assert len(visitor.requests) == 1
    assert any("[scanova] 400" in line for line in said)


def test_more_than_fits_goes_in_pieces(shop: Shop) -> None:
    """Large events share no request that a browser would not let outlive its page."""
    visitor = _start(shop, "large")
    visitor.page.evaluate(
        "for (let n = 0; n < 6; n++) scanova('track', 'large', {n, text: '€'.repeat(3300)})"
    )
    rows = shop.wait_for(visitor, "large", 6)
    assert sorted(row["metadata"]["n"] for row in rows) == list(range(6))
    sizes = [len((request.post_data or "").encode()) for request in visitor.requests]
    assert max(sizes) < 64 * 1024
    assert len(sizes) > 1


def test_all_of_it_arrives_when_large_events_are_left(shop: Shop) -> None:
    """What one request cannot carry at the end waits for the next page."""
    visitor = _start(shop, "large-left")
    visitor.page.evaluate(
        """addEventListener('pagehide', () => {
            for (let n = 0; n < 12; n++) scanova('track', 'large', {n, text: '€'.repeat(3300)});
        })"""
    )
    shop.go(visitor, "/large-left/next")
    rows = shop.wait_for(visitor, "large-left", 12)
    assert sorted(row["metadata"]["n"] for row in rows) == list(range(12))
    assert {row["is_duplicate"] for row in rows} == {0}
