"""`@croct/sdk` as published, in a real Chromium, on a page of another origin than the collector."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route

from tests.browser.browsing import CID, TRACK, Tab, Visit
from tests.browser.rows import (
    events_of,
    events_tracked,
    of_type,
    published,
    wait_for_rows,
)
from tests.support.process import CollectorProcess, example_site

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]

_DOWN_S = 5.0
# The SDK reports at most one click in 500 ms.
_CLICK_PAUSE_MS = 550


def _wait_for_tracked(tab: Tab, event_type: str) -> None:
    tab.wait_until(
        lambda: event_type in {event["type"] for event in tab.tracked()},
        timeout_s=15,
        what=f"the SDK tracks {event_type}",
    )


def _shop(tab: Tab) -> None:
    """A visit: sign in, look around, fill the cart, order, and so on."""
    _wait_for_tracked(tab, "pageLoaded")
    tab.click("#sign-in")
    tab.page.wait_for_timeout(_CLICK_PAUSE_MS)
    tab.click("#add", "#pay", "#subscribe", "#vote", "#quote")
    # In steps: the SDK measures from the first scroll event, and a single jump ends where it began.
    for _ in range(4):
        tab.page.mouse.wheel(0, 150)
        tab.page.wait_for_timeout(40)
    _wait_for_tracked(tab, "userScrolled")
    tab.click("#filter")
    _wait_for_tracked(tab, "tabUrlChanged")
    tab.click("#sign-out")
    _wait_for_tracked(tab, "userSignedOut")


def test_a_visit_becomes_rows(visit: Visit, collector: CollectorProcess) -> None:
    """Everything the SDK tracks on a visit is a row, once, with visitor, user, page and amounts."""
    tab = visit(collector, "shop.html")
    _shop(tab)
    tracked = tab.tracked()
    rows = wait_for_rows(collector, tab, len(tracked))

    assert events_tracked(tab) == events_of(rows)
    assert {event["type"] for event in tracked} == {
        "cartModified",
        "eventOccurred",
        "goalCompleted",
        "leadGenerated",
        "orderPlaced",
        "pageLoaded",
        "pageOpened",
        "tabOpened",
        "tabUrlChanged",
        "userClicked",
        "userScrolled",
        "userSignedIn",
        "userSignedOut",
    }
    assert tab.failures == []
    assert tab.console_errors == []
    assert {status for _, _, status in tab.answers} == {200, 204}

    _check_origin_of(rows, tab)
    users = {(event["type"], event["time"]): event["user"] for event in tracked}
    assert {"alice", None} == set(users.values())
    for row in rows:
        assert row["user_id"] == users[row["event_type"], row["tracked_ms"]]
    assert of_type(rows, "userSignedIn")["user_id"] == "alice"
    _check_payloads_of(rows)


def _check_origin_of(rows: list[dict[str, Any]], tab: Tab) -> None:
    """Every row tells visitor, page, tab, browser and time as the browser has them."""
    client_id = tab.client_id()
    user_agent = tab.page.evaluate("navigator.userAgent")
    assert tab.client_ids_given()[0] == client_id
    urls = {row["page_url"] for row in rows}
    shop_url = tab.page.url.partition("?")[0]
    assert urls == {shop_url, tab.page.url}
    for row in rows:
        assert row["visitor_id"] == client_id
        assert (row["protocol"], row["source"], row["site_id"]) == ("croct", "browser", "demo")
        assert row["event_us"] == row["tracked_ms"] * 1_000
        assert row["user_agent"] == user_agent
        assert row["language"] == "de-DE"
        assert row["context"]["time_zone"] == "Europe/Berlin"
        assert row["context"]["library"] == "Croct SDK JS v0.22.1"
        assert row["flags"] == []
        # Its agent is set to that of a plain Chrome, and with it what it says in client hints.
        device = (row["device_type"], row["browser_family"], row["os_family"])
        assert device == ("desktop", "Chrome", "Linux")
        assert row["is_duplicate"] == 0
    assert len({row["context"]["tab_id"] for row in rows}) == 1


def _check_payloads_of(rows: list[dict[str, Any]]) -> None:
    """What the page said is in the rows' own columns, and as sent in `metadata`."""
    order, goal, lead = (
        of_type(rows, name) for name in ("orderPlaced", "goalCompleted", "leadGenerated")
    )
    assert (order["conversion_value"], order["conversion_currency"]) == (24.9, "EUR")
    assert order["metadata"]["order"]["orderId"] == "order-7"
    assert order["metadata"]["order"]["status"] == "placed"
    assert (goal["event_name"], goal["conversion_value"]) == ("newsletter", 1.5)
    assert goal["conversion_currency"] == "USD"
    assert (lead["conversion_value"], lead["conversion_currency"]) == (300, "EUR")
    merged = lead["metadata"]["patch"]["operations"][0]["value"]
    assert merged == {"company": 'Ünïcode & Söhne "GmbH"'}
    vote = of_type(rows, "eventOccurred")
    assert vote["event_name"] == "vote"
    assert vote["metadata"]["details"] == {"stars": 5, "number": 1, "comment": "Nice \ufffd"}
    assert of_type(rows, "cartModified")["metadata"]["cart"]["items"][0]["quantity"] == 2
    assert of_type(rows, "pageLoaded")["page_title"] == "Corner shop"
    click = next(row for row in rows if row["event_type"] == "userClicked")
    assert click["metadata"]["point"]["y"] > 0


def test_client_id_is_given_once_and_confirmed(visit: Visit, collector: CollectorProcess) -> None:
    """The id of the first answer is the visitor of every row, over page loads of the profile."""
    tab = visit(collector, "shop.html")
    wait_for_rows(collector, tab, 3)
    first = tab.client_id()
    assert set(tab.client_ids_given()) == {first}
    tab.page.reload()
    tab.click("#vote")
    rows = wait_for_rows(collector, tab, len(tab.tracked()))

    assert tab.client_id() == first
    assert {row["visitor_id"] for row in rows} == {first}
    asked = [status for _, path, status in tab.answers if path == CID]
    assert len(asked) > 2
    assert set(asked) == {200}


def test_what_is_tracked_on_leaving_arrives(visit: Visit, collector: CollectorProcess) -> None:
    """The event of the tab being hidden is sent while its page goes away, and becomes a row."""
    tab = visit(collector, "shop.html")
    wait_for_rows(collector, tab, 3)
    tab.page.goto(tab.page.url.replace("shop.html", "plain.html"))
    rows = wait_for_rows(collector, tab, len(tab.tracked()))

    assert events_of(rows) == events_tracked(tab)
    assert of_type(rows, "tabVisibilityChanged")["metadata"]["visibility"] == "hidden"


def test_a_refused_event_does_not_break_the_next_page_load(
    visit: Visit, collector: CollectorProcess
) -> None:
    """After a 400 the same tab's next page delivers what was held back and what comes after it."""
    tab = visit(collector, "shop.html")
    wait_for_rows(collector, tab, 3)
    # The SDK lets an id of any length through; 254 characters is the most that is accepted.
    tab.click("#sign-in-too-long")
    tab.wait_until(tab.problems, timeout_s=15, what="the sign-in is refused")
    [problem] = tab.problems()
    assert problem["status"] == 400
    assert problem["type"] == "https://croct.help/api/event-tracking/invalid-payload"
    assert problem["violations"][0]["path"] == "/payload/externalUserId"
    tab.click("#vote", "#next")
    tab.page.wait_for_url("**page=2")
    tab.click("#vote", "#pay")
    expected = events_tracked(tab)
    refused = [event for event in expected if event[0] == "userSignedIn"]
    for event in refused:
        del expected[event]
    rows = wait_for_rows(collector, tab, expected.total())
    collector.terminate()

    assert len(refused) == 1
    assert events_of(published(collector)) == expected
    assert Counter(row["event_type"] for row in rows)["eventOccurred"] == 2
    assert of_type(rows, "orderPlaced")["page_url"].endswith("?page=2")


def test_a_quarantined_event_does_not_silence_the_page(visit: Visit, tmp_path: Path) -> None:
    """With `croct_invalid = "quarantine"` the page goes on without a new load."""
    with CollectorProcess(tmp_path, sites=[example_site(croct_invalid="quarantine")]) as collector:
        tab = visit(collector, "shop.html")
        wait_for_rows(collector, tab, 3)
        tab.click("#sign-in-too-long", "#vote")
        _wait_for_tracked(tab, "eventOccurred")
        expected = events_tracked(tab)
        [refused] = [event for event in expected if event[0] == "userSignedIn"]
        del expected[refused]
        rows = wait_for_rows(collector, tab, expected.total())

        assert events_of(rows) == expected
        assert {status for _, _, status in tab.answers} == {200, 204}
        assert tab.console_errors == []


@pytest.mark.parametrize("leaves_page", [False, True], ids=["stays", "leaves"])
def test_a_collector_that_is_down_loses_nothing(
    visit: Visit, collector: CollectorProcess, *, leaves_page: bool
) -> None:
    """Killed for 5 s in the middle of a visit, also when the visitor goes on to another page."""
    tab = visit(collector, "shop.html")
    _wait_for_tracked(tab, "pageLoaded")
    # No waiting for answers: some events are under way when the collector is killed.
    tab.click("#vote", "#add", "#vote")
    collector.kill()
    down_since_s = time.monotonic()
    before = len(tab.tracked())
    tab.click("#sign-in", "#pay")
    if leaves_page:
        tab.click("#next")
        tab.page.wait_for_url("**page=2")
    while time.monotonic() - down_since_s < _DOWN_S:
        tab.click("#vote")
        tab.page.wait_for_timeout(400)
    assert tab.failures, "nothing was sent while it was down"
    collector.start()
    tab.click("#subscribe")
    _wait_for_tracked(tab, "goalCompleted")
    expected = events_tracked(tab)
    wait_for_rows(collector, tab, expected.total())
    collector.terminate()
    rows = published(collector)

    assert expected.total() >= before + 5
    assert events_of(rows) == expected
    assert len({row["visitor_id"] for row in rows}) == 1


def test_a_lost_answer_makes_no_second_row(visit: Visit, collector: CollectorProcess) -> None:
    """An event that is sent again because its answer never came is stored once."""
    tab = visit(collector, "shop.html")
    wait_for_rows(collector, tab, 3)
    lost: list[int] = []

    def lose_first_answer(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort("connectionreset")

    tab.page.route(f"**{TRACK}", lose_first_answer)
    tab.click("#pay")
    tab.wait_until(lambda: lost, timeout_s=15, what="an answer is lost")
    assert lost == [204]
    # Nothing is sent before the retry has succeeded: this is the proof that it did.
    tab.click("#subscribe")
    _wait_for_tracked(tab, "goalCompleted")
    expected = events_tracked(tab)
    wait_for_rows(collector, tab, expected.total())
    collector.terminate()

    assert events_of(published(collector)) == expected
    beacons = Counter(beacon["originalTime"] for beacon in tab.beacons())
    assert tab.failures
    assert beacons.total() == expected.total()


def test_a_throttled_event_arrives_at_its_retry(visit: Visit, tmp_path: Path) -> None:
    """429 makes the SDK try again: the event is delayed, not lost, and stored once."""
    with CollectorProcess(tmp_path, limits={"croct_requests_per_minute": 60}) as collector:
        tab = visit(collector, "shop.html")
        wait_for_rows(collector, tab, 3)
        beacon = tab.beacons()[0]
        _empty_the_bucket(tab, collector, beacon)
        tab.click("#pay")
        _wait_for_tracked(tab, "orderPlaced")
        expected = events_tracked(tab)
        rows = wait_for_rows(collector, tab, expected.total())

        assert events_of(rows) == expected
        throttled = [status for method, path, status in tab.answers if path == TRACK]
        assert 429 in throttled


def _empty_the_bucket(tab: Tab, collector: CollectorProcess, beacon: dict[str, Any]) -> None:
    """Send a beacon that is known, again and again, until it is refused."""
    tab.page.evaluate(
        """async ([url, appId, beacon]) => {
            const headers = {
                'Content-Type': 'application/json',
                'X-App-Id': appId,
                'X-Client-Id': localStorage.getItem('croct.cid'),
            };
            const body = JSON.stringify(beacon);
            let status = 204;
            while (status === 204) {
                const send = () => fetch(url, {method: 'POST', headers, body});
                const answers = await Promise.all(Array.from({length: 10}, send));
                status = Math.max(...answers.map(answer => answer.status));
            }
        }""",
        [f"{collector.url}{TRACK}", example_site()["croct_app_id"], beacon],
    )
