"""The beacon as the SDK sends nearly all, read with as few steps as can be.

Every pattern costs a call from the decoder into Python's, and a payload that is wanted both typed
and as sent costs a decode more. Here the envelope is decoded once, without patterns, and its texts
are looked at afterwards. What these looks do not know for certain is None here and read again by
`croct`, which alone says what is wrong. Must not take what `croct_events` refuses.
"""

import re
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from collector.adapters.croct_events import (
    METADATA_KEY,
    METADATA_MAX,
    TIME_ZONE,
    AnyPayload,
    MetadataText,
    WebBeacon,
    WebContext,
)


class _Context(WebContext, kw_only=True, gc=False, forbid_unknown_fields=True):
    url: str
    tab_id: str | None = None
    time_zone: str | None = None
    metadata: Annotated[dict[str, MetadataText], Meta(max_length=METADATA_MAX)] | None = None


class _Beacon(msgspec.Struct, rename="camel", gc=False, forbid_unknown_fields=True):
    context: _Context
    payload: msgspec.Raw
    original_time: int
    departure_time: int


_decode: Final = msgspec.json.Decoder(_Beacon).decode
_decode_payload: Final = msgspec.json.Decoder(AnyPayload).decode

# Milliseconds of 13 digits, from 2001 to 2286; the decoder takes no exponent for an integer.
_TIME_MS_MIN: Final = 1_000_000_000_000
_TIME_MS_MAX: Final = 10_000_000_000_000
# Web URLs of ASCII; others are looked at again.
_IS_WEB_URL: Final = re.compile(r"https?://[!-.0->@-~][!-~]*+").fullmatch
# What is remembered must not be as large as a client likes; what is longer matches neither.
_NAME_CHARS_MAX: Final = 64
_is_time_zone: Final = lru_cache(maxsize=1_024)(re.compile(TIME_ZONE).fullmatch)
_is_metadata_key: Final = lru_cache(maxsize=1_024)(re.compile(METADATA_KEY).fullmatch)
# Digits in small letters become "0", so that an id is told from anything else by one look.
DIGITS_TO_0: Final = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_NO_UUID: Final = b"00000000-0000-0000-0000-000000000000"

_LEAST: Final = len('{"context":{"url":""},"payload":,"originalTime":,"departureTime":}') + 2 * 13
_TYPE: Final = len(',"type":"web"')
_TAB_ID: Final = len(',"tabId":""') + len(_NO_UUID)
_TIME_ZONE: Final = len(',"timeZone":""')
_METADATA: Final = len(',"metadata":{}')
_NEVER: Final = -1
_ENTRY: Final = len('"":"",')


def read(body: bytes) -> tuple[WebBeacon, bytes] | None:
    """A beacon of a browser and its payload as sent, None when this is not the usual case.

    `body` is known to be UTF-8, or the payload may not be.
    """
    try:
        beacon = _decode(body)
        payload = bytes(beacon.payload)
        typed = _decode_payload(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    original_ms, departure_ms, context = beacon.original_time, beacon.departure_time, beacon.context
    if (
        not _TIME_MS_MIN < original_ms < _TIME_MS_MAX
        or not _TIME_MS_MIN < departure_ms < _TIME_MS_MAX
        or len(body) - len(payload) - _LEAST != _length(context)
    ):
        return None
    return WebBeacon(original_ms, departure_ms, context, typed), payload


def _length(context: _Context) -> int:
    """How many bytes the texts of `context` take at least, beyond an empty URL; -1 if one is bad.

    The decoder keeps the last of members with the same name, and with patterns it would have judged
    every one of them. If the body is no longer than what was kept, then there was nothing else in
    it: no other member, no white space, no escape, no null.
    """
    length = len(context.url)
    if not _IS_WEB_URL(context.url):
        return _NEVER
    if context.type is not None:
        length += _TYPE
    if (tab_id := context.tab_id) is not None:
        if tab_id.encode().translate(DIGITS_TO_0) != _NO_UUID:
            return _NEVER
        length += _TAB_ID
    if (zone := context.time_zone) is not None:
        if len(zone) > _NAME_CHARS_MAX or not _is_time_zone(zone):
            return _NEVER
        length += _TIME_ZONE + len(zone)
    if metadata := context.metadata:
        length += _METADATA - 1
        for key, text in metadata.items():
            if len(key) > _NAME_CHARS_MAX or not _is_metadata_key(key):
                return _NEVER
            length += _ENTRY + len(key) + len(text)
    return length
