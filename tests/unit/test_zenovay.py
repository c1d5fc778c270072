"""The Zenovay adapter: what it reads of a request as a whole, and who opts out."""

import pytest

from collector.adapters import zenovay
from collector.adapters.contract import Head
from collector.event import Batch, Event
from collector.refusal import MISSING_KEY, Refusal
from tests.support.headers import Unreadable
from tests.support.zenovay import CUSTOM, PAGEVIEW, decode, request, row_of

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


def test_a_header_that_cannot_be_read_is_still_there():
    """X-API-Key does not rescue an Authorization header without a value either."""
    sent = request()
    sent.headers = Unreadable({"authorization"}, {"x-api-key": "zv_abc"})
    assert isinstance(zenovay.read_head(sent), Refusal)


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
