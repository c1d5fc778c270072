"""The Croct protocol: one event beacon per request, and the client id the SDK asks for first.

Owns the head and the way from a beacon to an event. What a beacon may hold is told by
`croct_events`, what is answered by `croct_answers`; tokens are judged by `collector.tokens`. Must
not look anything up.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from collector.adapters import decoding
from collector.adapters.contract import (
    Endpoint,
    Head,
    PlainEndpoint,
    Request,
    SiteRules,
)
from collector.adapters.croct_answers import CLIENT_ID, answer_client_id, refuse, respond
from collector.adapters.croct_events import (
    AnyPayload,
    EventOccurred,
    GoalCompleted,
    LeadGenerated,
    OrderPlaced,
    PageLoaded,
    PageOpened,
    ServerBeacon,
    ServerContext,
    UserProfileChanged,
    UserSignedIn,
    UserSignedOut,
    UserSignedUp,
    WebBeacon,
    WebContext,
)
from collector.adapters.croct_models import UUID
from collector.adapters.croct_strict import unknown_members
from collector.adapters.croct_violations import violation, violations
from collector.event import Batch, Event, Row
from collector.refusal import (
    INVALID_APP_ID,
    INVALID_CLIENT_ID,
    INVALID_PAYLOAD,
    MALFORMED_BODY,
    MISSING_APP_ID,
    MISSING_CLIENT_ID,
    UNSUPPORTED_MEDIA_TYPE,
    Refusal,
    Violation,
)

# Browsers cap what a page may have in flight with `keepalive` at 64 KiB, so the SDK sends no more.
_BODY_BYTES_MAX: Final = 65_536
# Headers that are kept are cut here, far beyond what browsers send.
_HEADER_TEXT_MAX: Final = 1_024

_APP_ID: Final = re.compile(UUID)
_LANGUAGE: Final = re.compile(r"\s*([a-zA-Z0-9-]{1,35})\s*(?:[;,]|\Z)")

_ENVELOPE: Final = frozenset((*WebBeacon.__struct_encode_fields__, "$schema"))
_WEB_CONTEXT: Final = frozenset(WebContext.__struct_encode_fields__)
_SERVER_CONTEXT: Final = frozenset(ServerContext.__struct_encode_fields__)

_web_beacon: Final = msgspec.json.Decoder(WebBeacon)
_server_beacon: Final = msgspec.json.Decoder(ServerBeacon)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything: Final = msgspec.json.Decoder[object]()
_canonical: Final = msgspec.json.Encoder(order="sorted")


# --- the head


def read_head(request: Request) -> Head | Refusal:
    """Find application, client and token; nothing is looked up and no token is judged.

    `app_id` comes back dashed and in lower case, `client_id` as 32 lower-case hex digits or "".
    `origin` is left to `collector.origin`, which can tell none from an unreadable one.
    """
    app_id = _header(request, "x-app-id")
    if not app_id:
        return Refusal(MISSING_APP_ID, "X-App-Id is missing or empty")
    if not _APP_ID.fullmatch(app_id):
        return Refusal(INVALID_APP_ID, "X-App-Id must be a UUID with dashes")
    client_id = _header(request, "x-client-id")
    if client_id and not CLIENT_ID.fullmatch(client_id):
        return Refusal(INVALID_CLIENT_ID, "X-Client-Id must be a UUID, with dashes or without")
    token = _header(request, "x-token")
    if not client_id and not token:
        return Refusal(
            MISSING_CLIENT_ID, "X-Client-Id and X-Token are both missing; one must be sent"
        )
    return Head(
        app_id=app_id.lower(),
        client_id=client_id.replace("-", "").lower(),
        token=token,
    )


def _header(request: Request, name: str) -> str:
    return request.headers.get(name, "").strip()


# --- the body


def decode(request: Request) -> Batch | Refusal:
    """Read one beacon: a batch of one event, or why it cannot be one with every broken rule.

    The head must have been found good. The clock is not corrected here: `event_time` is the
    client's own, and `departure_us` tells by which clock.
    """
    if not _is_json(_header(request, "content-type")):
        reason = "Content-Type must be application/json"
        return Refusal(UNSUPPORTED_MEDIA_TYPE, reason, violations=(Violation(reason),))
    try:
        body = decoding.one_line(request.body)
        try:
            return Batch(items=[_read(request, body)])
        except msgspec.ValidationError as error:
            return _invalid(body, error)
    except decoding.Malformed as fault:
        reason = f"the body is not valid JSON: {fault}"
        return Refusal(MALFORMED_BODY, reason, violations=(Violation(reason),))


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].rstrip().lower() == "application/json"


def _read(request: Request, body: bytes) -> Event:
    # First without looking inside: the payload is kept as sent, and what is not known shows up.
    members = decoding.decode(_members, body)
    context_members = _context_members(members)
    beacon: WebBeacon | ServerBeacon
    if _is_server(context_members):
        beacon = decoding.decode(_server_beacon, body)
        known = _SERVER_CONTEXT
    else:
        beacon = decoding.decode(_web_beacon, body)
        known = _WEB_CONTEXT
    unknown = _without(members, _ENVELOPE) | _without(context_members, known)
    payload = members["payload"]
    canonical = _canonical.encode(decoding.decode(_anything, payload))
    return _event(request, beacon, payload, canonical, unknown)


def _context_members(members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    try:
        return decoding.decode(_members, members.get("context", b"{}"))
    except msgspec.ValidationError:
        return {}  # no object: the typed decode will say so


def _is_server(context_members: dict[str, msgspec.Raw]) -> bool:
    kind = context_members.get("type")
    return kind is not None and decoding.decode(_anything, kind) == "server"


def _without(members: dict[str, msgspec.Raw], known: frozenset[str]) -> dict[str, msgspec.Raw]:
    if members.keys() <= known:
        return {}
    return {name: value for name, value in members.items() if name not in known}


def _invalid(body: bytes, error: msgspec.ValidationError) -> Refusal:
    """Say all that is wrong with a body that the typed decode refused with `error`."""
    try:
        document = decoding.decode(_anything, body)
    except msgspec.ValidationError as untyped:  # a number that no float can hold
        found: tuple[Violation, ...] = (violation(untyped),)
    else:
        context = document.get("context") if isinstance(document, dict) else None
        is_server = isinstance(context, dict) and context.get("type") == "server"
        kind = ServerBeacon if is_server else WebBeacon
        found = violations(document, kind) or (violation(error),)
    return Refusal(
        INVALID_PAYLOAD, "the event does not match the schema of its type", violations=found
    )


def check(batch: Batch, rules: SiteRules) -> None:
    """Refuse unknown members for sites that want it."""
    if not rules.refuses_unknown:
        return
    for index, item in enumerate(batch.items):
        found = unknown_members(item) if isinstance(item, Event) else ()
        if found:
            reason = "the event has members that the schema of its type does not know"
            batch.items[index] = Refusal(INVALID_PAYLOAD, reason, violations=found)


# --- beacon to event


def _event(
    request: Request,
    beacon: WebBeacon | ServerBeacon,
    payload: msgspec.Raw,
    canonical: bytes,
    unknown: dict[str, msgspec.Raw],
) -> Event:
    original_ms = int(beacon.original_time)
    departure_ms = int(beacon.departure_time)
    client_id = _header(request, "x-client-id").replace("-", "").lower()
    context: dict[str, object] = {
        "original_time": original_ms,
        "departure_time": departure_ms,
        "received_time": request.now_us // 1_000,
    }
    row = Row(
        event_id="",
        event_time=original_ms * 1_000,
        protocol="croct",
        source="server",
        event_type=str(beacon.payload.__struct_config__.tag),
        visitor_id=client_id or None,
        user_agent=_kept_header(request, "user-agent"),
        language=_language(request),
        metadata=payload,
        context=context,
    )
    _fill_from_payload(row, beacon.payload)
    tab_id = ""
    if isinstance(beacon, WebBeacon):
        row.source = "browser"
        row.page_url = beacon.context.url
        if beacon.context.tab_id:
            context["tab_id"] = tab_id = beacon.context.tab_id.lower()
        if beacon.context.time_zone:
            context["time_zone"] = beacon.context.time_zone
    if beacon.context.metadata:
        context["metadata"] = beacon.context.metadata
    if library := _kept_header(request, "x-client-library"):
        context["library"] = library
    if unknown:
        context["unknown"] = unknown
    # NUL separates without doubt: a UUID, hex digits or a token that is yet to be verified (which
    # only base64url and dots survive), a UUID, digits, and JSON cannot hold it.
    identity = b"\0".join(
        (
            _header(request, "x-app-id").lower().encode(),
            client_id.encode() or request.headers.get("x-token", "").encode(),
            tab_id.encode(),
            b"%d" % original_ms,
            canonical,
        )
    )
    return Event(
        row=row,
        identity=identity,
        departure_us=departure_ms * 1_000,
        webdriver=_says_webdriver(beacon.context.metadata or {}),
    )


def _says_webdriver(metadata: Mapping[str, str]) -> bool:
    """Whether a page put `navigator.webdriver` into its metadata; the SDK adds a prefix to names.

    The vendor knows no such entry: it is ours.
    """
    return any(metadata.get(name) == "true" for name in ("webdriver", "custom_webdriver"))


def _fill_from_payload(row: Row, payload: AnyPayload) -> None:
    match payload:
        case PageOpened():
            row.referrer = payload.referrer
        case PageLoaded():
            row.page_title = payload.title
        case EventOccurred():
            row.event_name = payload.name
        case GoalCompleted():
            row.event_name = payload.goal_id
            row.conversion_value = payload.value
            row.conversion_currency = payload.currency
        case LeadGenerated():
            row.conversion_value = payload.value
            row.conversion_currency = payload.currency
        case OrderPlaced():
            row.conversion_value = payload.order.total
            row.conversion_currency = payload.order.currency
        case UserSignedUp() | UserSignedIn() | UserSignedOut() | UserProfileChanged():
            row.user_id = payload.external_user_id
        case _:
            pass


def _kept_header(request: Request, name: str) -> str | None:
    text = request.headers.get(name, "").strip()
    return text[:_HEADER_TEXT_MAX] or None


def _language(request: Request) -> str | None:
    match = _LANGUAGE.match(_header(request, "accept-language"))
    return match[1] if match else None


# --- the table

ENDPOINTS: Final[tuple[Endpoint | PlainEndpoint, ...]] = (
    Endpoint(
        path="/client/web/track",
        name="croct_track",
        protocol="croct",
        source="browser",
        credentials="app",
        limit="application",
        # A 429 that would turn into a 400 keeps the SDK asking for ever.
        limit_at="decoded",
        stores_duplicates=False,
        refusals_vary=False,
        body_bytes_max=_BODY_BYTES_MAX,
        read_head=read_head,
        decode=decode,
        check=check,
        respond=respond,
        refuse=refuse,
    ),
    PlainEndpoint(
        path="/client/web/cid",
        name="croct_cid",
        protocol="croct",
        answer=answer_client_id,
        refuse=refuse,
        allows_credentials=True,
    ),
)
