"""Texts that strangers write and the collector judges: bodies, hosts, addresses, tokens, settings.

Each is compared with a reader that is not ours, or with what must hold of any text.
"""

import base64
import hashlib
import json
import logging
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from collector import http, logs, masking, rawbody
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from collector.addresses import AddressReader, address_key
from collector.config import Config, PublicKey
from collector.config_file import ConfigError, parse
from collector.origin import host_allowed, host_name, origin_host, split_patterns
from collector.refusal import INVALID_TOKEN, MALFORMED_BODY, UNSIGNED_TOKEN, Refusal
from collector.tokens import Token, TokenVerifier, key_id_digest
from tests.fuzz.target import Target, edit, edited, join, parts
from tests.support.golden import body_of, requests
from tests.support.tokens import API_KEY_ID, APP_ID, CLAIMS, NOW_S, part, pem_of, unsigned

_ROOT: Final = Path(__file__).parents[2]


# --- inflating

_BODY_BYTES_MAX: Final = 10_000


def _inflated(data: bytes, bits: int) -> bytes | None:
    """What the library makes of `data`, without a limit; None: it is not whole, or no such data."""
    out, rest = b"", data
    while True:
        stream = zlib.decompressobj(bits)
        try:
            out += stream.decompress(rest)
        except zlib.error:
            return None
        if not stream.eof:
            return None
        rest = stream.unused_data
        if not rest:
            return out
        if bits != 31:
            return None


def _run_inflate(data: bytes) -> None:
    """Bodies within the limit, whole and as sent; or a refusal."""
    name, body = parts(data, 2)
    encoding = name.decode("latin-1")
    found = http.inflate(body, encoding, _BODY_BYTES_MAX)
    known = encoding.strip().lower()
    if known in {"", "identity"}:
        assert found == body
        return
    if isinstance(found, Refusal):
        if found.kind == MALFORMED_BODY and known == "gzip" and body.count(b"\x1f\x8b") < 64:
            assert _inflated(body, 31) is None
        return
    assert len(found) <= _BODY_BYTES_MAX
    assert found in [_inflated(body, bits) for bits in ((31,) if "gzip" in known else (15, -15))]


def _packed(bits: int, *pieces: bytes) -> bytes:
    out = b""
    for piece in pieces:
        stream = zlib.compressobj(wbits=bits)
        out += stream.compress(piece) + stream.flush()
    return out


def _inflate_seeds() -> list[bytes]:
    bodies = [b'{"site_id":"demo"}', bytes(_BODY_BYTES_MAX), bytes(_BODY_BYTES_MAX + 1)]
    found = [join(b"", b"plain"), join(b"br", b"x"), join(b"gzip", _packed(31, b"a", b"", b"b"))]
    for body in bodies:
        for name, bits in ((b"gzip", 31), (b"x-gzip", 31), (b"deflate", 15), (b"deflate", -15)):
            found.append(join(name, _packed(bits, body)))
    return found


# --- hosts

_DOMAINS: Final = split_patterns(["good.com", "*.good.org", "xn--mnchen-3ya.de", "::1"])


def _run_origin(data: bytes) -> None:
    """One spelling; what a careful other reader would not call the same host is no host."""
    value = data.decode("utf-8", "replace")
    host = origin_host(value)
    assert host.isascii()
    assert host == host.lower()
    assert host_name(host) == host
    if not host:
        return
    assert value.lower().startswith(("http://", "https://"))
    assert not set(re.split("[/?#]", value.partition("//")[2])[0]) & set("\\ \t")
    if host_allowed(host, *_DOMAINS):
        assert host in _DOMAINS[0] or host.endswith(".good.org")
    if value.isascii():
        other = urlsplit(value).hostname or ""
        assert host_name(other) == host, (value, other, host)


_ORIGINS: Final = (
    "https://good.com", "http://www.good.org:8080/a?b#c", "https://good.com@evil.net",
    "https://evil.net\\@good.com", "https://m\u00fcnchen.de", "http://[::1]:80", "null",
    "https://good.com.",
    "https://evil.net?@good.com", "https://evil-good.com", "HTTPS://GOOD.COM", "https://1.2.3.4",
    "https://good.com:80:80", "https://a%2egood.org", "http://good.com, http://evil.net",
)  # fmt: skip


# --- addresses

_READERS: Final = [
    AddressReader(["10.0.0.0/8", "fd00::/8"], header) for header in ("x-forwarded-for", "forwarded")
]


def _run_addresses(data: bytes) -> None:
    """What stands left of the address that a trusted proxy wrote changes nothing."""
    said = data.replace(b"\n", b"").replace(b"\r", b"").decode("latin-1")
    for reader, added in zip(_READERS, ("198.51.100.7", 'for="198.51.100.7:1"'), strict=True):
        name = "x-forwarded-for" if reader is _READERS[0] else "forwarded"
        found = reader.read("10.0.0.1:1", {name: said})
        assert len(address_key(found)) in {4, 8}, found
        assert reader.read("203.0.113.1:1", {name: said}) == "203.0.113.1"
        for joint in (", ", ","):
            assert reader.read("10.0.0.1:1", {name: f"{said}{joint}{added}"}) == "198.51.100.7"


# --- tokens

_KEY: Final = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
_PEM: Final = pem_of(_KEY)
_HEAD: Final = {"typ": "JWT", "appId": APP_ID, "kid": key_id_digest(API_KEY_ID)}
_SIGNED: Final = [
    jwt.encode(claims, _KEY, algorithm="ES256", headers=_HEAD)
    for claims in (CLAIMS, {"iat": NOW_S}, CLAIMS | {"exp": NOW_S + 60, "aud": ["a"]})
]
_BASES: Final = [*_SIGNED, unsigned(), unsigned({"iat": NOW_S})]
_STRICT: Final = TokenVerifier((PublicKey(pem=_PEM, id=API_KEY_ID),), require_signed=True)
_OPEN: Final = TokenVerifier((PublicKey(pem=_PEM),), require_signed=False)


def _part_of(token: str, number: int) -> Any:
    text = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _run_tokens(data: bytes) -> None:
    """Signed ones are believed as they were signed; unsigned ones only where that is allowed."""
    base, change, more = parts(data, 3)
    if base[:1].isdigit():
        token = edited(_BASES[int(base[:1]) % len(_BASES)].encode(), change).decode("latin-1")
    else:
        pieces = [part(base), part(change)] if more != b"raw" else [base.decode("latin-1")]
        token = ".".join([*pieces, "" if more in {b"", b"raw"} else part(more)])
    at_us = NOW_S * 1_000_000
    strict = _STRICT.verify(token, app_id=APP_ID, at_us=at_us)
    assert isinstance(strict, Token) == (token in _SIGNED), token
    if isinstance(strict, Refusal):
        assert strict.kind in {INVALID_TOKEN, UNSIGNED_TOKEN}
    opened = _OPEN.verify(token, app_id=APP_ID, at_us=at_us)
    if isinstance(opened, Refusal):
        assert opened.kind == INVALID_TOKEN
    elif opened.is_signed:
        assert token in _SIGNED
    else:
        assert token.count(".") == 2
        assert token.endswith(".")
        assert _part_of(token, 0)["alg"] == "none"
        assert (_part_of(token, 1).get("sub") or "") == opened.subject


def _token_seeds() -> list[bytes]:
    found = [join(b"%d" % number) for number in range(len(_BASES))]
    found += [join(b"0", edit(at, 1, b"A")) for at in (0, 40, 120, 200, 300)]
    heads = [{"alg": "none"}, {"alg": "ES256"}, {"alg": "HS256"}, {"alg": "none", "crit": []}]
    return found + [
        join(json.dumps(head).encode(), b'{"iat":1760000000,"sub":"a"}', more)
        for head in heads
        for more in (b"", bytes(64), hashlib.sha512(b"").digest())
    ]


# --- settings


def _run_config(data: bytes) -> None:
    """Settings, or faults that an operator can read, one line each."""
    try:
        config = parse(data, file="config.toml", path=None)
    except ConfigError as error:
        told = str(error).split("\n")
        for line in told:
            assert line.startswith("config.toml: "), line
            assert line.isprintable(), line
        return
    assert isinstance(config, Config)
    assert all(key.tier in config.tiers for key in config.keys)
    assert config.storage.queue_bytes_max >= config.server.body_bytes_max


# --- bodies that are kept, and lines that are logged

_SHAPES: Final = [e for e in ENDPOINTS if isinstance(e, Endpoint)]
_ADDRESS: Final = b"203.0.113.77"


def _run_masking(data: bytes) -> None:
    """Whatever is kept: no text of JSON that is an address, and JSON stays JSON."""
    for endpoint in _SHAPES:
        rawbody.consents(endpoint.shape, data)
        members = rawbody.members_of(data)
        rawbody.envelope(endpoint.shape, members)
        masked = masking.mask_addresses(data, endpoint.address_member)
        if masking.is_document(data):
            assert masking.is_document(masked)
            assert b'"%b"' % _ADDRESS not in masked
        else:
            assert _ADDRESS not in masked


def _run_log_line(data: bytes) -> None:
    """One line per record, and one more, indented, per line of a traceback; all printable."""
    text = data.decode("utf-8", "surrogateescape")
    record = logging.LogRecord("collector", logging.ERROR, "", 0, "%s failed", (text,), None)
    record.exc_text = f"Traceback:\nValueError: {text}"
    lines = logs.Formatter().format(record).split("\n")
    assert all(line.isprintable() for line in lines), lines
    assert all(line.startswith("  ") for line in lines[1:]), lines
    assert lines[0].endswith(" failed")


def _bodies() -> list[bytes]:
    found = [body_of(request) for request in requests(1_795_000_000_000)]
    return [body for body in found if body] + [
        b'{"a":"203.0.113.77","clientIp":[1,{"b":"203.0.113.77"}]}', b"{'ip': 203.0.113.77",
        b'{"consent":"denied","site_id":"demo"', b'{"consent":"granted"}', b'{"a":"%32\\u0030"}',
    ]  # fmt: skip


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


TARGETS: Final = {
    "inflate": Target(run=_run_inflate, seeds=_inflate_seeds, words=(b"gzip", b"deflate")),
    "origin": Target(run=_run_origin, seeds=_texts(*_ORIGINS), words=(b"://", b"good.com", b"\\")),
    "addresses": Target(
        run=_run_addresses,
        seeds=_texts("1.2.3.4, 10.0.0.2", 'for="[2001:db8::1]:1", for=10.0.0.3;by=x', 'for="a\\"'),
        words=(b"for=", b'"', b"\\", b"10.0.0.9"),
    ),
    "tokens": Target(run=_run_tokens, seeds=_token_seeds, words=(b'"alg"', b'"none"', b'"crit"')),
    "config": Target(
        run=_run_config,
        seeds=lambda: [(_ROOT / "config.example.toml").read_bytes()],
        words=(b"[[sites]]", b"[server]", b"[storage]", b"croct_public_keys", b"allowed_domains"),
    ),
    "masking": Target(run=_run_masking, seeds=_bodies, words=(_ADDRESS, b"consent", b"\\u00")),
    "log_line": Target(run=_run_log_line, seeds=_texts("a\nb", "\x1b[31m", "\u202e", "\x85\t")),
}
