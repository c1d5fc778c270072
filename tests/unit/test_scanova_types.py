"""Types of Scanova's members: what a value may be, what null and repeated members mean."""

from typing import Any

import msgspec
import pytest

from collector import refusal as kinds
from tests.support.scanova import browser_event, refusal_of, row_of

SOURCES = ("browser", "server")
TEXTS = (
    *(("browser", (name,)) for name in ("event_type", "page_url", "page_title", "referrer")),
    *(("browser", ("device", name)) for name in ("user_agent", "language")),
    *(("server", (name,)) for name in ("event_name", "scan_session_id")),
    *(("server", ("user_identifiers", n)) for n in ("email_hash", "phone_hash", "external_id")),
    ("server", ("conversion_value", "currency")),
    *(
        (source, (name,))
        for source in SOURCES
        for name in (
            "site_id",
            "event_id",
            "event_time",
            "timestamp",
            "web_session_id",
            "visitor_id",
            "consent",
        )
    ),
)


def _check_fault(source: str, path: tuple[str, ...], rule: str, **members: Any) -> None:
    refusal = refusal_of(source, **members)
    assert refusal.kind is kinds.INVALID_FIELD
    assert ("body", *path) == refusal.path
    assert rule == refusal.rule


@pytest.mark.parametrize("value", [5, 1.5, True, [], {}])
@pytest.mark.parametrize(("source", "path"), TEXTS)
def test_texts_are_texts(source: str, path: tuple[str, ...], value: Any) -> None:
    """No other type passes for a text."""
    wrong = value if len(path) == 1 else {path[1]: value}
    _check_fault(source, path, "type_error.str", **{path[0]: wrong})


@pytest.mark.parametrize("value", [5, "x", True, []])
@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("browser", "device"),
        ("browser", "metadata"),
        ("server", "conversion_value"),
        ("server", "user_identifiers"),
        ("server", "properties"),
    ],
)
def test_objects_are_objects(source: str, name: str, value: Any) -> None:
    """No other type passes for an object."""
    _check_fault(source, (name,), "type_error.dict", **{name: value})


def test_null_counts_as_absent() -> None:
    """Every optional member may be null, inside objects too."""
    names = ("event_id", "event_time", "timestamp", "web_session_id", "visitor_id", "consent")
    nothing = dict.fromkeys(names)
    row = row_of(
        "browser",
        **nothing,
        **dict.fromkeys(("scan_session_id", "page_url", "page_title", "referrer", "metadata")),
        device=dict.fromkeys(("user_agent", "screen_width", "screen_height", "language")),
    )
    assert row == row_of("browser")
    row = row_of(
        "server",
        **nothing,
        **dict.fromkeys(("conversion_value", "properties")),
        user_identifiers=dict.fromkeys(("email_hash", "phone_hash", "external_id")),
    )
    assert row == row_of("server")


def test_a_member_given_twice() -> None:
    """The last one counts; but one of a wrong type is told, never taken for a good event."""
    twice = b'{"site_id":"a","site_id":"demo","event_type":"click"}'
    assert row_of("browser", twice).site_id == "demo"
    refusal = refusal_of("browser", b'{"site_id":5,"site_id":"demo","event_type":"click"}')
    assert refusal.kind is kinds.INVALID_FIELD
    assert refusal.path == ("body",)


def test_the_row_holds_one_line() -> None:
    """A pretty-printed body gives a row without line breaks, with the metadata as sent."""
    body = msgspec.json.format(msgspec.json.encode(browser_event(metadata={"a": [1, 2]})), indent=2)
    row = row_of("browser", body.replace(b"\n", b"\r\n"))
    assert isinstance(row.metadata, msgspec.Raw)
    assert b"\n" not in bytes(row.metadata)
    assert b"\r" not in bytes(row.metadata)
    assert msgspec.json.decode(row.metadata) == {"a": [1, 2]}
