"""What a real collector writes while strangers send whatever they like, at its most talkative."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.cli import main
from collector.keys import DEMO_KEY
from tests.support import raw_http
from tests.support.asking import DIALECTS, ENDPOINTS, body_of, head, post
from tests.support.process import CollectorProcess, wait_until
from tests.support.raw_http import Wire
from tests.support.tokens import unsigned

pytestmark = pytest.mark.end_to_end

CANARY = "Kan4rie"
ADDRESSES = ("203.0.113.199", "2001:db8::c0:ffee")
# What would be seen, or obeyed, in a terminal; bytes, because a header may hold any above 127.
NASTY = "\x1b[31m\x9b\u202e\u2028\x85"
_FIELDS = (
    *("Origin", "User-Agent", "Referer", "Content-Type", "Content-Encoding", "Accept-Language"),
    *("X-App-Id", "X-Client-Id", "Authorization", "Cookie"),
)
_SECRETS = (CANARY, *ADDRESSES, DEMO_KEY, "zv_wrong", "eyJ")


@pytest.fixture(scope="module", params=[("rsgi", "text"), ("asgi", "json")])
def talkative(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    """At level debug, with a line per request, behind a proxy on this machine."""
    interface, form = request.param
    with CollectorProcess(
        tmp_path_factory.mktemp("talkative"),
        server={
            "interface": interface,
            "log_level": "debug",
            "log_format": form,
            "log_requests": True,
            "trusted_proxies": ["127.0.0.1/32"],
            "body_bytes_max": 100_000,
            "body_timeout_ms": 500,
        },
        storage={"queue_bytes_max": 1_000_000},
    ) as collector:
        yield collector


def _hostile_requests() -> Iterator[bytes]:
    """Canaries, addresses and escapes in every place that a request has."""
    nasty = NASTY.encode()
    yield b"GET /" + CANARY.encode() + b"%1b%0a%e2%80%ae" + nasty + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    yield f"{CANARY} /ct HTTP/1.1\r\nHost: {CANARY}\r\n\r\n".encode()
    yield f"GET /ct?{CANARY}=\x1b HTTP/9.9\r\n{CANARY}\r\n\r\n".encode()
    yield b"\x16\x03\x01" + nasty + CANARY.encode() + b"\r\n\r\n"
    forwarded = [("X-Forwarded-For", ", ".join(ADDRESSES)), ("Forwarded", f"for={ADDRESSES[0]}")]
    secrets = [("X-API-Key", "zv_wrong" + CANARY), ("X-Token", unsigned()[:-3] + CANARY)]
    for dialect in DIALECTS:
        for name in _FIELDS:
            for value in (f"{CANARY} {ADDRESSES[0]}", f"{CANARY} \x9b\xe2\x80\xae"):
                yield post(dialect, None, *forwarded, (name, value))
        yield post(dialect, None, *forwarded, *secrets)
        for body in (
            body_of(dialect),
            body_of(dialect).replace(b"demo", (CANARY + NASTY).encode()),
            body_of(dialect)[:-1] + CANARY.encode(),
            b'{"site_id":"\\u001b%b\\n","events":["%b"]}'
            % (CANARY.encode(), ADDRESSES[0].encode()),
            CANARY.encode() * 20_000,
            CANARY.encode() + nasty,
        ):
            yield post(dialect, body, *forwarded)
        yield head(dialect, ("Transfer-Encoding", "chunked")) + f"zz{CANARY}\r\n".encode()
        yield head(dialect, ("Content-Length", f"1{CANARY}")) + b"x"
    for method in ("GET", "POST", "OPTIONS", CANARY.upper()):
        yield raw_http.request(method, f"/{CANARY}/%1b%0a%e2%80%ae%c2%9b?{CANARY}", forwarded)
    for endpoint in ENDPOINTS:
        yield raw_http.request("GET", f"{endpoint.path}?cid={CANARY}%1b", forwarded)
        yield raw_http.request("TRACE", f"{endpoint.path}?{CANARY}", [("X", CANARY), *forwarded])


def _send(collector: CollectorProcess, data: bytes) -> None:
    with Wire(collector.port) as wire:
        try:
            wire.send(data)
            assert wire.answer().status != 500
        except (ConnectionResetError, BrokenPipeError, EOFError):
            pass  # the server hangs up on what is no request


def _lines(collector: CollectorProcess) -> list[str]:
    data = collector.log_path.read_bytes()
    return data.decode("utf-8").split("\n")


def test_nothing_that_was_sent_is_logged(talkative: CollectorProcess) -> None:
    """No body, key, token, address, path or header; no character that a terminal obeys."""
    for data in _hostile_requests():
        _send(talkative, data)
    with Wire(talkative.port) as slow:  # one that is cut off, one that goes away
        slow.send(head(DIALECTS[0], ("Content-Length", "100")), CANARY.encode())
        time.sleep(0.1)
    wait_until(
        lambda: any("refused, malformed_body" in line for line in _lines(talkative)),
        timeout_s=5,
        what="refusals are told at level debug",
    )
    lines = _lines(talkative)
    for line in lines:
        assert line.isprintable(), line
        for secret in _SECRETS:
            assert secret not in line, line
    if lines[0].startswith("{"):
        told = [json.loads(line) for line in lines[:-1]]
        assert all({"time", "level", "logger", "message"} <= one.keys() for one in told)
        assert any(one.get("endpoint") == "scanova_ct" for one in told)
    else:
        form = r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ "
        assert all(re.match(form, line) for line in lines[:-1])
        assert any("endpoint=scanova_ct" in line for line in lines)


def test_a_hostile_configuration_is_told_in_printable_lines(talkative: CollectorProcess) -> None:
    """Neither `check` nor a running collector that reads it again repeats its escapes."""
    good = talkative.config_path.read_text(encoding="utf-8")
    domain = f"{CANARY}\\u001b[2J\\u202e\\n2026-11-26T00:00:00Z INFO forged"
    bad = good.replace('allowed_domains = ["', f'allowed_domains = ["{domain}", "')
    if bad == good:
        bad = good + f'\n["{domain}"]\n'
    before = len(_lines(talkative))
    talkative.config_path.write_text(bad, encoding="utf-8")
    try:
        checked = talkative.run("check")
        os.kill(talkative.pid, signal.SIGHUP)
        wait_until(
            lambda: any("stays in force" in line for line in _lines(talkative)),
            timeout_s=10,
            what="the fault is told",
        )
        talkative.wait_ready()
    finally:
        talkative.config_path.write_text(good, encoding="utf-8")
    assert checked.returncode == 2
    told = [*checked.stderr.split("\n"), *_lines(talkative)[before - 1 :]]
    assert any(CANARY in line for line in told), "what is wrong is named"
    for line in told:
        assert line.isprintable(), line
        assert "INFO forged" not in line or "\\n2026" in line, line


@pytest.mark.parametrize("character", ["\\u001b", "\\n", "\\u0085", "\\u2028"])
def test_names_of_sites_cannot_hold_what_a_terminal_obeys(tmp_path: Path, character: str) -> None:
    """They end up in logs, metrics and folders: such a name is refused, printable."""
    config = tmp_path / "config.toml"
    config.write_text(f'[[sites]]\nid = "a{character}b"\n', encoding="utf-8")
    done = CliRunner().invoke(main, ["check", "--config", str(config)])
    assert done.exit_code == 2
    assert "must not contain control characters" in done.stderr
    assert all(line.isprintable() for line in done.stderr.split("\n"))
