"""What every endpoint promises about limits: per site, and per address."""

import asyncio
import logging
import time
import uuid
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector import service as service_module
from collector.config import Config, Site
from collector.http import Disconnected
from collector.keys import DEMO_KEY
from tests.support import fronts
from tests.support.app import (
    ORIGIN,
    Answer,
    Collector,
    example,
    run,
    running,
    with_limits,
    with_site,
    with_tier,
)
from tests.support.dialects import DIALECTS, Croct, Dialect, ScanovaServer, Sent, Zenovay
from tests.support.scanova import browser_event

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
keyed_dialects = pytest.mark.parametrize(
    "dialect", [ScanovaServer(), Zenovay()], ids=lambda d: d.name
)
ONE_A_MINUTE = {"requests_per_minute": 1}


async def _send(collector: Collector, sent: Sent, **options: Any) -> Answer:
    headers = options.pop("headers", sent.headers)
    return await collector.request("POST", sent.path, headers=headers, body=sent.body, **options)


def _counts(collector: Collector) -> dict[tuple[str, str, str], int]:
    """Events by site, outcome and reason."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for (site, _, outcome, reason), count in collector.service._metrics.events.items():
        counts[site, outcome, reason] += count
    return dict(counts)


# --- per site


@every_dialect
def test_a_site_over_its_limit_is_refused(dialect: Dialect, tmp_path: Path) -> None:
    """Over the site's limit, whoever asks: 429 in the dialect, nothing stored, counted once."""

    async def play() -> None:
        config = with_site(example(tmp_path), requests_per_minute=2, burst=3)
        async with running(tmp_path, config) as collector:
            answers = [
                await _send(collector, dialect.event(str(n)), address=f"203.0.113.{n}")
                for n in range(5)
            ]
            assert [dialect.is_success(a.status, a.body) for a in answers] == [True] * 3 + [
                False
            ] * 2
            for answer in answers[3:]:
                assert answer.status == 429
                assert 1 <= int(answer.headers["retry-after"]) <= 30
                assert dialect.code_of(429, answer.body)
                assert b"for this site" in answer.body
            assert len(collector.rows()) == 3
            assert _counts(collector) == {
                ("demo", "accepted", ""): 3,
                ("demo", "rejected", "rate_limited"): 2,
            }
            page = await collector.request("GET", "/metrics")
            assert page.body.count(b'status="429"} 2') == 1

    run(play())


@every_dialect
def test_a_refusal_by_the_site_does_not_use_up_the_identity(
    dialect: Dialect, tmp_path: Path
) -> None:
    """What was refused for its site is new when it comes again in time."""

    async def play() -> None:
        config = with_site(example(tmp_path), requests_per_minute=60, burst=1)
        async with running(tmp_path, config) as collector:
            await _send(collector, dialect.event("a"))
            assert (await _send(collector, dialect.event("b"))).status == 429
            await asyncio.sleep(1.05)
            answer = await _send(collector, dialect.event("b"))
            assert dialect.is_success(answer.status, answer.body)
            assert [row["is_duplicate"] for row in collector.rows()] == [0, 0]

    run(play())


@every_dialect
def test_invalid_requests_take_nothing_from_the_site_unless_it_is_known_first(
    dialect: Dialect, tmp_path: Path
) -> None:
    """What cannot be read, or names no allowed site, costs the site nothing."""

    async def play() -> None:
        config = with_site(example(tmp_path), **ONE_A_MINUTE)
        async with running(tmp_path, config) as collector:
            sent = dialect.event("a")
            for _ in range(3):
                broken = await collector.request(
                    "POST", sent.path, headers=sent.headers, body=b"{nonsense"
                )
                assert broken.status == 400
            answer = await _send(collector, sent)
            assert dialect.is_success(answer.status, answer.body)

    run(play())


def _batch(*sites: str) -> dict[str, Any]:
    return {"events": [browser_event(site_id=site) for site in sites]}


def _two_sites(config: Config, **members: Any) -> Config:
    second = Site(id="second", allowed_domains=("localhost",))
    return msgspec.structs.replace(
        with_site(config, **members), sites=(*with_site(config, **members).sites, second)
    )


def test_a_request_takes_one_token_of_each_of_its_sites(tmp_path: Path) -> None:
    """However many events a batch brings, it is one request to each site it names."""

    async def play() -> None:
        config = _two_sites(example(tmp_path), requests_per_minute=2)
        async with running(tmp_path, config) as collector:
            for _ in range(2):
                batch = _batch("demo", "second", "demo", "demo")
                answer = await collector.request(
                    "POST", "/collect/batch", headers=ORIGIN, body=batch
                )
                assert answer.json["accepted"] == 4
            answer = await collector.request(
                "POST", "/collect/batch", headers=ORIGIN, body=_batch("second", "demo", "second")
            )
            assert answer.status == 200
            assert [r["status"] for r in answer.json["results"]] == [
                "accepted",
                "rejected",
                "accepted",
            ]
            assert "for this site" in answer.json["results"][1]["detail"]
            assert _counts(collector) == {
                ("demo", "accepted", ""): 6,
                ("second", "accepted", ""): 4,
                ("demo", "rejected", "rate_limited"): 1,
            }
            assert len(collector.rows()) == 10

    run(play())


def test_a_batch_with_one_site_that_is_over_its_limit_is_refused_whole(tmp_path: Path) -> None:
    """Also when other events of it could never go anywhere: the sender comes again with all."""

    async def play() -> None:
        config = _two_sites(example(tmp_path), **ONE_A_MINUTE)
        async with running(tmp_path, config) as collector:
            await collector.request("POST", "/collect/batch", headers=ORIGIN, body=_batch("demo"))
            batch = _batch("demo", "nowhere", "demo")
            batch["events"].append({"site_id": "demo"})
            answer = await collector.request("POST", "/collect/batch", headers=ORIGIN, body=batch)
            assert answer.status == 429
            assert set(answer.json) == {"detail"}
            assert int(answer.headers["retry-after"]) > 0
            assert _counts(collector) == {
                ("demo", "accepted", ""): 1,
                ("demo", "rejected", "rate_limited"): 4,
            }
            assert len(collector.rows()) == 1

    run(play())


def test_a_beacon_is_validated_before_its_site_is_throttled(tmp_path: Path) -> None:
    """A beacon that can never succeed is told so even over the limit, or it would be retried."""

    async def play() -> None:
        config = with_site(example(tmp_path), **ONE_A_MINUTE)
        async with running(tmp_path, config) as collector:
            dialect = Croct()
            assert (await _send(collector, dialect.broken("a"))).status == 400
            assert (await _send(collector, dialect.event("a"))).status == 204
            assert (await _send(collector, dialect.broken("b"))).status == 400
            assert (await _send(collector, dialect.event("b"))).status == 429
        suspended = with_site(config, croct_suspended="bot_personalization_blocked", **ONE_A_MINUTE)
        async with running(tmp_path, suspended) as collector:
            statuses = [(await _send(collector, dialect.event(str(n)))).status for n in range(3)]
            assert statuses == [202] * 3, "what is not stored is not throttled"

    run(play())


def test_a_batch_refused_for_its_site_is_none_of_the_month(tmp_path: Path) -> None:
    """The month counts what was admitted by all; the minute's token is spent, the body was read."""

    async def play() -> None:
        config = with_tier(example(tmp_path), requests_per_minute=10, requests_per_month=100)
        # Such a key may reach other sites, so the body has to tell where the request goes.
        key = msgspec.structs.replace(config.keys[0], scope="full_access")
        config = msgspec.structs.replace(config, keys=(key,))
        async with running(tmp_path, with_site(config, **ONE_A_MINUTE)) as collector:
            dialect = Zenovay()
            answers = [await _send(collector, dialect.event(str(n))) for n in range(3)]
            assert [a.status for a in answers] == [200, 429, 429]
            told = [
                tuple(
                    int(a.headers[f"x-{name}"])
                    for name in ("usage-monthly", "usage-total", "ratelimit-remaining")
                )
                for a in answers
            ]
            assert told == [(1, 1, 9), (1, 1, 8), (1, 1, 7)]
            assert int(answers[1].headers["retry-after"]) > 6, "the site's wait, not the key's"
            assert collector.service._usage._usage.used("backend", time.time_ns() // 1_000) == 1

    run(play())


@keyed_dialects
def test_the_only_site_of_a_key_is_asked_before_the_body_is_read(
    dialect: Dialect, tmp_path: Path
) -> None:
    """Over it: 429 in the dialect, not decoded, and neither token nor month is touched."""

    async def play() -> None:
        config = with_tier(example(tmp_path), requests_per_minute=10, requests_per_month=100)
        config = with_limits(config, server_requests_per_minute=3)
        async with running(tmp_path, with_site(config, **ONE_A_MINUTE)) as collector:
            sent = dialect.event("a")
            assert (await _send(collector, sent)).status == 200
            for _ in range(5):
                answer = await collector.request(
                    "POST", sent.path, headers=sent.headers, body=b"{nonsense"
                )
                assert answer.status == 429
                assert dialect.code_of(429, answer.body)
                assert b"for this site" in answer.body
                assert 1 <= int(answer.headers["retry-after"]) <= 60
                if isinstance(dialect, Zenovay):
                    assert answer.headers["x-request-id"]
                    assert answer.headers["x-ratelimit-remaining"] == "9"
                    assert answer.headers["x-usage-monthly"] == "1"
                    assert answer.headers["x-usage-total"] == "1"
            assert _counts(collector) == {
                ("demo", "accepted", ""): 1,
                ("demo", "rejected", "rate_limited"): 5,
            }

    run(play())


# --- per key


@pytest.mark.parametrize(
    ("tier", "code"),
    [
        ({"requests_per_minute": 1, "requests_per_month": 100}, "RATE_LIMIT_EXCEEDED"),
        ({"requests_per_minute": 3, "requests_per_month": 1}, "MONTHLY_LIMIT_EXCEEDED"),
    ],
)
def test_each_refusal_of_zenovays_is_made_anew(
    tier: dict[str, int], code: str, tmp_path: Path
) -> None:
    """Two 429 in a row: an id of their own, the time of now, and both families of headers."""

    async def play() -> None:
        async with running(tmp_path, with_tier(example(tmp_path), **tier)) as collector:
            answers = [await _send(collector, Zenovay().event("a"))]
            for _ in range(2):
                began_s = time.time()
                answer = await _send(collector, Zenovay().event("b"))
                answers.append(answer)
                assert (answer.status, answer.json["error"]["code"]) == (429, code)
                said = datetime.fromisoformat(answer.json["error"]["timestamp"])
                assert (
                    int(began_s * 1_000) <= round(said.timestamp() * 1_000) <= time.time() * 1_000
                )
                assert answer.headers["x-ratelimit-limit"] == str(tier["requests_per_minute"])
                left = tier["requests_per_minute"] - 1
                assert answer.headers["x-ratelimit-remaining"] == str(left)
                assert int(answer.headers["x-ratelimit-reset"]) >= int(began_s)
                assert answer.headers["x-usage-limit"] == str(tier["requests_per_month"])
                assert answer.headers["x-usage-monthly"] == "1"
                assert answer.headers["x-usage-total"] == "1"
                assert answer.headers["x-usage-reset"].endswith("-01T00:00:00.000Z")
                await asyncio.sleep(0.005)
            assert len({uuid.UUID(answer.headers["x-request-id"]) for answer in answers}) == 3
            times = [answer.json["error"]["timestamp"] for answer in answers[1:]]
            assert times[0] < times[1]

    run(play())


@pytest.mark.parametrize("what", ["cut short", "a bug of ours"])
def test_whatever_becomes_of_the_body_the_key_is_told_what_it_used(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request was counted, so its answer says so, also where it could not be read or judged."""

    async def fails(*_: object) -> bytes:
        raise Disconnected if what == "cut short" else ZeroDivisionError

    async def play() -> None:
        config = with_tier(example(tmp_path), requests_per_minute=3, requests_per_month=100)
        async with running(tmp_path, config) as collector:
            monkeypatch.setattr(collector.edge._bodies, "read", fails)
            answer = await _send(collector, Zenovay().event("a"))
            assert answer.status == (400 if what == "cut short" else 500)
            assert answer.headers["x-ratelimit-remaining"] == "2"
            assert answer.headers["x-usage-monthly"] == "1"

    run(play())


# --- per address


@keyed_dialects
def test_wrong_keys_fill_no_log(
    dialect: Dialect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line each only at `debug`, without the key; the metrics count them at any level."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            sent = dialect.event("a")
            headers = {**sent.headers, "X-API-Key": "zv_wrong", "Authorization": "Bearer zv_wrong"}
            for level, lines in ((logging.INFO, 0), (logging.DEBUG, 3)):
                caplog.set_level(level)
                caplog.clear()
                for _ in range(3):
                    assert (await _send(collector, sent, headers=headers)).status in (401, 403)
                assert len(caplog.messages) == lines
                assert "zv_wrong" not in caplog.text
            assert _counts(collector) == {("unknown", "rejected", "unknown_key"): 6}

    run(play())


@keyed_dialects
@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "{}"),
        ("X-Forwarded-For", "6.6.6.{}, 2001:db8:0:7::{}"),
        ("Forwarded", 'for=6.6.6.{}, for="[2001:db8:0:7::{}]:4711";proto=https'),
    ],
)
def test_keys_cannot_be_guessed_at_line_rate(
    dialect: Dialect, header: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 500 guesses at once, and more later, burst and rate are looked at; the rest get 429.

    An address is its /64, also behind a proxy, whatever else the headers say; others go on.
    """
    clock_us = [10**9]
    monkeypatch.setattr(service_module, "_monotonic_us", lambda: clock_us[0])

    async def play() -> None:
        config = example(tmp_path)
        server = msgspec.structs.replace(config.server, trusted_proxies=("10.0.0.0/8",))
        config = msgspec.structs.replace(config, server=server)
        config = with_limits(config, failed_auth_per_minute=60, failed_auth_burst=5)
        async with running(tmp_path, config) as collector:
            looked_up: list[str] = []
            sites = collector.edge._pipeline.access.sites
            look_up = sites.key_holder
            monkeypatch.setattr(sites, "key_holder", lambda k: looked_up.append(k) or look_up(k))
            sent = dialect.event("a")

            async def guess(number: int, key: str) -> int:
                headers = {**sent.headers, "X-API-Key": key, "Authorization": f"Bearer {key}"}
                peer = f"2001:db8:0:7::{number:x}"
                if header:
                    headers[header] = said.format(number % 250, f"{number:x}")
                    peer = "10.0.0.1"
                return (await _send(collector, sent, headers=headers, address=peer)).status

            statuses = [await guess(number, f"zv_{number}") for number in range(500)]
            assert len(looked_up) == 5
            assert statuses[5:] == [429] * 495
            assert 429 not in statuses[:5]
            for _ in range(40):  # 20 s
                clock_us[0] += 500_000
                for number in range(20):
                    await guess(number, f"zv_{number}")
            assert len(looked_up) == 5 + 20
            # Otherwise guessing could go on behind a key that is known to be good.
            assert await guess(7, DEMO_KEY) == 429
            assert len(looked_up) == 25
            elsewhere = await _send(collector, sent, address="2001:db8:0:8::1")
            assert dialect.is_success(elsewhere.status, elsewhere.body)
            clock_us[0] += 1_000_000
            assert await guess(7, DEMO_KEY) == 200

    run(play())


@every_dialect
def test_what_is_refused_early_still_takes_the_body_in(dialect: Dialect, tmp_path: Path) -> None:
    """A body in many pieces is received to its end, so that its sender reads the answer."""

    async def play() -> None:
        config = with_limits(
            with_tier(example(tmp_path), requests_per_minute=1),
            browser_requests_per_minute=1,
            server_requests_per_minute=1,
            croct_requests_per_minute=1,
        )
        async with running(tmp_path, config) as collector:
            await _send(collector, dialect.event("a"))
            for received in (0, 1, 2):
                sent = dialect.event("b")
                body = msgspec.json.encode(sent.body)
                headers = {**sent.headers, "Content-Length": str(len(body))}
                left = await _left_of(collector, sent, headers, body)
                assert left == 0, received

    run(play())


async def _left_of(collector: Collector, sent: Sent, headers: dict[str, str], body: bytes) -> int:
    """How many pieces of a body were not received when a 429 was answered."""
    pieces = [body[i : i + 50] for i in range(0, len(body), 50)]
    fields = [(name.lower(), value.encode()) for name, value in headers.items()]
    asked = fronts.Asked("POST", sent.path, fields, pieces)
    answered = await fronts.ask(collector.front, collector.edge, asked)
    assert answered.status == 429
    return answered.left


@every_dialect
def test_refusals_are_the_same_however_often_they_are_given(
    dialect: Dialect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later 429 is like the first, but for waiting time, asker's origin and ids of its own."""
    clock_us = [10**9]
    monkeypatch.setattr(service_module, "_monotonic_us", lambda: clock_us[0])

    async def play() -> None:
        config = with_limits(
            with_tier(example(tmp_path), requests_per_minute=6),
            browser_requests_per_minute=6,
            server_requests_per_minute=6,
            croct_requests_per_minute=6,
        )
        async with running(tmp_path, config) as collector:
            for number in range(6):
                await _send(collector, dialect.event(str(number)))
            waits = []
            for _ in range(3):
                for wait_s in (10, 9, 8):
                    for origin in ("http://localhost", "http://127.0.0.1"):
                        sent = dialect.event("x")
                        headers = {**sent.headers, "Origin": origin}
                        answer = await _send(collector, sent, headers=headers)
                        assert answer.status == 429
                        assert answer.headers["access-control-allow-origin"] == origin
                        assert answer.headers["content-length"] == str(len(answer.body))
                        assert dialect.code_of(429, answer.body)
                        waits.append((int(answer.headers["retry-after"]), wait_s))
                    clock_us[0] += 1_000_000
                clock_us[0] -= 3_000_000
            # The first round sees the clock run, the others see it step back and stand still.
            assert waits[:6] == [(10, 10), (10, 10), (9, 9), (9, 9), (8, 8), (8, 8)]
            expected = "unknown" if dialect.name != "croct /client/web/track" else "demo"
            assert _counts(collector)[expected, "rejected", "rate_limited"] == 18

    run(play())
