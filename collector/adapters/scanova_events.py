"""One Scanova event: its shape on the wire, the rules for its members, the columns they fill.

Browser and server events share most members. An event is judged alone: nothing that is wrong with
it may touch its neighbours in a batch. Members that are not listed here are ignored, null counts as
absent. Must not know which status a refusal gets.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Final

import msgspec

from collector.adapters import decoding, scanova_metadata
from collector.adapters import scanova_faults as faults
from collector.currencies import CURRENCIES
from collector.event import Event, Row, copy_row
from collector.headers import Headers
from collector.refusal import Refusal

# Both headers go into every row of a batch: unbounded, a small request could fill the disk.
USER_AGENT_CHARS_MAX: Final = 1_024
LANGUAGE_CHARS_MAX: Final = 64
# What is remembered must not be as large as a client likes.
_CACHED_CHARS_MAX: Final = 256

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


class Sender(msgspec.Struct):
    """What the head of a request says of the device, where an event does not say it itself.

    Read at the first event that asks: many say everything themselves.
    """

    headers: Headers
    _read: tuple[str | None, str | None] | None = None

    def read(self) -> tuple[str | None, str | None]:
        """User agent and preferred language of a browser's request."""
        if self._read is None:
            headers = self.headers
            user_agent = headers.get("user-agent", "")[:USER_AGENT_CHARS_MAX] or None
            accepted = headers.get("accept-language", "")
            is_short = len(accepted) <= _CACHED_CHARS_MAX
            self._read = user_agent, (_language_cached if is_short else _language)(accepted)
        return self._read


def _language(accepted: str) -> str | None:
    # The header's grammar: tags in order of preference, each with an optional weight.
    language = accepted.partition(",")[0].partition(";")[0].strip()
    if len(language) > LANGUAGE_CHARS_MAX or language == "*":
        return None
    return language or None


_language_cached: Final = lru_cache(maxsize=1_024)(_language)


# --- single values

UUID: Final = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_IS_UUID: Final = re.compile(UUID).fullmatch
# Digits in small letters become "0", so that four ids are told from anything else by one look.
_DIGITS_TO_0: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_NO_UUID: Final = "00000000-0000-0000-0000-000000000000"
_FOUR_UUIDS: Final = "\n".join([_NO_UUID] * 4).encode()
SHA256: Final = "[0-9a-fA-F]{64}"
_IS_SHA256: Final = re.compile(SHA256).fullmatch
# The calendar dates of ISO 8601, extended and basic, with a blank allowed for the T (RFC 3339).
_IS_ISO_8601: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?"
    r"|\d{8}(?:T\d{4}(?:\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?:\d\d)?)?)?",
    re.ASCII,
).fullmatch
CONSENTS: Final = frozenset({"granted", "denied", "pending"})

# The end of what JavaScript writes: microseconds by milliseconds and zone.
_MS_US: Final = {f"{ms:03}Z": ms * 1_000 for ms in range(1_000)}
_IS_SECOND: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.", re.ASCII).fullmatch
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
    # What JavaScript writes: events of one second share all but its last digits.
    if (after_us := _MS_US.get(text[20:])) is not None:
        second_us = _second_us(text[:20])
        if second_us is not None:
            return second_us + after_us or 1
    us = _time_us(text)
    return us or 1 if us is not None else None


@lru_cache(maxsize=4_096)
def _second_us(text: str) -> int | None:
    """The second that `text` ends with a dot in JavaScript's way, None for any other text."""
    return _time_us(text + "000Z") if _IS_SECOND(text) else None


def _time_us(text: str) -> int | None:
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
    return us if _TIME_US_MIN <= us <= _TIME_US_MAX else None


# --- judging

_IS_PLAIN_METADATA: Final = scanova_metadata.PLAIN.fullmatch

_BROWSER_ROW: Final = Row(event_id="", protocol="scanova", source="browser")
_SERVER_ROW: Final = Row(event_id="", protocol="scanova", source="server")

BROWSER_REQUIRED: Final = ("site_id", "event_type")
SERVER_REQUIRED: Final = ("site_id", "event_name", "scan_session_id")


def judge_browser(item: BrowserItem, sender: Sender) -> Event | Refusal:
    """Turn `item` into an event, or say what is wrong with it: all that is missing, or the first
    invalid member. The path of a refusal begins inside the event.
    """
    if not (item.site_id and item.event_type):
        return _missing(item, BROWSER_REQUIRED)
    row = copy_row(_BROWSER_ROW)
    row.site_id = item.site_id
    row.event_type = item.event_type
    row.page_url = item.page_url or None
    row.page_title = item.page_title or None
    row.referrer = item.referrer or None
    device = item.device
    refusal = _fill_common(row, item)
    if refusal is None and device is not None:
        refusal = _fill_device(row, device)
    if refusal is None and (metadata := item.metadata) is not _NULL:
        if _IS_PLAIN_METADATA(metadata):
            row.metadata = metadata
        else:
            refusal = _fill_metadata(row, metadata, "metadata", is_depth_limited=True)
    if refusal is not None:
        return refusal
    if row.user_agent is None or row.language is None:
        user_agent, language = sender.read()
        row.user_agent = row.user_agent or user_agent
        row.language = row.language or language
    is_driven = (
        device is not None and device.webdriver is not _NULL and bytes(device.webdriver) == b"true"
    )
    return Event(row=row, identity=row.event_id.encode() or None, webdriver=is_driven)


def judge_server(item: ServerItem, _sender: Sender) -> Event | Refusal:
    """As `judge_browser`, for a server event.

    A back end's own user agent tells nothing of the visitor's device.
    """
    if not (item.site_id and item.event_name and item.scan_session_id is not None):
        return _missing(item, SERVER_REQUIRED)
    row = copy_row(_SERVER_ROW)
    row.site_id = item.site_id
    row.event_name = item.event_name
    refusal = _fill_common(row, item)
    if refusal is None and item.conversion_value is not None:
        refusal = _fill_conversion(row, item.conversion_value)
    if refusal is None and item.user_identifiers is not None:
        refusal = _fill_user(row, item.user_identifiers)
    if refusal is None and (properties := item.properties) is not _NULL:
        # No page states a depth for properties.
        if _IS_PLAIN_METADATA(properties):
            row.metadata = properties
        else:
            refusal = _fill_metadata(row, properties, "properties", is_depth_limited=False)
    if refusal is not None:
        return refusal
    return Event(row=row, identity=row.event_id.encode() or None)


def _missing(item: _Item, required: tuple[str, ...]) -> Refusal:
    return faults.missing(*(name for name in required if not getattr(item, name)))


def _fill_common(row: Row, item: _Item) -> Refusal | None:
    event, scan = item.event_id, item.scan_session_id
    web, visitor = item.web_session_id, item.visitor_id
    ids = (
        f"{_NO_UUID if event is None else event}\n{_NO_UUID if scan is None else scan}\n"
        f"{_NO_UUID if web is None else web}\n{_NO_UUID if visitor is None else visitor}"
    )
    if ids.encode().translate(_DIGITS_TO_0) == _FOUR_UUIDS:
        row.event_id = event or ""
        row.scan_session_id = scan
        row.session_id = web
        row.visitor_id = visitor
    elif (refusal := _fill_ids(row, item)) is not None:
        return refusal
    if item.timestamp is not None:
        if (us := time_us(item.timestamp)) is None:
            return faults.at(faults.NOT_A_TIME, "timestamp")
        row.event_time = us
    if item.event_time is not None:
        if (us := time_us(item.event_time)) is None:
            return faults.at(faults.NOT_A_TIME, "event_time")
        row.event_time = us
    if item.consent is not None:
        if item.consent not in CONSENTS:
            return faults.at(faults.NOT_A_CONSENT, "consent")
        row.consent = item.consent
    return None


def _fill_ids(row: Row, item: _Item) -> Refusal | None:
    """Fill in ids that have capitals, or say which is none."""
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
    return None


def _fill_device(row: Row, device: _Device) -> Refusal | None:
    row.user_agent = device.user_agent or None
    row.language = device.language or None
    width, height = device.screen_width, device.screen_height
    if isinstance(width, float):
        if not width.is_integer():
            return faults.at(faults.NOT_PIXELS, "device", "screen_width")
        width = int(width)
    if isinstance(height, float):
        if not height.is_integer():
            return faults.at(faults.NOT_PIXELS, "device", "screen_height")
        height = int(height)
    row.screen_width, row.screen_height = width, height
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
    sent = decoding.without_breaks(bytes(raw))
    if sent == b"null":
        return None
    kept = scanova_metadata.judge(sent, is_depth_limited=is_depth_limited)
    if isinstance(kept, Refusal):
        return faults.at(kept, name)
    row.metadata = msgspec.Raw(kept)
    return None
