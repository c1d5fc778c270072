"""Zenovay's server-side endpoint, `POST /api/v1/events`: a batch in, a verdict per event out.

Owns the envelope of the request (`trackingCode`, `events`, `serverContext`), the answers and their
headers. `zenovay_events` judges one item, `zenovay_props` reads its props. A body is taken for JSON
whatever its Content-Type says. Must not know which sites, keys or budgets exist.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from collector.adapters import decoding
from collector.adapters.contract import (
    BodyShape,
    Budget,
    Described,
    Endpoint,
    Head,
    Header,
    Request,
    Response,
    SiteRules,
)
from collector.adapters.zenovay_events import (
    ITEM_REFUSALS,
    ITEM_RULES,
    Item,
    Sender,
    judge,
    read_item,
)
from collector.event import Batch, Event, Outcome, Verdict
from collector.refusal import (
    BATCH_SIZE,
    GPC_OPTED_OUT,
    INACTIVE_SITE,
    INVALID_FIELD,
    MALFORMED_BODY,
    MISSING_FIELD,
    MISSING_KEY,
    MONTH_EXHAUSTED,
    PLAN_REQUIRED,
    UNKNOWN_GOAL,
    UNKNOWN_SITE,
    Refusal,
)

T = TypeVar("T")

EVENTS_MAX: Final = 1_000  # per batch, the vendor's
# Both are copied into every row of a batch: unbounded, a small body could fill the disk.
USER_AGENT_CHARS_MAX: Final = 1_024
LANGUAGE_CHARS_MAX: Final = 64
# The longest text of an IPv6 address has 45 characters, and a zone may follow.
ADDRESS_CHARS_MAX: Final = 64

_BEARER: Final = re.compile("bearer +([!-~]+)", re.IGNORECASE)
_BARE_KEY: Final = re.compile("[!-~]+")


# --- the head

_NO_KEY: Final = Refusal(MISSING_KEY, "An API key is required: Authorization: Bearer zv_...")
_BAD_AUTHORIZATION: Final = Refusal(
    MISSING_KEY, "The Authorization header must be: Bearer, a space, an API key"
)


def read_head(request: Request) -> Head | Refusal:
    """Find the API key; `X-API-Key` counts only where there is no `Authorization`."""
    if "authorization" in request.headers:
        match = _BEARER.fullmatch(request.headers.get("authorization", "").strip())
        return _BAD_AUTHORIZATION if match is None else Head(key=match[1])
    key = request.headers.get("x-api-key", "").strip()
    return Head(key=key) if _BARE_KEY.fullmatch(key) else _NO_KEY


# --- the body


class _ServerContext(msgspec.Struct, rename="camel", gc=False):
    client_ip: str | None = None
    user_agent: str | None = None
    accept_language: str | None = None


class _Body(msgspec.Struct, rename="camel"):
    tracking_code: str
    events: list[Item]
    server_context: _ServerContext | None = None


_body_decoder: Final = msgspec.json.Decoder(_Body)
_members_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder: Final = msgspec.json.Decoder(str)
_NULL: Final = msgspec.Raw(b"null")

_NOT_AN_OBJECT: Final = Refusal(INVALID_FIELD, "The body must be a JSON object")
_NO_TRACKING_CODE: Final = Refusal(MISSING_FIELD, "trackingCode must be a non-empty string")
_NO_EVENTS: Final = Refusal(MISSING_FIELD, "events must be an array")
_BAD_COUNT: Final = Refusal(BATCH_SIZE, "events must hold 1 to 1,000 items")
_BAD_CONTEXT: Final = Refusal(INVALID_FIELD, "serverContext must be an object")
_GPC: Final = Refusal(GPC_OPTED_OUT, "the request carries Sec-GPC: 1")
_NO_GOAL: Final = Refusal(UNKNOWN_GOAL, "props.name is not an active goal of this site")


def decode(request: Request) -> Batch | Refusal:
    """Decode and judge a batch; a refusal means that the request as a whole is not valid.

    The good case is one typed decode. Only where that fails is the body taken apart, so that
    whatever is wrong with one item costs that item only.
    """
    opted_out = request.headers.get("sec-gpc", "").strip() == "1"
    try:
        body = decoding.one_line(request.body)
        if opted_out:
            return _take_apart(body, 0, opted_out=True)
        now_ms = request.now_us // 1_000
        try:
            typed = decoding.decode(_body_decoder, body)
        except msgspec.ValidationError:
            return _take_apart(body, now_ms, opted_out=False)
    except decoding.Malformed as error:
        return Refusal(MALFORMED_BODY, f"The body is not valid JSON: {error}")
    if not typed.tracking_code:
        return _NO_TRACKING_CODE
    if not 0 < len(typed.events) <= EVENTS_MAX:
        return _BAD_COUNT
    sender = _sender(typed.server_context)
    return Batch(items=judge(typed.events, now_ms, sender), site=typed.tracking_code)


def _take_apart(body: bytes, now_ms: int, *, opted_out: bool) -> Batch | Refusal:
    """Read a body member by member, to say what is wrong with it or with which of its items."""
    members = _maybe_decode(_members_decoder, body)
    if members is None:
        return _NOT_AN_OBJECT
    tracking_code = _maybe_decode(_text_decoder, members.get("trackingCode", _NULL))
    if not tracking_code:
        return _NO_TRACKING_CODE
    raws = _maybe_decode(_raws_decoder, members.get("events", _NULL))
    if raws is None:
        return _NO_EVENTS
    if not 0 < len(raws) <= EVENTS_MAX:
        return _BAD_COUNT
    context = _take_context_apart(members.get("serverContext", _NULL))
    if isinstance(context, Refusal):
        return context
    if opted_out:
        return Batch(items=[_GPC] * len(raws), site=tracking_code)
    read = [read_item(raw) for raw in raws]
    judged = judge([item for item in read if isinstance(item, Item)], now_ms, _sender(context))
    verdicts = iter(judged)
    items = [item if isinstance(item, Refusal) else next(verdicts) for item in read]
    return Batch(items=items, site=tracking_code)


def _take_context_apart(raw: msgspec.Raw) -> _ServerContext | Refusal | None:
    if bytes(raw) == b"null":
        return None
    members = _maybe_decode(_members_decoder, raw)
    if members is None:
        return _BAD_CONTEXT
    return _ServerContext(
        client_ip=_maybe_decode(_text_decoder, members.get("clientIp", _NULL)),
        user_agent=_maybe_decode(_text_decoder, members.get("userAgent", _NULL)),
        accept_language=_maybe_decode(_text_decoder, members.get("acceptLanguage", _NULL)),
    )


def _maybe_decode(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw) -> T | None:
    """Decode `raw`, None when it is of another type; raises `Malformed` when it is not JSON."""
    try:
        return decoding.decode(decoder, bytes(raw))
    except msgspec.ValidationError:
        return None


def _sender(context: _ServerContext | None) -> Sender:
    if context is None:
        return Sender()
    address = context.client_ip
    if address is not None and len(address) > ADDRESS_CHARS_MAX:
        address = None
    # The header's grammar: tags in order of preference, each with an optional weight.
    language = (context.accept_language or "").split(",", 1)[0].split(";", 1)[0].strip()
    if len(language) > LANGUAGE_CHARS_MAX or language == "*":
        language = ""
    return Sender(
        address=address or None,
        user_agent=(context.user_agent or "")[:USER_AGENT_CHARS_MAX] or None,
        language=language or None,
    )


def check(batch: Batch, rules: SiteRules) -> None:
    """Refuse every goal event of `batch` that names no active goal of its site."""
    goals = rules.goals
    for index, item in enumerate(batch.items):
        if not isinstance(item, Event) or item.row.event_type != "goal":
            continue
        if item.row.event_name not in goals:
            batch.items[index] = _NO_GOAL


# --- the answers


class _Fault(msgspec.Struct, gc=False):
    index: int
    reason: str
    message: str


class _Answer(msgspec.Struct, rename="camel"):
    accepted_count: int
    deduped_count: int
    rejected_count: int
    errors: list[_Fault]


class _Error(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    timestamp: str
    retry_after: int = 0


class _ErrorAnswer(msgspec.Struct):
    success: bool
    error: _Error


_encoder: Final = msgspec.json.Encoder()

_RETRIABLE_REASON: Final = "internal_error"  # the vendor's word for "send it again"


def respond(
    request: Request, _batch: Batch, outcomes: Sequence[Outcome], budget: Budget | None
) -> Response:
    """Answer 200 with the counts and, for every event that was refused, why."""
    accepted = outcomes.count(Verdict.ACCEPTED)
    deduped = outcomes.count(Verdict.DUPLICATE)
    errors = []
    if accepted + deduped < len(outcomes):
        errors = [
            _Fault(index, _reason(outcome), outcome.message)
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, Refusal)
        ]
    body = _encoder.encode(_Answer(accepted, deduped, len(errors), errors))
    return Response(200, _headers(request, budget), body)


def _reason(refusal: Refusal) -> str:
    return _RETRIABLE_REASON if refusal.kind.retriable else refusal.kind.code


# Where this dialect disagrees with the table of refusals; 422 is unknown to it and becomes 400.
_STATUSES: Final = {UNKNOWN_SITE.code: 404, INACTIVE_SITE.code: 403}
_CODES: Final = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}


_CODES_BY_KIND: Final = {
    MONTH_EXHAUSTED.code: "MONTHLY_LIMIT_EXCEEDED",
    PLAN_REQUIRED.code: "API_PAID_PLAN_REQUIRED",
}


def refuse(request: Request, refusal: Refusal, budget: Budget | None) -> Response:
    """Answer that the request as a whole was refused, in the vendor's envelope."""
    kind = refusal.kind
    status = _STATUSES.get(kind.code, 400 if kind.status == 422 else kind.status)
    code = _CODES.get(status, "GENERIC_ERROR")
    code = _CODES_BY_KIND.get(kind.code, code)
    error = _Error(code, refusal.message, _iso(request.now_us // 1_000))
    headers = _headers(request, budget)
    if status in (429, 503):
        retry_after_s = refusal.retry_after_s or 1
        headers.append(("retry-after", str(retry_after_s)))
        if status == 429:
            error.retry_after = retry_after_s
    if status == 401:
        headers.append(("www-authenticate", "Bearer"))
    return Response(status, headers, _encoder.encode(_ErrorAnswer(success=False, error=error)))


def _headers(request: Request, budget: Budget | None) -> list[Header]:
    headers = [
        ("content-type", "application/json"),
        ("x-request-id", request.id),
    ]
    if budget is None:
        return headers
    if budget.limit:
        headers += (
            ("x-ratelimit-limit", str(budget.limit)),
            ("x-ratelimit-remaining", str(budget.remaining)),
            ("x-ratelimit-reset", str(budget.reset_s)),
        )
    headers.append(("x-usage-monthly", str(budget.month_used)))
    if budget.month_limit:
        headers += (
            ("x-usage-limit", str(budget.month_limit)),
            ("x-usage-reset", _iso(budget.month_reset_s * 1_000)),
        )
    headers.append(("x-usage-total", str(budget.total_used)))
    return headers


def _iso(unix_ms: int) -> str:
    """A time as JavaScript writes it, which is what clients of the vendor's are used to."""
    return f"{_iso_second(unix_ms // 1_000)}.{unix_ms % 1_000:03d}Z"


# Now, and the end of the month: asked for with every refusal and every answer.
@lru_cache(maxsize=8)
def _iso_second(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"


_EVENTS: Final = Described(
    body=(_Body,),
    rules={
        "Body.trackingCode": {"minLength": 1},
        "Body.events": {"minItems": 1, "maxItems": EVENTS_MAX},
        **ITEM_RULES,
    },
    wider=(
        "an event that breaks the schema is no fault of the request: it is told in `errors` of "
        "the answer 200, as is what `props` must hold for each type; `ts` may be 24 hours off"
    ),
    answers={200: _Answer},
    error=_ErrorAnswer,
    refusals=(BATCH_SIZE, INVALID_FIELD, MALFORMED_BODY, MISSING_FIELD),
    item_refusals=(*ITEM_REFUSALS, GPC_OPTED_OUT, UNKNOWN_GOAL),
)

ENDPOINTS: Final = (
    Endpoint(
        path="/api/v1/events",
        name="zenovay_events",
        protocol="zenovay",
        source="server",
        credentials="key",
        limit="tier",
        limit_at="head",
        stores_duplicates=False,
        read_head=read_head,
        shape=BodyShape(
            items="events",
            envelope=(
                ("trackingCode",),
                *(("serverContext", n) for n in ("clientIp", "userAgent", "acceptLanguage")),
            ),
            site="trackingCode",
            is_tracking_code=True,
            identity="idempotencyKey",
            consents=frozenset({"opt-in", "unknown"}),
            gpc_refuses=True,
        ),
        decode=decode,
        check=check,
        address_member="clientIp",
        respond=respond,
        refuse=refuse,
        described=_EVENTS,
        wants_request_id=True,
    ),
)
