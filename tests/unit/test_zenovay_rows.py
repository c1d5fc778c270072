"""The Zenovay adapter: the row of an event that is accepted."""

import json

import msgspec
import pytest

from collector.adapters import zenovay
from collector.event import Event, Row
from tests.support.zenovay import (
    CUSTOM,
    EVERY_TYPE,
    GOAL,
    IDENTIFY,
    NOW_MS,
    PAGEVIEW,
    PURCHASE,
    SESSION,
    VISITOR,
    decode,
    request,
    row_of,
)


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
