"""From a good beacon to an event: the columns it fills, and what makes two of them the same.

Must not judge a beacon, nor change what an identity is made of: repeats are told by it across
restarts and releases.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, get_args

import msgspec

from collector.adapters.contract import Request
from collector.adapters.croct_events import (
    AnyPayload,
    EventOccurred,
    GoalCompleted,
    LeadGenerated,
    OrderPlaced,
    PageLoaded,
    PageOpened,
    ServerBeacon,
    UserProfileChanged,
    UserSignedIn,
    UserSignedOut,
    UserSignedUp,
    WebBeacon,
)
from collector.event import Event, Row, copy_row
from collector.headers import Headers

# Headers that are kept are cut here, far beyond what browsers send.
_HEADER_TEXT_MAX: Final = 1_024
# What is remembered must not be as large as a client likes.
_CACHED_CHARS_MAX: Final = 512

_LANGUAGE: Final = re.compile(r"\s*([a-zA-Z0-9-]{1,35})\s*(?:[;,]|\Z)")
_BROWSER_ROW: Final = Row(event_id="", protocol="croct", source="browser")
_SERVER_ROW: Final = Row(event_id="", protocol="croct", source="server")


def event_of(
    request: Request,
    beacon: WebBeacon | ServerBeacon,
    payload: msgspec.Raw,
    canonical: bytes,
    unknown: dict[str, msgspec.Raw] | None = None,
) -> Event:
    """The event of a good beacon.

    `payload`: as sent, but without line breaks. `canonical`: the same with its members sorted and
    without white space. `unknown`: members outside of the payload that no schema knows.
    """
    headers = request.headers
    client_id: str = headers.get("x-client-id", "").strip().replace("-", "").lower()
    tab_id, time_zone = "", None
    if isinstance(beacon, WebBeacon):
        row = copy_row(_BROWSER_ROW)
        row.page_url = beacon.context.url
        tab_id, time_zone = (beacon.context.tab_id or "").lower(), beacon.context.time_zone
    else:
        row = copy_row(_SERVER_ROW)
    row.event_type, fill = _TYPES[beacon.payload.__class__]
    row.visitor_id = client_id or None
    row.user_agent, row.language, library = _sender(headers)
    row.metadata = payload
    if fill is not None:
        fill(row, beacon.payload)
    original_ms, departure_ms = int(beacon.original_time), int(beacon.departure_time)
    row.event_time = original_ms * 1_000
    metadata = beacon.context.metadata
    # Made as a whole, because most beacons have all of it and a mapping that grows is copied.
    row.context = context = {
        "original_time": original_ms,
        "departure_time": departure_ms,
        "received_time": request.now_us // 1_000,
        "tab_id": tab_id,
        "time_zone": time_zone,
        "metadata": metadata,
        "library": library,
    }
    if not (tab_id and time_zone and metadata and library):
        for name in ("tab_id", "time_zone", "metadata", "library"):
            if not context[name]:
                del context[name]
    if unknown:
        context["unknown"] = unknown
    # NUL separates without doubt: a UUID, hex digits or a token that is yet to be verified (which
    # only base64url and dots survive), a UUID, digits, and JSON cannot hold it.
    app_id = headers.get("x-app-id", "").strip().lower()
    sender = client_id or headers.get("x-token", "")
    return Event(
        row=row,
        identity=f"{app_id}\0{sender}\0{tab_id}\0{original_ms}\0".encode() + canonical,
        departure_us=departure_ms * 1_000,
        webdriver=_says_webdriver(metadata) if metadata else False,
    )


def _says_webdriver(metadata: Mapping[str, str]) -> bool:
    """Whether a page put `navigator.webdriver` into its metadata; the SDK adds a prefix to names.

    The vendor knows no such entry: it is ours.
    """
    return metadata.get("webdriver") == "true" or metadata.get("custom_webdriver") == "true"


def _sender(headers: Headers) -> tuple[str | None, str | None, str | None]:
    """User agent, first language and library of whoever sends; the same few send nearly all."""
    agent = headers.get("user-agent", "")
    accepted = headers.get("accept-language", "")
    library = headers.get("x-client-library", "")
    is_short = len(agent) + len(accepted) + len(library) <= _CACHED_CHARS_MAX
    return (_parse_cached if is_short else _parse)(agent, accepted, library)


def _parse(agent: str, accepted: str, library: str) -> tuple[str | None, str | None, str | None]:
    language = _LANGUAGE.match(accepted.strip())
    return (
        agent.strip()[:_HEADER_TEXT_MAX] or None,
        language[1] if language else None,
        library.strip()[:_HEADER_TEXT_MAX] or None,
    )


_parse_cached: Final = lru_cache(maxsize=4_096)(_parse)


# --- columns of the payload


def _fill_referrer(row: Row, payload: PageOpened) -> None:
    row.referrer = payload.referrer


def _fill_title(row: Row, payload: PageLoaded) -> None:
    row.page_title = payload.title


def _fill_name(row: Row, payload: EventOccurred) -> None:
    row.event_name = payload.name


def _fill_goal(row: Row, payload: GoalCompleted) -> None:
    row.event_name = payload.goal_id
    row.conversion_value = payload.value
    row.conversion_currency = payload.currency


def _fill_lead(row: Row, payload: LeadGenerated) -> None:
    row.conversion_value = payload.value
    row.conversion_currency = payload.currency


def _fill_order(row: Row, payload: OrderPlaced) -> None:
    row.conversion_value = payload.order.total
    row.conversion_currency = payload.order.currency


def _fill_user(
    row: Row, payload: UserSignedUp | UserSignedIn | UserSignedOut | UserProfileChanged
) -> None:
    row.user_id = payload.external_user_id


_Fill = Callable[[Row, Any], None]
_FILLS: Final[Mapping[type, _Fill]] = {
    PageOpened: _fill_referrer,
    PageLoaded: _fill_title,
    EventOccurred: _fill_name,
    GoalCompleted: _fill_goal,
    LeadGenerated: _fill_lead,
    OrderPlaced: _fill_order,
    UserSignedUp: _fill_user,
    UserSignedIn: _fill_user,
    UserSignedOut: _fill_user,
    UserProfileChanged: _fill_user,
}
# How a payload is called on the wire, and what it fills in.
_TYPES: Final[Mapping[type, tuple[str, _Fill | None]]] = {
    kind: (kind.__struct_config__.tag, _FILLS.get(kind)) for kind in get_args(AnyPayload)
}
