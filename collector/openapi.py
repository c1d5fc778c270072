"""`/openapi.json`: OpenAPI 3.1 of everything that this collector answers, put together from the
tables and structs that the answers come from. Written by hand are only words.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import msgspec

from collector import openapi_endpoints as endpoints_
from collector import pages
from collector.adapters.contract import Endpoint, PlainEndpoint
from collector.admin import FOR_PROGRAMS, GUARDS, Failure, Route, statuses
from collector.openapi_examples import examples
from collector.openapi_schemas import Schema, Schemas
from collector.refusal import METHOD_NOT_ALLOWED

_encoder: Final = msgspec.json.Encoder()
_PROMETHEUS: Final = "text/plain"
# What a copy that somebody keeps is known by.
_KNOWN_BY: Final = ("etag", "cache-control")


class _Own(NamedTuple):
    name: str
    meaning: str
    media: str = _PROMETHEUS


_OWN: Final[Mapping[str, _Own]] = {
    pages.HEALTH: _Own("healthz", "Alive: 200 while the process lives."),
    pages.READINESS: _Own("readyz", "Ready: 200 while events are taken, else 503 with the reason."),
    pages.METRICS: _Own("metrics", "Counters and gauges as Prometheus reads them."),
    pages.OPENAPI: _Own("openapi", "This document.", "application/json"),
    pages.SNIPPET: _Own("snippet", "The tracker that web pages include.", "text/javascript"),
}
_ADMIN_SCHEME: Final[Schema] = {
    "adminToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The admin token; this machine itself needs none.",
    },
    "adminSession": {
        "type": "apiKey",
        "in": "cookie",
        "name": "collector_session",
        "description": "What logging in gives a browser.",
    },
}
_GUARD_HEADERS: Final[Mapping[str, Schema]] = {
    name: {"required": True, "schema": {"type": "string", "const": value}} for name, value in GUARDS
}
_MEANINGS: Final[Mapping[int, str]] = {
    200: "The answer.",
    303: "Goes on to another page.",
    400: "The question cannot be understood.",
    401: "No token, or a wrong one.",
    403: "Not from here, or not from a page of this collector.",
    405: "Another method.",
    408: "The form did not arrive in time.",
    409: "It cannot be done; the page says why.",
    413: "Too long for a form.",
    415: "Not a form.",
    429: "Too many wrong tokens.",
    500: "A fault of the collector's.",
    503: "Not at present.",
}


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is described. `metrics_need_token`, `body_bytes_max`: settings of the server."""

    endpoints: Sequence[Endpoint | PlainEndpoint]
    routes: Sequence[Route]
    body_bytes_max: int
    metrics_need_token: bool


def describe(subject: Subject, now_ms: int) -> bytes:
    """The document, as JSON. `now_ms` is the time of the examples."""
    return _encoder.encode(document(subject, now_ms))


def document(subject: Subject, now_ms: int) -> Schema:
    """The document."""
    schemas = Schemas()
    paths: dict[str, Schema] = {}
    bodies = examples(now_ms)
    for endpoint in subject.endpoints:
        path = paths.setdefault(endpoint.path, {})
        path[endpoint.method.lower()] = endpoints_.operation(
            endpoint, schemas, subject.body_bytes_max, bodies.get(endpoint.name)
        )
        # Of the whole path, because it is what any method but these is answered.
        path["x-other-methods"] = {
            str(METHOD_NOT_ALLOWED.status): endpoints_.method_not_allowed(endpoint, schemas)
        }
    for path in paths.values():
        methods = [name.upper() for name in path if not name.startswith("x-")]
        path["options"] = endpoints_.preflight(", ".join([*methods, "OPTIONS"]))
    for address, own in _OWN.items():
        paths[address] = _own_page(address, own, schemas, subject)
    for route in subject.routes:
        path = paths.setdefault(route.path, {})
        path[route.method.lower()] = _route(route, schemas)
        if route.method == "GET":
            path["head"] = _without_bodies(path["get"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Event collector",
            "version": version("event-collector"),
            "summary": "Events over three wire protocols; docs/PROTOCOLS.md has the rules.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "headers": {**endpoints_.CORS, **_GUARD_HEADERS},
            "schemas": schemas.components,
            "securitySchemes": {**endpoints_.SECURITY_SCHEMES, **_ADMIN_SCHEME},
        },
    }


def _own_page(address: str, own: _Own, schemas: Schemas, subject: Subject) -> Schema:
    body: Schema = {"type": "object" if address == pages.OPENAPI else "string"}
    text = {own.media: {"schema": body}}
    found: dict[str, Schema] = {"200": {"description": own.meaning, "content": text}}
    if address == pages.READINESS:
        found["503"] = {"description": "No events are taken; the reason.", "content": text}
    operation: Schema = {
        "operationId": own.name,
        "tags": ["own"],
        "summary": own.meaning,
        "responses": found,
    }
    if address == pages.METRICS and subject.metrics_need_token:
        failure = {"application/json": {"schema": schemas.of(Failure)}}
        found["401"] = {"description": _MEANINGS[401], "content": failure}
        operation["security"] = [{"adminToken": []}, {"adminSession": []}]
    if address == pages.SNIPPET:
        known = {name: {"required": True, "schema": {"type": "string"}} for name in _KNOWN_BY}
        found["200"]["headers"] = known
        found["304"] = {"description": "The one that `If-None-Match` names.", "headers": known}
    return {"get": operation, "head": _without_bodies(operation)}


def _route(route: Route, schemas: Schemas) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "tags": ["admin"],
        "summary": route.summary,
        "responses": {
            str(status): _answer(route, status, kind, schemas)
            for status, kind in statuses(route).items()
        },
    }
    if route.query:
        operation["parameters"] = [
            {
                "name": name,
                "in": "query",
                "description": member.meaning,
                "required": member.is_required,
                "schema": member.schema,
            }
            for name, member in route.query.items()
        ]
    if not route.is_open:
        operation["security"] = [{"adminToken": []}, {"adminSession": []}, {}]
    if route.kind == "form":
        operation["requestBody"] = {
            "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
        }
    return operation


def _answer(route: Route, status: int, kind: Any, schemas: Schemas) -> Schema:
    found: Schema = {
        "description": _MEANINGS[status],
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _GUARD_HEADERS},
    }
    if kind is not None:
        found["content"] = {"application/json": {"schema": schemas.of(kind)}}
    elif status == 200 and route.kind == "stream":
        found["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif status != 303:
        # Of people's pages: HTML, a style sheet, or what went wrong in a line or as JSON.
        texts = ("text/html", "text/plain", "text/css", "text/javascript")
        found["content"] = {name: {} for name in (*texts, "image/svg+xml", "application/json")}
    extra = {303: ("location",), 401: ("www-authenticate",), 429: ("retry-after",)}
    for name in extra.get(status, ()):
        is_told = route.kind in FOR_PROGRAMS or status == 303
        found["headers"][name] = {"required": is_told, "schema": {"type": "string"}}
    return found


def _without_bodies(operation: Mapping[str, Any]) -> Schema:
    """The same asked with HEAD: its head, and no body."""
    return {
        **operation,
        "operationId": f"{operation['operationId']}_head",
        "responses": {
            status: {name: value for name, value in answer.items() if name != "content"}
            for status, answer in operation["responses"].items()
        },
    }
