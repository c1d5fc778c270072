"""Methods, paths, preflights, CORS, addresses and odd requests, against a real server.

Whatever is sent, the answer is one in the protocol's dialect, never a 500 and never a hang.
"""

import itertools
import json
import time
import uuid
from collections.abc import Iterator

import pytest

from collector.adapters.contract import Endpoint, PlainEndpoint
from tests.support import raw_http
from tests.support.asking import (
    DIALECTS,
    ENDPOINTS,
    ORIGIN,
    ask,
    assert_accepted,
    assert_refused,
    assert_serves,
    body_of,
    head,
    post,
    speaker,
)
from tests.support.dialects import Croct, Dialect, Scanova, Zenovay
from tests.support.process import CollectorProcess, wait_until
from tests.support.raw_http import RawAnswer, Wire

pytestmark = pytest.mark.end_to_end
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.path)

AnyEndpoint = Endpoint | PlainEndpoint


def _is_silent(wire: Wire) -> bool:
    """Whether nothing more comes on a connection that is still open."""
    wire.send(raw_http.request("GET", "/healthz"))
    return wire.answer().body == b"ok\n"


# --- methods and paths


@every_endpoint
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_wrong_method(collector: CollectorProcess, endpoint: AnyEndpoint, method: str) -> None:
    """405 with Allow in the dialect; to HEAD the same head and nothing else."""
    if method == endpoint.method:
        return
    with Wire(collector.port) as wire:
        wire.send(raw_http.request(method, endpoint.path, [ORIGIN]))
        answer = wire.answer(has_body=method != "HEAD")
        assert answer.status == 405
        assert answer.one("allow") == f"{endpoint.method}, OPTIONS"
        if method == "HEAD":
            assert int(answer.one("content-length") or 0) > 0
        else:
            assert_refused(speaker(endpoint), answer, 405)
        assert _is_silent(wire)


@pytest.mark.parametrize(
    "path",
    ["/", "/nowhere", "/ct/", "//ct", "/CT", "/ct%2F", "/client/web/evaluate", "/collect/batch/1"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_unknown_path(collector: CollectorProcess, method: str, path: str) -> None:
    """404 with a body that both Croct's SDK and Scanova's clients understand."""
    answer = ask(collector, raw_http.request(method, path, [ORIGIN]))
    assert answer.one("content-type") == "application/problem+json"
    assert answer.status == 404
    assert json.loads(answer.body)["status"] == 404
    assert Scanova().code_of(404, answer.body)


def test_escapes_in_the_path_are_undone(collector: CollectorProcess) -> None:
    """`/%63t` is `/ct`."""
    body = body_of(Scanova())
    fields = [ORIGIN, ("Content-Type", "application/json")]
    answer = ask(collector, raw_http.request("POST", "/%63t", fields, body))
    assert_accepted(Scanova(), answer)


@pytest.mark.parametrize(
    "target",
    ["/caf\u00e9".encode(), b"/caf\xe9", b"/%ff%00%c3%a9", b"/ct%00", b"/" + b"a" * 60_000, b"*"],
)
def test_odd_targets(collector: CollectorProcess, target: bytes) -> None:
    """Bytes that are no text, zeros, very long paths: a 4xx."""
    answer = ask(collector, raw_http.request("GET", target))
    assert 400 <= answer.status < 500


@pytest.mark.parametrize("query", ["\u00e9".encode(), b"%ff", b"%00", b"&&=&cid", b"%zz"])
def test_odd_queries(collector: CollectorProcess, query: bytes) -> None:
    """A query of any bytes is read or ignored: an id is given, an event is taken."""
    answer = ask(collector, raw_http.request("GET", b"/client/web/cid?cid=" + query, [ORIGIN]))
    assert answer.status == 200
    assert len(answer.body) == 32
    for dialect in DIALECTS:
        path = dialect.event("").path.encode() + b" "
        one = post(dialect).replace(path, path.strip() + b"?" + query + b" ", 1)
        assert_accepted(dialect, ask(collector, one))


# --- preflights and CORS


@every_endpoint
@pytest.mark.parametrize("origin", ["http://localhost", "https://anywhere.example", "null"])
def test_preflight(collector: CollectorProcess, endpoint: AnyEndpoint, origin: str) -> None:
    """204 for any origin: its method, the headers it asks for, and a time to remember it."""
    asked = "content-type, x-app-id,x-client-id"
    fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", endpoint.method),
        ("Access-Control-Request-Headers", asked),
    ]
    answer = ask(collector, raw_http.request("OPTIONS", endpoint.path, fields))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.one("access-control-allow-origin") == origin
    assert answer.one("access-control-allow-methods") == f"{endpoint.method}, OPTIONS"
    assert answer.one("access-control-allow-headers") == asked
    assert int(answer.one("access-control-max-age") or 0) >= 600
    assert answer.one("vary") == "Origin"
    is_cid = endpoint.path == "/client/web/cid"
    assert answer.one("access-control-allow-credentials") == ("true" if is_cid else None)


def _refused_everywhere(
    collector: CollectorProcess, strict: CollectorProcess, full: CollectorProcess
) -> Iterator[tuple[int, RawAnswer]]:
    """Answers of every status to requests with an Origin, with the status expected."""
    scanova, croct, zenovay = Scanova(), Croct(), Zenovay()
    other = ("Origin", "http://localhost")
    sender = ("X-Forwarded-For", "198.51.100.77")
    yield 200, ask(collector, post(scanova, None, other))
    yield 204, ask(collector, post(croct, None, other))
    yield 400, ask(collector, post(croct, b"{", other))
    yield 401, ask(collector, post(zenovay, None, other, ("Authorization", "")))
    yield 404, ask(collector, raw_http.request("POST", "/nowhere", [other]))
    yield 405, ask(collector, raw_http.request("GET", "/ct", [other]))
    yield 413, ask(collector, post(scanova, b" " * 2_000_000, other))
    yield 415, ask(collector, post(scanova, b"", other, ("Content-Encoding", "br")))
    broken = json.dumps(scanova.broken("422").body).encode()
    yield 422, ask(collector, post(scanova, broken, other))
    for _ in range(2):
        answer = ask(strict, post(scanova, None, other, sender))
    yield 429, answer
    for dialect in DIALECTS:
        yield 503, ask(full, post(dialect, None, other))


def test_every_answer_to_an_origin_is_readable(
    collector: CollectorProcess, strict: CollectorProcess, full: CollectorProcess
) -> None:
    """Whatever the status, a page may read it, and its Retry-After; no credentials are allowed."""
    for status, answer in _refused_everywhere(collector, strict, full):
        assert answer.status == status
        assert answer.one("access-control-allow-origin") == ORIGIN[1]
        assert answer.one("vary") == "Origin"
        assert "Retry-After" in (answer.one("access-control-expose-headers") or "")
        assert answer.one("access-control-allow-credentials") is None
        if status in {429, 503}:
            assert int(answer.one("retry-after") or 0) > 0


@every_dialect
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "HTTP://x", "a,b"])
def test_refused_origin_may_read_why(
    collector: CollectorProcess, dialect: Dialect, origin: str
) -> None:
    """An origin that is not trusted reads 403 in the dialect; its name is echoed, byte by byte."""
    answer = ask(collector, post(dialect, None, ("Origin", origin)))
    assert answer.one("access-control-allow-origin") == origin
    if dialect.origin:
        assert_refused(dialect, answer, 403)
    else:
        assert_accepted(dialect, answer)


@every_dialect
def test_an_origin_that_no_browser_sends(collector: CollectorProcess, dialect: Dialect) -> None:
    """Bytes outside of ASCII cannot be read, so they are not echoed, and not trusted."""
    answer = ask(collector, post(dialect, None, ("Origin", "caf\xe9")))
    assert answer.one("access-control-allow-origin") is None
    if dialect.origin:
        assert_refused(dialect, answer, 403)
    else:
        assert_accepted(dialect, answer)


def test_no_origin_no_cors(collector: CollectorProcess) -> None:
    """Back ends get no CORS headers."""
    answer = ask(collector, post(Zenovay()))
    assert answer.status == 200
    assert not [name for name, _ in answer.fields if name.startswith("access-control")]


def test_client_id_allows_credentials(collector: CollectorProcess) -> None:
    """The SDK asks for its id with credentials: the exact origin and `true`, refusals included."""
    for origin, status in (("http://localhost", 200), ("https://evil.example", 403)):
        fields = [("Origin", origin), ("X-Client-Library", "Croct SDK JS v0.22.1")]
        answer = ask(collector, raw_http.request("GET", "/client/web/cid?cid=", fields))
        assert answer.status == status
        assert answer.one("access-control-allow-origin") == origin
        assert answer.one("access-control-allow-credentials") == "true"
        assert "no-store" in (answer.one("cache-control") or "") or status == 403


# --- the client's address


def _address_hashes(collector: CollectorProcess, *forwarded: str) -> list[str]:
    """The hashes of the addresses that the collector takes these senders to have."""
    ids = []
    dialect = Scanova()
    for value in forwarded:
        identity = uuid.uuid4().hex
        ids.append(dialect.event(identity).body["event_id"])
        fields = [("X-Forwarded-For", value)] if value else []
        body = json.dumps(dialect.event(identity).body).encode()
        assert_accepted(dialect, ask(collector, post(dialect, body, *fields)))
    rows = collector.query("SELECT event_id, ip_hash FROM events")
    found = {row["event_id"]: row["ip_hash"] for row in rows}
    return [found[one] for one in ids]


def test_forwarded_address_is_not_believed(collector: CollectorProcess) -> None:
    """Without trusted proxies the header changes nothing: the address is the peer's."""
    hashes = _address_hashes(collector, "", "203.0.113.1", "203.0.113.2, 203.0.113.3", "127.0.0.9")
    assert len(set(hashes)) == 1


def test_forwarded_address_of_a_trusted_proxy(strict: CollectorProcess) -> None:
    """The right-most address that is not a proxy's is the sender's; what is left of it is not."""
    hashes = _address_hashes(
        strict,
        "203.0.113.101",
        "6.6.6.6,[2001:db8::1]:443",
        "203.0.113.102",
        "6.6.6.6, 203.0.113.103, 127.0.0.1",
    )
    assert len(set(hashes)) == 4
    dialect = Scanova()
    again = ask(strict, post(dialect, None, ("X-Forwarded-For", "203.0.113.101")))
    assert_refused(dialect, again, 429)
    again = ask(strict, post(dialect, None, ("X-Forwarded-For", "1.2.3.4, 203.0.113.103")))
    assert_refused(dialect, again, 429)


# --- one connection, many requests


def test_pipelined_requests(collector: CollectorProcess) -> None:
    """Requests that do not wait for answers get them in their order, each in its own dialect."""
    with Wire(collector.port) as wire:
        wire.send(
            *(post(dialect) for dialect in DIALECTS),
            *(post(dialect, b"{") for dialect in DIALECTS),
            raw_http.request("GET", "/nowhere"),
            raw_http.request("GET", "/healthz"),
        )
        for dialect in DIALECTS:
            assert_accepted(dialect, wire.answer())
        for dialect in DIALECTS:
            assert_refused(dialect, wire.answer(), 400)
        assert [wire.answer().status, wire.answer().status] == [404, 200]


@every_dialect
def test_connection_outlives_errors(collector: CollectorProcess, dialect: Dialect) -> None:
    """Refusals of every kind leave the connection as it was."""
    gzip = ("Content-Encoding", "gzip")
    refused = [
        (400, post(dialect, b"{")),
        (400, post(dialect, b"\x1f\x8b", gzip)),
        (404, raw_http.request("POST", "/nowhere", [], b"some body")),
        (405, raw_http.request("PUT", dialect.event("").path, [], b"some body")),
        (413, post(dialect, b" " * 2_000_000)),
        (415, post(dialect, b"{}", ("Content-Encoding", "br"))),
    ]
    with Wire(collector.port) as wire:
        for status, request in itertools.chain(refused, refused):
            wire.send(request)
            assert wire.answer().status == status
            wire.send(post(dialect))
            assert_accepted(dialect, wire.answer())


@every_dialect
def test_asking_before_sending(collector: CollectorProcess, dialect: Dialect) -> None:
    """`Expect: 100-continue`: told to go on when the head is good, refused at once when not."""
    body = body_of(dialect)
    expect = ("Expect", "100-continue")
    with Wire(collector.port) as wire:
        wire.send(head(dialect, ("Content-Length", str(len(body))), expect))
        assert wire.answer().status == 100
        wire.send(body)
        assert_accepted(dialect, wire.answer())
    with Wire(collector.port) as wire:
        wire.send(head(dialect, ("Content-Length", "50000000"), expect))
        assert_refused(dialect, wire.answer(), 413)
        wait_until(lambda: not wire.is_open(), timeout_s=5, what="it hangs up")


# --- what is hardly HTTP


@every_dialect
def test_headers_without_value(collector: CollectorProcess, dialect: Dialect) -> None:
    """Empty headers count as absent, or as nothing to say."""
    names = ["Content-Encoding", "Sec-GPC", "Referer", "User-Agent", "X-Token", "X-Nothing"]
    good = post(dialect)
    empty = "".join(f"{name}:\r\n" for name in names).encode()
    answer = ask(collector, good.replace(b"\r\n", b"\r\n" + empty, 1))
    assert_accepted(dialect, answer)


@every_dialect
def test_bytes_that_are_no_text_in_headers(collector: CollectorProcess, dialect: Dialect) -> None:
    """Any header may hold any bytes above 127: never a 500."""
    for name, _ in [*dialect.event("").headers.items(), ("User-Agent", ""), ("Referer", "")]:
        answer = ask(collector, post(dialect, None, (name, "caf\xe9\xff")))
        assert dialect.is_success(answer.status, answer.body) or (
            400 <= answer.status < 500 and dialect.code_of(answer.status, answer.body)
        )


@pytest.mark.parametrize("length", ["abc", "-1", "+5", "5, 6", "0x10", "1e3", "9" * 30, ""])
def test_invalid_content_length(collector: CollectorProcess, length: str) -> None:
    """The server refuses it and closes: where such a request ends nobody can know."""
    with Wire(collector.port) as wire:
        request = raw_http.head("POST", "/ct", [ORIGIN]).removesuffix(b"\r\n")
        wire.send(request, b"Content-Length: ", length.encode(), b"\r\n\r\nhello")
        assert wire.answer().status == 400
        wait_until(lambda: not wire.is_open(), timeout_s=5, what="it hangs up")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n name: folded\r\n\r\n",
        b"GET /health z HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /ct HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(500)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n",
    ],
    ids=["colon", "folded", "blank", "version", "tls", "lengths", "many headers", "large header"],
)
def test_not_http(collector: CollectorProcess, request_bytes: bytes) -> None:
    """What is no request is refused by the server with a 4xx, or hung up on; others go on."""
    with Wire(collector.port) as wire:
        try:
            wire.send(request_bytes)
            assert 400 <= wire.answer().status < 500
        except (ConnectionResetError, BrokenPipeError, EOFError):
            pass
        wait_until(lambda: not wire.is_open(), timeout_s=5, what="it hangs up")
    assert_serves(collector)


def test_length_and_chunks_at_once(collector: CollectorProcess) -> None:
    """Two ways to find the end of a request: chunks count, and nothing is read behind them."""
    dialect = Scanova()
    body = raw_http.chunked(body_of(dialect))
    hidden = raw_http.request("GET", "/healthz")
    both = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]
    with Wire(collector.port) as wire:
        wire.send(head(dialect, *both), body, hidden)
        answer = wire.answer()
        assert answer.status == 400 or dialect.is_success(answer.status, answer.body)
        wait_until(lambda: not wire.is_open(), timeout_s=5, what="it hangs up")


def test_old_http(collector: CollectorProcess) -> None:
    """HTTP/1.0 without Host is answered, and the connection closed."""
    with Wire(collector.port) as wire:
        wire.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert wire.answer().body == b"ok\n"
        wait_until(lambda: not wire.is_open(), timeout_s=5, what="it hangs up")


def test_head_that_never_ends(impatient: CollectorProcess) -> None:
    """Connections that send no request, or half a head, are closed in time."""
    started_s = time.monotonic()
    with Wire(impatient.port) as silent, Wire(impatient.port) as half:
        half.send(b"POST /ct HTTP/1.1\r\nHost:")
        for wire in (silent, half):
            wait_until(lambda wire=wire: not wire.is_open(), timeout_s=5, what="it hangs up")
    assert time.monotonic() - started_s < 3
    assert_serves(impatient)
