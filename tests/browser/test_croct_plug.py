"""`@croct/plug` as published, plugged in by its two options, its plugins at their defaults."""

from collections import Counter

import pytest

from tests.browser.browsing import Tab, Visit
from tests.browser.rows import events_of, of_type, published
from tests.support.process import CollectorProcess

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]


def _wait_for_goal(tab: Tab, collector: CollectorProcess) -> None:
    """Wait for the event that is tracked last: the SDK sends one after the other."""
    tab.wait_until(
        lambda: "goalCompleted" in {row["event_type"] for row in published(collector)},
        timeout_s=15,
        what="the goal is in the files",
    )


def test_a_visit_becomes_rows(visit: Visit, collector: CollectorProcess) -> None:
    """What the plug tracks by itself and what the page asks for are rows, each once."""
    tab = visit(collector, "article.html")
    tab.click("#section", "#sign-in", "#pay")
    _wait_for_goal(tab, collector)
    client_id = tab.client_id()
    collector.terminate()
    rows = published(collector)

    beacons = Counter((item["payload"]["type"], item["originalTime"]) for item in tab.beacons())
    assert events_of(rows) == beacons
    found = Counter(row["event_type"] for row in rows)
    # How many of the clicks are reported depends on how fast they follow each other.
    assert 1 <= found.pop("userClicked") <= 3
    assert found == {
        "tabOpened": 1,
        "pageOpened": 1,
        "pageLoaded": 1,
        "tabUrlChanged": 1,
        "productViewed": 1,
        "linkOpened": 1,
        "userSignedIn": 1,
        "orderPlaced": 1,
        "goalCompleted": 1,
    }
    assert tab.failures == []
    assert [text for text in tab.console_errors if "error" in text.lower()] == []
    assert {row["visitor_id"] for row in rows} == {client_id}

    assert of_type(rows, "userSignedIn")["user_id"] == "bob"
    assert of_type(rows, "linkOpened")["metadata"]["link"] == tab.page.url
    assert tab.page.url.endswith("/article.html#glaze")
    assert of_type(rows, "productViewed")["metadata"]["product"]["productId"] == "mug"
    order = of_type(rows, "orderPlaced")
    assert (order["user_id"], order["conversion_value"]) == ("bob", 9.5)
    assert order["conversion_currency"] == "USD"
    assert of_type(rows, "goalCompleted")["event_name"] == "first-order"


def test_a_link_to_nowhere_does_not_silence_the_page(
    visit: Visit, collector: CollectorProcess
) -> None:
    """`href="javascript:"` is an absolute URI, tracked on a click, and accepted."""
    tab = visit(collector, "article.html")
    tab.click("#menu", "#pay")
    _wait_for_goal(tab, collector)

    link = of_type(published(collector), "linkOpened")
    assert link["metadata"] == {"type": "linkOpened", "link": "javascript:"}
    assert tab.problems() == []
