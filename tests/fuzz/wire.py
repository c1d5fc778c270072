"""Requests of any bytes, sent through the whole collector in this process.

An input is a head and a body, an empty line between them. A line of the head is `name: value`,
which takes the place of the good request's own field, or one of

    @front asgi        the other front
    @pieces 3          no length; the body arrives in so many pieces
    @drop origin       without that field
    @also origin: x    a second field of that name
    @method, @target   what stands in the first line (target `edge` only)
"""

import re
from typing import Final

from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from tests.fuzz.home import HOME
from tests.fuzz.target import Target
from tests.support.asking import speaker
from tests.support.fronts import Answered, Asked
from tests.support.golden import body_of, requests

# What a page or a back end would say; every line of an input may change it.
_GOOD: Final = {
    "origin": "http://localhost",
    "content-type": "application/json",
    "x-api-key": "zv_demo000000000000000000000000000000000000000",
    "x-app-id": "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a",
    "x-client-id": "2c9f0f4be1d34f7a8a6d5b1c0e9f7a63",
}
# Of a protocol and a kind of sender; whatever else is answered is a fault (limits are off).
STATUSES: Final = {
    ("scanova", "browser"): {200, 400, 403, 413, 415, 422},
    ("scanova", "server"): {200, 400, 401, 403, 413, 415, 422},
    ("croct", "browser"): {204, 400, 401, 403, 413, 415},
    ("zenovay", "server"): {200, 400, 401, 403, 404, 413, 415},
}
_EDGE_STATUSES: Final = {200, 204, 400, 401, 403, 404, 405, 413, 415, 422}
# The server sees to these itself, before anybody else is asked.
_OF_THE_SERVER: Final = {"content-length", "transfer-encoding", "connection", "upgrade", "te"}
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_BAD_IN_VALUES: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_PIECES_MAX: Final = 64
# Stands for anything that a client sent; no refusal repeats it.
CANARY: Final = b"Kan4rie"


class _Head:
    """The head of an input."""

    def __init__(self, data: bytes) -> None:
        self.front = "rsgi"
        self.pieces = 0
        self.method, self.target = "POST", ""
        self._fields = {name: value.encode() for name, value in _GOOD.items()}
        self._also: list[tuple[str, bytes]] = []
        for line in data.split(b"\n"):
            self._read(line)

    @property
    def fields(self) -> list[tuple[str, bytes]]:
        """All header fields."""
        return [*self._fields.items(), *self._also]

    def _read(self, line: bytes) -> None:
        if line.startswith(b"@"):
            word, _, rest = line.partition(b" ")
            text = rest.decode("latin-1")
            if word == b"@front":
                self.front = "asgi" if text == "asgi" else "rsgi"
            elif word == b"@pieces" and rest.isdigit():
                self.pieces = min(int(rest[:6]), _PIECES_MAX)
            elif word == b"@drop":
                self._fields.pop(text.lower(), None)
            elif word == b"@method" and _METHOD.fullmatch(text):
                self.method = text
            elif word == b"@target" and text.startswith("/"):
                self.target = text
            elif word == b"@also" and (field := _field(rest)) is not None:
                self._also.append(field)
        elif (field := _field(line)) is not None:
            self._fields[field[0]] = field[1]


def _field(line: bytes) -> tuple[str, bytes] | None:
    name, colon, value = line.partition(b":")
    value = value.strip()
    if not colon or not _NAME.fullmatch(name) or _BAD_IN_VALUES.search(value):
        return None
    text = name.decode().lower()
    return None if text in _OF_THE_SERVER else (text, value)


def _asked(head: _Head, body: bytes, method: str, target: str) -> Asked:
    fields = head.fields
    if head.pieces:
        step = max(1, -(-len(body) // head.pieces))
        pieces = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
        fields.append(("transfer-encoding", b"chunked"))
    else:
        pieces = [body]
        if body:
            fields.append(("content-length", b"%d" % len(body)))
    return Asked(method, target, fields, pieces)


def _cut(data: bytes) -> tuple[_Head, bytes]:
    head, _, body = data.partition(b"\n\n")
    return _Head(head), body


def _check_fields(answer: Answered) -> None:
    for name, value in answer.headers.items():
        assert _NAME.fullmatch(name.encode()), name
        assert not _BAD_IN_VALUES.search(value.encode("utf-8", "surrogatepass")), (name, value)


def _run_endpoint(endpoint: Endpoint, data: bytes) -> None:
    """A documented status, in the dialect; what is accepted becomes rows, nothing else does."""
    head, body = _cut(data)
    answer = HOME.ask(head.front, _asked(head, body, endpoint.method, endpoint.path))
    assert answer.status in STATUSES[endpoint.protocol, endpoint.source], answer
    _check_fields(answer)
    dialect = speaker(endpoint)
    if answer.status >= 400:
        assert dialect.code_of(answer.status, answer.body), answer
        assert CANARY not in answer.body, answer
    HOME.expect_rows(endpoint, answer)


def _run_edge(data: bytes) -> None:
    """Any method on any path: an answer that says what is wrong, and no event."""
    head, body = _cut(data)
    is_endpoint = (head.method, head.target) in {(e.method, e.path) for e in ENDPOINTS}
    if is_endpoint and head.method == "POST":
        return
    answer = HOME.ask(head.front, _asked(head, body, head.method, head.target or "/"))
    assert answer.status in _EDGE_STATUSES, answer
    _check_fields(answer)
    if answer.status >= 400:
        assert answer.headers["content-type"] in {"application/json", "application/problem+json"}
        assert CANARY not in answer.body, answer
    if answer.status == 405:
        assert answer.headers["allow"]
    if head.target.startswith("/client/web/cid") and answer.status == 200:
        assert re.fullmatch(rb"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
                            answer.body), answer  # fmt: skip


def _seeds(path: str) -> list[bytes]:
    """The golden requests to one path as inputs."""
    found = []
    for request in requests(HOME.now_ms()):
        if request["path"].partition("?")[0] == path and request["method"] == "POST":
            named = {name.lower(): value for name, value in request["headers"].items()}
            lines = [f"{name}: {value}" for name, value in named.items()]
            lines += [f"@drop {name}" for name in _GOOD if name not in named]
            found.append("\n".join(lines).encode() + b"\n\n" + body_of(request))
    return found


def _edge_seeds() -> list[bytes]:
    paths = [*(e.path for e in ENDPOINTS), "/", "/healthz", "/readyz", "/metrics", "/ct/", "/x?y"]
    paths += [f"/client/web/cid?cid={_GOOD['x-client-id']}", "/client/web/cid?a=b&cid=%31"]
    return [
        f"@method {method}\n@target {path}\naccess-control-request-headers: x-a\n\n".encode()
        for path in paths
        for method in ("GET", "OPTIONS", "HEAD", "PUT")
    ]


def _target(endpoint: Endpoint) -> Target:
    return Target(
        run=lambda data: _run_endpoint(endpoint, data),
        seeds=lambda: _seeds(endpoint.path),
        close=HOME.close,
        words=(b"@front asgi", b"@pieces 3", b"@drop ", b"@also ", CANARY),
    )


TARGETS: Final = {
    **{
        endpoint.name: _target(endpoint) for endpoint in ENDPOINTS if isinstance(endpoint, Endpoint)
    },
    "edge": Target(
        run=_run_edge, seeds=_edge_seeds, close=HOME.close, words=(b"@method ", b"@target /")
    ),
}
