"""The load generator's loops against small servers on loopback, and where it may send."""

import asyncio
import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.corpus import Account
from bench.fleet import merged, shares
from bench.generator import Plan, Report, carry_out
from bench.remote import NotAllowed, target

ACCOUNT = Account(host="127.0.0.1:8000")

Answer = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def _server(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that gives every whole request to `answer`; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"Content-Length: (\d+)", head)
                assert length is not None
                body = await reader.readexactly(int(length[1]))
                writer.write(await answer(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        # From Python 3.12 on, waiting for it to be closed waits for every connection.
        server.close()


def _carry_out(answer: Answer, context: ssl.SSLContext | None = None, **changes: Any) -> Report:
    async def go() -> Report:
        async with _server(answer, context) as port:
            settings: dict[str, Any] = {
                "address": "127.0.0.1",
                "port": port,
                "traffic": "scanova",
                "account": ACCOUNT,
                "run": "00000000",
                "connections": 2,
                "warm_up_s": 0.05,
                "seconds": 0.3,
            }
            return await carry_out(Plan(**{**settings, **changes}))

    return asyncio.run(go())


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_closed_loop_counts_every_answer_once() -> None:
    """What the server answered and what the report counts agree, and no body came twice."""
    bodies: list[bytes] = []

    async def answer(body: bytes) -> bytes:
        bodies.append(body)
        return _OK

    report = _carry_out(answer)
    assert report.statuses == {200: len(bodies)}
    assert report.accepted == len(bodies)
    assert 0 < report.events == report.requests == len(report.latencies_us) <= len(bodies)
    assert len(set(bodies)) == len(bodies)
    assert (report.failures, report.rejected) == (0, 0)
    assert report.cpu_share > 0


def test_refusals_are_not_acknowledged() -> None:
    """A 503 is counted as an answer, never as an event."""

    async def answer(_body: bytes) -> bytes:
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

    report = _carry_out(answer, connections=1)
    assert (report.events, report.accepted) == (0, 0)
    assert report.rejected == report.statuses[503] > 0


def test_verdicts_of_batches_are_added_up() -> None:
    """Accepted, repeated and rejected events of a batch are told apart."""

    async def answer(_body: bytes) -> bytes:
        text = b'{"acceptedCount":90,"dedupedCount":7,"rejectedCount":3,"errors":[]}'
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)

    report = _carry_out(answer, traffic="zenovay", size=100, requests_max=5, warm_up_s=0.0)
    assert (report.accepted, report.duplicate, report.rejected) == (450, 35, 15)


def test_a_bounded_plan_ends_when_it_is_spent() -> None:
    """`requests_max` requests are sent, not one more, and nobody waits for the clock."""

    async def answer(_body: bytes) -> bytes:
        return _OK

    report = _carry_out(answer, requests_max=7, seconds=30.0, warm_up_s=0.0)
    assert report.accepted == 7
    assert report.window_s < 5


def test_open_loop_latency_includes_waiting() -> None:
    """At 100 requests/s against 50/s of service, later requests wait longer, and it shows."""

    async def answer(_body: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return _OK

    report = _carry_out(answer, connections=1, rate=100.0, warm_up_s=0.0, seconds=0.6)
    assert max(report.latencies_us) > 5 * min(report.latencies_us)
    assert max(report.latencies_us) > 150_000


def test_open_loop_keeps_the_rate() -> None:
    """A server that could do more is asked only as often as told."""

    async def answer(_body: bytes) -> bytes:
        return _OK

    report = _carry_out(answer, rate=100.0, seconds=0.5)
    assert report.requests == pytest.approx(50, abs=10)


def test_duplicates_repeat_earlier_requests() -> None:
    """About the asked share of the requests was sent before, byte for byte."""
    bodies: list[bytes] = []

    async def answer(body: bytes) -> bytes:
        bodies.append(body)
        return _OK

    _carry_out(answer, duplicates=0.1, requests_max=1_000, seconds=30.0, warm_up_s=0.0)
    repeats = len(bodies) - len(set(bodies))
    assert len(bodies) == 1_000
    assert repeats == pytest.approx(94, abs=2)  # none until 64 requests are known


def test_it_says_how_late_it_was_itself() -> None:
    """Open loop: once per request that was due, however slow the server; closed: by a timer."""

    async def answer(_body: bytes) -> bytes:
        await asyncio.sleep(0.05)
        return _OK

    report = _carry_out(answer, connections=1, rate=200.0, warm_up_s=0.0, seconds=0.5)
    assert len(report.lags_us) == pytest.approx(100, abs=10)
    # The server makes requests wait for half a second; the generator is not late for it.
    assert sorted(report.lags_us)[50] < max(report.latencies_us) / 4
    closed = _carry_out(answer, seconds=0.3)
    assert 0 < len(closed.lags_us) <= 31
    assert closed.lag_p99_ms == max(closed.lags_us) / 1000


def test_answers_in_chunks_are_answers() -> None:
    """A proxy in front of a collector may cut answers into chunks."""

    async def answer(_body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"

    report = _carry_out(answer, requests_max=20, seconds=5.0, warm_up_s=0.0)
    assert report.accepted == 20


def test_a_server_that_closes_after_each_answer_is_served() -> None:
    """Connections are opened anew, none of it is a failure."""

    async def answer(_body: bytes) -> bytes:
        return _OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")

    report = _carry_out(answer, requests_max=50, seconds=5.0, warm_up_s=0.0)
    assert (report.accepted, report.failures) == (50, 0)


# --- TLS


def _certified(folder: Path, names: list[str]) -> ssl.SSLContext:
    """A server's context with a certificate for `names`; it is written to `folder`/cert.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    found = [
        x509.IPAddress(ipaddress.ip_address(one)) if one[0].isdigit() else x509.DNSName(one)
        for one in names
    ]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(found), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def _yes(_body: bytes) -> bytes:
    return _OK


def test_a_server_behind_tls_is_loaded(tmp_path: Path) -> None:
    """Every request arrives whole through an encrypted connection."""
    context = _certified(tmp_path, ["127.0.0.1"])
    settings = {"tls": True, "ca_file": str(tmp_path / "cert.pem")}
    report = _carry_out(_yes, context, requests_max=50, seconds=5.0, warm_up_s=0.0, **settings)
    assert report.accepted == 50


@pytest.mark.parametrize(("name", "is_known"), [("127.0.0.1", False), ("other.example", True)])
def test_a_certificate_is_checked(tmp_path: Path, name: str, *, is_known: bool) -> None:
    """Neither somebody unknown nor somebody else gets a single request."""
    context = _certified(tmp_path, [name])
    ca_file = str(tmp_path / "cert.pem") if is_known else ""
    with pytest.raises(ssl.SSLCertVerificationError):
        _carry_out(_yes, context, tls=True, ca_file=ca_file)


# --- any URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000, "127.0.0.1:8000", "", False)),
        ("http://localhost", ("localhost", 80, "localhost", "", False)),
        ("https://localhost/a/b/", ("localhost", 443, "localhost", "/a/b", True)),
        ("https://[::1]:8443", ("::1", 8443, "[::1]:8443", "", True)),
    ],
)
def test_a_url_says_where(url: str, expected: tuple[str, int, str, str, bool]) -> None:
    """Scheme, host, port and path each have their place."""
    to = target(url, {"site": "demo", "origin": ""})
    assert (to.address, to.port, to.account.host, to.account.prefix, to.tls) == expected
    assert (to.account.site, to.account.origin) == ("demo", "http://localhost")


def test_another_machine_needs_permission() -> None:
    """Names and addresses alike; whoever gives their word may."""
    for host in ("collect.example", "192.0.2.7", "[2001:db8::1]", "localhost.example"):
        with pytest.raises(NotAllowed, match="--with-permission"):
            target(f"https://{host}", {})
        assert target(f"https://{host}", {}, has_permission=True).port == 443


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "http://localhost:x",
        "http://a@localhost",
        "http://localhost/?a=b",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """Nothing is sent to a guess."""
    with pytest.raises(NotAllowed, match="URL"):
        target(url, {})


def test_a_server_that_talks_nonsense_ends_the_run() -> None:
    """No figures from a server that was not understood."""

    async def answer(_body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\n\r\n"

    with pytest.raises(RuntimeError, match="cannot be read"):
        _carry_out(answer)


def test_nothing_measured_is_an_error() -> None:
    """A report without a single answer would look like a very bad server."""

    async def answer(_body: bytes) -> bytes:
        await asyncio.sleep(0.5)
        return _OK

    with pytest.raises(RuntimeError, match="nothing was answered"):
        _carry_out(answer, seconds=0.1)


@pytest.mark.parametrize(
    "changes", [{"seconds": 61.0}, {"seconds": 0.0}, {"connections": 5_000}, {"duplicates": 1.0}]
)
def test_a_load_is_always_bounded(changes: dict[str, Any]) -> None:
    """No plan lasts longer than a minute or opens connections without end."""
    settings: dict[str, Any] = {
        "address": "127.0.0.1",
        "port": 1,
        "traffic": "croct",
        "account": ACCOUNT,
        "run": "00000000",
    }
    with pytest.raises(ValueError, match=r"most|connections|share"):
        Plan(**settings, **changes)


def test_reports_of_several_generators_add_up() -> None:
    """Counts and CPU are summed, latencies joined, the window is not."""
    one = Report(
        window_s=2.0,
        requests=10,
        events=10,
        latencies_us=[1, 2],
        cpu_s=0.5,
        accepted=12,
        statuses={200: 12},
    )
    both = merged([one, msgspec.structs.replace(one, statuses={200: 1, 503: 2}, rejected=2)])
    assert (both.requests, both.events, both.accepted, both.rejected) == (20, 20, 24, 2)
    assert both.latencies_us == [1, 2, 1, 2]
    assert both.statuses == {200: 13, 503: 2}
    assert (both.window_s, both.cpu_share) == (2.0, 0.5)


def test_a_bound_stays_one_when_it_is_shared() -> None:
    """Of one request, three generators send at most one each: 0 would mean without bound."""
    plan = msgspec.convert(
        {"address": "", "port": 1, "traffic": "croct", "account": {"host": "a"}, "run": "00000000"},
        Plan,
    )
    for total, expected in ((0, 0), (1, 1), (10, 4)):
        parts = shares(msgspec.structs.replace(plan, requests_max=total, rate=9.0), 3)
        assert {(part.requests_max, part.rate) for part in parts} == {(expected, 3.0)}
        assert len({part.run for part in parts}) == 3
