"""The proxies of `deploy/` in front of a real collector: who a client is, what stays inside.

Clients have addresses of loopback (127.0.0.2, .3), which the proxy sees as they are. Certificates
are made here; nothing listens but on loopback.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import programs
from tests.support.process import Answer, CollectorProcess, free_port, wait_until
from tests.test_deploy import DEPLOY, text

pytestmark = pytest.mark.end_to_end

ORIGIN = {"Origin": "http://localhost", "Content-Type": "application/json"}
FORM = "application/x-www-form-urlencoded"
LIMIT = 3
TOKEN = "admin_" + "x" * 40
# What keeps dashboard and admin API inside, and how often it stands there.
KEPT_INSIDE = {
    "nginx.conf": (r"    location ~ \^/(?:admin|dashboard)\(/\|\$\) +\{ return 404; \}\n", 2),
    "Caddyfile": (r" /(?:admin|dashboard)(?:/\*)?(?=[ \n])", 4),
}


class Front(NamedTuple):
    """A proxy that runs: its port, and whatever it wrote."""

    port: int
    folder: Path

    def said(self) -> str:
        """All logs together."""
        logs = [path for path in self.folder.rglob("*.log") if path.is_file()]
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)


def _certificate(folder: Path) -> None:
    """A certificate for loopback and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.contextmanager
def _running(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[Front]:
    """A proxy until the end of the block; whatever it prints goes to a log."""
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **environment},
        )
    front = Front(port, folder)

    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended: {front.said()}")
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, timeout_s=20, what=f"{command[0]} listens")
        yield front
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _shipped(name: str, *, opens: bool) -> str:
    """A file of `deploy/`; `opens`: without what the page has one take out for the dashboard."""
    ours = text(name)
    if opens:
        pattern, count = KEPT_INSIDE[name]
        ours, found = re.subn(pattern, "", ours)
        assert found == count, name
    return ours


@contextlib.contextmanager
def _nginx(collector: CollectorProcess, folder: Path, *, opens: bool = False) -> Iterator[Front]:
    program, port = programs.find("nginx"), free_port()
    _certificate(folder)
    ours = _shipped("nginx.conf", opens=opens)
    changes = {
        "server 127.0.0.1:8000": f"server 127.0.0.1:{collector.port}",
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl http2;\n": "",
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/letsencrypt/live/events.example.com": str(folder),
        "/var/log/nginx": str(folder),
    }
    for old, new in changes.items():
        assert old in ours, old
        ours = ours.replace(old, new)
    (folder / "collector.conf").write_text(ours)
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr warn;\n"
        f"events {{ worker_connections 64; }}\nhttp {{ {places}"
        f"include {folder}/collector.conf; }}\n"
    )
    options = ["-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    programs.passes("nginx", "-t", *options)
    with _running([program, *options], port, folder) as front:
        yield front


@contextlib.contextmanager
def _caddy(collector: CollectorProcess, folder: Path, *, opens: bool = False) -> Iterator[Front]:
    program, port = programs.find("caddy"), free_port()
    _certificate(folder)
    ours = _shipped("Caddyfile", opens=opens)
    # No port for its administration, none for plain HTTP, and a certificate that is there.
    assert ours.count("\n{\n") == 1
    ours = ours.replace("\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n", 1)
    site = "{$COLLECTOR_HOST:events.example.com} {\n"
    assert site in ours
    ours = ours.replace(
        site, f"{site}\tbind 127.0.0.1\n\ttls {folder}/fullchain.pem {folder}/privkey.pem\n"
    )
    (folder / "Caddyfile").write_text(ours)
    command = [program, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with _running(
        command,
        port,
        folder,
        HOME=str(folder),
        XDG_DATA_HOME=str(folder),
        XDG_CONFIG_HOME=str(folder),
        COLLECTOR_HOST=f"https://localhost:{port}",
        COLLECTOR_UPSTREAM=f"127.0.0.1:{collector.port}",
    ) as front:
        yield front


FRONTS = {"nginx": _nginx, "caddy": _caddy}


def _trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / "fullchain.pem"))


class Visitor:
    """Somebody with an address of their own, and one connection."""

    def __init__(self, front: Front, address: str) -> None:
        self._connection = http.client.HTTPSConnection(
            "localhost",
            front.port,
            source_address=(address, 0),
            context=_trusting(front.folder),
            timeout=20,
        )

    def request(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> Answer:
        """One request; names of headers have _ for -."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, {**ORIGIN, **fields})
        answer = self._connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())

    def event(self, name: str, **headers: str) -> Answer:
        """A browser's event."""
        body = {"site_id": "demo", "event_type": name, "event_id": str(uuid.uuid4())}
        return self.request("POST", "/ct?secret=query", json.dumps(body), **headers)

    def lines(self, path: str, **headers: str) -> Iterator[bytes]:
        """The lines of an answer that goes on, as they come."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=fields)
        answer = self._connection.getresponse()
        assert answer.status == 200, answer.read()
        yield from iter(answer.readline, b"")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.mark.parametrize("name", FRONTS)
def test_the_collector_knows_who_a_client_is(tmp_path: Path, name: str) -> None:
    """Limits and hashes go by the address that the proxy saw, whatever clients claim to be."""
    folder = tmp_path / "front"
    folder.mkdir()
    programs.find(name)
    with (
        CollectorProcess(
            tmp_path / "collector",
            server={"trusted_proxies": ["127.0.0.1"]},
            limits={"browser_requests_per_minute": LIMIT},
        ) as collector,
        FRONTS[name](collector, folder) as front,
        contextlib.ExitStack() as stack,
    ):
        one, other, third = (
            stack.enter_context(contextlib.closing(Visitor(front, f"127.0.0.{n}")))
            for n in (2, 3, 4)
        )
        claims = {"X_Forwarded_For": "9.9.9.9", "Forwarded": "for=9.9.9.9", "X_Real_IP": "9.9.9.9"}
        assert one.event("honest").status == 200
        assert one.event("claims", **claims).status == 200
        assert one.event("claims", X_Forwarded_For="1.2.3.4, 127.0.0.1").status == 200
        assert one.event("too much").status == 429
        assert one.event("too much", X_Forwarded_For="127.0.0.9").status == 429
        assert other.event("another").status == 200
        rows = collector.query("SELECT event_type, ip_hash FROM events")
        hashes = {
            kind: {r["ip_hash"] for r in rows if r["event_type"] == kind}
            for kind in ("honest", "claims", "another")
        }
        assert hashes["honest"] == hashes["claims"]
        assert len(hashes["claims"]) == 1
        assert hashes["another"] != hashes["honest"]
        _stays_inside(other)
        _sizes_and_headers(front, other)
        assert _protocol(front) == "h2"
        assert collector.terminate() == 0
        assert third.event("nobody there").status == 502
    said = front.said() + collector.log_tail()
    assert not re.search(r"127\.0\.0\.[234]\b|9\.9\.9\.9|secret=query", said), said


def _stays_inside(visitor: Visitor) -> None:
    """Pages for operators are not served to the world."""
    inside = (
        "/metrics",
        "/healthz",
        "/readyz",
        "/dashboard",
        "/dashboard/login",
        "/admin/v1/state",
    )
    for path in (*inside, "//metrics", "/%6detrics"):
        answer = visitor.request("GET", path)
        assert answer.status == 404, (path, answer.status)
        assert b"collector" not in answer.body


def _sizes_and_headers(front: Front, visitor: Visitor) -> None:
    """The collector answers to what is too large and to preflights, as browsers need it."""
    preflight = visitor.request(
        "OPTIONS",
        "/ct",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type",
    )
    assert preflight.status in {200, 204}
    assert preflight.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    with contextlib.closing(Visitor(front, "127.0.0.5")) as large:
        answer = large.request("POST", "/ct", b'"' + b"x" * 4_300_000 + b'"')
        assert answer.status == 413
        assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]


def _protocol(front: Front) -> str | None:
    """What is spoken with a client that knows HTTP/2."""
    context = _trusting(front.folder)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", front.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.selected_alpn_protocol()


@pytest.mark.parametrize("name", FRONTS)
def test_the_dashboard_is_reached_through_a_proxy_that_lets_it_out(
    tmp_path: Path, name: str
) -> None:
    """By the token, which gives a `Secure` cookie; live numbers come one by one. Nothing else."""
    folder = tmp_path / "front"
    folder.mkdir()
    programs.find(name)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    with (
        CollectorProcess(
            tmp_path / "collector",
            server={"trusted_proxies": ["127.0.0.1"], "admin_token_sha256": digest},
        ) as collector,
        FRONTS[name](collector, folder, opens=True) as front,
        contextlib.closing(Visitor(front, "127.0.0.2")) as one,
        contextlib.closing(Visitor(front, "127.0.0.3")) as other,
    ):
        assert [one.request("GET", path).status for path in ("/metrics", "/readyz")] == [404, 404]
        assert one.request("GET", "/admin/v1/state").status in {401, 403}
        browser = {"Sec_Fetch_Site": "same-origin", "Content_Type": FORM}
        page = one.request("GET", "/dashboard/login", **browser).body.decode()
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)
        assert csrf, page
        form = urlencode({"csrf": csrf[1], "token": TOKEN})
        answer = one.request("POST", "/dashboard/login", form, **browser)
        assert (answer.status, answer.headers.get("location")) == (303, "/dashboard")
        cookie, _, flags = answer.headers["set-cookie"].partition(";")
        assert cookie.startswith("__Host-")
        assert "Secure" in flags
        assert one.request("GET", "/dashboard", Cookie=cookie, **browser).status == 200
        messages = (
            line
            for line in one.lines("/admin/v1/stream", Cookie=cookie, Sec_Fetch_Site="same-origin")
            if line.startswith(b"data:")
        )
        assert b'"sum-accepted":"0"' in next(messages)
        assert other.event("seen").status == 200
        assert any(b'"sum-accepted":"1"' in message for message in messages)


def test_the_files_are_those_of_the_programs(tmp_path: Path) -> None:
    """Both check their own file as it is shipped; Caddy's is formatted as Caddy does."""
    copy = tmp_path / "Caddyfile"
    shutil.copy(DEPLOY / "Caddyfile", copy)
    programs.passes("caddy", "validate", "--adapter", "caddyfile", "--config", str(copy))
    assert programs.run("caddy", "fmt", str(copy)).stdout == copy.read_text()
