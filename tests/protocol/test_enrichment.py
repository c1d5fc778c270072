"""What the collector adds to an event on its way to a row, through the whole of it."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector import service
from collector.config import Config
from tests.support import app, tokens
from tests.support.dialects import APP_ID, Croct, Scanova, ScanovaServer, Zenovay
from tests.support.geo import GEOLITE2, write_database

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)
CRAWLER = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
ADDRESS = "81.2.69.142"
SCAN = str(uuid.UUID(int=7))


def config(directory: Path, **members: Any) -> Config:
    """The example with members of its section `enrich` changed."""
    found = app.example(directory)
    return msgspec.structs.replace(found, enrich=msgspec.structs.replace(found.enrich, **members))


def rows_of(
    directory: Path,
    *sent: tuple[str, dict[str, str], Any],
    settings: Config | None = None,
    address: str = ADDRESS,
) -> list[dict[str, Any]]:
    """The rows that these requests (path, headers, body) make, in the order of their receipt."""

    async def send() -> list[dict[str, Any]]:
        async with app.running(directory, settings) as collector:
            for path, headers, body in sent:
                answer = await collector.request(
                    "POST", path, headers=headers, body=body, address=address
                )
                assert answer.status in {200, 204}, answer
            return collector.rows()

    found: list[dict[str, Any]] = app.run(send())
    return found


def browser(agent: str = CHROME, **members: Any) -> tuple[str, dict[str, str], Any]:
    """A Scanova browser event with a `User-Agent`."""
    body = {"site_id": "demo", "event_type": "click", "scan_session_id": SCAN, **members}
    return "/ct", {**app.ORIGIN, "User-Agent": agent}, body


def device(row: dict[str, Any]) -> tuple[Any, ...]:
    """The columns that come from an agent."""
    return row["device_type"], row["browser_family"], row["os_family"]


# --- agents


def test_browsers_are_judged_by_their_own_agent(tmp_path):
    """Scanova's and Croct's alike; client hints refine it."""
    hints = {"Sec-CH-UA": '"Brave";v="1"', "Sec-CH-UA-Platform": '"Windows"'}
    path, headers, body = browser()
    beacon = Croct().event("1")
    rows = rows_of(
        tmp_path,
        (path, headers, body),
        (path, {**headers, **hints}, body),
        (beacon.path, {**beacon.headers, "User-Agent": CHROME}, beacon.body),
    )
    assert [device(row) for row in rows] == [
        ("desktop", "Chrome", "Linux"),
        ("desktop", "Brave", "Windows"),
        ("desktop", "Chrome", "Linux"),
    ]


def test_hints_say_nothing_of_another_agent(tmp_path):
    """The page reported an agent of its own choice; the hints are those of the browser."""
    path, headers, body = browser(device={"user_agent": CHROME.replace("X11", "Macintosh")})
    [row] = rows_of(tmp_path, (path, {**headers, "Sec-CH-UA": '"Brave"'}, body))
    assert row["browser_family"] == "Chrome"


def test_a_back_end_is_not_judged_by_its_own_agent(tmp_path):
    """It is no visitor: neither a crawler's agent nor a library's marks its events."""
    sent = []
    for dialect in (ScanovaServer(), Zenovay()):
        event = dialect.event("1")
        sent.append((event.path, {**event.headers, "User-Agent": CRAWLER}, event.body))
    beacon = Croct().event("1")
    beacon.body["context"] = {"type": "server"}
    headers = {n: v for n, v in beacon.headers.items() if n != "Origin"}
    sent.append((beacon.path, {**headers, "User-Agent": CRAWLER}, beacon.body))
    rows = rows_of(tmp_path, *sent)
    assert len(rows) == 3
    for row in rows:
        assert device(row) == (None, None, None)
        assert (row["is_fraud"], "bot" in row["flags"]) == (0, False)


def test_what_a_back_end_reports_of_its_visitor_counts(tmp_path):
    """The reported agent is read; what the sender says of the device itself stands."""
    plain, own = Zenovay().event("1"), Zenovay().event("2")
    for sent in (plain, own):
        sent.body["serverContext"] = {"userAgent": CHROME}
    own.body["events"][0]["props"] |= {"device": "Fridge", "os": "FridgeOS"}
    robot = Zenovay().event("3")
    robot.body["serverContext"] = {"userAgent": CRAWLER}
    rows = rows_of(tmp_path, *((s.path, s.headers, s.body) for s in (plain, own, robot)))
    assert [device(row) for row in rows] == [
        ("desktop", "Chrome", "Linux"),
        ("Fridge", "Chrome", "FridgeOS"),
        ("bot", "Googlebot", None),
    ]
    assert [row["is_fraud"] for row in rows] == [0, 0, 1]


# --- marks


@pytest.mark.parametrize(
    ("agent", "flags", "is_fraud"),
    [
        (CRAWLER, ["bot"], 1),
        (CHROME.replace("Chrome/", "HeadlessChrome/"), ["bot", "headless"], 0),
        ("python-requests/2.32", ["http_client"], 0),
        (CHROME, [], 0),
        ("", [], 0),
    ],
)
def test_bots_are_marked_and_kept(tmp_path, agent, flags, is_fraud):
    """Nothing is dropped: the row is there, and says what it is."""
    [row] = rows_of(tmp_path, browser(agent))
    assert (row["flags"], row["is_fraud"]) == (flags, is_fraud)


def test_a_site_may_switch_every_rule_off(tmp_path):
    """The flags stay, the row is valid."""
    settings = app.with_site(app.example(tmp_path), fraud_rules=())
    [row] = rows_of(tmp_path, browser(CRAWLER), settings=settings)
    assert (row["flags"], row["is_fraud"]) == (["bot"], 0)


def test_pages_may_report_a_webdriver(tmp_path):
    """In Scanova's device and in Croct's metadata; anything but a plain yes says nothing."""
    said = [True, False, None, "true", 1, {"x": [1]}]
    scanova = [browser(device={"webdriver": value}) for value in said]
    croct = []
    for number, metadata in enumerate(
        ({"webdriver": "true"}, {"custom_webdriver": "true"}, {"webdriver": "false"}, {})
    ):
        beacon = Croct().event(str(number))
        beacon.body["context"]["metadata"] = metadata
        croct.append((beacon.path, beacon.headers, beacon.body))
    rows = rows_of(tmp_path, *scanova, *croct)
    assert ["webdriver" in row["flags"] for row in rows] == [
        *(True, False, False, False, False, False),
        *(True, True, False, False),
    ]
    assert {row["is_fraud"] for row in rows} == {0}


@pytest.mark.parametrize("days", [-11_000, 2])
def test_impossible_times_are_marked(tmp_path, days):
    """Before the year 2000, or more than a day ahead."""
    event_time = f"{time.strftime('%Y-%m-%d', time.gmtime(time.time() + days * 86_400))}T12:00:00Z"
    [row] = rows_of(tmp_path, browser(event_time=event_time))
    assert "impossible_time" in row["flags"]
    assert row["is_fraud"] == 1


def test_a_replay_storm_is_marked_among_repeats(tmp_path):
    """The first copy and the allowed repeats are what they were; nothing is lost of the rest."""
    event = Scanova().event("1")
    sent = [(event.path, event.headers, event.body)] * 6
    rows = rows_of(tmp_path, *sent, settings=config(tmp_path, replay_copies_max=3))
    assert [row["is_duplicate"] for row in rows] == [0, 1, 1, 1, 1, 1]
    assert [row["flags"] for row in rows] == [[]] * 4 + [["replay_storm"]] * 2
    assert [row["is_fraud"] for row in rows] == [0, 0, 0, 0, 1, 1]


def test_repeats_within_one_batch_count(tmp_path):
    """A batch may be a storm of its own."""
    event = {"site_id": "demo", "event_type": "click", "event_id": str(uuid.UUID(int=1))}
    sent = ("/collect/batch", app.ORIGIN, {"events": [event] * 8})
    rows = rows_of(tmp_path, sent, settings=config(tmp_path, replay_copies_max=3))
    assert sorted(row["flags"] for row in rows) == [[]] * 4 + [["replay_storm"]] * 4


# --- places


def test_places_come_from_the_right_address(tmp_path):
    """A browser's own, a visitor's as reported; never that of a back end."""
    database = write_database(tmp_path / "geo.mmdb", {"81.2.69.0/24": GEOLITE2})
    reported, silent = Zenovay().event("1"), Zenovay().event("2")
    reported.body["serverContext"] = {"clientIp": "::ffff:81.2.69.7"}
    server = ScanovaServer().event("3")
    beacon = Croct().event("4")
    others = [(s.path, s.headers, s.body) for s in (beacon, reported, silent, server)]
    settings = config(tmp_path, geo_database=str(database))
    rows = rows_of(tmp_path, browser(), *others, settings=settings)
    oslo = ("NO", "Oslo")
    assert [(row["country_code"], row["city"]) for row in rows] == [
        *(oslo, oslo, oslo, (None, None), (None, None)),
    ]


def test_a_place_that_the_sender_gave_stands(tmp_path):
    """And is not mixed with a city of another country."""
    database = write_database(tmp_path / "geo.mmdb", {"81.2.69.0/24": GEOLITE2})
    said = [{"country": "SE"}, {"country": "NO"}, {"city": "Bergen"}, {"country": "x"}, {}]
    sent = []
    for number, props in enumerate(said):
        event = Zenovay().event(str(number))
        event.body["serverContext"] = {"clientIp": ADDRESS}
        event.body["events"][0]["props"] |= props
        sent.append((event.path, event.headers, event.body))
    rows = rows_of(tmp_path, *sent, settings=config(tmp_path, geo_database=str(database)))
    assert [(row["country_code"], row["city"]) for row in rows] == [
        *(("SE", None), ("NO", "Oslo"), ("NO", "Bergen"), ("NO", "Oslo"), ("NO", "Oslo")),
    ]


# --- files that change


def test_new_files_are_taken_while_it_runs(tmp_path, monkeypatch):
    """Database and table are replaced under a running collector; a broken one changes nothing."""
    monkeypatch.setattr(service, "_SWEEP_S", 0.05)
    database, scans = tmp_path / "geo.mmdb", tmp_path / "scans.csv"
    write_database(database, {"81.2.69.0/24": {"country": {"iso_code": "SE"}}})
    scans.write_text("scan_session_id,qr_code_id\n")
    settings = config(tmp_path, geo_database=str(database), scan_sessions=str(scans))

    async def ask() -> None:
        async with app.running(tmp_path, settings) as collector:

            async def seen(wanted: tuple[Any, ...]) -> None:
                path, headers, body = browser()
                for _ in range(100):
                    await collector.request(
                        "POST", path, headers=headers, body=body, address=ADDRESS
                    )
                    row = collector.rows("FROM events ORDER BY received_time DESC LIMIT 1")[0]
                    if (row["country_code"], row["city"], row["qr_code_id"]) == wanted:
                        return
                    await asyncio.sleep(0.05)
                raise AssertionError(wanted, row)

            await seen(("SE", None, None))
            write_database(tmp_path / "new", {"81.2.69.0/24": GEOLITE2}).replace(database)
            scans.write_text(f"scan_session_id,qr_code_id\n{SCAN.upper()},qr-1\n")
            await seen(("NO", "Oslo", "qr-1"))
            database.write_bytes(b"broken")
            scans.write_text("nothing")
            for _ in range(100):
                page = (await collector.request("GET", "/metrics")).body.decode()
                if "collector_reload_failures_total 2" in page:
                    break
                await asyncio.sleep(0.05)
            await seen(("NO", "Oslo", "qr-1"))
            assert "collector_reload_failures_total 2" in page
            assert "collector_scan_sessions 1" in page

    app.run(ask())


# --- users


def test_users_come_from_tokens_ids_and_identifications(tmp_path):
    """Each protocol names them in its own way; the token outweighs what a page says."""
    token = tokens.unsigned({**tokens.CLAIMS, "iat": int(time.time()), "sub": "of-token"})
    sent = []
    for number, (payload, header) in enumerate(
        (
            ({"type": "userSignedIn", "externalUserId": "of-page"}, {}),
            ({"type": "userSignedIn", "externalUserId": "of-page"}, {"X-Token": token}),
            ({"type": "eventOccurred", "name": "x"}, {"X-Token": token}),
        )
    ):
        beacon = Croct().event(str(number))
        beacon.body["payload"] = payload
        beacon.body["originalTime"] = beacon.body["departureTime"] - 100 * number
        sent.append((beacon.path, {**beacon.headers, **header, "X-App-Id": APP_ID}, beacon.body))
    server = ScanovaServer().event("3")
    server.body["user_identifiers"] = {"external_id": "of-back-end"}
    identify = Zenovay().event("4")
    identify.body["events"][0] |= {
        "type": "identify",
        "visitorId": "v",
        "props": {"customer_id": "of-identify"},
    }
    sent += [(one.path, one.headers, one.body) for one in (server, identify)]
    assert [row["user_id"] for row in rows_of(tmp_path, *sent)] == [
        *("of-page", "of-token", "of-token", "of-back-end", "of-identify"),
    ]


def test_the_salt_goes_with_its_day_without_any_event(tmp_path, monkeypatch):
    """The running collector removes it; nobody needs to send anything."""
    clock_us = [1_835_395_199_000_000]  # 2028-02-28T23:59:59Z, before a leap day
    monkeypatch.setattr(service, "_SWEEP_S", 0.05)
    monkeypatch.setattr(service, "now_us", lambda: clock_us[0])
    state = tmp_path / "data" / "state"

    async def ask() -> None:
        async with app.running(tmp_path) as collector:
            path, headers, body = browser()
            await collector.request("POST", path, headers=headers, body=body, address=ADDRESS)
            assert [file.name for file in state.glob("salt-*")] == ["salt-2028-02-28"]
            await asyncio.sleep(0.3)
            assert list(state.glob("salt-*")) != [], "the day is not over"
            clock_us[0] += 1_000_000
            for _ in range(100):
                if not list(state.glob("salt-*")):
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("the salt of yesterday is still there")

    app.run(ask())
