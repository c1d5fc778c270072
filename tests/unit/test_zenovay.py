"""The Zenovay adapter: what it reads, what it refuses, and how it answers."""

import json
import uuid

import msgspec
import pytest

from collector.adapters import zenovay
from collector.adapters.contract import Budget, Head, Request
from collector.event import Batch, Event, Outcome, Row, Verdict
from collector.refusal import (
    AUTH_THROTTLED,
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    INACTIVE_SITE,
    INTERNAL_ERROR,
    INVALID_TS,
    MALFORMED_BODY,
    METHOD_NOT_ALLOWED,
    MISSING_KEY,
    MONTH_EXHAUSTED,
    NOT_FOUND,
    QUEUE_FULL,
    RATE_LIMITED,
    SHUTTING_DOWN,
    SITE_FORBIDDEN,
    STORAGE_UNAVAILABLE,
    UNKNOWN_KEY,
    UNKNOWN_SITE,
    UNSUPPORTED_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
    Kind,
    Refusal,
)

NOW_MS = 1_795_257_000_123  # 2026-11-21T10:30:00.123Z
DAY_MS = 86_400_000
VISITOR = "11111111-1111-4111-9111-111111111111"
SESSION = "22222222-2222-4222-9222-222222222222"
REQUEST_ID = "0d9f3ed0-6b2a-4a7e-9b7b-2f6f0a1c9e55"

PAGEVIEW = {
    "type": "pageview",
    "ts": NOW_MS,
    "visitorId": VISITOR,
    "sessionId": SESSION,
    "props": {"url": "https://example.com/pricing"},
}
CUSTOM = {"type": "event", "ts": NOW_MS, "props": {"name": "x"}}
IDENTIFY = {
    "type": "identify",
    "ts": NOW_MS,
    "visitorId": VISITOR,
    "props": {"email": "jane@example.com"},
}
GOAL = {**PAGEVIEW, "type": "goal", "props": {"name": "signup"}}
PURCHASE = {"type": "purchase", "ts": NOW_MS, "props": {"amount": 49.5}}
EVERY_TYPE = [PAGEVIEW, CUSTOM, IDENTIFY, GOAL, PURCHASE]

BUDGET = Budget(
    limit=30,
    remaining=29,
    reset_s=1_795_257_002,
    month_used=7,
    month_limit=10_000,
    month_reset_s=1_796_083_200,
    total_used=99,
)


class Rules:
    """A site with one goal."""

    goals = frozenset({"signup"})
    quarantines_invalid = False


def request(body: object = None, **headers: str) -> Request:
    """A request with `body` as JSON (bytes as they are); `sec_gpc="1"` is a header."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    return Request(
        method="POST",
        path="/api/v1/events",
        query=b"",
        headers=names,
        body=raw,
        id=REQUEST_ID,
        now_us=NOW_MS * 1_000 + 456,
    )


def decode(*events: object, **members: object) -> Batch:
    """The batch of these events, checked against the site's goals."""
    batch = zenovay.decode(request({"trackingCode": "ZV_demo", "events": events, **members}))
    assert isinstance(batch, Batch), batch
    zenovay.check(batch, Rules())
    return batch


def row_of(event: object, **members: object) -> Row:
    """The row of an event that must be accepted."""
    (item,) = decode(event, **members).items
    assert isinstance(item, Event), item
    return item.row


def reason_of(event: object) -> str:
    """Why an event is refused, "" if it is not; the same whether or not its batch decodes."""
    (alone,) = decode(event).items
    beside = decode(17, event).items[1]
    assert alone == beside
    return alone.kind.code if isinstance(alone, Refusal) else ""


def without(event: dict[str, object], *names: str) -> dict[str, object]:
    """`event` less some members."""
    return {name: value for name, value in event.items() if name not in names}


# --- the head


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer zv_abc"}, "zv_abc"),
        ({"authorization": "bearer   zv_abc "}, "zv_abc"),
        ({"authorization": "BEARER zv_abc"}, "zv_abc"),
        ({"x_api_key": "zv_abc"}, "zv_abc"),
        ({"x_api_key": " zv_abc "}, "zv_abc"),
        ({"authorization": "Bearer zv_abc", "x_api_key": "zv_other"}, "zv_abc"),
        ({"authorization": "Bearer other"}, "other"),
    ],
)
def test_the_key_is_found(headers, key):
    """The bearer token is the key, else X-API-Key; whether it is valid is not decided here."""
    head = zenovay.read_head(request(**headers))
    assert isinstance(head, Head)
    assert head.key == key


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "zv_abc"},
        {"authorization": "Basic zv_abc"},
        {"authorization": "Bearer zv_a zv_b"},
        {"authorization": "Bearer zv_ä"},
        {"authorization": "Basic zv_abc", "x_api_key": "zv_abc"},
        {"authorization": "", "x_api_key": "zv_abc"},
        {"x_api_key": ""},
        {"x_api_key": "zv_a zv_b"},
        {"x_api_key": "zv_ä"},
    ],
)
def test_a_missing_or_malformed_key_is_refused(headers):
    """X-API-Key never rescues a malformed Authorization header."""
    refusal = zenovay.read_head(request(**headers))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is MISSING_KEY


# --- the request as a whole


@pytest.mark.parametrize("sec_gpc", ["0", "1"])
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", "malformed_body", "not valid JSON"),
        (b"{", "malformed_body", "not valid JSON"),
        (b"events=1", "malformed_body", "not valid JSON"),
        (b'{"trackingCode":"ZV_\xff"}', "malformed_body", "UTF-8"),
        (b'{"a":' * 100_000, "malformed_body", "nested too deeply"),
        (b'{"trackingCode":5,"events":[}', "malformed_body", "not valid JSON"),
        ([], "invalid_field", "JSON object"),
        ("text", "invalid_field", "JSON object"),
        (None, "invalid_field", "JSON object"),
        ({}, "missing_field", "trackingCode"),
        ({"events": [CUSTOM]}, "missing_field", "trackingCode"),
        ({"trackingCode": None, "events": [CUSTOM]}, "missing_field", "trackingCode"),
        ({"trackingCode": 5, "events": [CUSTOM]}, "missing_field", "trackingCode"),
        ({"trackingCode": "", "events": [CUSTOM]}, "missing_field", "trackingCode"),
        ({"trackingCode": "ZV_demo"}, "missing_field", "events"),
        ({"trackingCode": "ZV_demo", "events": None}, "missing_field", "events"),
        ({"trackingCode": "ZV_demo", "events": {}}, "missing_field", "events"),
        ({"trackingCode": "ZV_demo", "events": "[]"}, "missing_field", "events"),
        ({"trackingCode": "ZV_demo", "events": []}, "batch_size", "1 to 1,000"),
        ({"trackingCode": "ZV_demo", "events": [CUSTOM] * 1_001}, "batch_size", "1 to 1,000"),
        ({"trackingCode": "ZV_demo", "events": [0] * 1_001}, "batch_size", "1 to 1,000"),
        (
            {"trackingCode": "ZV_demo", "events": [CUSTOM], "serverContext": "1.2.3.4"},
            "invalid_field",
            "serverContext",
        ),
        (
            {"trackingCode": "ZV_demo", "events": [CUSTOM], "serverContext": []},
            "invalid_field",
            "serverContext",
        ),
    ],
)
def test_a_request_that_is_no_batch_is_refused_as_a_whole(body, code, message, sec_gpc):
    """The refusal names the member at fault, whether or not the sender opted out."""
    refusal = zenovay.decode(request(body, sec_gpc=sec_gpc))
    assert isinstance(refusal, Refusal)
    assert refusal.kind.code == code
    assert message in refusal.message
    assert zenovay.refuse(request(), refusal, None).status == 400


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_batch_holds_1_to_1000_events(count):
    """Both ends are inclusive."""
    batch = decode(*[CUSTOM] * count)
    assert batch.site == "ZV_demo"
    assert [type(item) for item in batch.items] == [Event] * count


def test_null_means_absent():
    """Null stands for every optional member that was not sent."""
    nulls = dict.fromkeys(("visitorId", "sessionId", "idempotencyKey", "consent"))
    expected = row_of(CUSTOM)
    row = row_of({**CUSTOM, **nulls}, serverContext=None)
    assert row == expected
    context = dict.fromkeys(("clientIp", "userAgent", "acceptLanguage"))
    assert row_of(CUSTOM, serverContext=context) == expected
    assert row_of(CUSTOM, serverContext={**context, "clientIp": 1}) == expected


def test_unknown_members_are_ignored():
    """A newer client may send more than this knows."""
    assert row_of({**CUSTOM, "new": [1]}, version=2, serverContext={"tlsVersion": 3}) == row_of(
        CUSTOM
    )


# --- opting out


@pytest.mark.parametrize("value", ["1", " 1 "])
def test_gpc_refuses_every_event(value):
    """With Sec-GPC: 1 not even an invalid event has another reason; the answer is 200."""
    body = {"trackingCode": "ZV_demo", "events": [PAGEVIEW, {**CUSTOM, "ts": 0}, 17]}
    batch = zenovay.decode(request(body, sec_gpc=value))
    assert isinstance(batch, Batch)
    assert batch.site == "ZV_demo"
    assert [item.kind.code for item in batch.items] == ["gpc_opted_out"] * 3
    assert zenovay.respond(request(), batch, batch.items, None).status == 200


@pytest.mark.parametrize("value", ["0", "", "true"])
def test_only_1_is_the_signal(value):
    """The header means something with the value 1 only."""
    body = {"trackingCode": "ZV_demo", "events": [PAGEVIEW]}
    batch = zenovay.decode(request(body, sec_gpc=value))
    assert isinstance(batch.items[0], Event)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("opt-in", "opt-in"), ("unknown", "unknown"), ("maybe", "unknown"), ("", "unknown")],
)
def test_consent_is_one_of_three(sent, stored):
    """Any other value counts as unknown, which is accepted."""
    assert row_of({**CUSTOM, "consent": sent}).consent == stored


def test_consent_of_a_wrong_type_counts_as_unknown():
    """A consent that cannot be read is not a reason to refuse."""
    assert row_of({**CUSTOM, "consent": 1}).consent == "unknown"
    assert row_of(CUSTOM).consent is None


# --- one event: every reason

LONG = "x" * 257
REJECTED = [
    ("invalid_event_type", 17),
    ("invalid_event_type", None),
    ("invalid_event_type", "pageview"),
    ("invalid_event_type", []),
    ("invalid_event_type", {}),
    ("invalid_event_type", without(CUSTOM, "type")),
    ("invalid_event_type", {**CUSTOM, "type": None}),
    ("invalid_event_type", {**CUSTOM, "type": ["event"]}),
    ("invalid_event_type", {**CUSTOM, "type": "click"}),
    ("invalid_event_type", {**CUSTOM, "type": "Event"}),
    ("consent_opted_out", {**CUSTOM, "consent": "opt-out"}),
    *(("consent_opted_out", {**event, "consent": "opt-out"}) for event in EVERY_TYPE),
    ("invalid_ts", without(CUSTOM, "ts")),
    ("invalid_ts", {**CUSTOM, "ts": None}),
    ("invalid_ts", {**CUSTOM, "ts": True}),
    ("invalid_ts", {**CUSTOM, "ts": str(NOW_MS)}),
    ("invalid_ts", {**CUSTOM, "ts": [NOW_MS]}),
    ("invalid_ts", {**CUSTOM, "ts": NOW_MS + 0.5}),
    ("invalid_ts", {**CUSTOM, "ts": NOW_MS // 1_000}),
    ("invalid_ts", {**CUSTOM, "ts": NOW_MS * 1_000}),
    ("invalid_ts", {**CUSTOM, "ts": 0}),
    ("invalid_ts", {**CUSTOM, "ts": -1e308}),
    ("invalid_ts", {**CUSTOM, "ts": 10**400}),
    ("invalid_ts", {**CUSTOM, "ts": NOW_MS - DAY_MS - 1}),
    ("invalid_ts", {**CUSTOM, "ts": NOW_MS + DAY_MS + 1}),
    ("invalid_ts", {**CUSTOM, "ts": float(NOW_MS + DAY_MS + 1)}),
    ("invalid_idempotency_key", {**CUSTOM, "idempotencyKey": ""}),
    ("invalid_idempotency_key", {**CUSTOM, "idempotencyKey": "k" * 129}),
    ("invalid_idempotency_key", {**CUSTOM, "idempotencyKey": 5}),
    ("invalid_visitor_id", without(PAGEVIEW, "visitorId")),
    ("invalid_visitor_id", {**PAGEVIEW, "visitorId": None}),
    ("invalid_visitor_id", {**PAGEVIEW, "visitorId": "visitor-1"}),
    ("invalid_visitor_id", {**PAGEVIEW, "visitorId": VISITOR.replace("-", "")}),
    ("invalid_visitor_id", {**PAGEVIEW, "visitorId": VISITOR + "\n"}),
    ("invalid_visitor_id", {**PAGEVIEW, "visitorId": VISITOR.replace("1", "g", 1)}),
    ("invalid_visitor_id", {**PAGEVIEW, "visitorId": VISITOR.replace("1", "\u0661", 1)}),
    ("invalid_visitor_id", without(IDENTIFY, "visitorId")),
    ("invalid_visitor_id", without(GOAL, "visitorId")),
    *(("invalid_visitor_id", {**event, "visitorId": 5}) for event in EVERY_TYPE),
    *(("invalid_visitor_id", {**event, "visitorId": ""}) for event in EVERY_TYPE),
    *(("invalid_visitor_id", {**event, "visitorId": LONG}) for event in EVERY_TYPE),
    ("invalid_session_id", without(PAGEVIEW, "sessionId")),
    ("invalid_session_id", {**PAGEVIEW, "sessionId": "session-1"}),
    ("invalid_session_id", without(GOAL, "sessionId")),
    *(("invalid_session_id", {**event, "sessionId": {}}) for event in EVERY_TYPE),
    *(("invalid_session_id", {**event, "sessionId": ""}) for event in EVERY_TYPE),
    *(("invalid_session_id", {**event, "sessionId": LONG}) for event in EVERY_TYPE),
    *(("invalid_props", without(event, "props")) for event in EVERY_TYPE),
    *(("invalid_props", {**event, "props": None}) for event in EVERY_TYPE),
    *(("invalid_props", {**event, "props": "{}"}) for event in EVERY_TYPE),
    *(("invalid_props", {**event, "props": [1]}) for event in EVERY_TYPE),
    *(("invalid_props", {**event, "props": {}}) for event in EVERY_TYPE if event is not GOAL),
    ("invalid_props", {**PAGEVIEW, "props": {"url": ""}}),
    ("invalid_props", {**PAGEVIEW, "props": {"url": 5}}),
    ("invalid_props", {**CUSTOM, "props": {"name": ""}}),
    ("invalid_props", {**CUSTOM, "props": {"name": None}}),
    ("invalid_props", {**CUSTOM, "props": {"name": ["x"]}}),
    ("invalid_props", {**IDENTIFY, "props": {"plan": "pro"}}),
    ("invalid_props", {**IDENTIFY, "props": {"email": "", "customer_id": None, "phone": 5}}),
    ("invalid_props", {**GOAL, "props": {"name": "signup", "value": "20"}}),
    ("invalid_props", {**GOAL, "props": {"name": "signup", "value": True}}),
    ("invalid_props", {**GOAL, "props": {"name": "signup", "currency": "US"}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": None}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": "49.5"}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": True}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 10**400}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 1, "currency": "XYZ"}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 1, "currency": ""}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 1, "currency": 978}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 1, "status": 5}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 1, "provider_event_id": 5}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 1, "customer_email": {}}}),
    ("invalid_props", {**PURCHASE, "props": {"amount": 1, "plan_name": False}}),
    ("invalid_payment_provider", {**PURCHASE, "props": {"amount": 1, "payment_provider": "x"}}),
    ("invalid_payment_provider", {**PURCHASE, "props": {"amount": 1, "payment_provider": ""}}),
    ("invalid_payment_provider", {**PURCHASE, "props": {"amount": 1, "payment_provider": 5}}),
    ("invalid_payment_provider", {**PURCHASE, "props": {"amount": 1, "payment_provider": "Polar"}}),
    ("unknown_goal", {**GOAL, "props": {}}),
    ("unknown_goal", {**GOAL, "props": {"name": None}}),
    ("unknown_goal", {**GOAL, "props": {"name": 5}}),
    ("unknown_goal", {**GOAL, "props": {"name": "Signup"}}),
    ("unknown_goal", {**GOAL, "props": {"name": "", "value": 1}}),
]


@pytest.mark.parametrize(("reason", "event"), REJECTED)
def test_an_invalid_event_is_refused_for_its_reason(reason, event):
    """Each reason of the vendor's table, and our `invalid_props`, has its cases."""
    assert reason_of(event) == reason


@pytest.mark.parametrize(
    "event",
    [
        *EVERY_TYPE,
        {**CUSTOM, "ts": NOW_MS - DAY_MS},
        {**CUSTOM, "ts": NOW_MS + DAY_MS},
        {**CUSTOM, "ts": float(NOW_MS)},
        {**CUSTOM, "idempotencyKey": "k"},
        {**CUSTOM, "idempotencyKey": "k" * 128},
        {**CUSTOM, "idempotencyKey": "é" * 128},
        {**PAGEVIEW, "visitorId": VISITOR.upper()},
        {**PAGEVIEW, "visitorId": "00000000-0000-0000-0000-000000000000"},
        {**CUSTOM, "visitorId": "x" * 256, "sessionId": "s"},
        *({**IDENTIFY, "props": {name: "x"}} for name in ("name", "customer_id", "phone")),
        {**IDENTIFY, "props": {"company": "x", "email": 5}},
        {**GOAL, "props": {"name": "signup", "value": None, "currency": "EUR"}},
        {**PURCHASE, "props": {"amount": 0}},
        {**PURCHASE, "props": {"amount": -5.25}},
        {**PURCHASE, "props": {"amount": 1, "currency": None, "payment_provider": None}},
        {**PURCHASE, "props": {"amount": 1, "status": None, "plan_name": None}},
        *(
            {**PURCHASE, "props": {"amount": 1, "payment_provider": provider}}
            for provider in ("stripe", "lemonsqueezy", "polar", "server")
        ),
        {**PAGEVIEW, "props": {"url": "/x", "referrer": 5, "title": [], "device": {}, "os": 1}},
    ],
)
def test_a_valid_event_is_accepted(event):
    """What the vendor allows is allowed, to the very limits."""
    assert reason_of(event) == ""


ORDER = [
    ("type", "x", "invalid_event_type"),
    ("consent", "opt-out", "consent_opted_out"),
    ("ts", "now", "invalid_ts"),
    ("idempotencyKey", "", "invalid_idempotency_key"),
    ("visitorId", 5, "invalid_visitor_id"),
    ("sessionId", 5, "invalid_session_id"),
    ("props", {"name": "none", "value": "5"}, "invalid_props"),
    ("props", {"name": "none"}, "unknown_goal"),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_fault_in_order_is_the_reason(first):
    """Type, consent, ts, idempotency key, visitor, session, props, goal: the first one counts."""
    faults = {name: bad for name, bad, _ in reversed(ORDER[first:])}
    assert reason_of({**GOAL, **faults}) == ORDER[first][2]


def test_the_sample_message_of_the_vendor_is_kept():
    """Clients may compare the one message that is documented."""
    (item,) = decode({**CUSTOM, "ts": 0}).items
    assert item == Refusal(INVALID_TS, "ts is missing or beyond ±24h skew tolerance")


@pytest.mark.parametrize(
    "bad",
    [
        b"17",
        b'{"type":"event","ts":1e400,"props":{"name":"x"}}',
        b'{"type":"event","ts":1' + b"0" * 5_000 + b',"props":{"name":"x"}}',
        b'{"type":"\\ud83d","ts":1,"props":{"name":"x"}}',
        b'{"type":"event","ts":1,"props":' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
def test_one_bad_event_never_fails_its_neighbours(bad):
    """Whatever is wrong with one event, those before and after it are accepted."""
    good = json.dumps(CUSTOM).encode()
    body = b'{"trackingCode":"ZV_demo","events":[' + b",".join([good, bad, good]) + b"]}"
    batch = zenovay.decode(request(body))
    assert isinstance(batch, Batch)
    assert [type(item) for item in batch.items] == [Event, Refusal, Event]


def test_an_event_nested_to_the_limit_costs_itself_only():
    """However deep an event is nested, it is refused alone or the body as a whole; no exception."""
    good = json.dumps(CUSTOM).encode()
    for wrong in (b"", b"17,"):
        seen = set()
        for depth in range(850, 1_000):
            deep = b'{"a":' * depth + b"1" + b"}" * depth
            bad = (
                json.dumps(PAGEVIEW)
                .encode()
                .replace(b'"props": {', b'"props": {"deep":' + deep + b",")
            )
            body = b'{"trackingCode":"ZV_demo","events":[' + wrong + bad + b"," + good + b"]}"
            batch = zenovay.decode(request(body))
            if isinstance(batch, Refusal):
                assert batch.kind is MALFORMED_BODY
                seen.add("body")
            else:
                assert isinstance(batch.items[-1], Event)
                seen.add(type(batch.items[-2]).__name__)
        assert {"Event", "body"} <= seen


# --- one event: its row


def test_a_pageview_fills_the_page_columns():
    """Page, device and place go into their columns, the props as sent into `metadata`."""
    props = {
        "url": "https://example.com/",
        "referrer": "https://example.org/",
        "title": "Home",
        "device": "mobile",
        "os": "iOS",
        "browser": "Safari",
        "country": "de",
        "city": "Berlin",
        "screen_width": 390,
        "screen_height": 844,
        "extra": {"a": [1, 2.50, "ü"]},
    }
    row = row_of({**PAGEVIEW, "props": props})
    assert json.loads(bytes(row.metadata)) == props
    expected = Row(
        event_id="",
        event_time=NOW_MS * 1_000,
        protocol="zenovay",
        source="server",
        event_type="pageview",
        visitor_id=VISITOR,
        session_id=SESSION,
        page_url="https://example.com/",
        page_title="Home",
        referrer="https://example.org/",
        device_type="mobile",
        browser_family="Safari",
        os_family="iOS",
        screen_width=390,
        screen_height=844,
        country_code="DE",
        city="Berlin",
        metadata=row.metadata,
    )
    assert row == expected


def test_device_and_place_have_two_names_each():
    """The columns' own names win over the short ones."""
    props = {
        "name": "x",
        "device_type": "tablet",
        "device": "mobile",
        "os_family": "Android",
        "os": "x",
        "browser_family": "Firefox",
        "browser": "x",
        "country_code": "FR",
        "country": "DE",
    }
    row = row_of({**CUSTOM, "props": props})
    assert (row.device_type, row.os_family, row.browser_family, row.country_code) == (
        "tablet",
        "Android",
        "Firefox",
        "FR",
    )


@pytest.mark.parametrize(
    ("props", "country"),
    [
        ({"country": "Germany"}, None),
        ({"country": "ÄÖ"}, None),
        ({"country": "d1"}, None),
        ({"country": ""}, None),
        ({"country_code": "Germany", "country": "de"}, "DE"),
        ({"country_code": 49, "country": "de"}, "DE"),
    ],
)
def test_a_country_is_two_letters(props, country):
    """Names of countries stay in the metadata only."""
    assert row_of({**CUSTOM, "props": {"name": "x", **props}}).country_code == country


@pytest.mark.parametrize("width", [-1, 2**31, 1.5, "390", True, None])
def test_a_screen_size_that_is_none_is_ignored(width):
    """What does not fit the INTEGER column is left out of it; the event is kept."""
    row = row_of({**CUSTOM, "props": {"name": "x", "screen_width": width, "city": "Berlin"}})
    assert (row.screen_width, row.city) == (None, "Berlin")


def test_an_empty_text_is_no_value():
    """An empty referrer (the vendor's own example) or device is NULL."""
    props = {"url": "/", "referrer": "", "title": "", "device": "", "os": "", "city": ""}
    row = row_of({**PAGEVIEW, "props": props})
    assert (row.referrer, row.page_title, row.device_type, row.os_family, row.city) == (None,) * 5


def test_ids_of_all_types_are_canonical():
    """A UUID is lower case for every type, so that one visitor is one; other ids are as sent."""
    upper = "ABCDEF01-2345-4678-9ABC-DEF012345678"
    for event in EVERY_TYPE:
        row = row_of({**event, "visitorId": upper, "sessionId": upper})
        assert (row.visitor_id, row.session_id) == (upper.lower(), upper.lower())
    row = row_of({**CUSTOM, "visitorId": "User-42", "sessionId": "S 1"})
    assert (row.visitor_id, row.session_id) == ("User-42", "S 1")


def test_a_purchase_fills_the_conversion_columns():
    """Amount, currency in capitals, customer; payment defaults are left to the views."""
    props = {"amount": 49, "currency": "eur", "customer_id": "cus_1"}
    row = row_of({**PURCHASE, "props": props})
    assert (row.conversion_value, row.conversion_currency) == (49.0, "EUR")
    assert (row.user_id, row.external_id) == ("cus_1", "cus_1")
    assert json.loads(bytes(row.metadata)) == props
    assert row_of(PURCHASE).conversion_currency == "USD"
    assert row_of({**PURCHASE, "props": {"amount": 1, "customer_id": 5}}).user_id is None


def test_a_goal_has_a_value_and_a_currency_only_if_sent():
    """No currency is assumed for the value of a goal."""
    row = row_of({**GOAL, "props": {"name": "signup", "value": 20}})
    assert (row.event_name, row.conversion_value, row.conversion_currency) == ("signup", 20.0, None)
    row = row_of({**GOAL, "props": {"name": "signup", "value": 2.5, "currency": "gbp"}})
    assert (row.conversion_value, row.conversion_currency) == (2.5, "GBP")


def test_an_identification_names_the_customer():
    """`customer_id` is the user; the e-mail address and the rest stay in the metadata."""
    props = {"email": "jane@example.com", "customer_id": "cus_1", "plan": "pro"}
    row = row_of({**IDENTIFY, "props": props})
    assert (row.user_id, row.external_id, row.event_name) == ("cus_1", "cus_1", None)
    assert json.loads(bytes(row.metadata)) == props
    assert row_of(IDENTIFY).user_id is None


def test_the_idempotency_key_is_the_identity():
    """Byte for byte; without one there is nothing to tell repeats by."""
    (keyed, bare) = decode({**CUSTOM, "idempotencyKey": "ключ-1"}, CUSTOM).items
    assert (keyed.identity, keyed.row.idempotency_key) == ("ключ-1".encode(), "ключ-1")
    assert (bare.identity, bare.row.idempotency_key) == (None, None)


@pytest.mark.parametrize(
    ("context", "address", "user_agent", "language"),
    [
        (
            {"clientIp": "203.0.113.42", "userAgent": "Mozilla/5.0 ...", "acceptLanguage": "en-US"},
            "203.0.113.42",
            "Mozilla/5.0 ...",
            "en-US",
        ),
        ({}, None, None, None),
        ({"clientIp": "", "userAgent": "", "acceptLanguage": ""}, None, None, None),
        ({"clientIp": 1, "userAgent": "x", "acceptLanguage": None}, None, "x", None),
        ({"clientIp": "::1", "userAgent": [], "acceptLanguage": {}}, "::1", None, None),
        ({"acceptLanguage": "fr-CH;q=0.9, fr;q=0.8, *"}, None, None, "fr-CH"),
        ({"acceptLanguage": "*"}, None, None, None),
        ({"acceptLanguage": ", en"}, None, None, None),
    ],
)
def test_the_server_context_holds_for_every_event(context, address, user_agent, language):
    """Members of a wrong type are ignored; the address is on the event only, never in the row."""
    batch = decode(PAGEVIEW, CUSTOM, serverContext=context)
    for item in batch.items:
        assert isinstance(item, Event)
        assert item.client_address == address
        assert (item.row.user_agent, item.row.language) == (user_agent, language)
        assert not address or address.encode() not in msgspec.json.encode(item.row)


def test_the_server_context_cannot_be_multiplied_into_a_flood():
    """Its texts go into every row, so they are cut: a thousand rows stay near the body's size."""
    context = {"clientIp": "1" * 65, "userAgent": "u" * 100_000, "acceptLanguage": "l" * 100_000}
    (item,) = decode(CUSTOM, serverContext=context).items
    assert (item.client_address, item.row.language) == (None, None)
    assert item.row.user_agent == "u" * 1_024


def test_a_row_is_one_line():
    """Line breaks between the tokens of a body never reach the log, nor is any text changed."""
    event = {**CUSTOM, "props": {"name": "a\nb\u2028", "list": [1, 2], "emoji": "😀"}}
    body = json.dumps({"trackingCode": "ZV_demo", "events": [event]}, indent=2).replace(
        "\n", "\r\n"
    )
    batch = zenovay.decode(request(body.encode()))
    line = msgspec.json.encode(batch.items[0].row)
    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line)["metadata"] == event["props"]


def test_half_an_emoji_is_forgiven():
    """A lone surrogate becomes U+FFFD wherever it stands, and nothing that only looks like one."""
    props = rb'{"name":"\ud83d","deep":["\ude00"],"not":"\\ud83d","whole":"\ud83d\ude00"}'
    event = b'{"type":"event","ts":%d,"props":%b}' % (NOW_MS, props)
    for neighbour in (b"", b"17,"):
        body = b'{"trackingCode":"ZV_demo","events":[' + neighbour + event + b"]}"
        item = zenovay.decode(request(body)).items[-1]
        assert isinstance(item, Event)
        assert item.row.event_name == "\ufffd"
        assert json.loads(bytes(item.row.metadata)) == {
            "name": "\ufffd",
            "deep": ["\ufffd"],
            "not": r"\ud83d",
            "whole": "😀",
        }


# --- the answers


def answer(outcomes: list[Outcome], budget: Budget | None = None) -> dict[str, object]:
    """The body of the answer to these outcomes."""
    response = zenovay.respond(request(), Batch(items=[]), outcomes, budget)
    assert response.status == 200
    return json.loads(response.body)


def test_the_counts_are_disjoint_and_errors_have_their_index():
    """Every event is in one count; every refused one is in `errors` where it stood."""
    refusal = Refusal(INVALID_TS, "ts is missing or beyond ±24h skew tolerance")
    outcomes = [Verdict.ACCEPTED, refusal, Verdict.DUPLICATE, Verdict.ACCEPTED, refusal]
    assert answer(outcomes) == {
        "acceptedCount": 2,
        "dedupedCount": 1,
        "rejectedCount": 2,
        "errors": [
            {"index": 1, "reason": "invalid_ts", "message": refusal.message},
            {"index": 4, "reason": "invalid_ts", "message": refusal.message},
        ],
    }


def test_a_batch_without_refusals_has_no_errors():
    """The vendor's first sample."""
    outcomes = [Verdict.ACCEPTED] * 4 + [Verdict.DUPLICATE]
    expected = {"acceptedCount": 4, "dedupedCount": 1, "rejectedCount": 0, "errors": []}
    assert answer(outcomes) == expected


@pytest.mark.parametrize("kind", [QUEUE_FULL, STORAGE_UNAVAILABLE, INTERNAL_ERROR, SHUTTING_DOWN])
def test_our_own_failure_is_the_reason_that_allows_a_retry(kind):
    """An event we could not store is `internal_error`, the vendor's word for "retry is safe"."""
    (error,) = answer([Refusal(kind, "busy")])["errors"]
    assert error == {"index": 0, "reason": "internal_error", "message": "busy"}


def test_every_answer_tells_the_budget():
    """Rate limit and usage headers, and the request's id, on successes and refusals alike."""
    expected = {
        b"content-type": b"application/json",
        b"x-request-id": REQUEST_ID.encode(),
        b"x-ratelimit-limit": b"30",
        b"x-ratelimit-remaining": b"29",
        b"x-ratelimit-reset": b"1795257002",
        b"x-usage-monthly": b"7",
        b"x-usage-limit": b"10000",
        b"x-usage-reset": b"2026-12-01T00:00:00.000Z",
        b"x-usage-total": b"99",
    }
    response = zenovay.respond(request(), Batch(items=[]), [], BUDGET)
    assert dict(response.headers) == expected
    refused = zenovay.refuse(request(), Refusal(MALFORMED_BODY, "x"), BUDGET)
    assert dict(refused.headers) == expected


def test_limits_that_are_off_are_not_told():
    """Without a limit there is no limit header; without a budget there is none at all."""
    budget = Budget(limit=0, remaining=0, reset_s=0, month_used=7, total_used=99)
    response = zenovay.respond(request(), Batch(items=[]), [], budget)
    names = {name for name, _ in response.headers}
    assert names == {b"content-type", b"x-request-id", b"x-usage-monthly", b"x-usage-total"}
    response = zenovay.refuse(request(), Refusal(INTERNAL_ERROR, "x"), None)
    assert {name for name, _ in response.headers} == {b"content-type", b"x-request-id"}


REFUSED = [
    (MALFORMED_BODY, 400, "VALIDATION_ERROR"),
    (MISSING_KEY, 401, "UNAUTHORIZED"),
    (UNKNOWN_KEY, 401, "UNAUTHORIZED"),
    (SITE_FORBIDDEN, 403, "FORBIDDEN"),
    (INACTIVE_SITE, 403, "FORBIDDEN"),
    (UNKNOWN_SITE, 404, "NOT_FOUND"),
    (NOT_FOUND, 404, "NOT_FOUND"),
    (METHOD_NOT_ALLOWED, 405, "METHOD_NOT_ALLOWED"),
    (BODY_TOO_SLOW, 408, "REQUEST_TIMEOUT"),
    (BODY_TOO_LARGE, 413, "PAYLOAD_TOO_LARGE"),
    (UNSUPPORTED_ENCODING, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (UNSUPPORTED_MEDIA_TYPE, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (RATE_LIMITED, 429, "RATE_LIMIT_EXCEEDED"),
    (AUTH_THROTTLED, 429, "RATE_LIMIT_EXCEEDED"),
    (MONTH_EXHAUSTED, 429, "MONTHLY_LIMIT_EXCEEDED"),
    (INTERNAL_ERROR, 500, "INTERNAL_ERROR"),
    (QUEUE_FULL, 503, "SERVICE_UNAVAILABLE"),
    (STORAGE_UNAVAILABLE, 503, "SERVICE_UNAVAILABLE"),
    (SHUTTING_DOWN, 503, "SERVICE_UNAVAILABLE"),
    (Kind("teapot", 418), 418, "GENERIC_ERROR"),
]


@pytest.mark.parametrize(("kind", "status", "code"), REFUSED)
def test_a_refusal_has_the_envelope_of_the_vendor(kind, status, code):
    """Status, code, message and the time of receipt, for everything that can go wrong."""
    response = zenovay.refuse(request(), Refusal(kind, "Told to the client"), None)
    assert response.status == status
    body = json.loads(response.body)
    body["error"].pop("retry_after", None)
    assert body == {
        "success": False,
        "error": {
            "code": code,
            "message": "Told to the client",
            "timestamp": "2026-11-21T10:30:00.123Z",
        },
    }
    headers = dict(response.headers)
    assert str(uuid.UUID(headers[b"x-request-id"].decode())) == REQUEST_ID
    assert (b"retry-after" in headers) == (status in (429, 503))
    assert headers.get(b"www-authenticate") == (b"Bearer" if status == 401 else None)


def test_a_429_tells_when_to_come_back_in_header_and_body():
    """The refusal's wait, else the budget's, else a second; a 503 has the header only."""
    for refusal, budget, wait in [
        (Refusal(RATE_LIMITED, "x", retry_after_s=6), BUDGET, 6),
        (Refusal(RATE_LIMITED, "x"), msgspec.structs.replace(BUDGET, retry_after_s=4), 4),
        (Refusal(AUTH_THROTTLED, "x"), None, 1),
    ]:
        response = zenovay.refuse(request(), refusal, budget)
        assert dict(response.headers)[b"retry-after"] == b"%d" % wait
        assert json.loads(response.body)["error"]["retry_after"] == wait
    response = zenovay.refuse(request(), Refusal(QUEUE_FULL, "x", retry_after_s=5), None)
    assert dict(response.headers)[b"retry-after"] == b"5"
    assert "retry_after" not in json.loads(response.body)["error"]


def test_no_message_echoes_what_the_client_sent():
    """No value of a body comes back: neither markup nor personal data can be reflected."""
    mark = "<script>jane@example.com"
    bodies = [
        mark.encode(),
        {mark: 1},
        {"trackingCode": "ZV_demo", "events": mark},
        {"trackingCode": "ZV_demo", "events": [CUSTOM], "serverContext": mark},
    ]
    for body in bodies:
        refusal = zenovay.decode(request(body))
        assert isinstance(refusal, Refusal)
        assert b"jane" not in zenovay.refuse(request(), refusal, None).body
    events = [{**event, name: mark} for event in EVERY_TYPE for name in (*GOAL, "consent")]
    events += [
        {**event, "props": {**event["props"], name: mark}}
        for event in EVERY_TYPE
        for name in ("name", "value", "amount", "currency", "payment_provider")
    ]
    outcomes = [
        item if isinstance(item, Refusal) else Verdict.ACCEPTED for item in decode(*events).items
    ]
    body = json.dumps(answer(outcomes))
    assert "invalid_props" in body
    assert "jane" not in body


def test_the_endpoint_asks_for_what_the_vendor_describes():
    """Key and limit before the body, repeats not stored, an id for every request."""
    (endpoint,) = zenovay.ENDPOINTS
    assert (endpoint.method, endpoint.path) == ("POST", "/api/v1/events")
    assert (endpoint.protocol, endpoint.source) == ("zenovay", "server")
    assert (endpoint.credentials, endpoint.limit, endpoint.limit_at) == ("key", "tier", "head")
    assert (endpoint.stores_duplicates, endpoint.wants_request_id) == (False, True)
