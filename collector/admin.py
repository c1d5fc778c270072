"""The admin pages as HTTP: one table of routes, and what happens around every one of them.

A route is answered only after the gate has let its request in, and every answer carries the fields
that keep a browser from doing more with it than show it. Whoever adds a route adds a row, and with
it all of that. Must not know what a page shows, and never reads a clock.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec

from collector.adapters.contract import Header, Response
from collector.admin_gate import Asker, By, Denial, Gate, Grant, is_foreign, is_own_form
from collector.http import Body, BodyReader, body_length
from collector.refusal import Refusal
from collector.streams import FIELDS as STREAM_FIELDS
from collector.streams import Stream, Streaming, Streams

PREFIXES: Final = ("/admin", "/dashboard")
LOGIN: Final = "/dashboard/login"
OVERVIEW: Final = "/dashboard"
LOGOUT: Final = "/dashboard/logout"
CSRF: Final = "csrf"
# Kinds of routes that tell in JSON why they refuse, and lead nobody to another page.
FOR_PROGRAMS: Final = frozenset({"api", "stream"})
# A form of ours holds a token and little else.
_FORM_BYTES_MAX: Final = 4_096
_FIELDS_MAX: Final = 16

# No script, style or frame of anybody else's; nothing inline; nothing is kept or told elsewhere.
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
GUARDS: Final[tuple[Header, ...]] = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    # Not "no-referrer": with that, browsers say of a form of ours that it comes from nowhere.
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("x-robots-tag", "noindex"),
)
_encoder: Final = msgspec.json.Encoder()
_JSON: Final = ("content-type", "application/json")
_HTML: Final = ("content-type", "text/html; charset=utf-8")
_TEXT: Final = ("content-type", "text/plain; charset=utf-8")


class Failure(msgspec.Struct):
    """Why a request to the admin API was refused, in words."""

    error: str


class Visit(msgspec.Struct, kw_only=True):
    """A request that was let in, as far as its handler may know it.

    `query` and `form`: the first value of each member. `csrf`: what a form on the page must bring
    along. `by` None: nobody, on a route that is open. `cookie("id")` gives the field that sets a
    session, `cookie("")` the one that ends it.
    """

    by: By | None
    session: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    csrf: str
    asker: Asker
    cookie: Callable[[str], str]


Answer = Callable[[Visit], Awaitable[Response]]


class Member(msgspec.Struct, frozen=True):
    """A member of a query: what it means, and its JSON schema."""

    meaning: str
    schema: Mapping[str, Any]
    is_required: bool = False


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    `kind`: "api" answers JSON, "page" HTML for people, "form" takes what a page sends, "asset" is
    part of a page, "stream" goes on until whoever listens goes away (`streams`). `is_open`: needs
    nobody to be let in, because people log in there. `query`: the members that are read, with their
    meaning. `answers`: the type of the JSON by status of an answer, None where it is none.
    """

    path: str
    name: str
    kind: Literal["api", "page", "form", "asset", "stream"]
    summary: str
    answer: Answer
    answers: Mapping[int, Any]
    query: Mapping[str, Member] = {}
    is_open: bool = False

    @property
    def method(self) -> str:
        """The one method; GET answers HEAD too."""
        return "POST" if self.kind == "form" else "GET"


def statuses(route: Route) -> Mapping[int, Any]:
    """Every status that a route answers, with the type of its JSON, None where it is none.

    Of refusals as the table and `Admin` make them.
    """
    is_told = route.kind in FOR_PROGRAMS
    failure = Failure if is_told else None
    found = {**route.answers, 403: failure, 405: Failure, 500: failure}
    if not route.is_open:
        found |= {401: failure, 429: failure} if is_told else {303: None, 429: None}
    if route.kind == "form":
        found |= dict.fromkeys((400, 408, 413, 415, 429))
    return dict(sorted(found.items()))


class Admin:
    """Answers what is below `PREFIXES`."""

    def __init__(
        self, routes: Sequence[Route], *, gate: Gate, bodies: BodyReader, streams: Streams
    ) -> None:
        self.routes = tuple(routes)
        self.streams = streams
        self._gate = gate
        self._bodies = bodies
        self._by_path: dict[str, list[Route]] = {}
        for route in routes:
            self._by_path.setdefault(route.path, []).append(route)

    def owns(self, path: str) -> bool:
        """Whether a path is one of the admin pages', whether or not there is such a page."""
        return path.startswith(PREFIXES) and any(
            path == prefix or path.startswith(f"{prefix}/") for prefix in PREFIXES
        )

    async def answer(
        self, method: str, path: str, query: str, asker: Asker, body: Body
    ) -> tuple[Response, str]:
        """Answer a request, and say by which name it is counted. Raises `Disconnected`."""
        route, response = self._find(method, path)
        if route is None:
            await self._bodies.discard(body, asker.headers)
            return guarded(response), "admin_other"
        grant = self._admit(route, asker)
        if isinstance(grant, Response):
            await self._bodies.discard(body, asker.headers)
            return guarded(grant), route.name
        form = await self._form(route, grant, asker, body)
        if isinstance(form, Response):
            return guarded(form), route.name
        visit = Visit(
            by=grant.by if grant else None,
            session=grant.session if grant else "",
            query=_members(query),
            form=form,
            csrf=self._gate.sessions.csrf(grant.session if grant else ""),
            asker=asker,
            cookie=lambda session: self._gate.cookie(asker, session),
        )
        response = guarded(await route.answer(visit))
        if method == "HEAD" and isinstance(response, Streaming) and response.stream is not None:
            response.stream.close()
            response = Response(response.status, response.headers)
        return response, route.name

    def _find(self, method: str, path: str) -> tuple[Route | None, Response]:
        routes = self._by_path.get(path)
        if routes is None:
            return None, plain(404, "not found\n")
        asked = "GET" if method == "HEAD" else method
        for route in routes:
            if route.method == asked:
                return route, Response(200, [])
        allowed = {"GET": "GET, HEAD", "POST": "POST"}
        methods = ", ".join(allowed[route.method] for route in routes)
        return None, _with(failure(405, f"use {methods}"), ("allow", methods))

    def _admit(self, route: Route, asker: Asker) -> Grant | Response | None:
        """What lets a request in; None where the route is open and nobody was asked for."""
        headers = asker.headers
        grant = self._gate.judge(asker)
        # Nobody's browser adds a bearer token by itself: who shows a good one is no browser.
        is_program = isinstance(grant, Grant) and grant.by == "token"
        # A page may be what a link leads to; what it is made of, and data, is for pages of ours.
        if not is_program and is_foreign(headers, may_lead_here=route.kind == "page"):
            return self._deny(route, Denial("foreign"))
        if isinstance(grant, Grant):
            return grant
        if route.is_open and self._gate.has_token and grant.why == "unknown":
            return None
        return self._deny(route, grant)

    async def _form(
        self, route: Route, grant: Grant | None, asker: Asker, body: Body
    ) -> Mapping[str, str] | Response:
        """The members of what a form sent, {} of other routes."""
        headers = asker.headers
        is_proven = (grant is not None and grant.by == "token") or is_own_form(headers)
        if route.kind != "form" or not is_proven:
            await self._bodies.discard(body, headers)
            return {} if route.kind != "form" else self._deny(route, Denial("forged"))
        sent = headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent != "application/x-www-form-urlencoded":
            await self._bodies.discard(body, headers)
            return plain(415, "send a form\n")
        found = await self._bodies.read(body, headers, _FORM_BYTES_MAX, body_length(headers))
        if isinstance(found, Refusal):
            return plain(found.kind.status, f"{found.message}\n")
        form = _members(found.decode("utf-8", "replace"))
        if grant is None or grant.by != "token":
            session = grant.session if grant else ""
            if not self._gate.sessions.is_csrf(session, form.get(CSRF, "")):
                return self._deny(route, Denial("forged"))
        return form

    def _deny(self, route: Route, denial: Denial) -> Response:
        """Say why not: in JSON to programs, to people in a way that leads on."""
        if denial.why == "throttled":
            response = failure(429, "too many wrong tokens; try again later")
            return _with(response, ("retry-after", str(denial.retry_after_s)))
        if denial.why == "unknown":
            if route.kind not in FOR_PROGRAMS:
                return redirect(LOGIN)
            response = failure(401, "show the admin token: Authorization: Bearer ...")
            return _with(response, ("www-authenticate", "Bearer"))
        return failure(403, _REASONS[denial.why])


_REASONS: Final[Mapping[str, str]] = {
    "off": (
        "answered only to this machine itself, directly and as localhost; "
        "server.admin_token_sha256 in the configuration lets others log in"
    ),
    "foreign": "another site made this request",
    "forged": "this form was not sent by a page of this collector; load the page anew",
}


def _members(text: str) -> dict[str, str]:
    """The first value of each member of a query or form; {} of one with too many."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def guarded(response: Response) -> Response:
    """`response` with the fields that every answer has."""
    return msgspec.structs.replace(response, headers=[*response.headers, *GUARDS])


def _with(response: Response, *fields: Header) -> Response:
    return Response(response.status, [*response.headers, *fields], response.body)


def json(value: Any, status: int = 200) -> Response:
    """An answer of the admin API."""
    return Response(status, [_JSON], _encoder.encode(value))


def failure(status: int, why: str) -> Response:
    """A refusal; `why` is a sentence of ours."""
    return json(Failure(why), status)


def html(text: str, status: int = 200) -> Response:
    """A page."""
    return Response(status, [_HTML], text.encode("utf-8", "replace"))


def plain(status: int, text: str) -> Response:
    """A line of text."""
    return Response(status, [_TEXT], text.encode())


def stream(found: Stream | None) -> Response:
    """An answer that goes on, or that there are too many of them already."""
    if found is None:
        return _with(failure(503, "too many pages listen already"), ("retry-after", "10"))
    return Streaming(200, STREAM_FIELDS, stream=found)


def redirect(path: str, *fields: Header) -> Response:
    """Have the browser get another page; never one of elsewhere."""
    assert path.startswith("/dashboard"), "a path of ours"
    return Response(303, [("location", path), *fields])
