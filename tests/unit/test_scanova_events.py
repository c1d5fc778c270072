"""Scanova's members, one by one: what is accepted, what is refused, which column it fills."""

from typing import Any

import pytest

from collector import refusal as kinds
from collector.adapters.scanova_events import LANGUAGE_CHARS_MAX, USER_AGENT_CHARS_MAX, time_us
from collector.event import Batch, Event
from tests.support.scanova import (
    EVENT_ID,
    SCAN_SESSION_ID,
    browser_event,
    decode,
    refusal_of,
    row_of,
)

SOURCES = ("browser", "server")
HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _check_fault(source: str, path: tuple[str, ...], rule: str, **members: Any) -> None:
    refusal = refusal_of(source, **members)
    assert refusal.kind is kinds.INVALID_FIELD
    assert ("body", *path) == refusal.path
    assert rule == refusal.rule


# --- which event it is


def test_the_least_of_a_browser_event() -> None:
    """Two members make a browser event; all that was not sent stays empty."""
    row = row_of("browser")
    assert (row.site_id, row.event_type, row.event_name) == ("demo", "click", None)
    assert (row.protocol, row.source) == ("scanova", "browser")
    assert (row.event_id, row.event_time, row.metadata, row.consent) == ("", 0, None, None)


def test_the_least_of_a_server_event() -> None:
    """Three members make a server event; its name is no type."""
    row = row_of("server")
    assert (row.site_id, row.event_type, row.event_name) == ("demo", None, "lead")
    assert (row.protocol, row.source) == ("scanova", "server")
    assert row.scan_session_id == SCAN_SESSION_ID


@pytest.mark.parametrize("source", SOURCES)
def test_the_event_id_is_the_identity(source: str) -> None:
    """An id is one id however it is written; without one an event equals no other."""
    for text in (EVENT_ID, EVENT_ID.upper()):
        path = "/ct" if source == "browser" else "/server-events"
        event = browser_event(event_id=text, event_name="x", scan_session_id=SCAN_SESSION_ID)
        batch = decode(path, event)
        assert isinstance(batch, Batch)
        assert isinstance(batch.items[0], Event)
        assert batch.items[0].identity == EVENT_ID.encode()
        assert batch.items[0].row.event_id == EVENT_ID
    batch = decode("/ct", browser_event())
    assert isinstance(batch, Batch)
    assert isinstance(batch.items[0], Event)
    assert batch.items[0].identity is None


@pytest.mark.parametrize("absent", [..., None, ""])
@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("browser", "site_id"),
        ("browser", "event_type"),
        ("server", "site_id"),
        ("server", "event_name"),
    ],
)
def test_required_members(source: str, name: str, absent: Any) -> None:
    """A required member that is absent, null or empty is missing."""
    refusal = refusal_of(source, **{name: absent})
    assert refusal.kind is kinds.MISSING_FIELD
    assert refusal.path == ("body", name)


def test_a_server_event_needs_its_scan_session() -> None:
    """Without the scan session a server event is refused; a browser event is not."""
    for absent in (..., None):
        refusal = refusal_of("server", scan_session_id=absent)
        assert refusal.path == ("body", "scan_session_id")
        assert refusal.kind is kinds.MISSING_FIELD
        assert row_of("browser", scan_session_id=absent).scan_session_id is None


def test_missing_comes_before_wrong() -> None:
    """What is missing is told first, also where another member is of a wrong type."""
    for absent in (..., None):
        wrong = {"page_url": 5, "event_id": "x"}
        refusal = refusal_of("browser", event_type=absent, site_id=absent, **wrong)
        assert refusal.kind is kinds.MISSING_FIELD
        assert [v.path for v in refusal.violations] == ["/site_id", "/event_type"]


# --- single members


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("event_id", "event_id"),
        ("scan_session_id", "scan_session_id"),
        ("web_session_id", "session_id"),
        ("visitor_id", "visitor_id"),
    ],
)
def test_uuids(source: str, name: str, column: str) -> None:
    """UUIDs of any version and case are kept in lower case; anything else is refused."""
    for text in (EVENT_ID, EVENT_ID.upper(), "00000000-0000-0000-0000-000000000001"):
        assert text.lower() == getattr(row_of(source, **{name: text}), column)
    for text in (
        "",
        "x",
        EVENT_ID[:-1],
        EVENT_ID + "0",
        EVENT_ID.replace("-", ""),
        "{" + EVENT_ID + "}",
        EVENT_ID + "\n",
        "\u0661" + EVENT_ID[1:],
        EVENT_ID.replace("f", "g"),
    ):
        _check_fault(source, (name,), "type_error.uuid", **{name: text})


TIMES = {
    "2026-05-13T10:00:00.000Z": 1_778_666_400_000_000,
    "2026-05-13T10:00:00Z": 1_778_666_400_000_000,
    "2026-05-13T10:00:00.250Z": 1_778_666_400_250_000,
    "2026-05-13T10:00:00.123456789Z": 1_778_666_400_123_456,
    "2026-05-13T12:00:00+02:00": 1_778_666_400_000_000,
    "2026-05-13T04:30:00-0530": 1_778_666_400_000_000,
    "2026-05-13T12:00+02": 1_778_666_400_000_000,
    "2026-05-13T10:00:00": 1_778_666_400_000_000,
    "2026-05-13 10:00:00": 1_778_666_400_000_000,
    "2026-05-13t10:00:00z": 1_778_666_400_000_000,
    "20260513T100000Z": 1_778_666_400_000_000,
    "2026-05-13T10:00:00,5Z": 1_778_666_400_500_000,
    "2026-05-13": 1_778_630_400_000_000,
    "1969-12-31T23:59:59Z": -1_000_000,
    "1970-01-01T00:00:00Z": 1,
    "0001-01-01T00:00:00Z": -62_135_596_800_000_000,
    "9999-12-31T23:59:59.999999Z": 253_402_300_799_999_999,
}
NO_TIMES = (
    "",
    "yesterday",
    "1778666400",
    "1778666400000",
    "2026-13-01T00:00:00Z",
    "2026-02-30",
    "2026-05-13T25:00:00Z",
    "2026-05-13T10:00:61Z",
    "2026-05-13x10:00:00",
    "2026-05-13T10:00:00+25:00",
    "2026-05-13T10:00:00Z+02:00",
    " 2026-05-13T10:00:00Z",
    "2026-05-13T10:00:00Z ",
    "0001-01-01T00:00:00+05:00",
    "9999-12-31T23:59:59-05:00",
    "12026-05-13T10:00:00Z",
    "\u0662026-05-13T10:00:00Z",
    "2026-05-13T10:00:00.000Z" * 1_000,
)


@pytest.mark.parametrize(("text", "expected"), TIMES.items())
def test_times(text: str, expected: int) -> None:
    """ISO 8601 with any offset is read to the microsecond; without one it is UTC."""
    assert expected == time_us(text)
    assert row_of("browser", event_time=text).event_time == expected
    assert row_of("server", timestamp=text).event_time == expected


@pytest.mark.parametrize("text", NO_TIMES)
@pytest.mark.parametrize("name", ["event_time", "timestamp"])
def test_what_is_no_time(name: str, text: str) -> None:
    """What cannot be read as a time of the years 1 to 9999 is refused, in both members."""
    _check_fault("browser", (name,), "value_error.datetime", **{name: text})


def test_event_time_wins() -> None:
    """`event_time` counts before `timestamp`; but a wrong `timestamp` is wrong all the same."""
    late, early = "2026-05-13T10:00:00Z", "2026-05-13T09:00:00Z"
    row = row_of("browser", event_time=late, timestamp=early)
    assert row.event_time == TIMES[late]
    _check_fault(
        "browser", ("timestamp",), "value_error.datetime", event_time=late, timestamp="soon"
    )


@pytest.mark.parametrize("source", SOURCES)
def test_consent(source: str) -> None:
    """The three values are kept as sent; any other is refused."""
    for value in ("granted", "denied", "pending"):
        assert value == row_of(source, consent=value).consent
    for value in ("", "GRANTED", "yes", "opt-in"):
        _check_fault(source, ("consent",), "type_error.enum", consent=value)


def test_pages() -> None:
    """Page and referrer are kept as sent; an empty text, as browsers write it, is none."""
    row = row_of("browser", page_url="https://a.example/?q=1#x", page_title="T", referrer="")
    assert (row.page_url, row.page_title, row.referrer) == ("https://a.example/?q=1#x", "T", None)
    long = "https://a.example/" + "x" * 100_000
    assert row_of("browser", page_url=long).page_url == long


def test_a_server_event_has_no_page() -> None:
    """What the vendor does not list for server events is ignored, of whatever type."""
    row = row_of("server", page_url="https://a.example/", device=5, metadata="x", event_type=[])
    assert (row.page_url, row.metadata, row.event_type) == (None, None, None)


# --- the device


def test_device() -> None:
    """The device fills its columns; a number with a fraction of zero is whole."""
    device = {"user_agent": "UA", "screen_width": 1440, "screen_height": 900.0, "language": "fr"}
    row = row_of("browser", device=device)
    assert (row.user_agent, row.language) == ("UA", "fr")
    assert (row.screen_width, row.screen_height) == (1440, 900)
    assert isinstance(row.screen_height, int)


@pytest.mark.parametrize("size", [-1, 2**31, 1e99, 1440.5, "1440", True, [], {}])
@pytest.mark.parametrize("name", ["screen_width", "screen_height"])
def test_screen_sizes(name: str, size: Any) -> None:
    """What an INTEGER column cannot hold or what is no size is refused."""
    _check_fault("browser", ("device", name), "type_error.integer", device={name: size})
    assert getattr(row_of("browser", device={name: 2**31 - 1}), name) == 2**31 - 1


def test_headers_tell_what_the_device_does_not() -> None:
    """User agent and first language of the request serve where a browser event says nothing."""
    headers = {"user_agent": "Agent", "accept_language": " de-CH ;q=1, de;q=0.9"}
    events = {"events": [browser_event(), browser_event(device={"language": "fr"})]}
    batch = decode("/collect/batch", events, **headers)
    assert isinstance(batch, Batch)
    rows = [item.row for item in batch.items if isinstance(item, Event)]
    assert [(row.user_agent, row.language) for row in rows] == [("Agent", "de-CH"), ("Agent", "fr")]
    event = {"site_id": "d", "event_name": "n", "scan_session_id": SCAN_SESSION_ID}
    batch = decode("/server-events", event, **headers)
    assert isinstance(batch, Batch)
    assert isinstance(batch.items[0], Event)
    assert (batch.items[0].row.user_agent, batch.items[0].row.language) == (None, None)


@pytest.mark.parametrize("language", ["", "*", "*;q=0.5", ",de", "x" * (LANGUAGE_CHARS_MAX + 1)])
def test_headers_that_tell_nothing(language: str) -> None:
    """A wildcard is no language; headers are bounded, because they go into every row."""
    agent = "\xff" + "u" * (2 * USER_AGENT_CHARS_MAX)
    batch = decode("/ct", browser_event(), accept_language=language, user_agent=agent)
    assert isinstance(batch, Batch)
    assert isinstance(batch.items[0], Event)
    row = batch.items[0].row
    assert row.language is None
    assert row.user_agent is not None
    assert len(row.user_agent) == USER_AGENT_CHARS_MAX


# --- conversions and users


def test_conversion_value() -> None:
    """Amount and currency fill their columns; refunds are negative, nothing is rounded."""
    for amount in (99.99, 0, -5, 1e300):
        row = row_of("server", conversion_value={"amount": amount, "currency": "EUR"})
        assert (row.conversion_value, row.conversion_currency) == (amount, "EUR")
    assert row_of("server", conversion_value=None).conversion_value is None


@pytest.mark.parametrize("amount", ["49.99", True, [], {}])
def test_amounts_that_are_no_numbers(amount: Any) -> None:
    """An amount is a number, not a text and not a truth value."""
    value = {"amount": amount, "currency": "USD"}
    path = ("conversion_value", "amount")
    _check_fault("server", path, "type_error.float", conversion_value=value)


def test_amounts_beyond_all_numbers() -> None:
    """A number that no column can hold is refused."""
    for number in ("1e999", "-1e999", "9" * 400, "9" * 5_000):
        body = (
            f'{{"site_id":"demo","event_name":"n","scan_session_id":"{SCAN_SESSION_ID}",'
            f'"conversion_value":{{"amount":{number},"currency":"USD"}}}}'
        )
        refusal = refusal_of("server", body.encode())
        assert refusal.path == ("body", "conversion_value", "amount")


@pytest.mark.parametrize("currency", ["usd", "Usd", "US", "USDX", "ABC", "$", "840", "EUR "])
def test_currencies(currency: str) -> None:
    """A currency is three capital letters that ISO 4217 lists."""
    value = {"amount": 1, "currency": currency}
    path = ("conversion_value", "currency")
    _check_fault("server", path, "value_error", conversion_value=value)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({}, ["amount", "currency"]),
        ({"amount": 1}, ["currency"]),
        ({"amount": None, "currency": "USD"}, ["amount"]),
        ({"amount": 0, "currency": ""}, ["currency"]),
    ],
)
def test_an_amount_needs_a_currency(value: dict[str, Any], names: list[str]) -> None:
    """A conversion value has both its members, or it is refused."""
    refusal = refusal_of("server", conversion_value=value)
    assert refusal.kind is kinds.MISSING_FIELD
    assert [f"/conversion_value/{name}" for name in names] == [v.path for v in refusal.violations]


@pytest.mark.parametrize("name", ["email_hash", "phone_hash"])
def test_hashes(name: str) -> None:
    """SHA-256 in hex of any case is kept in lower case; anything else is refused."""
    for text in (HASH, HASH.upper()):
        assert getattr(row_of("server", user_identifiers={name: text}), name) == HASH
    for text in ("", HASH[:-1], HASH + "0", "g" + HASH[1:], "jane@example.com", HASH + "\n"):
        path = ("user_identifiers", name)
        _check_fault("server", path, "value_error", user_identifiers={name: text})


def test_external_id() -> None:
    """The sender's id of the user fills two columns; an e-mail address is no id."""
    row = row_of("server", user_identifiers={"external_id": "user_12345", "email": "a@b.example"})
    assert (row.external_id, row.user_id) == ("user_12345", "user_12345")
    refusal = refusal_of("server", user_identifiers={"external_id": "jane@example.com"})
    assert refusal.kind is kinds.RAW_EMAIL
    assert refusal.path == ("body", "user_identifiers", "external_id")
