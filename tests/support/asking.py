"""Requests of every dialect over a bare socket, and what their answers must look like.

Joins `dialects` (what is said) with `raw_http` (how it is sent). Must not know how the collector
works.
"""

import json
import re
import uuid
from collections.abc import Sequence
from typing import Final

from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint, PlainEndpoint
from tests.support import raw_http
from tests.support.dialects import DIALECTS, Croct, Dialect, Scanova, Zenovay
from tests.support.process import CollectorProcess
from tests.support.raw_http import RawAnswer, Wire

ORIGIN: Final = ("Origin", "http://localhost")
_ERROR_TYPES: Final = {
    "scanova": "application/json",
    "croct": "application/problem+json",
    "zenovay": "application/json",
}
_ACCEPTED: Final = re.compile(
    r'^collector_events_total\{.*outcome="accepted".*\} (\d+)$', re.MULTILINE
)
_SPEAKERS: Final = {"scanova": Scanova(), "croct": Croct(), "zenovay": Zenovay()}

Fields = Sequence[tuple[str, str]]


def body_of(dialect: Dialect) -> bytes:
    """An event that was never sent before."""
    return json.dumps(dialect.event(uuid.uuid4().hex).body).encode()


def fields_of(dialect: Dialect, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """The header fields of a good request, and `more`; those without a value leave theirs out."""
    named = {name.lower() for name, _ in more}
    good = dialect.event("").headers.items()
    return [field for field in good if field[0].lower() not in named] + [f for f in more if f[1]]


def head(dialect: Dialect, *more: tuple[str, str]) -> bytes:
    """The head of a good request; `more` says how long its body is."""
    return raw_http.head("POST", dialect.event("").path, fields_of(dialect, *more))


def post(dialect: Dialect, body: bytes | None = None, *more: tuple[str, str]) -> bytes:
    """A good request with a new event, or with that body."""
    data = body_of(dialect) if body is None else body
    return head(dialect, ("Content-Length", str(len(data))), *more) + data


def post_chunked(dialect: Dialect, body: bytes | None = None, *more: tuple[str, str]) -> bytes:
    """The same without a length."""
    data = body_of(dialect) if body is None else body
    return head(dialect, ("Transfer-Encoding", "chunked"), *more) + raw_http.chunked(data)


def ask(collector: CollectorProcess, *requests: bytes) -> RawAnswer:
    """The answer to a request on a connection of its own."""
    with Wire(collector.port) as wire:
        wire.send(*requests)
        return wire.answer()


def assert_accepted(dialect: Dialect, answer: RawAnswer) -> None:
    """The event is said to be safe."""
    assert dialect.is_success(answer.status, answer.body), answer


def assert_refused(dialect: Dialect, answer: RawAnswer, status: int) -> None:
    """The request was refused with that status, in the dialect."""
    assert answer.status == status, answer
    assert answer.one("content-type") == _ERROR_TYPES[dialect.name.split()[0]]
    assert dialect.code_of(status, answer.body)


def assert_serves(collector: CollectorProcess) -> None:
    """The collector still takes events."""
    for dialect in DIALECTS:
        assert_accepted(dialect, ask(collector, post(dialect)))


def accepted(collector: CollectorProcess) -> int:
    """How many events it has accepted so far."""
    page = collector.request("GET", "/metrics").body.decode()
    return sum(map(int, _ACCEPTED.findall(page)))


def speaker(endpoint: Endpoint | PlainEndpoint) -> Dialect:
    """A dialect in whose manner the endpoint refuses."""
    return _SPEAKERS[endpoint.protocol]


__all__ = [
    "DIALECTS",
    "ENDPOINTS",
    "ORIGIN",
    "accepted",
    "ask",
    "assert_accepted",
    "assert_refused",
    "assert_serves",
    "body_of",
    "fields_of",
    "head",
    "post",
    "post_chunked",
    "speaker",
]
