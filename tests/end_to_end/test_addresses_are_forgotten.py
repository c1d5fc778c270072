"""No address is ever written: traffic from many addresses, then every byte is looked through."""

import base64
import contextlib
import ipaddress
import itertools
import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from collector.keys import DEMO_KEY
from tests.support.dialects import APP_ID
from tests.support.process import CollectorProcess, example_site

pytestmark = pytest.mark.end_to_end

# Bytes over 127, so that no text holds one in packed form by accident.
IPV4: Final = ("203.0.113.201", "198.51.100.177", "185.199.200.153", "151.101.193.140")
IPV6: Final = ("2a00:1450:4001:81b::200e", "2606:4700:90d0:f28f:f5a9:c7b6:8d9e:a1b2")
# Beside them, what is not an address in a place where one belongs.
ODD: Final = (
    "178.62.193.217:8443",
    " 178.62.194.218",
    "[2a01:4f8:c17:b0f::2]",
    "178.62.195.219%eth0",
)
KEPT: Final = "192.0.2.241"  # in a page's address, which is the sender's own
CANARY: Final = "canary-agent/1.0"
_READINGS_MAX: Final = 50


def spellings(address: str) -> Iterator[str]:
    """How proxies and back ends write one address."""
    parsed = ipaddress.ip_address(address)
    yield address
    if isinstance(parsed, ipaddress.IPv4Address):
        yield f"::ffff:{address}"
        yield f"::FFFF:{parsed.packed[:2].hex()}:{parsed.packed[2:].hex()}"
    else:
        yield parsed.exploded
        yield address.upper()


def forwarded(address: str) -> Iterator[dict[str, str]]:
    """Headers by which a proxy tells the address."""
    for spelled in spellings(address):
        bracketed = f"[{spelled}]" if ":" in spelled else spelled
        yield {"X-Forwarded-For": spelled}
        yield {"X-Forwarded-For": f"{KEPT}, {bracketed}:51723"}
        yield {"Forwarded": f'for="{bracketed}:51723";proto=https'}
        yield {"Forwarded": f'for=unknown, For="{bracketed}"'}


# --- what is sent


def browser_requests() -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Good and bad requests of browsers: path, headers, body."""
    origin = {"Origin": "http://localhost", "Content-Type": "application/json"}
    app = origin | {"X-App-Id": APP_ID, "X-Client-Id": uuid.uuid4().hex}
    event = {"site_id": "demo", "event_type": "click", "page_url": f"http://localhost/?{KEPT}"}
    now_ms = time.time_ns() // 1_000_000
    beacon = {
        "originalTime": now_ms,
        "departureTime": now_ms,
        "context": {"url": "http://localhost/"},
        "payload": {"type": "eventOccurred", "name": uuid.uuid4().hex},
    }
    yield "/ct", origin, _json(event)
    yield "/collect/batch", origin, _json({"events": [event, {"site_id": "nobody"}]})
    yield "/ct", origin, b"{broken"
    yield "/ct", origin, _json({**event, "site_id": "nobody"})
    yield "/collect", {**origin, "Origin": "http://elsewhere.example"}, _json(event)
    yield "/client/web/track", app, _json(beacon)
    yield "/client/web/track", app, _json({**beacon, "payload": {"type": "odd"}})
    yield "/client/web/track", app, b'{"broken": '
    yield "/client/web/track", {**app, "X-Token": "a.b.c"}, _json(beacon)
    yield "/client/web/track", {**app, "X-App-Id": "none"}, _json(beacon)
    yield "/client/web/cid", origin, b""


def server_requests(address: str) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Good and bad requests of back ends; Zenovay's bodies tell the address of the visitor."""
    key = {"Authorization": f"Bearer {DEMO_KEY}", "Content-Type": "application/json"}
    event = {"site_id": "demo", "event_name": "lead", "scan_session_id": str(uuid.uuid4())}
    custom = {"type": "event", "ts": time.time_ns() // 1_000_000, "props": {"name": "x"}}
    batch = {
        "serverContext": {"clientIp": address, "userAgent": CANARY},
        "trackingCode": "ZV_demo",
        "events": [{**custom, "idempotencyKey": uuid.uuid4().hex}, {**custom, "type": "odd"}],
    }
    yield "/server-events", key, _json(event)
    yield "/server-events", {"X-API-Key": "wrong"}, _json(event)
    yield "/server-events/batch", key, _json({"events": [event, 1]})
    yield "/api/v1/events", key, _json(batch)
    yield "/api/v1/events", key, _json({**batch, "events": {}})
    yield "/api/v1/events", key, _json(batch)[:-9]
    yield "/api/v1/events", key, _json({**batch, "trackingCode": "ZV_other"})
    yield "/api/v1/events", {"Authorization": "Bearer wrong"}, _json(batch)


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


def send_everything(collector: CollectorProcess) -> set[int]:
    """All requests from all addresses; the statuses that came back."""
    statuses = set()
    for address in (*IPV4, *IPV6):
        for headers in forwarded(address):
            for path, own, body in browser_requests():
                method = "GET" if path.endswith("cid") else "POST"
                answer = collector.request(method, path, body=body, headers={**own, **headers})
                statuses.add(answer.status)
    reported = itertools.chain.from_iterable(map(spellings, (*IPV4, *IPV6)))
    for spelled in (*reported, *ODD):
        for path, own, body in server_requests(spelled):
            # Whoever shows wrong keys too often is let in no more.
            is_wrong = "wrong" in str(own)
            headers = {**own, "X-Forwarded-For": IPV4[is_wrong]}
            statuses.add(collector.request("POST", path, body=body, headers=headers).status)
    return statuses


# --- what is looked for


def patterns() -> dict[str, re.Pattern[bytes]]:
    """Everything that an address could have been written as, by a name."""
    found: dict[str, re.Pattern[bytes]] = {}
    for text in (*IPV4, *IPV6, *(re.sub(r"^ |^\[|\].*|%.*|:8443$", "", odd) for odd in ODD)):
        parsed = ipaddress.ip_address(text)
        packed = parsed.packed
        texts = {text, parsed.exploded, parsed.compressed}
        if isinstance(parsed, ipaddress.IPv4Address):
            texts.add(f"{packed[:2].hex()}:{packed[2:].hex()}")
            texts.add(text.replace(".", "-"))
        else:
            texts.add(":".join(part.lstrip("0") or "0" for part in parsed.exploded.split(":")))
        texts |= {packed.hex(), str(int(parsed)), base64.b64encode(packed).decode().rstrip("=")}
        words = "|".join(re.escape(word) for word in sorted(texts, key=len, reverse=True))
        # Between other digits it would be a part of a digest.
        pattern = rf"(?<![0-9a-zA-Z])(?:{words})(?![0-9a-zA-Z])"
        found[text] = re.compile(pattern.encode(), re.IGNORECASE)
        for raw in (packed, packed[::-1]):
            found[f"{text} {raw.hex()}"] = re.compile(re.escape(raw))
    return found


def texts_of(directory: Path) -> dict[str, bytes]:
    """What is in every file below `directory`, of a collector that may be running.

    All of it is read anew where a file goes meanwhile, as when files are joined: what was in it is
    in another one, which was not listed yet.
    """
    for _ in range(_READINGS_MAX - 1):
        with contextlib.suppress(FileNotFoundError, duckdb.IOException):
            return dict(_read_all(directory))
        time.sleep(0.2)
    return dict(_read_all(directory))


def _read_all(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, and every value in those that are Parquet."""
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        if path.suffix == ".parquet":
            # Not its bytes: compressed, four of them match by accident now and then.
            rows = duckdb.sql(f"FROM read_parquet('{path}')").fetchall()
            yield str(path), "\n".join(str(value) for row in rows for value in row).encode()
        else:
            yield str(path), path.read_bytes()


def found_in(texts: dict[str, bytes]) -> list[str]:
    """Where an address was found."""
    return [
        f"{name} in {path}"
        for path, text in texts.items()
        for name, pattern in patterns().items()
        if pattern.search(text)
    ]


def test_no_address_reaches_a_file_or_the_log(tmp_path: Path) -> None:
    """Accepted, refused, limited or set aside: neither log nor rows nor Parquet hold one."""
    settings = {
        "server": {"trusted_proxies": ["127.0.0.1/32"], "log_level": "debug"},
        "limits": {"failed_auth_per_minute": 12},
        "storage": {"publish_interval_ms": 3_600_000},
        "sites": [example_site(croct_invalid="quarantine")],
    }
    with CollectorProcess(tmp_path, **settings) as collector:
        statuses = send_everything(collector)
        assert statuses >= {200, 204, 400, 401, 403, 429}
        running = texts_of(collector.data)
        assert any(path.endswith(".ndjson") and len(text) > 9_999 for path, text in running.items())
        assert any("quarantine" in path for path in running)
        assert found_in(running) == []
        hashes = collector.query("SELECT DISTINCT ip_hash FROM events WHERE ip_hash <> 'unknown'")
        assert len(hashes) == len(IPV4) + len(IPV6) + len(ODD), "spellings of one are one"
        assert collector.terminate() == 0
    stopped = texts_of(tmp_path)
    parquet = b"".join(text for path, text in stopped.items() if path.endswith(".parquet"))
    log = collector.log_path.read_bytes()
    assert b"refused, " in log
    assert str(collector.log_path) in stopped
    assert found_in(stopped) == []
    # The search would have found them.
    assert parquet.count(KEPT.encode()) > 100
    assert CANARY.encode() in parquet


def test_the_search_finds_an_address_in_any_form() -> None:
    """A search that finds nothing proves nothing."""
    for text in (*IPV4, *IPV6):
        parsed = ipaddress.ip_address(text)
        for written in (
            *(spelled.encode() for spelled in spellings(text)),
            *(parsed.packed, parsed.packed[::-1], parsed.packed.hex().encode()),
            *(str(int(parsed)).encode(), b'"' + text.encode() + b'"'),
            base64.b64encode(parsed.packed),
        ):
            assert found_in({"file": b"before " + written + b" behind"}), (text, written)
    assert found_in({"file": b"0" + IPV4[0].encode() + b"  192.0.2.241"}) == []
