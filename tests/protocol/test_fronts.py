"""Both interfaces of the server in front of the same collector: what clients see is the same.

`test_http_bodies` and `test_http_edges` go deeper, with the one that is served by default.
"""

import contextlib
import itertools
from collections.abc import Iterator

import pytest

from tests.support import raw_http
from tests.support.asking import (
    DIALECTS,
    ORIGIN,
    ask,
    assert_accepted,
    assert_refused,
    head,
    post,
    post_chunked,
)
from tests.support.dialects import Dialect
from tests.support.process import CollectorProcess
from tests.support.raw_http import Wire

pytestmark = pytest.mark.end_to_end
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)

_BODY_BYTES_MAX = 1_048_576


@pytest.fixture(scope="module", params=["rsgi", "asgi"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    """A collector behind one of them; it waits for a body, not for long, and nothing goes wrong."""
    server = {
        "interface": request.param,
        "body_bytes_max": _BODY_BYTES_MAX,
        # Long enough for 10 MB on a machine that others use as well.
        "body_timeout_ms": 4_000,
    }
    with CollectorProcess(tmp_path_factory.mktemp(request.param), server=server) as process:
        yield process
        log = process.log_path.read_text(encoding="utf-8")
        assert "Traceback" not in log
        assert process.terminate() == 0


def test_an_event_of_each_protocol_is_a_row(served: CollectorProcess) -> None:
    """Announced or in chunks: acknowledged, and a row."""
    for dialect in DIALECTS:
        for encode in (post, post_chunked):
            assert_accepted(dialect, ask(served, encode(dialect)))
    found = served.query(
        "SELECT protocol, count(*) AS rows FROM events WHERE is_duplicate = 0 GROUP BY 1"
    )
    rows = {row["protocol"]: row["rows"] for row in found}
    assert rows == {"croct": 2, "scanova": 4, "zenovay": 2}


def test_answers_without_a_body(served: CollectorProcess) -> None:
    """To HEAD the length and nothing else; 204 has no length. The connection goes on."""
    croct = next(one for one in DIALECTS if one.name.startswith("croct"))
    with Wire(served.port) as wire:
        wire.send(raw_http.request("HEAD", "/healthz"))
        answer = wire.answer(has_body=False)
        assert (answer.status, answer.one("content-length")) == (200, "3")
        wire.send(post(croct))
        answer = wire.answer()
        assert (answer.status, answer.one("content-length")) == (204, None)
        wire.send(raw_http.request("GET", "/healthz"))
        answer = wire.answer()
        assert (answer.body, answer.all("content-length")) == (b"ok\n", ["3"])


@every_dialect
def test_bodies_that_are_cut_short(served: CollectorProcess, dialect: Dialect) -> None:
    """Who closes its half and still listens is told so: the client's fault, not ours."""
    for encode in (post, post_chunked):
        with Wire(served.port) as wire:
            wire.send(encode(dialect)[:-10])
            wire.finish_sending()
            assert_refused(dialect, wire.answer(), 400)


def test_bodies_that_come_too_slowly(served: CollectorProcess) -> None:
    """408, whether their length was announced or not."""
    chunked = ("Transfer-Encoding", "chunked")
    waiting: list[tuple[Dialect, Wire]] = []
    # All at once: each is cut off after the same time.
    with contextlib.ExitStack() as stack:
        for dialect in DIALECTS:
            for length in (("Content-Length", "100"), chunked):
                wire = stack.enter_context(Wire(served.port))
                wire.send(head(dialect, length), b"1\r\n{\r\n" if length == chunked else b"{")
                waiting.append((dialect, wire))
        for dialect, wire in waiting:
            assert_refused(dialect, wire.answer(), 408)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_body_with_two_lengths(served: CollectorProcess, *, is_first: bool) -> None:
    """Chunks decide, as RFC 9112 wants it: a small announced length does not open the door."""
    chunked, small = ("Transfer-Encoding", "chunked"), ("Content-Length", "5")
    fields = (small, chunked) if is_first else (chunked, small)
    piece = b"%x\r\n%b\r\n" % (_BODY_BYTES_MAX, b" " * _BODY_BYTES_MAX)
    dialect = DIALECTS[0]
    with Wire(served.port) as wire:
        wire.send(head(dialect, *fields), piece * 3, b"0\r\n\r\n")
        assert_refused(dialect, wire.answer(), 413)


@every_dialect
def test_bodies_that_are_too_large(served: CollectorProcess, dialect: Dialect) -> None:
    """413 is readable by a client that sends all of it first, and the connection goes on."""
    with Wire(served.port) as wire:
        for encode in (post, post_chunked):
            wire.send(encode(dialect, b" " * 10 * _BODY_BYTES_MAX))
            assert_refused(dialect, wire.answer(), 413)
            wire.send(post(dialect))
            assert_accepted(dialect, wire.answer())


def test_requests_that_do_not_wait(served: CollectorProcess) -> None:
    """Pipelined ones are answered in their order, refusals between successes."""
    with Wire(served.port) as wire:
        wire.send(
            *itertools.chain.from_iterable((post(one), post(one, b"{")) for one in DIALECTS),
            raw_http.request("OPTIONS", "/ct", [ORIGIN]),
        )
        for dialect in DIALECTS:
            assert_accepted(dialect, wire.answer())
            assert_refused(dialect, wire.answer(), 400)
        assert wire.answer().status == 204
