"""The Zenovay adapter: why an event is refused, and that its neighbours are not."""

import json

import pytest

from collector.adapters import zenovay
from collector.event import Batch, Event
from collector.refusal import INVALID_TS, MALFORMED_BODY, Refusal
from storage import encode
from tests.support.zenovay import (
    CUSTOM,
    DAY_MS,
    EVERY_TYPE,
    GOAL,
    IDENTIFY,
    NOW_MS,
    PAGEVIEW,
    PURCHASE,
    SESSION,
    VISITOR,
    decode,
    reason_of,
    request,
    without,
)

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
        for depth in (*range(850, 1_000), 100_000):
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


def test_bad_props_are_refused_where_they_stand():
    """Props of one type are read together: who is refused is still the one that is wrong."""
    nameless = {**CUSTOM, "props": {"name": ""}}
    free = {**PURCHASE, "props": {}}
    for other in (CUSTOM, {**CUSTOM, "props": {"name": "x", "os": 5}}):
        items = decode(PAGEVIEW, other, nameless, PURCHASE, 17, other, free, nameless, CUSTOM).items
        whys = [item.kind.code if isinstance(item, Refusal) else "" for item in items]
        bad = "invalid_props"
        assert whys == ["", "", bad, "", "invalid_event_type", "", bad, bad, ""]
        assert [item.row.event_type for item in items if isinstance(item, Event)] == [
            *("pageview", "event", "purchase", "event", "event")
        ]


@pytest.mark.parametrize(
    "odd",
    ["", "user-1", VISITOR.upper(), VISITOR + "\n" + VISITOR, VISITOR * 2, "\n" + VISITOR, "\n"],
)
def test_an_odd_id_is_judged_as_if_it_were_alone(odd):
    """Ids of a batch are looked at together; one that looks like two, or none, changes nothing."""
    events = [
        {**event, member: odd}
        for event in (PAGEVIEW, {**GOAL, "sessionId": SESSION}, CUSTOM)
        for member in ("visitorId", "sessionId")
    ]
    events.append({**CUSTOM, "visitorId": "", "sessionId": odd})
    alone = [decode(event).items[0] for event in events]
    for sent, expected in (
        (events, alone),
        *(([one], [its]) for one, its in zip(events, alone, strict=True)),
    ):
        together = decode(*sent, PAGEVIEW).items
        assert [encoded(item) for item in together[:-1]] == [encoded(item) for item in expected]
        assert isinstance(together[-1], Event)


def encoded(item: Event | Refusal) -> object:
    """What can be compared of a verdict."""
    return encode([item.row]) if isinstance(item, Event) else item
