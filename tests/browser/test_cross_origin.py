"""What pages of other origins may read of the collector's answers, in a real Chromium."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.browsing import APP_ID, CID, TRACK, Tab, Visit
from tests.browser.rows import of_type, published, wait_for_rows
from tests.support.process import CollectorProcess

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]

# Chromium takes every name below localhost for this machine.
_UNTRUSTED = "untrusted.localhost"
_CLIENT_ID = "0123456789abcdef0123456789abcdef"
_TIME_MS = 1_790_000_000_000
_SCANOVA_EVENT = {"site_id": "demo", "event_type": "pageview", "page_url": "http://localhost/"}


def _beacon(**changes: Any) -> dict[str, Any]:
    """Options of a `fetch` that sends one Croct event."""
    body = {
        "originalTime": _TIME_MS,
        "departureTime": _TIME_MS,
        "context": {"url": "http://localhost/", "tabId": "123e4567-e89b-12d3-a456-426614174000"},
        "payload": {"type": "eventOccurred", "name": "vote"},
    }
    headers = {
        "Content-Type": "application/json",
        "X-App-Id": APP_ID,
        "X-Client-Id": _CLIENT_ID,
        "X-Client-Library": "Croct SDK JS v0.22.1",
    }
    return {"method": "POST", "headers": headers, "body": json.dumps({**body, **changes})}


def _scanova(**changes: Any) -> dict[str, Any]:
    """Options of a `fetch` that sends one Scanova event."""
    return {
        "method": "POST",
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({**_SCANOVA_EVENT, **changes}),
        "keepalive": True,
    }


def _client_id_request() -> dict[str, Any]:
    return {"credentials": "include", "headers": {"X-Client-Library": "Croct SDK JS v0.22.1"}}


def test_refusals_of_an_origin_can_be_read(visit: Visit, collector: CollectorProcess) -> None:
    """403 reaches the script of a page that is not trusted, on every browser endpoint."""
    tab = visit(collector, "plain.html", host=_UNTRUSTED)
    for path in (TRACK, CID):
        options = _beacon() if path == TRACK else _client_id_request()
        answer = tab.fetch(collector.url + path, options)
        problem = json.loads(answer["body"])
        assert (path, answer["status"], problem["status"]) == (path, 403, 403)
        assert problem["type"].endswith("/forbidden-origin")
    for path in ("/ct", "/collect"):
        answer = tab.fetch(collector.url + path, _scanova())
        assert (path, answer["status"]) == (path, 403)
        assert json.loads(answer["body"])["detail"]
    batch = {**_scanova(), "body": json.dumps({"events": [_SCANOVA_EVENT]})}
    answer = tab.fetch(f"{collector.url}/collect/batch", batch)
    # Each event of a batch has a verdict of its own, its site being named in it.
    assert json.loads(answer["body"])["rejected"] == 1
    collector.terminate()
    assert published(collector) == []


def test_refusals_of_an_event_can_be_read(visit: Visit, collector: CollectorProcess) -> None:
    """400, 401, 404, 405, 413, 422 and what they say reach the script of a trusted page."""
    tab = visit(collector, "plain.html")
    unknown_app = _beacon()
    unknown_app["headers"] = {**unknown_app["headers"], "X-App-Id": APP_ID.replace("7e", "00")}
    cases: list[tuple[str, dict[str, Any], int]] = [
        (TRACK, _beacon(payload={"type": "nonsense"}), 400),
        (TRACK, unknown_app, 401),
        (TRACK, _beacon(payload={"type": "eventOccurred", "name": "v" * 70_000}), 413),
        ("/ct", _scanova(site_id="other"), 400),
        ("/ct", _scanova(consent="perhaps"), 422),
        ("/ct", {}, 405),
        ("/nowhere", {}, 404),
    ]
    for path, options, status in cases:
        answer = tab.fetch(collector.url + path, {**options, "keepalive": False})
        assert (path, answer["status"]) == (path, status)
        said = json.loads(answer["body"])
        if path == TRACK:
            assert said["status"] == status
        elif path == "/ct":
            assert said["detail"]
    assert [text for text in tab.console_errors if "CORS" in text] == []


def test_a_body_beyond_the_limit_is_answered(visit: Visit, tmp_path: Path) -> None:
    """413 can be read even when the page is still sending: the connection is not just cut."""
    with CollectorProcess(tmp_path, server={"body_bytes_max": 100_000}) as collector:
        tab = visit(collector, "plain.html")
        # Made in the page: 8 MB take long on their way through the browser's remote control.
        status = tab.page.evaluate(
            """async (url) => {
                const answer = await fetch(url, {method: 'POST', body: 'x'.repeat(8e6)});
                return answer.status;
            }""",
            f"{collector.url}/ct",
        )

        assert status == 413


def test_throttling_can_be_read(visit: Visit, tmp_path: Path) -> None:
    """429 and its `Retry-After` reach the script of the page."""
    limits = {"browser_requests_per_minute": 1, "croct_requests_per_minute": 1}
    with CollectorProcess(tmp_path, limits=limits) as collector:
        tab = visit(collector, "plain.html")
        for path, options in ((TRACK, _beacon()), ("/ct", _scanova())):
            assert tab.fetch(collector.url + path, options)["status"] in {200, 204}
            answer = tab.fetch(collector.url + path, options)
            assert (path, answer["status"]) == (path, 429)
            assert 1 <= int(answer["headers"]["retry-after"]) <= 60
            if path == TRACK:
                assert json.loads(answer["body"])["status"] == 429


def test_scanova_events_of_a_page_become_rows(visit: Visit, collector: CollectorProcess) -> None:
    """`fetch` with JSON, and `sendBeacon` with text that needs no preflight, each make one row."""
    tab = visit(collector, "plain.html")
    answer = tab.fetch(f"{collector.url}/ct", _scanova(event_type="by_fetch"))
    assert answer["status"] == 200
    assert _send_beacon(tab, collector, "by_beacon")
    rows = wait_for_rows(collector, tab, 2)

    assert sorted(row["event_type"] for row in rows) == ["by_beacon", "by_fetch"]
    told = json.loads(answer["body"])["event_id"]
    assert str(of_type(rows, "by_fetch")["event_id"]) == told
    for row in rows:
        assert (row["protocol"], row["source"], row["site_id"]) == ("scanova", "browser", "demo")
        assert row["page_url"] == "http://localhost/"
    assert tab.failures == []
    assert tab.console_errors == []


def test_a_beacon_sent_on_leaving_becomes_a_row(visit: Visit, collector: CollectorProcess) -> None:
    """`sendBeacon` in `pagehide` arrives although its page is gone."""
    tab = visit(collector, "plain.html")
    body = json.dumps({**_SCANOVA_EVENT, "event_type": "goodbye"})
    tab.page.evaluate(
        "([url, body]) => addEventListener('pagehide', () => navigator.sendBeacon(url, body))",
        [f"{collector.url}/ct", body],
    )
    tab.page.goto("about:blank")
    [row] = wait_for_rows(collector, tab, 1)

    assert row["event_type"] == "goodbye"


def _send_beacon(tab: Tab, collector: CollectorProcess, event_type: str) -> bool:
    """Send a text/plain beacon; whether the browser took it on."""
    body = json.dumps({**_SCANOVA_EVENT, "event_type": event_type})
    taken: bool = tab.page.evaluate(
        "([url, body]) => navigator.sendBeacon(url, body)", [f"{collector.url}/ct", body]
    )
    return taken
