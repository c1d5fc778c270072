"""The Zenovay adapter over arbitrary bodies: never an exception, never a guilty neighbour."""

import json
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.adapters import zenovay
from collector.adapters.contract import Budget
from collector.event import Batch, Event, Verdict
from collector.refusal import Refusal
from storage import encode
from tests.support.zenovay import DAY_MS, NOW_MS, VISITOR, Rules, decode, request

GOOD = {"type": "event", "ts": NOW_MS, "props": {"name": "good"}}

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)

# Events that are nearly right, so that every check is reached.
NAMES = ("email", "name", "amount", "value", "currency", "payment_provider", "url", "os", "country")
PROPS = JSON_VALUES | st.dictionaries(
    st.sampled_from(NAMES),
    JSON_VALUES | st.sampled_from(["signup", "EUR", "stripe", 5, 2.5, "de"]),
    max_size=5,
)
IDS = st.sampled_from([VISITOR, VISITOR.upper(), "user-1", "", None, 5]) | JSON_VALUES
EVENTS = JSON_VALUES | st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["pageview", "event", "identify", "goal", "purchase"])
        | JSON_VALUES,
        "ts": st.integers(NOW_MS - 2 * DAY_MS, NOW_MS + 2 * DAY_MS) | JSON_VALUES,
        "visitorId": IDS,
        "sessionId": IDS,
        "props": PROPS,
        "idempotencyKey": st.text(max_size=130) | JSON_VALUES,
        "consent": st.sampled_from(["opt-in", "opt-out", "unknown"]) | JSON_VALUES,
    },
)


@settings(max_examples=300, deadline=None)
@given(events=st.lists(EVENTS, max_size=4), before=st.booleans())
def test_an_event_is_judged_alone(events, before):
    """The verdict on an event is the same alone as in any company, on both ways of reading."""
    together = decode(*([GOOD, *events, GOOD] if before else [*events, GOOD, 17]))
    judged = together.items[1:-1] if before else together.items[:-2]
    assert judged == [decode(event).items[0] for event in events]
    assert isinstance(together.items[0 if before else -2], Event)


@settings(max_examples=300, deadline=None)
@given(event=EVENTS)
def test_what_is_accepted_keeps_the_rules(event):
    """An accepted event has every required member, in range; its row is one line, props as sent."""
    (item,) = decode(event).items
    if isinstance(item, Refusal):
        assert item.kind.code
        assert item.message
        return
    row = item.row
    assert event["consent"] != "opt-out" if "consent" in event else True
    assert abs(event["ts"] - NOW_MS) <= DAY_MS
    assert row.event_time == event["ts"] * 1_000
    kind = event["type"]
    assert kind in {"pageview", "event", "identify", "goal", "purchase"}
    if kind in {"pageview", "identify", "goal"}:
        assert row.visitor_id
    if kind in {"pageview", "goal"}:
        assert row.session_id
    if kind == "pageview":
        assert row.visitor_id == row.session_id == VISITOR
        assert row.page_url
    if kind in {"event", "goal"}:
        assert row.event_name
    if kind == "purchase":
        assert isinstance(row.conversion_value, float)
        assert len(row.conversion_currency or "") == 3
    assert item.identity is None or 0 < len(item.identity.decode()) <= 128
    line = encode([row])
    assert line.count(b"\n") == 1
    assert json.loads(line)["metadata"] == event["props"]


@settings(max_examples=200, deadline=None)
@given(ts=st.integers(NOW_MS - 2 * DAY_MS, NOW_MS + 2 * DAY_MS), as_float=st.booleans())
@example(ts=NOW_MS - DAY_MS, as_float=False)
@example(ts=NOW_MS + DAY_MS + 1, as_float=True)
def test_the_window_is_a_day_either_way(ts, as_float):
    """Inclusive at both ends, to the millisecond, for integers and whole floats alike."""
    (item,) = decode({**GOOD, "ts": float(ts) if as_float else ts}).items
    assert isinstance(item, Event) == (abs(ts - NOW_MS) <= DAY_MS)


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=60)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {},
        optional={
            "trackingCode": st.just("ZV_demo") | JSON_VALUES,
            "events": st.lists(EVENTS, max_size=3) | JSON_VALUES,
            "serverContext": JSON_VALUES
            | st.dictionaries(
                st.sampled_from(["clientIp", "userAgent", "acceptLanguage"]), JSON_VALUES
            ),
        },
    ).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")),
    gpc=st.booleans(),
)
def test_any_body_has_an_answer(body, gpc):
    """Whatever arrives: a batch or a refusal, and an answer that is JSON; never an exception."""
    asked = request(body, sec_gpc="1" if gpc else "0")
    batch = zenovay.decode(asked)
    if isinstance(batch, Refusal):
        response = zenovay.refuse(asked, batch, None)
        assert response.status == 400
        assert json.loads(response.body)["error"]["code"] == "VALIDATION_ERROR"
        return
    zenovay.check(batch, Rules())
    if gpc:
        assert {item.kind.code for item in batch.items} == {"gpc_opted_out"}
    outcomes = [i if isinstance(i, Refusal) else Verdict.ACCEPTED for i in batch.items]
    told = json.loads(zenovay.respond(asked, batch, outcomes, None).body)
    assert told["rejectedCount"] == len(told["errors"])
    assert told["acceptedCount"] + told["rejectedCount"] == len(outcomes)
    assert [outcomes[error["index"]].kind.code for error in told["errors"]] == [
        error["reason"] for error in told["errors"]
    ]


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=40), cut=st.integers(0, 200), at=st.integers(0, 200))
def test_a_damaged_body_is_refused_or_read(data, cut, at):
    """Bytes cut out of a good body and others put in never raise, and never make two lines."""
    body = json.dumps({"trackingCode": "ZV_demo", "events": [GOOD, GOOD]}).encode()
    batch = zenovay.decode(request(body[:at] + data + body[at + cut :]))
    if isinstance(batch, Batch):
        for item in batch.items:
            if isinstance(item, Event):
                line = encode([item.row])
                assert line.count(b"\n") == 1
                assert msgspec.json.decode(line)["event_type"] == item.row.event_type


@settings(max_examples=100, deadline=None)
@given(
    limit=st.integers(0, 1_000),
    month_limit=st.integers(0, 10**6),
    used=st.integers(0, 10**9),
    month_reset_s=st.integers(0, 2**32),
)
def test_headers_never_break(limit, month_limit, used, month_reset_s):
    """Header values are printable ASCII whatever the budget."""
    budget = Budget(
        limit=limit,
        remaining=limit,
        reset_s=month_reset_s,
        month_used=used,
        month_limit=month_limit,
        month_reset_s=month_reset_s,
        total_used=used,
    )
    response = zenovay.respond(request(b""), Batch(items=[]), [], budget)
    for name, value in response.headers:
        assert name == name.lower()
        assert value.isascii()
        assert value.isprintable()
