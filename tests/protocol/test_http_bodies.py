"""Bodies that are too large, too slow, broken or compressed, sent to a real server over sockets.

Whatever is sent, the answer is one in the protocol's dialect, it can be read by a client that is
still sending, and the collector goes on.
"""

import contextlib
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.protocol.conftest import BODY_BYTES_MAX
from tests.support import raw_http
from tests.support.app import gzipped
from tests.support.asking import (
    DIALECTS,
    ORIGIN,
    ask,
    assert_accepted,
    assert_refused,
    assert_serves,
    body_of,
    head,
    post,
    post_chunked,
)
from tests.support.dialects import Dialect
from tests.support.process import CollectorProcess, wait_until
from tests.support.raw_http import Wire

pytestmark = pytest.mark.end_to_end
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)

MIB = 1_048_576
CROCT_BYTES_MAX = 65_536  # the vendor's


def _with_filler(dialect: Dialect, size: int) -> bytes:
    """A good event in a body of `size` bytes, padded with blanks."""
    return body_of(dialect).ljust(size)


# --- too large


@every_dialect
@pytest.mark.parametrize("encode", [post, post_chunked], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 10 * MIB])
def test_too_large_is_told_to_a_client_that_sends_first(
    collector: CollectorProcess, dialect: Dialect, encode: Callable[..., bytes], size: int
) -> None:
    """A client that reads only when it has sent 10 MB finds 413, not a reset; and may go on."""
    with Wire(collector.port) as wire:
        wire.send(encode(dialect, b" " * size))
        assert_refused(dialect, wire.answer(), 413)
        wire.send(post(dialect))
        assert_accepted(dialect, wire.answer())


@every_dialect
@pytest.mark.parametrize("encode", [post, post_chunked], ids=["length", "chunked"])
def test_the_limit_itself_is_allowed(
    collector: CollectorProcess, dialect: Dialect, encode: Callable[..., bytes]
) -> None:
    """A body of exactly the limit is taken, one more byte is not."""
    limit = CROCT_BYTES_MAX if dialect.name.startswith("croct") else BODY_BYTES_MAX
    assert_accepted(dialect, ask(collector, encode(dialect, _with_filler(dialect, limit))))
    assert_refused(dialect, ask(collector, encode(dialect, _with_filler(dialect, limit + 1))), 413)


@every_dialect
def test_absurd_length_is_refused_at_once(collector: CollectorProcess, dialect: Dialect) -> None:
    """A terabyte that is only announced is not waited for."""
    started_s = time.monotonic()
    with Wire(collector.port) as wire:
        wire.send(head(dialect, ("Content-Length", str(10**12))), b"{")
        assert_refused(dialect, wire.answer(), 413)
        assert time.monotonic() - started_s < 2
        wait_until(lambda: not wire.is_open(), timeout_s=5, what="it hangs up")


def test_endless_body_is_cut_off(collector: CollectorProcess) -> None:
    """Who never stops sending is disconnected long before the time is up."""
    dialect = DIALECTS[0]
    piece = raw_http.chunked(b" " * MIB).removesuffix(b"0\r\n\r\n")
    sent_mib = 0
    with Wire(collector.port) as wire:
        wire.send(head(dialect, ("Transfer-Encoding", "chunked")))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent_mib < 1_000:
                wire.send(piece)
                sent_mib += 1
    assert 64 <= sent_mib < 200
    assert_serves(collector)


@every_dialect
def test_refused_by_its_head_while_it_still_sends(
    collector: CollectorProcess, dialect: Dialect
) -> None:
    """Credentials are judged before the body; the answer is readable after 10 MB all the same."""
    nobody = [(name, "") for name in ("Origin", "X-API-Key", "Authorization", "X-App-Id")]
    status = 403 if dialect.name == "scanova /ct" else 401
    for encode in (post, post_chunked):
        assert_refused(dialect, ask(collector, encode(dialect, b" " * 10 * MIB, *nobody)), status)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nowhere", 404),
        ("PUT", "/ct", 405),
        ("POST", "/client/web/cid", 405),
        ("POST", "/healthz", 405),
        ("GET", "/client/web/cid", 200),
        ("OPTIONS", "/ct", 204),
    ],
)
def test_body_that_nobody_asked_for(
    collector: CollectorProcess, method: str, path: str, status: int
) -> None:
    """10 MB sent where no body belongs do not keep the client from reading the answer."""
    with Wire(collector.port) as wire:
        wire.send(raw_http.request(method, path, [ORIGIN], b" " * 10 * MIB))
        assert wire.answer().status == status
        wire.send(raw_http.request("GET", "/healthz"))
        assert wire.answer().body == b"ok\n"


@every_dialect
def test_over_the_limit_while_it_still_sends(strict: CollectorProcess, dialect: Dialect) -> None:
    """A large batch that comes too soon reads 429 and when to come back; no reset."""
    sender = ("X-Forwarded-For", f"203.0.113.{DIALECTS.index(dialect)}")
    body = _with_filler(dialect, 60_000)
    for _ in range(2):
        answer = ask(strict, post(dialect, body, sender))
    assert_refused(dialect, answer, 429)
    if dialect.name.startswith("croct"):  # judges the body first
        return
    answer = ask(strict, post(dialect, b" " * 10 * MIB, sender))
    assert_refused(dialect, answer, 429)
    assert int(answer.one("retry-after") or 0) > 0


# --- too slow, cut short, broken


@every_dialect
def test_too_slow_is_408(impatient: CollectorProcess, dialect: Dialect) -> None:
    """A body that does not arrive in time: 408 in the dialect, then the connection is closed."""
    with Wire(impatient.port) as wire:
        started_s = time.monotonic()
        wire.send(head(dialect, ("Content-Length", "100")), b"{")
        answer = wire.answer()
        assert_refused(dialect, answer, 408)
        assert answer.one("access-control-allow-origin") == (ORIGIN[1] if dialect.origin else None)
        assert 0.3 <= time.monotonic() - started_s < 3
        wait_until(lambda: not wire.is_open(), timeout_s=5, what="it hangs up")
    assert_serves(impatient)


def test_dribbling_does_not_buy_time(impatient: CollectorProcess) -> None:
    """The time is for the whole body: a byte now and then does not keep a request alive."""
    dialect = DIALECTS[0]
    with Wire(impatient.port) as wire:
        wire.send(head(dialect, ("Content-Length", "1000")))
        raw_http.dribble(wire, b"{" * 30, seconds=3, pieces=30)
        # Bytes that crossed the answer may have reset the connection.
        with contextlib.suppress(ConnectionResetError):
            assert_refused(dialect, wire.answer(), 408)
        assert not wire.is_open()
    assert_serves(impatient)


def test_large_and_too_slow_is_still_too_large(impatient: CollectorProcess) -> None:
    """413 is permanent: to answer 408 would have the client send the same again."""
    for dialect in DIALECTS:
        with Wire(impatient.port) as wire:
            wire.send(head(dialect, ("Content-Length", str(2 * MIB))), b"{")
            assert_refused(dialect, wire.answer(), 413)


@every_dialect
def test_slow_but_in_time(collector: CollectorProcess, dialect: Dialect) -> None:
    """A request that comes in forty pieces is like any other."""
    with Wire(collector.port) as wire:
        raw_http.dribble(wire, post(dialect), seconds=0.4, pieces=40)
        assert_accepted(dialect, wire.answer())
        raw_http.dribble(wire, post_chunked(dialect), seconds=0.4, pieces=40)
        assert_accepted(dialect, wire.answer())


def _gone(collector: CollectorProcess) -> int:
    page = collector.request("GET", "/metrics").body.decode()
    lines = [line for line in page.splitlines() if 'status="499"' in line]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


def test_clients_that_go_away_amid_a_body(collector: CollectorProcess) -> None:
    """They are counted, cost nothing afterwards, and disturb nobody."""
    before = _gone(collector)
    for _ in range(10):
        for dialect in DIALECTS:
            with Wire(collector.port) as wire:
                wire.send(post(dialect)[:-5])
    expected = before + 10 * len(DIALECTS)
    wait_until(lambda: _gone(collector) == expected, timeout_s=5, what="all are counted")
    assert_serves(collector)


@every_dialect
def test_body_that_ends_too_early(collector: CollectorProcess, dialect: Dialect) -> None:
    """A client that closes its half and still listens is told what was wrong."""
    for encode in (post, post_chunked):
        with Wire(collector.port) as wire:
            wire.send(encode(dialect)[:-10])
            wire.finish_sending()
            assert_refused(dialect, wire.answer(), 400)


@every_dialect
@pytest.mark.parametrize("broken", [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"5\r\n{}xyz0\r\n\r\n"])
def test_broken_chunks(collector: CollectorProcess, dialect: Dialect, broken: bytes) -> None:
    """A body that is not chunked as it says is the client's fault: 400, never 500."""
    answer = ask(collector, head(dialect, ("Transfer-Encoding", "chunked")), broken)
    assert_refused(dialect, answer, 400)


@every_dialect
def test_chunk_extensions_and_trailers(collector: CollectorProcess, dialect: Dialect) -> None:
    """What HTTP allows around chunks is passed over."""
    body = body_of(dialect)
    data = b'%x;name="value"\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n' % (len(body), body)
    answer = ask(collector, head(dialect, ("Transfer-Encoding", "chunked")), data)
    assert_accepted(dialect, answer)


# --- compressed


def _raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


@every_dialect
@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzipped),
        ("x-gzip", gzipped),
        ("GZip", gzipped),
        (" gzip ", gzipped),
        ("gzip", lambda data: gzipped(data[:9]) + gzipped(data[9:])),
        ("deflate", zlib.compress),
        ("deflate", _raw_deflate),
        ("identity", bytes),
    ],
)
def test_encodings(
    collector: CollectorProcess, dialect: Dialect, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    """Every encoding that is taken means the same event."""
    body = encode(body_of(dialect))
    answer = ask(collector, post(dialect, body, ("Content-Encoding", encoding)))
    assert_accepted(dialect, answer)
    answer = ask(collector, post_chunked(dialect, body, ("Content-Encoding", encoding)))
    assert dialect.is_success(answer.status, answer.body), "a repeat"


@every_dialect
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br", "gzip;q=1", "\xe9"])
def test_unknown_encodings(collector: CollectorProcess, dialect: Dialect, encoding: str) -> None:
    """415 in the dialect, for several at once too."""
    answer = ask(collector, post(dialect, b"{}", ("Content-Encoding", encoding)))
    assert_refused(dialect, answer, 415)


def _cut(data: bytes) -> bytes:
    return gzipped(data)[:-9]


def _rotten(data: bytes) -> bytes:
    whole = bytearray(gzipped(data))
    whole[-6] ^= 0xFF  # in the checksum
    return bytes(whole)


@every_dialect
@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", _cut),
        ("gzip", _rotten),
        ("gzip", bytes),
        ("gzip", zlib.compress),
        ("gzip", lambda _: b""),
        ("gzip", lambda data: gzipped(data) + b"trailing"),
        ("gzip", lambda data: gzipped(gzipped(data))),
        ("deflate", lambda data: zlib.compress(data)[:-5]),
        ("deflate", gzipped),
    ],
)
def test_broken_compression(
    collector: CollectorProcess, dialect: Dialect, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    """A body that is not what its encoding says is malformed, and nothing of it is taken."""
    body = encode(body_of(dialect))
    answer = ask(collector, post(dialect, body, ("Content-Encoding", encoding)))
    assert_refused(dialect, answer, 400)


def _bomb(size: int, bits: int) -> bytes:
    stream = zlib.compressobj(9, wbits=bits)
    return b"".join(stream.compress(bytes(MIB)) for _ in range(size // MIB)) + stream.flush()


@every_dialect
@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
def test_bombs(collector: CollectorProcess, dialect: Dialect, encoding: str, bits: int) -> None:
    """50 KB that would become 50 MB are refused without becoming them."""
    bomb = _bomb(50 * MIB, bits)
    started_s = time.monotonic()
    answer = ask(collector, post(dialect, bomb, ("Content-Encoding", encoding)))
    assert_refused(dialect, answer, 413)
    assert time.monotonic() - started_s < 1


@every_dialect
def test_bomb_in_layers(collector: CollectorProcess, dialect: Dialect) -> None:
    """Only one layer is taken off; what is inside is no event, however often it was packed."""
    bomb = bytes(MIB)
    for _ in range(10):
        bomb = gzipped(bomb)
    answer = ask(collector, post(dialect, bomb, ("Content-Encoding", "gzip")))
    assert_refused(dialect, answer, 400)


def _peak_mib(collector: CollectorProcess) -> int:
    """The most memory that a process of the collector ever had."""
    peaks = []
    for pid in collector.pids:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        peaks += [int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]
    return max(peaks) // 1024


def test_bombs_take_no_memory(collector: CollectorProcess) -> None:
    """Half a megabyte that would become half a gigabyte: the memory for it is never taken."""
    dialect = DIALECTS[0]
    bomb = _bomb(512 * MIB, 31)
    assert 100_000 < len(bomb) < BODY_BYTES_MAX
    before_mib = _peak_mib(collector)
    answer = ask(collector, post(dialect, bomb, ("Content-Encoding", "gzip")))
    assert_refused(dialect, answer, 413)
    assert _peak_mib(collector) - before_mib < 100


@pytest.mark.parametrize(("members", "is_taken"), [(64, True), (65, False), (50_000, False)])
def test_gzip_members(collector: CollectorProcess, members: int, is_taken: bool) -> None:
    """A body in several members is one body; each costs time, so there is a limit to them."""
    dialect = DIALECTS[0]
    body = gzipped(b"") * (members - 1) + gzipped(body_of(dialect))
    started_s = time.monotonic()
    answer = ask(collector, post(dialect, body, ("Content-Encoding", "gzip")))
    if is_taken:
        assert_accepted(dialect, answer)
    else:
        assert_refused(dialect, answer, 400)
    assert time.monotonic() - started_s < 1
