"""The protocols' endpoints as operations of OpenAPI: all that `ENDPOINTS` and the refusals say.

What a refusal looks like is found out by refusing: each reason that an endpoint can meet is put
through the endpoint's own `refuse`, and what comes out is described. Must not name a protocol.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from collector import refusal as reasons
from collector.adapters.contract import Budget, Endpoint, PlainEndpoint, Request, Response
from collector.openapi_schemas import Schema, Schemas
from collector.refusal import Kind, Refusal

# What every endpoint that takes events can meet, whatever is sent.
_ALWAYS: Final = (
    reasons.BODY_TOO_LARGE,
    reasons.BODY_TOO_SLOW,
    reasons.INTERNAL_ERROR,
    reasons.MALFORMED_BODY,
    reasons.QUEUE_FULL,
    reasons.RATE_LIMITED,
    reasons.OVERLOADED,
    reasons.SHUTTING_DOWN,
    reasons.STORAGE_UNAVAILABLE,
    reasons.UNSUPPORTED_ENCODING,
)
# By how a sender shows who it is: told before the events are looked at, and of the events' site.
_OF_SENDER: Final[Mapping[str, tuple[Kind, ...]]] = {
    "origin": (reasons.ORIGIN_MISSING,),
    "key": (reasons.AUTH_THROTTLED, reasons.MISSING_KEY, reasons.UNKNOWN_KEY),
    "app": (
        reasons.INVALID_APP_ID,
        reasons.INVALID_CLIENT_ID,
        reasons.INVALID_TOKEN,
        reasons.LATE,
        reasons.MISSING_APP_ID,
        reasons.MISSING_CLIENT_ID,
        reasons.QUARANTINED,
        reasons.SUSPENDED,
        reasons.UNKNOWN_APP,
        reasons.UNSIGNED_TOKEN,
    ),
}
_OF_SITE: Final[Mapping[str, tuple[Kind, ...]]] = {
    "origin": (reasons.INACTIVE_SITE, reasons.ORIGIN_REFUSED, reasons.UNKNOWN_SITE),
    "key": (reasons.INACTIVE_SITE, reasons.SITE_FORBIDDEN),
    "app": (reasons.INACTIVE_SITE, reasons.ORIGIN_REFUSED),
}
_OF_LIMIT: Final[Mapping[str, tuple[Kind, ...]]] = {
    # Only a key that reaches every site of its team is told that there is no such site.
    "tier": (reasons.MONTH_EXHAUSTED, reasons.PLAN_REQUIRED, reasons.UNKNOWN_SITE)
}
_BUDGET: Final = Budget(
    limit=1, remaining=1, reset_s=1, month_used=1, month_limit=1, month_reset_s=1, total_used=1
)
_PARAMETERS: Final[Mapping[str, tuple[Schema, ...]]] = {
    "origin": (
        {
            "name": "Origin",
            "in": "header",
            "description": "Decides alone where it is sent: one of the site's domains.",
            "schema": {"type": "string"},
            "example": "http://localhost",
        },
        {
            "name": "Referer",
            "in": "header",
            "description": "Counts only without `Origin`.",
            "schema": {"type": "string"},
        },
    ),
    "key": (),
    "app": (
        {
            "name": "X-App-Id",
            "in": "header",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
            "example": "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a",
        },
        {
            "name": "X-Client-Id",
            "in": "header",
            "description": "A UUID, dashed or not; it or `X-Token` must be sent.",
            "schema": {"type": "string"},
            "example": "2c9f0f4be1d34f7a8a6d5b1c0e9f7a63",
        },
        {
            "name": "X-Token",
            "in": "header",
            "description": "A compact JWT, unsigned or signed with ES256.",
            "schema": {"type": "string"},
        },
        {
            "name": "Origin",
            "in": "header",
            "description": "One of the site's domains, if there is one.",
            "schema": {"type": "string"},
        },
    ),
}
SECURITY_SCHEMES: Final[Mapping[str, Schema]] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same keys."},
}
# Of every answer to a request with an Origin; parts of the document that others lead to.
CORS: Final[Mapping[str, Schema]] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in (
        ("access-control-allow-origin", "The Origin of the request, if it had one."),
        ("access-control-expose-headers", "What a script may read."),
        ("vary", "Origin, if the request had one."),
    )
}
_HEADERS: Final[Mapping[str, str]] = {
    "retry-after": "Whole seconds until another try makes sense.",
    "www-authenticate": "How to show a key.",
    "x-suspension-reason": "Why events of the application are not stored.",
    "x-request-id": "A UUID of the request.",
    "x-ratelimit-limit": "Requests per minute.",
    "x-ratelimit-remaining": "Whole tokens left.",
    "x-ratelimit-reset": "Unix second at which the bucket is full again.",
    "x-usage-monthly": "Requests of this month.",
    "x-usage-limit": "Requests allowed per month.",
    "x-usage-reset": "When the next month begins.",
    "x-usage-total": "Requests so far.",
    "cache-control": "Never to be kept.",
}


def kinds_of(endpoint: Endpoint | PlainEndpoint) -> tuple[Kind, ...]:
    """Every reason for which a request to `endpoint` can be refused as a whole."""
    if isinstance(endpoint, PlainEndpoint):
        return (reasons.ORIGIN_REFUSED,)
    found = [*_ALWAYS, *_OF_SENDER[endpoint.credentials], *_OF_LIMIT.get(endpoint.limit, ())]
    if not _names_site_per_item(endpoint):
        found += _OF_SITE[endpoint.credentials]
    return _sorted([*found, *endpoint.described.refusals])


def item_kinds_of(endpoint: Endpoint | PlainEndpoint) -> tuple[Kind, ...]:
    """Every reason that can be told of one event inside a success."""
    found = endpoint.described.item_refusals
    if isinstance(endpoint, Endpoint) and _names_site_per_item(endpoint):
        found += (*_OF_SITE[endpoint.credentials], reasons.RATE_LIMITED)
    return _sorted(found)


def _sorted(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    return tuple(sorted({kind.code: kind for kind in kinds}.values(), key=lambda kind: kind.code))


def _names_site_per_item(endpoint: Endpoint) -> bool:
    shape = endpoint.shape
    return bool(shape.items) and (shape.site,) not in shape.envelope


def operation(
    endpoint: Endpoint | PlainEndpoint, schemas: Schemas, body_bytes_max: int, example: Any
) -> Schema:
    """One endpoint; `example`: a body that is taken, None without."""
    described = endpoint.described
    found: Schema = {
        "operationId": endpoint.name,
        "tags": [endpoint.protocol],
        "summary": f"{endpoint.method} {endpoint.path}",
        "responses": _responses(endpoint, schemas),
    }
    if isinstance(endpoint, PlainEndpoint):
        found["parameters"] = [
            {"name": "cid", "in": "query", "schema": {"type": "string"}},
            {"name": "Origin", "in": "header", "schema": {"type": "string"}},
        ]
        return found
    items = item_kinds_of(endpoint)
    bytes_max = endpoint.body_bytes_max or body_bytes_max
    found["parameters"] = list(_PARAMETERS[endpoint.credentials])
    gpc = "`1`: the visitor does not want to be tracked (docs/PRIVACY.md)."
    found["parameters"].append(
        {"name": "Sec-GPC", "in": "header", "description": gpc, "schema": {"type": "string"}}
    )
    if endpoint.credentials == "key":
        found["security"] = [{"apiKey": []}, {"bearer": []}]
    found["description"] = (
        f"At most {bytes_max} bytes after inflating (gzip, deflate). The schema is wider than what "
        f"is taken: {described.wider}."
    )
    if items:
        found["x-item-reasons"] = [kind.code for kind in items]
    bodies = [schemas.of(kind, described.rules) for kind in described.body]
    content: Schema = {"schema": bodies[0] if len(bodies) == 1 else {"anyOf": bodies}}
    if example is not None:
        content["example"] = example
    found["requestBody"] = {"required": True, "content": {"application/json": content}}
    return found


def _responses(endpoint: Endpoint | PlainEndpoint, schemas: Schemas) -> dict[str, Schema]:
    described = endpoint.described
    found: dict[str, Schema] = {}
    for status, kind in described.answers.items():
        found[str(status)] = {"description": "Taken.", "headers": _headers(endpoint, None)}
        if kind is str:
            found[str(status)]["content"] = {"text/plain": {"schema": {"type": "string"}}}
        elif kind is not None:
            found[str(status)]["content"] = {"application/json": {"schema": schemas.of(kind)}}
    for kind in kinds_of(endpoint):
        refusal = Refusal(kind, "why", retry_after_s=1)
        response = endpoint.refuse(_PROBE, refusal, _budget(endpoint))
        entry = found.setdefault(
            str(response.status),
            {"description": "", "headers": _headers(endpoint, response)},
        )
        entry.setdefault("x-reasons", []).append(kind.code)
        media = dict(response.headers).get("content-type")
        if media is not None:
            entry["content"] = {media: {"schema": schemas.of(described.error)}}
    for entry in found.values():
        codes = entry.get("x-reasons", ())
        also = f"Refused: {', '.join(codes)}." if codes else ""
        entry["description"] = " ".join(filter(None, (entry["description"], also)))
    return dict(sorted(found.items()))


_PROBE: Final = Request(method="POST", path="/", query="", headers={}, id="id")


def _budget(endpoint: Endpoint | PlainEndpoint) -> Budget | None:
    return _BUDGET if isinstance(endpoint, Endpoint) and endpoint.limit == "tier" else None


def _headers(endpoint: Endpoint | PlainEndpoint, refused: Response | None) -> dict[str, Schema]:
    """Fields of an answer; those that every such answer has are required."""
    if refused is None:
        refusal = Refusal(reasons.INTERNAL_ERROR, "why")
        refused = endpoint.refuse(_PROBE, refusal, _budget(endpoint))
        always = {name for name, _ in endpoint.refuse(_PROBE, refusal, None).headers}
    else:
        always = {"retry-after", "www-authenticate", "x-request-id", "x-suspension-reason"}
    sent = {name for name, _ in refused.headers} - {"content-type"}
    return {
        **{
            name: {
                "description": _HEADERS[name],
                "required": name in always,
                "schema": {"type": "string"},
            }
            for name in sorted(sent)
        },
        **{name: {"$ref": f"#/components/headers/{name}"} for name in CORS},
    }


def preflight(methods: str) -> Schema:
    """The answer to `OPTIONS` on the path of an endpoint."""
    return {
        "tags": ["preflight"],
        "summary": "What a browser asks before it sends to another origin.",
        "responses": {
            "204": {
                "description": "Any origin may ask; the real request is the one that is judged.",
                "headers": {
                    "allow": {
                        "description": methods,
                        "required": True,
                        "schema": {"type": "string"},
                    },
                    "access-control-allow-methods": {
                        "required": True,
                        "schema": {"type": "string"},
                    },
                    "access-control-allow-headers": {
                        "required": True,
                        "schema": {"type": "string"},
                    },
                    "access-control-max-age": {"required": True, "schema": {"type": "string"}},
                },
            }
        },
    }


def method_not_allowed(endpoint: Endpoint | PlainEndpoint, schemas: Schemas) -> Schema:
    """What any other method is answered on the path of `endpoint`."""
    refusal = Refusal(reasons.METHOD_NOT_ALLOWED, "why")
    response = endpoint.refuse(_PROBE, refusal, None)
    media = dict(response.headers)["content-type"]
    return {
        "description": f"Refused: {reasons.METHOD_NOT_ALLOWED.code}.",
        "headers": {"allow": {"required": True, "schema": {"type": "string"}}},
        "content": {media: {"schema": schemas.of(endpoint.described.error)}},
    }
