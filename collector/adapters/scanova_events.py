"""One Scanova event: its shape on the wire, the rules for its members, the columns they fill.

Browser and server events share most members. An event is judged alone: nothing that is wrong with
it may touch its neighbours in a batch. Members that are not listed here are ignored, null counts as
absent. Must not know which status a refusal gets.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from collector.adapters import scanova_faults as faults
from collector.adapters import scanova_metadata
from collector.currencies import CURRENCIES
from collector.event import Event, Row
from collector.headers import Headers
from collector.refusal import Refusal

# Both headers go into every row of a batch: unbounded, a small request could fill the disk.
USER_AGENT_CHARS_MAX: Final = 1_024
LANGUAGE_CHARS_MAX: Final = 64

_NULL: Final = msgspec.Raw(b"null")
# A number with a fraction of zero is whole.
_Pixels = (
    Annotated[int, msgspec.Meta(ge=0, le=faults.INTEGER_MAX)]
    | Annotated[float, msgspec.Meta(ge=0, le=faults.INTEGER_MAX)]
    | None
)
_Text = str | None


# --- the wire


class _Device(msgspec.Struct, gc=False):
    user_agent: _Text = None
    screen_width: _Pixels = None
    screen_height: _Pixels = None
    language: _Text = None
    # Ours: what the page reads in navigator.webdriver. Of any other type it says nothing.
    webdriver: msgspec.Raw = _NULL


class _ConversionValue(msgspec.Struct, gc=False):
    amount: float | None = None
    currency: _Text = None


class _UserIdentifiers(msgspec.Struct, gc=False):
    email_hash: _Text = None
    phone_hash: _Text = None
    external_id: _Text = None


class _Item(msgspec.Struct, kw_only=True, gc=False):
    site_id: _Text = None
    event_id: _Text = None
    event_time: _Text = None
    timestamp: _Text = None
    scan_session_id: _Text = None
    web_session_id: _Text = None
    visitor_id: _Text = None
    consent: _Text = None


class BrowserItem(_Item, kw_only=True, gc=False):
    """One browser event as sent. Decoding it fails only if a member is of a wrong type."""

    event_type: _Text = None
    page_url: _Text = None
    page_title: _Text = None
    referrer: _Text = None
    device: _Device | None = None
    metadata: msgspec.Raw = _NULL


class ServerItem(_Item, kw_only=True, gc=False):
    """One server event as sent. Decoding it fails only if a member is of a wrong type."""

    event_name: _Text = None
    conversion_value: _ConversionValue | None = None
    user_identifiers: _UserIdentifiers | None = None
    properties: msgspec.Raw = _NULL


# The members that are objects.
NESTED: Final[Mapping[str, type[msgspec.Struct]]] = {
    "device": _Device,
    "conversion_value": _ConversionValue,
    "user_identifiers": _UserIdentifiers,
}


class Sender(msgspec.Struct, frozen=True):
    """What the head of a request says of the device, where an event does not say it itself."""

    user_agent: str | None = None
    language: str | None = None


def read_sender(headers: Headers) -> Sender:
    """User agent and preferred language of a browser's request."""
    user_agent = headers.get("user-agent", "")
    # The header's grammar: tags in order of preference, each with an optional weight.
    accepted = headers.get("accept-language", "")
    language = accepted.partition(",")[0].partition(";")[0].strip()
    if len(language) > LANGUAGE_CHARS_MAX or language == "*":
        language = ""
    return Sender(user_agent[:USER_AGENT_CHARS_MAX] or None, language or None)


# --- single values

_IS_UUID: Final = re.compile(
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
).fullmatch
_IS_SHA256: Final = re.compile("[0-9a-fA-F]{64}").fullmatch
# The calendar dates of ISO 8601, extended and basic, with a blank allowed for the T (RFC 3339).
_IS_ISO_8601: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?"
    r"|\d{8}(?:T\d{4}(?:\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?:\d\d)?)?)?",
    re.ASCII,
).fullmatch
_CONSENTS: Final = frozenset({"granted", "denied", "pending"})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_PER_DAY: Final = 86_400
_US_PER_SECOND: Final = 1_000_000
# Years 1 to 9999 in UTC, which every reader of the published files can show.
_TIME_US_MIN: Final = -62_135_596_800_000_000
_TIME_US_MAX: Final = 253_402_300_799_999_999


def time_us(text: str) -> int | None:
    """A time of ISO 8601 in microseconds since the epoch, None when it cannot be read as one.

    Without an offset it is UTC. Digits beyond microseconds are dropped. 1970 at midnight is told as
    one microsecond later, because a row's 0 means that no time was sent.
    """
    # What JavaScript writes needs no second look.
    if text[10:11] != "T" or text[-1:] != "Z":
        text = text.upper()
        if not _IS_ISO_8601(text):
            return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - _EPOCH
    us = (since.days * _SECONDS_PER_DAY + since.seconds) * _US_PER_SECOND + since.microseconds
    return us or 1 if _TIME_US_MIN <= us <= _TIME_US_MAX else None


# --- judging

BROWSER_REQUIRED: Final = ("site_id", "event_type")
SERVER_REQUIRED: Final = ("site_id", "event_name", "scan_session_id")


def judge_browser(item: BrowserItem, sender: Sender) -> Event | Refusal:
    """Turn `item` into an event, or say what is wrong with it: all that is missing, or the first
    invalid member. The path of a refusal begins inside the event.
    """
    if not (item.site_id and item.event_type):
        return _missing(item, BROWSER_REQUIRED)
    row = Row(
        event_id="",
        site_id=item.site_id,
        protocol="scanova",
        source="browser",
        event_type=item.event_type,
        page_url=item.page_url or None,
        page_title=item.page_title or None,
        referrer=item.referrer or None,
        user_agent=sender.user_agent,
        language=sender.language,
    )
    refusal = _fill_common(row, item)
    if refusal is None and item.device is not None:
        refusal = _fill_device(row, item.device)
    if refusal is None:
        refusal = _fill_metadata(row, item.metadata, "metadata", is_depth_limited=True)
    if refusal is not None:
        return refusal
    is_driven = item.device is not None and bytes(item.device.webdriver) == b"true"
    return Event(row=row, identity=row.event_id.encode() or None, webdriver=is_driven)


def judge_server(item: ServerItem, _sender: Sender) -> Event | Refusal:
    """As `judge_browser`, for a server event."""
    if not (item.site_id and item.event_name and item.scan_session_id is not None):
        return _missing(item, SERVER_REQUIRED)
    row = Row(
        event_id="",
        site_id=item.site_id,
        protocol="scanova",
        source="server",
        event_name=item.event_name,
    )
    refusal = _fill_common(row, item)
    if refusal is None and item.conversion_value is not None:
        refusal = _fill_conversion(row, item.conversion_value)
    if refusal is None and item.user_identifiers is not None:
        refusal = _fill_user(row, item.user_identifiers)
    if refusal is None:
        # No page states a depth for properties.
        refusal = _fill_metadata(row, item.properties, "properties", is_depth_limited=False)
    if refusal is not None:
        return refusal
    return Event(row=row, identity=row.event_id.encode() or None)


def _missing(item: _Item, required: tuple[str, ...]) -> Refusal:
    return faults.missing(*(name for name in required if not getattr(item, name)))


def _fill_common(row: Row, item: _Item) -> Refusal | None:
    if item.event_id is not None:
        if not _IS_UUID(item.event_id):
            return faults.at(faults.NOT_A_UUID, "event_id")
        row.event_id = item.event_id.lower()
    if item.scan_session_id is not None:
        if not _IS_UUID(item.scan_session_id):
            return faults.at(faults.NOT_A_UUID, "scan_session_id")
        row.scan_session_id = item.scan_session_id.lower()
    if item.web_session_id is not None:
        if not _IS_UUID(item.web_session_id):
            return faults.at(faults.NOT_A_UUID, "web_session_id")
        row.session_id = item.web_session_id.lower()
    if item.visitor_id is not None:
        if not _IS_UUID(item.visitor_id):
            return faults.at(faults.NOT_A_UUID, "visitor_id")
        row.visitor_id = item.visitor_id.lower()
    if item.timestamp is not None:
        if (us := time_us(item.timestamp)) is None:
            return faults.at(faults.NOT_A_TIME, "timestamp")
        row.event_time = us
    if item.event_time is not None:
        if (us := time_us(item.event_time)) is None:
            return faults.at(faults.NOT_A_TIME, "event_time")
        row.event_time = us
    if item.consent is not None:
        if item.consent not in _CONSENTS:
            return faults.at(faults.NOT_A_CONSENT, "consent")
        row.consent = item.consent
    return None


def _fill_device(row: Row, device: _Device) -> Refusal | None:
    if device.user_agent:
        row.user_agent = device.user_agent
    if device.language:
        row.language = device.language
    width, height = device.screen_width, device.screen_height
    if width is not None:
        if width != int(width):
            return faults.at(faults.NOT_PIXELS, "device", "screen_width")
        row.screen_width = int(width)
    if height is not None:
        if height != int(height):
            return faults.at(faults.NOT_PIXELS, "device", "screen_height")
        row.screen_height = int(height)
    return None


def _fill_conversion(row: Row, value: _ConversionValue) -> Refusal | None:
    if value.amount is None or not value.currency:
        names = [name for name in ("amount", "currency") if getattr(value, name) in (None, "")]
        return faults.missing(*(f"conversion_value/{name}" for name in names))
    if value.currency not in CURRENCIES:
        return faults.at(faults.NOT_A_CURRENCY, "conversion_value", "currency")
    row.conversion_value = value.amount
    row.conversion_currency = value.currency
    return None


def _fill_user(row: Row, user: _UserIdentifiers) -> Refusal | None:
    if user.email_hash is not None:
        if not _IS_SHA256(user.email_hash):
            return faults.at(faults.NOT_A_HASH, "user_identifiers", "email_hash")
        row.email_hash = user.email_hash.lower()
    if user.phone_hash is not None:
        if not _IS_SHA256(user.phone_hash):
            return faults.at(faults.NOT_A_HASH, "user_identifiers", "phone_hash")
        row.phone_hash = user.phone_hash.lower()
    if user.external_id:
        if scanova_metadata.is_address(user.external_id):
            return faults.at(faults.IS_ADDRESS, "user_identifiers", "external_id")
        row.external_id = row.user_id = user.external_id
    return None


def _fill_metadata(
    row: Row, raw: msgspec.Raw, name: str, *, is_depth_limited: bool
) -> Refusal | None:
    sent = bytes(raw)
    if sent == b"null":
        return None
    kept = scanova_metadata.judge(sent, is_depth_limited=is_depth_limited)
    if isinstance(kept, Refusal):
        return faults.at(kept, name)
    row.metadata = msgspec.Raw(kept)
    return None
