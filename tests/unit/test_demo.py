"""The demo: bodies that the real adapters take, honest counting, and manners towards limits."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from collector import config_file, demo, keys
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint, Head, PlainEndpoint, Request
from collector.config import Config, Site
from collector.demo_sender import Answer, Sender, Tally, count_answer
from collector.demo_shop import Channel, Shop, Step
from collector.demo_visitors import Crowd
from collector.event import Batch, Event, Outcome, Verdict
from collector.tokens import Token, TokenVerifier

NOW_S = 1_795_000_000.0
NOW_MS = 1_795_000_000_000
SHOP = Shop(
    site="demo",
    origin="http://localhost",
    tracking_code="ZV_demo",
    app_id="7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a",
    goal="signup",
)
PATHS: dict[Channel, str] = {
    "scanova": "/collect/batch",
    "scanova server": "/server-events",
    "croct": "/client/web/track",
    "zenovay": "/api/v1/events",
}
ROUTES = {endpoint.path: endpoint for endpoint in ENDPOINTS}


def _steps(count: int, seed: int = 1, shop: Shop = SHOP) -> list[Step]:
    crowd = Crowd(shop, random.Random(seed))
    return [step for number in range(count) for step in crowd.next(NOW_MS + number)]


def _request(path: str, headers: dict[str, str], body: bytes) -> Request:
    return Request(
        method="POST",
        path=path,
        query="",
        headers={name.lower(): value for name, value in headers.items()},
        body=body,
        id="0",
        now_us=NOW_MS * 1_000,
    )


# --- visitors


def test_every_event_is_accepted_by_the_adapters() -> None:
    """1,500 events of many visitors, each as a request of its own: none is refused."""
    sender = Sender("http://127.0.0.1:1", SHOP, keys.DEMO_KEY)
    sender._client_id = lambda visitor: visitor  # type: ignore[method-assign]
    for step in _steps(1_500):
        endpoint = ROUTES[PATHS[step.channel]]
        assert isinstance(endpoint, Endpoint)
        body = msgspec.json.encode(sender._body(step.channel, [step]))
        request = _request(endpoint.path, sender._headers(step.channel, step), body)
        assert isinstance(endpoint.read_head(request), Head)
        batch = endpoint.decode(request)
        assert isinstance(batch, Batch), batch
        assert [type(item) for item in batch.items] == [Event], batch.items


def test_visitors_do_all_that_is_promised() -> None:
    """Page views, clicks, scrolls, forms, conversions, beacons, goals and payments all occur."""
    found: dict[str, set[object]] = {}
    for step in _steps(2_000):
        body: Any = step.body
        name = body.get("event_type") or body.get("event_name") or body.get("type")
        found.setdefault(step.channel, set()).add(name or body["payload"]["type"])
    assert found == {
        "scanova": {"pageview", "click", "scroll", "form_submit"},
        "scanova server": {"signup", "purchase"},
        "croct": {
            "pageOpened",
            "productViewed",
            "cartModified",
            "orderPlaced",
            "goalCompleted",
            "eventOccurred",
            "userSignedIn",
        },
        "zenovay": {"pageview", "event", "identify", "goal", "purchase"},
    }


def test_conversions_belong_to_a_scan_seen_before() -> None:
    """What a back end reports names a scan session that a browser event had named."""
    seen: set[object] = set()
    for step in _steps(2_000):
        if step.channel == "scanova":
            seen.add(step.body.get("scan_session_id"))
        elif step.channel == "scanova server":
            assert step.body["scan_session_id"] in seen


def test_visitors_come_and_pay_in_several_ways() -> None:
    """By scans, campaigns, searches; with several providers, plans and currencies; some refunds."""
    bodies: list[Any] = [step.body for step in _steps(4_000)]
    pages = [body for body in bodies if body.get("event_type") == "pageview"]
    assert {"scan_session_id" in body for body in pages} == {True, False}
    assert any("utm_campaign=" in body["page_url"] for body in pages)
    assert any("google" in body.get("referrer", "") for body in pages)
    paid = [body["props"] for body in bodies if body.get("type") == "purchase"]
    for name in ("payment_provider", "plan_name", "currency"):
        assert len({props[name] for props in paid}) > 1, name
    assert {props.get("status") for props in paid} == {None, "refunded"}


def test_only_back_ends_repeat_themselves() -> None:
    """A repeat is the very same event, comes from a back end only, and does happen."""
    steps = _steps(3_000)
    repeats = [one for one, other in pairwise(steps) if one.body == other.body]
    assert {step.channel for step in repeats} == {"scanova server"}
    bodies = [msgspec.json.encode(step.body) for step in steps]
    assert len(bodies) - len(set(bodies)) == len(repeats)


def test_equal_seeds_give_equal_traffic_and_others_share_no_id() -> None:
    """Two runs with different seeds are never taken for repeats of one another."""
    assert _steps(300, seed=1) == _steps(300, seed=1)
    ids = [
        {step.body["event_id"] for step in _steps(300, seed=seed) if "event_id" in step.body}
        for seed in (1, 2)
    ]
    assert ids[0].isdisjoint(ids[1])


def test_a_site_without_goals_gets_none() -> None:
    """No goal is reported where none is active: it would be refused."""
    shop = msgspec.structs.replace(SHOP, goal="")
    kinds = {s.body["type"] for s in _steps(2_000, shop=shop) if s.channel == "zenovay"}
    assert "identify" in kinds
    assert "goal" not in kinds


def test_who_signed_in_carries_a_token_of_theirs() -> None:
    """The unsigned token is good for the application and names the customer."""
    signed_in = [
        step
        for step in _steps(1_000)
        if step.channel == "croct" and "userSignedIn" in str(step.body["payload"])
    ]
    assert signed_in
    verifier = TokenVerifier([], require_signed=False)
    for step in signed_in:
        payload: Any = step.body["payload"]
        at_us = (NOW_MS + 1_000) * 1_000
        token = verifier.verify(step.token, app_id=SHOP.app_id, at_us=at_us)
        assert token == Token(subject=payload["externalUserId"], is_signed=False)


# --- counting

_ZENOVAY = b'{"acceptedCount":3,"dedupedCount":2,"rejectedCount":1,"errors":[{"index":0}]}'
_SCANOVA = b'{"success":false,"accepted":3,"duplicates":2,"rejected":1,"results":[]}'


@pytest.mark.parametrize(
    ("channel", "status", "body", "count", "expected"),
    [
        ("scanova", 200, _SCANOVA, 6, (3, 2, 1)),
        ("scanova", 403, b'{"detail":"no"}', 6, (0, 0, 6)),
        ("scanova server", 200, b'{"success":true,"status":"accepted"}', 1, (1, 0, 0)),
        ("scanova server", 200, b'{"success":true,"status":"duplicate"}', 1, (0, 1, 0)),
        ("scanova server", 401, b'{"detail":"no"}', 1, (0, 0, 1)),
        ("croct", 204, b"", 1, (1, 0, 0)),
        ("croct", 202, b"", 1, (0, 0, 1)),
        ("croct", 200, b"", 1, (0, 0, 1)),
        ("croct", 400, b'{"status":400}', 1, (0, 0, 1)),
        ("zenovay", 200, _ZENOVAY, 6, (3, 2, 1)),
        ("zenovay", 200, b"<html>", 6, (0, 0, 6)),
        ("zenovay", 500, b"", 6, (0, 0, 6)),
    ],
)
def test_answers_are_counted_as_they_are_meant(
    channel: Channel, status: int, body: bytes, count: int, expected: tuple[int, int, int]
) -> None:
    """Each dialect's success, repeat and refusal ends up in its own column."""
    tally = Tally()
    reason = count_answer(channel, Answer(status, body), count, tally)
    assert (tally.accepted, tally.duplicate, tally.rejected) == expected
    assert bool(reason) == (expected[2] > 0)


def test_a_refusal_cannot_write_to_the_terminal() -> None:
    """Control characters in an answer are not passed on."""
    reason = count_answer("croct", Answer(400, b"\x1b[2Jbad\r\n"), 1, Tally())
    assert reason == "400 [2Jbad"


# --- against a server that answers with the real adapters


class _Fake:
    """Takes requests on loopback; refuses the first `limited` of each path with 429."""

    def __init__(self, limited: int = 0, status: int = 429) -> None:
        self.limited = limited
        self.status = status
        self.now_s = NOW_S
        self.requests: list[tuple[float, str, int]] = []
        self.identities: Counter[bytes] = Counter()
        self.refused: list[object] = []
        self._begun: Counter[str] = Counter()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Any:
        """Decode as the collector does, accept all, find repeats by identity."""
        route = ROUTES.get(path)
        if route is None:
            return None
        request = _request(path, headers, body)
        request.now_us = int(self.now_s * 1e6)
        if isinstance(route, PlainEndpoint):
            return route.answer(request, f"{len(self.requests):032x}")
        self._begun[path] += 1
        if self._begun[path] <= self.limited:
            self.requests.append((self.now_s, path, self.status))
            return None
        head, batch = route.read_head(request), route.decode(request)
        if not isinstance(head, Head) or not isinstance(batch, Batch):
            self.refused += [head, batch]
            return None
        outcomes: list[Outcome] = []
        for item in batch.items:
            if isinstance(item, Event) and item.identity is not None:
                self.identities[item.identity] += 1
                is_repeat = self.identities[item.identity] > 1
                outcomes.append(Verdict.DUPLICATE if is_repeat else Verdict.ACCEPTED)
            else:
                self.refused.append(item)
        self.requests.append((self.now_s, path, 200))
        return route.respond(request, batch, outcomes, None)


@contextmanager
def _listening(fake: _Fake) -> Iterator[str]:
    """`fake` on loopback; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for the other end

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/healthz":
                status, headers, text = 200, [], b"ok\n"
            else:
                response = fake.answer(self.path, dict(self.headers), body)
                if response is None:
                    retry = [("Retry-After", "3")]
                    status, headers, text = fake.status, retry, b"later"
                else:
                    status, headers, text = response.status, response.headers, response.body
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _serve  # noqa: N815 the base class' names

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _run(
    fake: _Fake, *, seconds: float = 10.0, rate: float = 20.0, key: str = keys.DEMO_KEY
) -> tuple[demo.Summary, list[str]]:
    said: list[str] = []
    with _listening(fake) as url:
        summary = demo.run(
            demo.Options(url=url, seconds=seconds, rate=rate, key=key),
            _config(),
            now_s=lambda: fake.now_s,
            sleep=fake.sleep,
            say=said.append,
            seed=1,
        )
    for tally in summary.tallies.values():
        answered = tally.accepted + tally.duplicate + tally.rejected + tally.limited
        assert tally.sent == answered
    return summary, said


def _config() -> Config:
    return config_file.parse(
        b'[[sites]]\nid = "demo"\nteam = "demo"\nallowed_domains = ["localhost"]\n'
        b'goals = ["signup"]\ntracking_code = "ZV_demo"\n'
        b'croct_app_id = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"\n'
        b'[[keys]]\nname = "backend"\nteam = "demo"\nsite = "demo"\ntier = "pro"\nsha256 = "'
        + keys.digest(keys.DEMO_KEY).encode()
        + b'"\n',
        file="test",
        path=None,
    )


def test_what_is_sent_is_what_is_told() -> None:
    """Everything is accepted, and the summary counts what was answered."""
    fake = _Fake()
    summary, said = _run(fake)
    assert fake.refused == []
    assert len(fake.identities) == pytest.approx(200, abs=5)
    # Repeats too: a back end's single event is answered like its first copy.
    told = sum(tally.accepted + tally.duplicate for tally in summary.tallies.values())
    assert told == sum(fake.identities.values())
    assert set(summary.tallies) == set(PATHS)
    assert all(tally.accepted for tally in summary.tallies.values())
    assert "collector query" in str(summary)
    assert any("events accepted" in line for line in said)


def test_the_default_limits_are_kept() -> None:
    """In any minute at most 100 browser requests and 30 of Zenovay's, for which tier pro pays."""
    fake = _Fake()
    _run(fake, seconds=90.0)
    for path, limit in (("/collect/batch", 100), ("/api/v1/events", 30)):
        times = [time_s for time_s, sent, _ in fake.requests if sent == path]
        assert len(times) > 30
        for start in times:
            assert sum(start <= time_s < start + 60 for time_s in times) <= limit


def test_told_to_wait_it_waits_and_loses_nothing() -> None:
    """After a 429 its path is left alone for Retry-After; then the same events are sent again."""
    fake = _Fake(limited=2)
    summary, _ = _run(fake, seconds=20.0)
    for path in PATHS.values():
        times = [time_s for time_s, sent, _ in fake.requests if sent == path]
        assert times[1] - times[0] >= 3
        assert times[2] - times[1] >= 3
    assert all(tally.limited > 0 for tally in summary.tallies.values())
    assert all(tally.waiting == 0 for tally in summary.tallies.values())
    assert len(fake.identities) == pytest.approx(400, abs=5)
    told = sum(tally.accepted + tally.duplicate for tally in summary.tallies.values())
    assert told == sum(fake.identities.values())


def test_it_ends_although_the_collector_never_takes_anything() -> None:
    """503 for ever: over after the time given, and nobody is told that data is there."""
    fake = _Fake(limited=10**9, status=503)
    summary, _ = _run(fake, seconds=10.0)
    assert fake.now_s < NOW_S + 11
    assert all(tally.accepted == 0 for tally in summary.tallies.values())
    assert all(tally.waiting > 0 for tally in summary.tallies.values())
    assert len(fake.requests) <= 4 * len(PATHS)
    assert str(summary).endswith("Nothing was accepted.")


def test_without_a_key_only_browsers_speak() -> None:
    """What needs a key is left out, and said to be."""
    summary, said = _run(_Fake(), seconds=5.0, key="")
    assert set(summary.tallies) == {"scanova", "croct"}
    assert "left out: zenovay, no API key is known (--key)" in said


def test_ctrl_c_still_sums_up() -> None:
    """Who stops the demo sees what it did until then."""
    fake = _Fake()
    passed = fake.sleep

    def interrupted(seconds: float) -> None:
        passed(seconds)
        if fake.now_s > NOW_S + 3:
            raise KeyboardInterrupt

    fake.sleep = interrupted  # type: ignore[method-assign]
    summary, _ = _run(fake, seconds=60.0)
    accepted = sum(tally.accepted for tally in summary.tallies.values())
    assert accepted == len(fake.identities) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "collector serve"),
        ("127.0.0.1:8000", "is no URL"),
        ("ftp://127.0.0.1", "is no URL"),
        ("http://127.0.0.1:99999", "is no URL"),
    ],
)
def test_without_a_collector_it_says_what_to_do(url: str, message: str) -> None:
    """One clear line, no traceback."""
    with pytest.raises(demo.Unreachable, match=message):
        demo.run(demo.Options(url=url), _config(), say=lambda _: None, seed=1)


@pytest.mark.parametrize("options", [{"seconds": 0}, {"seconds": 1e9}, {"rate": 0}, {"rate": 1e6}])
def test_a_demo_is_bounded(options: dict[str, float]) -> None:
    """It is no load generator: time and rate have limits."""
    with pytest.raises(demo.Unusable, match="at most"):
        demo.run(
            demo.Options(url="http://127.0.0.1:1", **options),
            _config(),
            say=lambda _: None,
            seed=1,
        )


def test_the_first_active_site_is_used() -> None:
    """Its ids are taken, one of its goals, and an origin it allows; wildcards are filled in."""
    config = Config(
        sites=(
            Site(id="off", active=False),
            Site(id="on", allowed_domains=("*.example.com",), goals=frozenset({"b", "a"})),
        )
    )
    shop = demo.shop_of(config)
    assert (shop.site, shop.origin, shop.goal) == ("on", "http://www.example.com", "a")


@pytest.mark.parametrize("sites", [(), (Site(id="off", active=False),), (Site(id="closed"),)])
def test_a_configuration_without_a_usable_site_is_told(sites: tuple[Site, ...]) -> None:
    """No site, none active, or none that a browser may send to: said, not guessed."""
    with pytest.raises(demo.Unusable, match="site"):
        demo.shop_of(Config(sites=sites))
