"""The collector as HTTP sees it: look the route up, have the request judged, read its body.

Speaks the shapes of RSGI, which the fronts (`rsgi`, `asgi`) hand over or imitate. Decides nothing
of events.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from collector import http
from collector.adapters.contract import (
    Budget,
    Endpoint,
    Header,
    PlainEndpoint,
    Request,
    Response,
)
from collector.addresses import AddressReader
from collector.admin import Admin, failure, guarded
from collector.admin_gate import Asker
from collector.admission import Admission
from collector.headers import Headers
from collector.http import Body, BodyReader, Disconnected, body_length
from collector.ids import uuid4, uuid4_hex
from collector.logs import WITHOUT_MESSAGE
from collector.metrics import Metrics
from collector.origin import request_host
from collector.pace import Pace
from collector.pages import WITHOUT_CORS
from collector.pipeline import Pipeline
from collector.refusal import (
    INTERNAL_ERROR,
    MALFORMED_BODY,
    METHOD_NOT_ALLOWED,
    ORIGIN_REFUSED,
    SHUTTING_DOWN,
    Refusal,
)
from collector.streams import Stream, Streaming

_log: Final = logging.getLogger("collector")
_STOPPING: Final = Refusal(SHUTTING_DOWN, "the collector is stopping", retry_after_s=5)
_CUT_SHORT: Final = Refusal(MALFORMED_BODY, "the body ended before it was whole")
_CLIENT_CLOSED_REQUEST: Final = 499  # only counted, as nginx does; never sent
_JSON: Final = [("content-type", "application/json")]
_PROBLEM: Final = [("content-type", "application/problem+json")]
# Belongs to no protocol; Croct's SDK goes by its `status`, Scanova's clients by its `detail`.
_NOT_FOUND: Final = b'{"type":"about:blank","title":"Not found","status":404,"detail":"Not found"}'
_NO_ID: Final = ""


class Scope(Asker, Protocol):
    """The head of a request, as RSGI hands it over."""

    @property
    def method(self) -> str:
        """Upper case, as it was sent."""

    @property
    def path(self) -> str:
        """Without the query, escapes undone."""

    @property
    def query_string(self) -> str:
        """As it was sent, without the question mark."""


# A body is whole, or one that goes on (`streams`).
Answer = tuple[int, list[Header], bytes | Stream]
# One of the collector's own pages.
Page = Callable[[Scope], Response]


class Lifecycle(Protocol):
    """What starts and stops with the server."""

    async def start(self) -> "Edge":
        """Build everything; raises when the collector cannot run."""

    async def stop(self) -> None:
        """Finish what is in flight, put everything into parts."""


class Edge:
    """The running collector: requests in, answers out."""

    def __init__(
        self,
        *,
        endpoints: Iterable[Endpoint | PlainEndpoint],
        pages: Mapping[str, Page],
        admin: Admin,
        pipeline: Pipeline,
        admission: Admission,
        pace: Pace,
        bodies: BodyReader,
        body_bytes_max: int,
        addresses: AddressReader,
        metrics: Metrics,
        trusts: Callable[[Headers], bool],
        now_us: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._pages = pages
        self._admin = admin
        self._pipeline = pipeline
        self._admission = admission
        self._pace = pace
        self._bodies = bodies
        self._body_bytes_max = body_bytes_max
        self._addresses = addresses
        self._metrics = metrics
        self._trusts = trusts
        self._now_us = now_us
        self._monotonic_s = monotonic_s
        self._cors = http.Cors()
        self._ingesting: dict[tuple[str, str], Endpoint] = {}
        self._plain: dict[tuple[str, str], PlainEndpoint] = {}
        self._paths: dict[str, list[Endpoint | PlainEndpoint]] = {}
        for endpoint in endpoints:
            if isinstance(endpoint, Endpoint):
                self._ingesting[endpoint.method, endpoint.path] = endpoint
            else:
                self._plain[endpoint.method, endpoint.path] = endpoint
            self._paths.setdefault(endpoint.path, []).append(endpoint)
        self._in_flight = 0
        self._drained = asyncio.Event()
        self.is_stopping = False

    async def answer(self, scope: Scope, body: Body) -> Answer:
        """Answer one HTTP request, whatever it is: status, header fields, body."""
        self._in_flight += 1
        headers = scope.headers
        try:
            endpoint = self._ingesting.get((scope.method, scope.path))
            if endpoint is None:
                return await self._answer_other(scope, headers, body)
            response, status = await self._ingest(endpoint, scope, headers, body)
            self._metrics.count_request(endpoint.name, status)
            return response.status, [*response.headers, *self._cors.fields(headers)], response.body
        finally:
            self._in_flight -= 1
            if self.is_stopping and self._in_flight == 0:
                self._drained.set()

    def knows(self, path: str) -> bool:
        """Whether something is there, whatever the method."""
        return path in self._paths or path in self._pages or self._admin.knows(path)

    def name_of(self, method: str, path: str) -> str:
        """The endpoint of a request, by the name that it is counted under."""
        if self._admin.owns(path):
            return self._admin.name_of(method, path)
        found = self._ingesting.get((method, path)) or self._plain.get((method, path))
        return found.name if found else "other"

    def told_to_stop(self) -> None:
        """End what would go on for ever: the server waits for it before it has anything stopped."""
        self._admin.streams.end()

    async def drain(self, timeout_s: float) -> None:
        """Refuse newcomers, wait at most `timeout_s` for the requests in flight."""
        self.is_stopping = True
        self.told_to_stop()
        self._pace.end()
        if self._in_flight:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), timeout_s)

    async def _ingest(
        self, endpoint: Endpoint, scope: Scope, headers: Headers, body: Body
    ) -> tuple[Response, int]:
        """The answer, and the status to count it as."""
        started_s = self._monotonic_s()
        request: Request | None = None
        budget: Budget | None = None
        try:
            length = body_length(headers)
            if self.is_stopping:
                return await self._shed(endpoint, _STOPPING, scope, headers, body)
            passage = self._admission.ask(endpoint, headers, length)
            if isinstance(passage, Refusal):
                return await self._shed(endpoint, passage, scope, headers, body)
            address = self._addresses.read(scope.client, headers)
            refusal = self._pipeline.access.address_refusal(endpoint, address)
            if refusal is not None and not endpoint.refusals_vary:
                # Not even made a request of: floods end here.
                passage.leave(started_s)
                refused = self._pipeline.refuse_alike(endpoint, refusal)
                return await self._turn_away(refused, headers, body)
            request = self._request(scope, headers, has_id=endpoint.wants_request_id)
            if refusal is not None:
                passage.leave(started_s)
                refused = self._pipeline.refuse(endpoint, request, refusal)
                return await self._turn_away(refused, headers, body)
            caller = self._pipeline.admit(endpoint, request, address)
            if isinstance(caller, Response):
                passage.leave(started_s)
                return await self._turn_away(caller, headers, body)
            budget = caller.budget
            try:
                bytes_max = endpoint.body_bytes_max or self._body_bytes_max
                found = await self._bodies.read(body, headers, bytes_max, length)
                if not isinstance(found, Refusal):
                    passage.arrive(len(found))
                response = await self._pipeline.ingest(endpoint, request, caller, found)
            finally:
                now_s = self._monotonic_s()
                passage.leave(now_s)
                self._metrics.ack_seconds.observe(now_s - started_s)
        except Disconnected:
            # Most often nobody reads this; who sent a broken chunk does.
            assert request is not None, "bodies are read when there is a request"
            return endpoint.refuse(request, _CUT_SHORT, budget), _CLIENT_CLOSED_REQUEST
        except Exception as error:  # noqa: BLE001 the last resort: logged, counted as 500, retriable
            _log.error("%s failed", endpoint.name, exc_info=error, extra=WITHOUT_MESSAGE)
            request = request or self._request(scope, headers, has_id=endpoint.wants_request_id)
            response = endpoint.refuse(request, _FAILED, budget)
        return response, response.status

    async def _shed(
        self, endpoint: Endpoint, refusal: Refusal, scope: Scope, headers: Headers, body: Body
    ) -> tuple[Response, int]:
        """Refuse at a pace that leaves the time to others."""
        if endpoint.refusals_vary:
            request = self._request(scope, headers, has_id=endpoint.wants_request_id)
            refused = self._pipeline.refuse(endpoint, request, refusal)
        else:
            refused = self._pipeline.refuse_alike(endpoint, refusal)
        await self._pace.turn(body_length(headers))
        return await self._turn_away(refused, headers, body)

    async def _turn_away(
        self, response: Response, headers: Headers, body: Body
    ) -> tuple[Response, int]:
        await self._bodies.discard(body, headers)
        return response, response.status

    def _request(self, scope: Scope, headers: Headers, *, has_id: bool) -> Request:
        return Request(
            method=scope.method,
            path=scope.path,
            query=scope.query_string,
            headers=headers,
            id=uuid4() if has_id else _NO_ID,
            now_us=self._now_us(),
        )

    # --- what stores nothing

    async def _answer_other(self, scope: Scope, headers: Headers, body: Body) -> Answer:
        path = scope.path
        if self._admin.owns(path):
            return await self._answer_admin(scope, body)
        plain = self._plain.get((scope.method, path))
        response = self._decide_other(plain, scope, headers)
        await self._bodies.discard(body, headers)
        self._metrics.count_request(plain.name if plain else "other", response.status)
        if path in WITHOUT_CORS:
            return response.status, list(response.headers), response.body
        first = plain or self._paths.get(path, [None])[0]
        allows = isinstance(first, PlainEndpoint) and first.allows_credentials
        cors = self._cors.fields(headers, allows_credentials=allows)
        return response.status, [*response.headers, *cors], response.body

    async def _answer_admin(self, scope: Scope, body: Body) -> Answer:
        """Answer what is for operators; no page of another origin may read it, hence no CORS."""
        name = "admin_other"
        try:
            response, name = await self._admin.answer(
                scope.method, scope.path, scope.query_string, scope, body
            )
        except Disconnected:
            response = _ADMIN_CUT_SHORT
        except Exception as error:  # noqa: BLE001 the last resort: logged, counted as 500
            _log.error("an admin page failed", exc_info=error, extra=WITHOUT_MESSAGE)
            response = _ADMIN_FAILED
        self._metrics.count_request(name, response.status)
        goes_on = response.stream if isinstance(response, Streaming) else None
        return response.status, list(response.headers), goes_on or response.body

    def _decide_other(
        self, endpoint: PlainEndpoint | None, scope: Scope, headers: Headers
    ) -> Response:
        request = self._request(scope, headers, has_id=True)
        origins = self._metrics.origins
        if endpoint is not None:
            if not self._trusts(headers):
                refusal = Refusal(ORIGIN_REFUSED, "no application trusts this origin")
                host = request_host(headers)
                origins.note(refusal.kind, endpoint.path, host, now_us=request.now_us)
                return endpoint.refuse(request, refusal, None)
            return endpoint.answer(request, uuid4_hex())
        page = self._pages.get(request.path)
        if page is not None:
            return _answer_page(request.method, page, scope)
        routes = self._paths.get(request.path)
        if routes is None:
            if request.method == "OPTIONS":
                origins.note_preflight(request.path, headers, "", request.now_us)
            return Response(404, _PROBLEM, _NOT_FOUND)
        methods = ", ".join([*(route.method for route in routes), "OPTIONS"])
        if request.method == "OPTIONS":
            origins.note_preflight(request.path, headers, methods, request.now_us)
            return http.preflight(headers, methods)
        refusal = Refusal(METHOD_NOT_ALLOWED, f"use {methods}")
        response = routes[0].refuse(request, refusal, None)
        response.headers = [*response.headers, ("allow", methods)]
        return response


_ADMIN_FAILED: Final = guarded(failure(500, "internal error; the log says more"))
_ADMIN_CUT_SHORT: Final = guarded(failure(400, _CUT_SHORT.message))
# After a bug of ours the client may try again; nothing was acknowledged.
_FAILED: Final = Refusal(INTERNAL_ERROR, "internal error")


def _answer_page(method: str, page: Page, scope: Scope) -> Response:
    if method not in {"GET", "HEAD"}:
        return Response(405, [*_JSON, ("allow", "GET, HEAD")], b'{"error":"use GET"}')
    # To HEAD the server sends the length of the body and not the body itself.
    return page(scope)
