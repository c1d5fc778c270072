"""The pages Install, Origins and Receipt, asked as a browser asks them."""

import asyncio
import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from collector.admin import CSRF
from collector.dashboard.receipt import ADVICE
from collector.refusal import KEPT_CODES
from tests.support import app, quarantine
from tests.support.app import Answer, Collector
from tests.support.dialects import APP_ID

pytestmark = pytest.mark.usefixtures("each_front")

HERE: Final = "127.0.0.1"
LOCAL: Final = {"Host": "localhost:8000"}
FORM: Final = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}
NASTY: Final = "<script>hacked()</script>\"'>"
_EVENT: Final = {"site_id": "demo", "event_type": "click"}
_PREFLIGHT: Final = {"Access-Control-Request-Method": "POST"}


async def page(collector: Collector, path: str, **query: str) -> str:
    """The text of a page, without its tags."""
    answer = await get(collector, path, **query)
    assert answer.status == 200
    assert "<script" not in main_of(answer)
    return text_of(answer)


def main_of(answer: Answer) -> str:
    """The page's own part, as HTML."""
    return re.split(r"<main[^>]*>", answer.body.decode(), maxsplit=1)[1]


def text_of(answer: Answer) -> str:
    """What a page says, in one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", main_of(answer))))


async def get(collector: Collector, path: str, **query: str) -> Answer:
    """A page."""
    target = f"/dashboard/{path}?{urlencode(query)}"
    return await collector.request("GET", target, headers=LOCAL, address=HERE)


async def send_test(collector: Collector, **form: str) -> Answer:
    """Press the button."""
    shown = await get(collector, "install")
    [csrf] = set(re.findall(rf'name="{CSRF}" value="([^"]+)"', shown.body.decode()))
    body = urlencode({CSRF: csrf, **form}).encode()
    return await collector.request(
        "POST", "/dashboard/install", headers=LOCAL | FORM, body=body, address=HERE
    )


# --- origins


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/ct", _EVENT, "demo"),
        ("/collect/batch", {"events": [_EVENT, _EVENT]}, "demo"),
        ("/client/web/track", {}, APP_ID),
    ],
)
def test_refused_pages_are_listed_with_what_mends_it(
    path: str, body: Mapping[str, Any], asked: str, tmp_path: Path
) -> None:
    """Origin, what was asked for, how often; the line allows the origin beside the others."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            headers = {"Origin": "https://www.shop.example", "X-App-Id": APP_ID}
            headers["X-Client-Id"] = "0123456789abcdef0123456789abcdef"
            refused = await collector.request("POST", path, headers=headers, body=body)
            assert b"shop.example" not in refused.body
            found = await page(collector, "origins")
            count = len(body.get("events", [1]))
            row = f"{count} {count} www.shop.example {asked} {path} not among the site's domains"
            assert row in found
            line = 'allowed_domains = ["localhost", "127.0.0.1", "www.shop.example"]'
            assert line in found
            assert "with id demo, in the place of its line allowed_domains" in found

    app.run(play())


def test_what_is_accepted_leaves_no_trace(tmp_path: Path) -> None:
    """Nothing is noted of requests that are taken, nor of those that are refused otherwise."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            for body in (_EVENT, {"site_id": "demo"}, {"events": 1}):
                await collector.post("/ct", body, **app.ORIGIN)
            await collector.post("/server-events", {"site_id": "x"}, x_api_key="zv_wrong")
            headers = _PREFLIGHT | app.ORIGIN
            assert (await collector.request("OPTIONS", "/ct", headers=headers)).status == 204
            assert "None in the last 24 hours" in await page(collector, "origins")

    app.run(play())


def test_every_way_of_not_getting_in_is_told(tmp_path: Path) -> None:
    """No origin, none that names a host, unknown ids, wrong addresses of preflights."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            other = {"Origin": "https://other.example"}
            await collector.post("/ct", _EVENT)
            await collector.post("/ct", _EVENT, origin="null")
            await collector.post("/ct", {**_EVENT, "site_id": NASTY}, **app.ORIGIN)
            await collector.request("GET", "/client/web/cid", headers=other)
            await collector.request("OPTIONS", "/ct/", headers=other | _PREFLIGHT)
            unknown = {"X-App-Id": APP_ID.replace("7e", "00"), "X-Client-Id": "0" * 32}
            await collector.request("POST", "/client/web/track", headers=app.ORIGIN | unknown)
            found = await page(collector, "origins")
            for words in (
                "no origin",
                "(null) demo /ct not among",
                f"{NASTY} /ct no such site",
                "other.example /client/web/cid not among",
                "other.example /ct/ preflight: wrong address",
                "/client/web/track no such application",
                "Have the page use one that is there: demo",
            ):
                assert words in found, words

    app.run(play())


def test_an_origin_is_judged_without_sending_anything(tmp_path: Path) -> None:
    """Yes or no, by which domain, and the line; the answer is what a request is answered."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            for origin in ("http://localhost:3000", "https://x.example", "null", NASTY, "[::1]"):
                found = await page(collector, "origins", origin=origin, site="demo")
                answer = await collector.post("/ct", _EVENT, origin=origin)
                assert ("Yes: pages on" in found) == (answer.status == 200), origin
                assert ("No: pages on" in found) == (answer.status == 403), origin
            found = await page(collector, "origins", origin="https://x.example", site=NASTY)
            assert "names no site" in found

    app.run(play())


# --- receipt


def test_a_receipt_tells_all_that_is_kept(tmp_path: Path) -> None:
    """A row with its columns and its repeats, by each of its ids."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            event_id = "0f0e0d0c-0b0a-4908-8706-050403020100"
            for _ in range(2):
                await collector.post("/ct", {**_EVENT, "event_id": event_id}, **app.ORIGIN)
            found = await page(collector, "receipt", id=event_id)
            assert "Accepted: it is a row." in found
            assert "Repeats of it that were stored, marked as such: 1." in found
            assert "A repeat, marked as such; it stands in the log, not yet in a file." in found
            [row, _] = collector.rows()
            await collector.service.orders.carry_out("compact", {}, lambda *_: None)
            found = await page(collector, "receipt", id=row["dedup_key"])
            assert "Taken as new; it stands in a file of events." in found

    app.run(play())


def test_all_columns_of_a_row_are_shown(tmp_path: Path) -> None:
    """As they stand in the files, text as text."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            event = {**_EVENT, "metadata": {"note": NASTY}, "page_title": "Tea & Co."}
            answer = await collector.post("/ct", event, **app.ORIGIN)
            found = await page(collector, "receipt", id=answer.json["event_id"])
            # By the clock: other tests want the processors, too.
            async with asyncio.timeout(90):
                while "Being counted" in found:
                    found = await page(collector, "receipt", id=answer.json["event_id"])
            assert "page_title Tea & Co. " in found
            assert 'metadata {"note":"<script>hacked()</script>' in found

    app.run(play())


def test_a_refused_event_is_told_with_what_to_do(tmp_path: Path) -> None:
    """The reason, the message, and the commands that show and replay it."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            event_id = "0f0e0d0c-0b0a-4908-8706-050403020100"
            bad = {**_EVENT, "event_id": event_id, "visitor_id": NASTY, "consent": "granted"}
            refused = await collector.post("/ct", bad, **app.ORIGIN)
            assert refused.status == 422
            [_] = await quarantine.kept(collector)
            found = await page(collector, "receipt", id=event_id)
            assert "Refused, and kept in quarantine." in found
            assert ADVICE["invalid_field"] in found
            assert re.search(r"collector quarantine replay [0-9a-f-]{36}", found)

    app.run(play())


def test_what_was_never_seen_is_told_with_where_to_look(tmp_path: Path) -> None:
    """Whatever was asked for."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            for text in ("x", NASTY, "\0", "0f0e0d0c-0b0a-4908-8706-050403020100"):
                found = await page(collector, "receipt", id=text)
                assert "Unknown: never seen" in found
                assert "page Origins" in found

    app.run(play())


def test_every_reason_that_is_kept_has_advice() -> None:
    """And there is none for what is never kept."""
    assert set(ADVICE) == set(KEPT_CODES)


# --- install


def test_the_test_event_goes_the_way_of_all(tmp_path: Path) -> None:
    """It is a row of its site, marked as a test, with the browser that asked; the page shows it."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            answer = await send_test(collector, site="demo")
            assert answer.status == 303
            target = urlsplit(answer.headers["location"])
            [event_id] = parse_qs(target.query)["sent"]
            [row] = collector.rows()
            assert (row["site_id"], row["protocol"], row["source"]) == (
                "demo",
                "scanova",
                "browser",
            )
            assert str(row["event_id"]) == event_id
            assert bytes(row["metadata"]) == b'{"test":true,"sent_by":"dashboard"}'
            assert (row["page_url"], row["browser_family"]) == ("https://localhost/", "Firefox")
            found = await page(collector, "install", site="demo", sent=event_id)
            assert "Accepted: it is a row." in found
            state = await collector.request("GET", "/admin/v1/state", headers=LOCAL, address=HERE)
            assert [(c["outcome"], c["events"]) for c in state.json["events"]] == [("accepted", 1)]

    app.run(play())


def test_a_test_event_that_is_refused_says_why(tmp_path: Path) -> None:
    """A limit that is reached, a site that is off, one without domains: nothing is claimed."""

    async def play(config: Any, words: str, times: int = 1) -> None:
        async with app.running(tmp_path / words, config(tmp_path / words)) as collector:
            for _ in range(times):
                answer = await send_test(collector, site="demo")
            assert answer.status == 409
            assert words in text_of(answer)

    def limited(directory: Path) -> Any:
        return app.with_limits(app.example(directory), browser_requests_per_minute=1)

    app.run(play(limited, "with status 429", 2))
    app.run(play(lambda at: app.with_site(app.example(at), active=False), "switched off"))
    app.run(play(lambda at: app.with_site(app.example(at), allowed_domains=()), "is empty"))


def test_snippets_have_the_ids_and_the_address(tmp_path: Path) -> None:
    """Of the site that is asked for; a strange site is the first; a strange address is not told."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            for query in ({}, {"site": "demo"}, {"site": NASTY, "address": NASTY, "sent": NASTY}):
                found = await page(collector, "install", **query)
                for words in (
                    "scanova('init', \"demo\"",
                    APP_ID,
                    "ZV_demo",
                    "http://localhost:8000/s.js",
                    "curl http://localhost:8000/server-events",
                    "collector keys new --name backend --site demo",
                ):
                    assert words in found
                assert "hacked" not in found
            found = await page(collector, "install", address="https://events.example.com/x")
            assert "https://events.example.com/s.js" in found

    app.run(play())


def test_an_address_that_was_typed_outlives_a_test_event(tmp_path: Path) -> None:
    """Whether the event is taken or refused, the snippets go on to have it."""

    async def play() -> None:
        async with app.running(tmp_path, config) as collector:
            kept = {"site": "demo", "address": "https://events.example.com"}
            found = (await get(collector, "install", **kept)).body.decode()
            assert 'type="hidden" name="address" value="https://events.example.com"' in found
            answer = await send_test(collector, **kept)
            target = parse_qs(urlsplit(answer.headers["location"]).query)
            assert target["address"] == [kept["address"]]
            answer = await send_test(collector, **kept)
            assert answer.status == 409
            assert "https://events.example.com/s.js" in answer.body.decode()

    config = app.with_limits(app.example(tmp_path), browser_requests_per_minute=1)
    app.run(play())


def test_a_snippet_that_needs_an_id_names_the_setting(tmp_path: Path) -> None:
    """Of a site without application and tracking code: what to configure, nothing half-filled."""

    async def play() -> None:
        config = app.with_site(app.example(tmp_path), croct_app_id="", tracking_code="")
        async with app.running(tmp_path, config) as collector:
            found = await page(collector, "install")
            assert "give the site a croct_app_id" in found
            assert "give the site a tracking_code" in found
            assert "@croct/plug" not in found

    app.run(play())
