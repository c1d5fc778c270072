"""Raw ASGI: lifespan, look the route up, hand over, answer. Decides nothing else."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from collector import http
from collector.access import Access, Caller
from collector.adapters.contract import Budget, Endpoint, PlainEndpoint, Request, Response
from collector.addresses import AddressReader
from collector.http import BodyReader, Disconnected, Receive, Send
from collector.ids import uuid4, uuid4_hex
from collector.metrics import Metrics
from collector.pipeline import Pipeline
from collector.refusal import (
    INTERNAL_ERROR,
    MALFORMED_BODY,
    METHOD_NOT_ALLOWED,
    ORIGIN_REFUSED,
    SHUTTING_DOWN,
    Refusal,
)

_log: Final = logging.getLogger("collector")
_STOPPING: Final = Refusal(SHUTTING_DOWN, "the collector is stopping", retry_after_s=5)
_CUT_SHORT: Final = Refusal(MALFORMED_BODY, "the body ended before it was whole")
_CLIENT_CLOSED_REQUEST: Final = 499  # only counted, as nginx does; never sent
_JSON: Final = [(b"content-type", b"application/json")]
_PROBLEM: Final = [(b"content-type", b"application/problem+json")]
# Belongs to no protocol; Croct's SDK goes by its `status`, Scanova's clients by its `detail`.
_NOT_FOUND: Final = b'{"type":"about:blank","title":"Not found","status":404,"detail":"Not found"}'


class Lifecycle(Protocol):
    """What starts and stops with the server."""

    async def start(self) -> "Edge":
        """Build everything; raises when the collector cannot run."""

    async def stop(self) -> None:
        """Finish what is in flight, put everything into parts."""


class Edge:
    """The running collector as HTTP sees it: routes in, answers out."""

    def __init__(
        self,
        *,
        endpoints: Iterable[Endpoint | PlainEndpoint],
        pages: Mapping[str, Callable[[], Response]],
        access: Access,
        pipeline: Pipeline,
        bodies: BodyReader,
        addresses: AddressReader,
        metrics: Metrics,
        trusts: Callable[[dict[bytes, bytes]], bool],
        now_us: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._pages = pages
        self._access = access
        self._pipeline = pipeline
        self._bodies = bodies
        self._addresses = addresses
        self._metrics = metrics
        self._trusts = trusts
        self._now_us = now_us
        self._monotonic_s = monotonic_s
        self._routes: dict[tuple[str, str], Endpoint | PlainEndpoint] = {}
        self._paths: dict[str, list[Endpoint | PlainEndpoint]] = {}
        for endpoint in endpoints:
            self._routes[endpoint.method, endpoint.path] = endpoint
            self._paths.setdefault(endpoint.path, []).append(endpoint)
        self._in_flight = 0
        self._drained = asyncio.Event()
        self.is_stopping = False

    async def answer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request, whatever it is."""
        self._in_flight += 1
        headers: dict[bytes, bytes] = dict(scope["headers"])
        endpoint = self._routes.get((scope["method"], scope["path"]))
        credentials = False
        try:
            if isinstance(endpoint, Endpoint):
                admitted = self._admit(endpoint, scope, headers)
                if isinstance(admitted, Response):
                    response, status = admitted, admitted.status
                    await self._bodies.discard(receive, headers)
                else:
                    response, status = await self._ingest(endpoint, *admitted, receive)
                self._metrics.count_request(endpoint.name, status)
            else:
                response = self._answer_other(endpoint, scope, headers)
                credentials = _allows_credentials(endpoint or self._paths.get(scope["path"]))
                await self._bodies.discard(receive, headers)
                name = endpoint.name if endpoint else "other"
                self._metrics.count_request(name, response.status)
            origin = headers.get(b"origin")
            await send(http.start(response, origin, allows_credentials=credentials))
            await send({"type": "http.response.body", "body": response.body})
        finally:
            self._in_flight -= 1
            if self.is_stopping and self._in_flight == 0:
                self._drained.set()

    async def drain(self, timeout_s: float) -> None:
        """Refuse newcomers, wait at most `timeout_s` for the requests in flight."""
        self.is_stopping = True
        if self._in_flight:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), timeout_s)

    def _request(
        self, scope: dict[str, Any], headers: dict[bytes, bytes], *, has_id: bool
    ) -> Request:
        return Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=headers,
            id=uuid4() if has_id else "",
            now_us=self._now_us(),
        )

    def _admit(
        self, endpoint: Endpoint, scope: dict[str, Any], headers: dict[bytes, bytes]
    ) -> tuple[Request, Caller] | Response:
        """The request and who sends it, or the answer that turns it away before its body is read.

        What is refused by its address alone is not even made a request of: floods end here.
        """
        has_id = endpoint.wants_request_id
        try:
            if self.is_stopping:
                request = self._request(scope, headers, has_id=has_id)
                return endpoint.refuse(request, _STOPPING, None)
            address = self._addresses.read(scope)
            refusal = self._access.address_refusal(endpoint, address)
            if refusal is not None and not endpoint.refusals_vary:
                return self._pipeline.refuse_alike(endpoint, refusal)
            request = self._request(scope, headers, has_id=has_id)
            if refusal is not None:
                return self._pipeline.refuse(endpoint, request, refusal)
            caller = self._pipeline.admit(endpoint, request, address)
        except Exception:  # noqa: BLE001 the last resort: logged, counted as 500, retriable
            request = self._request(scope, headers, has_id=has_id)
            return _failed(endpoint, request)
        return caller if isinstance(caller, Response) else (request, caller)

    async def _ingest(
        self, endpoint: Endpoint, request: Request, caller: Caller, receive: Receive
    ) -> tuple[Response, int]:
        """The answer, and the status to count it as."""
        started_s = self._monotonic_s()
        try:
            response = await self._pipeline.ingest(
                endpoint, request, caller, partial(self._bodies.read, receive, request.headers)
            )
        except Disconnected:
            # Most often nobody reads this; who sent a broken chunk does.
            return endpoint.refuse(request, _CUT_SHORT, caller.budget), _CLIENT_CLOSED_REQUEST
        except Exception:  # noqa: BLE001 the last resort: logged, counted as 500, retriable
            response = _failed(endpoint, request, caller.budget)
        finally:
            self._metrics.ack_seconds.observe(self._monotonic_s() - started_s)
        return response, response.status

    def _answer_other(
        self, endpoint: PlainEndpoint | None, scope: dict[str, Any], headers: dict[bytes, bytes]
    ) -> Response:
        method, path = scope["method"], scope["path"]
        request = self._request(scope, headers, has_id=True)
        if endpoint is not None:
            if not self._trusts(headers):
                refusal = Refusal(ORIGIN_REFUSED, "no application trusts this origin")
                return endpoint.refuse(request, refusal, None)
            return endpoint.answer(request, uuid4_hex())
        page = self._pages.get(path)
        if page is not None:
            return _answer_page(method, page)
        routes = self._paths.get(path)
        if routes is None:
            return Response(404, _PROBLEM, _NOT_FOUND)
        methods = ", ".join([*(route.method for route in routes), "OPTIONS"]).encode()
        if method == "OPTIONS":
            return http.preflight(headers, methods)
        refusal = Refusal(METHOD_NOT_ALLOWED, f"use {methods.decode()}")
        response = routes[0].refuse(request, refusal, None)
        response.headers = [*response.headers, (b"allow", methods)]
        return response


def _failed(endpoint: Endpoint, request: Request, budget: Budget | None = None) -> Response:
    """The answer after a bug of ours. The client may try again; nothing was acknowledged."""
    _log.exception("%s failed", endpoint.name)
    return endpoint.refuse(request, Refusal(INTERNAL_ERROR, "internal error"), budget)


def _allows_credentials(
    route: "Endpoint | PlainEndpoint | list[Endpoint | PlainEndpoint] | None",
) -> bool:
    first = route[0] if isinstance(route, list) else route
    return isinstance(first, PlainEndpoint) and first.allows_credentials


def _answer_page(method: str, page: Callable[[], Response]) -> Response:
    if method not in {"GET", "HEAD"}:
        return Response(405, [*_JSON, (b"allow", b"GET, HEAD")], b'{"error":"use GET"}')
    # To HEAD the server sends the length of the body and not the body itself.
    return page()


class App:
    """The ASGI callable that granian serves."""

    def __init__(self, lifecycle: Lifecycle, on_start_failed: Callable[[Exception], None]) -> None:
        self._lifecycle = lifecycle
        self._on_start_failed = on_start_failed
        self._edge: Edge | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "http":
            assert self._edge is not None, "requests come after start-up"
            await self._edge.answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._edge = await self._lifecycle.start()
        except Exception as error:  # noqa: BLE001 whatever it is, the server must stop
            # Raising would not do: granian then serves the application all the same.
            self._on_start_failed(error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._lifecycle.stop()
        await send({"type": "lifespan.shutdown.complete"})
