"""The Croct protocol: one event beacon per request, and the client id the SDK asks for first.

Owns the head and the way from a beacon to an event. What a beacon may hold is told by
`croct_events`, what is answered by `croct_answers`; tokens are judged by `collector.tokens`. Must
not look anything up.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from collector.adapters import croct_quick, decoding
from collector.adapters.contract import (
    Described,
    Endpoint,
    Head,
    PlainEndpoint,
    Request,
    SiteRules,
)
from collector.adapters.croct_answers import (
    CLIENT_ID,
    Problem,
    answer_client_id,
    refuse,
    respond,
)
from collector.adapters.croct_events import (
    ServerBeacon,
    ServerContext,
    WebBeacon,
    WebContext,
)
from collector.adapters.croct_models import UUID
from collector.adapters.croct_rows import event_of
from collector.adapters.croct_strict import unknown_members
from collector.adapters.croct_violations import violation, violations
from collector.event import Batch, Event
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

_UUID_CHARS: Final = 36
_APP_ID: Final = re.compile(UUID)
# As the SDK makes client ids, after `croct_quick.DIGITS_TO_0`.
_OWN_ID: Final = b"0" * 32

_JSON: Final = "application/json"
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
    headers = request.headers
    sent: str = headers.get("x-app-id", "").strip()
    if not sent:
        return Refusal(MISSING_APP_ID, "X-App-Id is missing or empty")
    if len(sent) != _UUID_CHARS or not (app_id := _app_id(sent)):
        return Refusal(INVALID_APP_ID, "X-App-Id must be a UUID with dashes")
    client_id: str = headers.get("x-client-id", "").strip()
    if client_id and client_id.encode().translate(croct_quick.DIGITS_TO_0) != _OWN_ID:
        if not CLIENT_ID.fullmatch(client_id):
            return Refusal(INVALID_CLIENT_ID, "X-Client-Id must be a UUID, with dashes or without")
        client_id = client_id.replace("-", "").lower()
    token: str = headers.get("x-token", "").strip()
    if not client_id and not token:
        return Refusal(
            MISSING_CLIENT_ID, "X-Client-Id and X-Token are both missing; one must be sent"
        )
    return Head(app_id=app_id, client_id=client_id, token=token)


@lru_cache(maxsize=1_024)
def _app_id(text: str) -> str:
    """The application id in lower case, "" when it is no UUID."""
    return text.lower() if _APP_ID.fullmatch(text) else ""


# --- the body


def decode(request: Request) -> Batch | Refusal:
    """Read one beacon: a batch of one event, or why it cannot be one with every broken rule.

    The head must have been found good. The clock is not corrected here: `event_time` is the
    client's own, and `departure_us` tells by which clock.
    """
    content_type = request.headers.get("content-type", "")
    if content_type != _JSON and not _is_json(content_type):
        reason = "Content-Type must be application/json"
        return Refusal(UNSUPPORTED_MEDIA_TYPE, reason, violations=(Violation(reason),))
    event = _read_quickly(request)
    return _decode_again(request) if event is None else Batch(items=[event])


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == _JSON


def _read_quickly(request: Request) -> Event | None:
    """The event of a beacon in which nothing is out of the ordinary; None of any other."""
    body = request.body
    # Looked at first: what is kept as sent was decoded without a look at its encoding.
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
    if (found := croct_quick.read(body)) is None:
        return None
    beacon, payload = found
    try:
        canonical = _canonical.encode(_anything.decode(payload))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if decoding.LINE_FEED in payload or decoding.CARRIAGE_RETURN in payload:
        payload = decoding.without_breaks(payload)
    return event_of(request, beacon, msgspec.Raw(payload), canonical)


def _decode_again(request: Request) -> Batch | Refusal:
    """Read a beacon that has something unusual, or say all that is wrong with it."""
    try:
        body = decoding.one_line(request.body)
        try:
            return Batch(items=[_read(request, body)])
        except msgspec.ValidationError as error:
            return _invalid(body, error)
    except decoding.Malformed as fault:
        reason = f"the body is not valid JSON: {fault}"
        return Refusal(MALFORMED_BODY, reason, violations=(Violation(reason),))


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
    return event_of(request, beacon, payload, canonical, unknown)


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


# --- the table

_TRACK: Final = Described(
    body=(WebBeacon, ServerBeacon),
    wider=(
        "`context.type` tells the two beacons apart, so a web context under `type: server` is "
        "refused; where a site sets `croct_strict`, so are members that no schema knows"
    ),
    answers={204: None},
    error=Problem,
    refusals=(INVALID_PAYLOAD, MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE),
)
_CID: Final = Described(answers={200: str}, error=Problem)

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
        described=_TRACK,
    ),
    PlainEndpoint(
        path="/client/web/cid",
        name="croct_cid",
        protocol="croct",
        answer=answer_client_id,
        refuse=refuse,
        described=_CID,
        allows_credentials=True,
    ),
)
