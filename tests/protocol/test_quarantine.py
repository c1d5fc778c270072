"""The quarantine at the edge: what is kept of what is refused, and what never is."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from storage import Files
from tests.support.app import example, run, running, with_limits, with_site, with_storage
from tests.support.quarantine import (
    CROCT,
    SCANOVA_BROWSER,
    SCANOVA_SERVER,
    ZENOVAY,
    files_hold,
    headers_of,
    kept,
    kept_in,
    post,
)

GOOD_ID = "f9ac7db6-f900-4d8e-8918-c846834195a8"


def _browser(**members: Any) -> dict[str, Any]:
    return {"site_id": "demo", "event_type": "click", **members}


def _server(**members: Any) -> dict[str, Any]:
    session = "7ad26d4f-3181-4ef8-b6ca-b8f59499dd43"
    return {"site_id": "demo", "event_name": "lead", "scan_session_id": session, **members}


def _beacon(**members: Any) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    return {
        "context": {"url": "https://example.com/"},
        "payload": {"type": "eventOccurred", "name": "n"},
        "originalTime": now_ms,
        "departureTime": now_ms,
        **members,
    }


def _item(**members: Any) -> dict[str, Any]:
    ts = time.time_ns() // 1_000_000
    return {"type": "event", "ts": ts, "props": {"name": "n"}, **members}


def _batch(*events: Any, **members: Any) -> dict[str, Any]:
    return {"trackingCode": "ZV_demo", "events": list(events), **members}


SINGLES = [
    ("/ct", _browser(visitor_id="no uuid"), SCANOVA_BROWSER, "invalid_field"),
    ("/collect", _browser(metadata={"a": "x" * 20_000}), SCANOVA_BROWSER, "field_too_large"),
    ("/server-events", _server(event_name=None), SCANOVA_SERVER, "missing_field"),
    ("/client/web/track", _beacon(context={}), CROCT, "invalid_payload"),
]


@pytest.mark.parametrize(("path", "body", "headers", "reason"), SINGLES, ids=lambda x: str(x)[:20])
def test_a_refused_event_is_kept_as_sent(
    tmp_path: Path, path: str, body: Any, headers: dict[str, str], reason: str
) -> None:
    """A single event refused for its contents is kept byte for byte, with what a replay needs."""
    raw = json.dumps(body, indent=1).encode()

    async def play() -> None:
        async with running(tmp_path) as collector:
            assert await post(collector, path, raw, headers, user_agent="agent/1") >= 400
            [one] = await kept(collector)
        assert (one.raw, one.reason, one.endpoint, one.site_id) == (raw, reason, path, "demo")
        assert one.envelope is None
        assert headers_of(one)["user-agent"] == "agent/1"
        assert one.origin == ("localhost" if "Origin" in headers else None)
        assert one.key_id == ("backend" if "X-API-Key" in headers else None)
        assert uuid.UUID(one.id).version == 7

    run(play())


@pytest.mark.parametrize(
    ("path", "headers", "make"),
    [
        ("/collect/batch", SCANOVA_BROWSER, _browser),
        ("/server-events/batch", SCANOVA_SERVER, _server),
    ],
)
def test_items_of_a_batch_are_kept_by_themselves(
    tmp_path: Path, path: str, headers: dict[str, str], make: Any
) -> None:
    """Of a batch the refused items are kept, each with its own bytes, and nothing of the others."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            events = [
                make(event_id=GOOD_ID),
                make(event_id="nonsense"),
                make(visitor_id=7),
                "no object",
                make(site_id="elsewhere", visitor_id=7),
            ]
            assert await post(collector, path, {"events": events}, headers) == 200
            found = await kept(collector)
            # What names no site is kept only where the key reaches one site.
            expected = events[1:4] if "X-API-Key" in headers else events[1:3]
            assert [json.loads(one.raw) for one in found] == expected
            assert [one.event_id for one in found][:2] == ["nonsense", None]

    run(play())


def test_zenovay_items_keep_what_they_need_of_the_batch(tmp_path: Path) -> None:
    """The envelope has the tracking code and the server context, whose address is masked."""
    context = {"clientIp": "198.51.100.77", "userAgent": "a/1", "acceptLanguage": "de"}
    events = [
        _item(),
        _item(ts=1, idempotencyKey="k1"),
        _item(type="goal", visitorId="v", sessionId="s", props={"name": "unknown"}),
        _item(type="nonsense"),
        _item(type="nonsense", consent="opt-out"),
    ]

    async def play() -> None:
        async with running(tmp_path) as collector:
            more = {"userId": "jane", "geo": {"city": "Oslo"}}
            body = _batch(*events, serverContext={**context, **more}, other="x" * 1000)
            assert await post(collector, "/api/v1/events", body, ZENOVAY) == 200
            found = await kept(collector)
        assert [one.reason for one in found] == ["invalid_ts", "unknown_goal", "invalid_event_type"]
        assert [json.loads(one.raw) for one in found] == events[1:4]
        assert [one.event_id for one in found] == ["k1", None, None]
        for one in found:
            envelope = json.loads(one.envelope or "")
            assert envelope.keys() == {"trackingCode", "serverContext"}
            assert envelope["serverContext"] == {**context, "clientIp": "[address removed]"}
        everything = b"".join(msgspec.json.encode(one) for one in found)
        assert b"198.51.100.77" not in everything
        assert files_hold(tmp_path, "198.51.100.77") == []

    run(play())


def test_a_body_that_is_no_json_is_kept_whole(tmp_path: Path) -> None:
    """Where the head says who sends; where only the body could, it is not kept."""
    broken = b'{"site_id":"demo","event_type":"click"'

    async def play() -> None:
        async with running(tmp_path) as collector:
            for path, headers, status in (
                ("/ct", SCANOVA_BROWSER, 400),
                ("/server-events", SCANOVA_SERVER, 400),
                ("/server-events/batch", SCANOVA_SERVER, 400),
                ("/client/web/track", CROCT, 400),
                ("/api/v1/events", ZENOVAY, 400),
            ):
                assert await post(collector, path, broken, headers) == status
            found = await kept(collector)
        paths = ["/server-events", "/server-events/batch", "/client/web/track", "/api/v1/events"]
        assert [one.endpoint for one in found] == paths
        assert {(one.raw, one.reason) for one in found} == {(broken, "malformed_body")}

    run(play())


NEVER = [
    ("wrong origin", "/ct", _browser(visitor_id=1), {"Origin": "http://evil.example"}),
    ("unknown site", "/ct", _browser(site_id="x", visitor_id=1), SCANOVA_BROWSER),
    ("no site", "/ct", {"event_type": "click", "visitor_id": 1}, SCANOVA_BROWSER),
    ("wrong key", "/server-events", _server(visitor_id=1), {"X-API-Key": "zv_wrong"}),
    ("foreign site", "/server-events", _server(site_id="x", visitor_id=1), SCANOVA_SERVER),
    ("wrong application", "/client/web/track", {}, {**CROCT, "X-App-Id": str(uuid.UUID(int=1))}),
    ("untrusted origin", "/client/web/track", {}, {**CROCT, "Origin": "http://evil.example"}),
    ("no json", "/client/web/track", b"{}", {**CROCT, "Content-Type": "text/plain"}),
    ("consent denied", "/ct", _browser(visitor_id=1, consent="denied"), SCANOVA_BROWSER),
    ("consent pending", "/ct", _browser(visitor_id=1, consent="pending"), SCANOVA_BROWSER),
    ("consent not to be read", "/ct", _browser(visitor_id=1, consent=["no"]), SCANOVA_BROWSER),
    (
        "consent in what is no JSON",
        "/server-events",
        b'{"site_id":"demo","consent" : "denied",',
        SCANOVA_SERVER,
    ),
    *(
        (f"consent {number} not plainly given", path, body, headers)
        for number, (path, body, headers) in enumerate(
            [
                (
                    "/collect",
                    {"site_id": "demo", "events": [{"consent": "denied"}]},
                    SCANOVA_BROWSER,
                ),
                (
                    "/api/v1/events",
                    {"trackingCode": "ZV_demo", "event": [{"consent": "opt-out"}]},
                    ZENOVAY,
                ),
                ("/api/v1/events", _batch(_item(ts=1), consent="opt-out"), ZENOVAY),
                ("/api/v1/events", _batch(_item(ts=1), serverContext={"Consent": 0}), ZENOVAY),
                ("/api/v1/events", _batch(_item(ts=1, props={"consent": "opt-out"})), ZENOVAY),
                ("/api/v1/events", b'{consent:"opt-out"}', ZENOVAY),
                ("/api/v1/events", b"consent=opt-out&email=a", ZENOVAY),
                ("/api/v1/events", b'{"\\u0063onsent":"opt-out"', ZENOVAY),
                ("/api/v1/events", b"con%73ent=opt-in-not&x=1", ZENOVAY),
                ("/api/v1/events", b'"{\\"consent\\":\\"opt-out\\"}"', ZENOVAY),
                ("/server-events", b"{'consent':'denied'}", SCANOVA_SERVER),
                ("/server-events", b'{"CONSENT":"pending",', SCANOVA_SERVER),
                ("/server-events", b"consent", SCANOVA_SERVER),
                (
                    "/server-events",
                    b'{"site_id":"demo","consent":"denied","consent":"granted"}',
                    SCANOVA_SERVER,
                ),
                ("/client/web/track", _beacon(payload={"consent": "denied"}), CROCT),
                ("/client/web/track", b"{consent: false", CROCT),
            ]
        )
    ),
    *(
        (f"{name} to {path}", path, text.encode(coding), headers)
        for path, headers in (
            ("/server-events", SCANOVA_SERVER),
            ("/client/web/track", CROCT),
            ("/api/v1/events", ZENOVAY),
        )
        for name, text, coding in (
            ("UTF-16", '{"consent":"denied","ip":"8.8.8.8"}', "utf-16"),
            ("UTF-16 without mark", '{"a":"me@example.com"}', "utf-16-le"),
            ("NUL", "c\0o\0nsent", "ascii"),
            ("Latin-1", '{"name":"Zoë"}', "latin-1"),
            ("percent-encoded address", "{ip:8%2E8.8.8", "ascii"),
            ("escaped address", '{"ip":"\\u0038.8.8.8', "ascii"),
        )
    ),
    (
        "percent-encoded address of mail",
        "/server-events",
        b'{"site_id":"demo","a":"?mail=me%2540example.com"}',
        SCANOVA_SERVER,
    ),
    (
        "an address for an id",
        "/api/v1/events",
        _batch(_item(ts=1, idempotencyKey="8.8.8.8")),
        ZENOVAY,
    ),
    (
        "objection and a body that is no JSON",
        "/api/v1/events",
        b"{",
        {**ZENOVAY, "Sec-GPC": "1"},
    ),
    (
        "objection and a batch without events",
        "/api/v1/events",
        {"trackingCode": "ZV_demo", "visitor": "jane"},
        {**ZENOVAY, "Sec-GPC": "1"},
    ),
    (
        "consent in a batch that is too large",
        "/server-events/batch",
        {"events": [_server(consent="granted"), *([_server(consent="denied")] * 100)]},
        SCANOVA_SERVER,
    ),
    ("address", "/ct", _browser(metadata={"a": "me@example.com"}), SCANOVA_BROWSER),
    (
        "address behind another fault",
        "/ct",
        _browser(visitor_id=1, metadata={"a": "me@example.com"}),
        SCANOVA_BROWSER,
    ),
    (
        "escaped address in what is no JSON",
        "/server-events",
        b'{"site_id":"demo","metadata":{"a":"me\\u0040example.com"',
        SCANOVA_SERVER,
    ),
    ("objection", "/api/v1/events", _batch(_item(ts=1)), {**ZENOVAY, "Sec-GPC": "1"}),
    ("opted out", "/api/v1/events", _batch(_item(consent="opt-out")), ZENOVAY),
    ("unknown code", "/api/v1/events", _batch(_item(ts=1), trackingCode="ZV_x"), ZENOVAY),
]


@pytest.mark.parametrize("case", NEVER, ids=lambda case: case[0])
def test_what_is_never_kept(tmp_path: Path, case: tuple[str, str, Any, dict[str, str]]) -> None:
    """Nothing of who may not write there, objects, withholds consent, or sends an address."""
    _, path, body, headers = case

    async def play() -> None:
        async with running(tmp_path) as collector:
            await post(collector, path, body, headers)
            assert await kept(collector) == []
            assert collector.rows() == []
        assert kept_in(tmp_path / "data") == []

    run(play())


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/server-events", b"{'consent' : 'granted', x", SCANOVA_SERVER),
        ("/server-events", _server(visitor_id=1, consent=None), SCANOVA_SERVER),
        ("/server-events", _server(visitor_id=1, consent="granted"), SCANOVA_SERVER),
        ("/server-events", b"consent=granted&x=1", SCANOVA_SERVER),
        ("/api/v1/events", b'{"consent":"opt-in"', ZENOVAY),
        ("/api/v1/events", _batch(_item(ts=1, consent="unknown")), ZENOVAY),
        ("/client/web/track", "{ü".encode(), CROCT),
    ],
)
def test_given_consent_is_kept(
    tmp_path: Path, path: str, body: Any, headers: dict[str, str]
) -> None:
    """What says that consent is given, or says nothing of it, in UTF-8."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            await post(collector, path, body, headers)
            assert len(await kept(collector)) == 1
            assert collector.service._quarantine.withheld == 0

    run(play())


def test_what_is_withheld_is_counted(tmp_path: Path) -> None:
    """For its encoding, its consent, or an objection."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            await post(collector, "/server-events", b"\xff\xfe{\0", SCANOVA_SERVER)
            await post(collector, "/server-events", b"consent", SCANOVA_SERVER)
            await post(collector, "/api/v1/events", b"{", ZENOVAY, sec_gpc="1")
            assert await kept(collector) == []
            assert collector.service._quarantine.withheld == 3

    run(play())


def test_addresses_in_bodies_of_any_protocol_are_masked(tmp_path: Path) -> None:
    """Texts that are one, and whatever reads like one in what is no JSON."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for path, headers in (
                ("/server-events", SCANOVA_SERVER),
                ("/client/web/track", CROCT),
                ("/api/v1/events", ZENOVAY),
            ):
                await post(collector, path, b"{ip: 198.51.100.77", headers)
                await post(collector, path, {"x": [{"ip": "198.51.100.77"}]}, headers)
            found = await kept(collector)
        masked = [b"{ip: [address removed]", b'{"x": [{"ip": "[address removed]"}]}']
        assert [
            one.raw.replace(b":[", b": [").replace(b':"', b': "') for one in found
        ] == masked * 3

    run(play())


@pytest.mark.parametrize("honours", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/ct", _browser(visitor_id=1), SCANOVA_BROWSER),
        ("/collect/batch", {"events": [_browser(visitor_id=1)]}, SCANOVA_BROWSER),
        ("/client/web/track", b"{", CROCT),
    ],
)
def test_an_honoured_objection_keeps_nothing(
    tmp_path: Path, path: str, body: Any, headers: dict[str, str], honours: bool
) -> None:
    """`Sec-GPC: 1` counts where the site honours it; elsewhere it is kept for the replay's flag."""

    async def play() -> None:
        config = with_site(example(tmp_path), honour_gpc=honours)
        async with running(tmp_path, config) as collector:
            await post(collector, path, body, headers, sec_gpc="1")
            found = await kept(collector)
            assert len(found) == (not honours)
            assert all(headers_of(one)["sec-gpc"] == "1" for one in found)

    run(play())


def test_what_is_over_a_limit_is_not_kept(tmp_path: Path) -> None:
    """A malformed event that meets a limit is told to come back, not kept."""

    async def play() -> None:
        config = with_limits(example(tmp_path), browser_requests_per_minute=1)
        async with running(tmp_path, config) as collector:
            body = {"events": [_browser(visitor_id=1)]}
            statuses = [
                await post(collector, "/collect/batch", body, SCANOVA_BROWSER) for _ in range(3)
            ]
            assert statuses == [200, 429, 429]
            assert len(await kept(collector)) == 1

    run(play())


def test_credentials_and_tokens_are_not_kept(tmp_path: Path) -> None:
    """Neither a key nor a user token reaches a file of the quarantine."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            await post(collector, "/client/web/track", b"{", CROCT, x_token="secret.token.here")
            await post(collector, "/server-events", b"{", SCANOVA_SERVER, cookie="c=secret")
            found = await kept(collector)
            assert len(found) == 2
            text = b"".join(msgspec.json.encode(one) for one in found).decode()
            for secret in ("secret", SCANOVA_SERVER["X-API-Key"], "203.0.113.9"):
                assert secret not in text

    run(play())


def test_the_bound_of_a_site_holds(tmp_path: Path) -> None:
    """What is over the bound is refused all the same, counted, and not kept; 0 keeps nothing."""

    async def play(bytes_max: int) -> tuple[int, float]:
        config = with_storage(example(tmp_path / str(bytes_max)), quarantine_bytes_max=bytes_max)
        async with running(tmp_path, config) as collector:
            for number in range(20):
                body = _browser(visitor_id="x" * 500 + str(number))
                assert await post(collector, "/ct", body, SCANOVA_BROWSER) == 422
            await kept(collector)
            full = collector.service._quarantine.full
            assert collector.service._quarantine.bytes_kept <= bytes_max
        return len(kept_in(config.storage.directory)), full

    assert run(play(0)) == (0, 0)
    assert run(play(8_000)) == (5, 15)
    assert run(play(67_108_864)) == (20, 0)


def test_the_bound_holds_over_a_restart_and_after_a_replay_makes_room(tmp_path: Path) -> None:
    """What is on disk counts at the next start."""

    async def play() -> None:
        config = with_storage(example(tmp_path), quarantine_bytes_max=3_000)
        for expected in (2, 2):
            async with running(tmp_path, config) as collector:
                for _ in range(3):
                    await post(collector, "/ct", _browser(visitor_id=1), SCANOVA_BROWSER)
                assert len(await kept(collector)) == expected

    run(play())


def test_croct_is_told_that_all_is_well_only_when_it_is_on_disk(tmp_path: Path) -> None:
    """204 means that the bytes are in a file; where they cannot be, 400 as without quarantine."""

    class Full(Files):
        fails = False

        def publish(self, temporary: Path, final: Path) -> None:
            if self.fails and final.parent.name == "quarantine":
                raise OSError(28, "No space left on device")
            super().publish(temporary, final)

    async def play() -> None:
        files = Full()
        config = with_site(example(tmp_path), croct_invalid="quarantine")
        async with running(tmp_path, config, files) as collector:
            assert await post(collector, "/client/web/track", b"{1", CROCT) == 204
            assert [one.raw for one in kept_in(config.storage.directory)] == [b"{1"]
            files.fails = True
            assert await post(collector, "/client/web/track", b"{2", CROCT) == 400
            assert collector.service._quarantine.failures == 1
            files.fails = False
            assert await post(collector, "/client/web/track", _beacon(payload=1), CROCT) == 204
            reasons = [one.reason for one in await kept(collector)]
            assert reasons == ["malformed_body", "invalid_payload"]
            counted = {k[2:]: n for k, n in collector.service._metrics.events.items()}
            assert counted == {("rejected", "quarantined"): 2, ("rejected", "malformed_body"): 1}
        config = with_storage(config, quarantine_bytes_max=0)
        async with running(tmp_path, config) as collector:
            assert await post(collector, "/client/web/track", b"{3", CROCT) == 400

    run(play())


POISON = [
    b"",
    b"\x00",
    b"\xff\xfe\x00\x80",
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'"' + b"x" * 4_000_000 + b'"',
    b'{"site_id":"\\ud83d","event_type":"\xf0\x9f"}',
    b'{"events":[' + b"1," * 99 + b"1]}",
    b'{"trackingCode":"ZV_demo","events":[' + b'{"a":1},' * 999 + b"[]]}",
    b'{"trackingCode":"ZV_demo","events":[{"idempotencyKey":"\\ud83d"}],"serverContext":{"a":1}}',
    b'{"consent":"granted","consent":"denied","site_id":"demo"}',
]


@pytest.mark.parametrize("body", POISON, ids=range(len(POISON)))
def test_poison_is_kept_or_left_but_never_a_fault(tmp_path: Path, body: bytes) -> None:
    """Whatever is sent to whichever endpoint: no 500, and what is kept is what was sent."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for endpoint in ENDPOINTS:
                if isinstance(endpoint, Endpoint):
                    headers = {**SCANOVA_BROWSER, **CROCT, **SCANOVA_SERVER, **ZENOVAY}
                    assert await post(collector, endpoint.path, body, headers) < 500
            found = await kept(collector)
            assert collector.service._quarantine.failures == 0
            # A lone surrogate is read as U+FFFD, as adapters do.
            mended = body.replace(b"\\ud83d", b"\\ufffd")
            for one in found:
                assert one.raw in body or one.raw in mended

    run(play())


def test_files_of_an_earlier_version_are_taken_over(tmp_path: Path) -> None:
    """JSON files become rows of a Parquet file, once; what cannot be read stays."""
    folder = tmp_path / "data" / "quarantine"
    folder.mkdir(parents=True)
    first, second = (str(uuid.UUID(int=n + (7 << 76) + (2 << 62))) for n in (1, 2))
    old = {"time": time.time_ns() // 1_000, "site": "demo", "endpoint": "/client/web/track"}
    why = {"reason": "invalid_payload", "message": "m", "violations": [{"reason": "r"}]}
    (folder / f"{first}.json").write_text(json.dumps({**old, **why, "body": "{é"}))
    (folder / f"{second}.json").write_text(json.dumps({**old, **why, "body_base64": "/wA="}))
    (folder / "broken.json").write_text("{")

    async def play() -> None:
        for _ in range(2):
            async with running(tmp_path):
                found = kept_in(tmp_path / "data")
                assert [one.raw for one in found] == ["{é".encode(), b"\xff\x00"]
                assert [one.id for one in found] == [first, second]
                assert {one.protocol for one in found} == {"croct"}
                assert [path.name for path in folder.glob("*.json")] == ["broken.json"]

    run(play())
