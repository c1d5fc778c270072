"""Kinds of text in the configuration: what each must look like, and its one spelling once read.

One function per kind, named in `config.py` by `Meta(extra={"kind": ...})`. Each takes the text and
the folder that relative paths start from, and returns the text as it is kept; `BadValue` says in
one sentence what is wrong. Files are only looked at, never changed. Whatever may be a secret put in
the wrong place (a key, a token, a private key) is never repeated in a message.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from collector.geo import open_database
from collector.origin import host_name
from collector.watched import Unusable

_UUID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}",
    re.ASCII | re.IGNORECASE,
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII | re.IGNORECASE)
_LISTEN_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Croct's text of an API key: its UUID, then the private key.
_API_KEY: Final = re.compile(r"[0-9a-f-]{32,36}:|ES256;", re.ASCII | re.IGNORECASE)
_SHOWN_CHARACTERS_MAX: Final = 60
_PATH_CHARACTERS_MAX: Final = 4_096


class BadValue(ValueError):
    """The text is not of its kind; the message goes on where the setting's name ends."""


def shown(text: str, characters_max: int = _SHOWN_CHARACTERS_MAX) -> str:
    """`text` in quotes, cut and escaped so that it fits into one line of a terminal or log."""
    if len(text) > characters_max:
        text = text[:characters_max] + "..."
    return '"' + escaped(text).replace('"', '\\"') + '"'


def escaped(text: str) -> str:
    """`text` with everything unprintable written as an escape; a backslash stays as it is."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def name(text: str, _folder: Path) -> str:
    """Any text that is not empty and has no control characters: it ends up in logs and metrics."""
    if not text:
        raise BadValue("must not be empty")
    if _CONTROL.search(text):
        raise BadValue("must not contain control characters")
    return text


def sha256(text: str, _folder: Path) -> str:
    """64 hex digits, kept in lower case."""
    if _SHA256.fullmatch(text):
        return text.lower()
    if text.startswith("zv_"):
        raise BadValue("is a key itself; only its SHA-256 belongs here (see `collector keys new`)")
    raise BadValue(f"must be a SHA-256 in 64 hex digits, not {len(text)} characters of text")


def uuid(text: str, _folder: Path) -> str:
    """A UUID with or without dashes, kept in lower case with dashes."""
    if not _UUID.fullmatch(text):
        raise BadValue("must be a UUID such as 7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a")
    return str(UUID(text))


def day(text: str, _folder: Path) -> str:
    """A date such as 2026-11-27."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise BadValue("must be a date such as 2026-11-27") from None


def listen_host(text: str, _folder: Path) -> str:
    """An address or name to listen on; whether this machine has it is seen when it starts."""
    if not (host_name(text) or _LISTEN_HOST.fullmatch(text)):
        raise BadValue(f"must be an address or a host name to listen on, not {shown(text)}")
    return text


def network(text: str, _folder: Path) -> str:
    """An IP network in CIDR form (an address alone is a network of one)."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        mended = str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise BadValue(f"must be a network such as 10.0.0.0/8, not {shown(text)}") from None
    raise BadValue(f"has bits set beyond its mask: write {mended}")


def domain_pattern(text: str, _folder: Path) -> str:
    """A host name, or `*.` and one; in lower case and punycode, without a trailing dot.

    Ports and schemes are refused rather than ignored: somebody who writes one expects it to count.
    """
    if "://" in text:
        raise BadValue("must be a host name without a scheme: leave out everything up to ://")
    if "/" in text or "?" in text or "#" in text:
        raise BadValue("must be a host name without a path")
    if "@" in text:
        raise BadValue("must be a host name without user info")
    if text == "*":
        raise BadValue('must be a host name or *.host name; "*" would let everybody in')
    star, bare = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    bracketed = bare.startswith("[") and bare.endswith("]")
    host = host_name(bare[1:-1] if bracketed else bare)
    if not host and re.search(r":[0-9]*$", bare):
        raise BadValue("must be a host name without a port: any port of the host is allowed")
    if not host or (bracketed and ":" not in host):
        raise BadValue(f"must be a host name or *.host name, not {shown(text)}")
    if star and (":" in host or host[-1].isdigit()):
        raise BadValue("must not put *. before an address: only names have subdomains")
    return star + host


def file(text: str, folder: Path) -> str:
    """A file that is there; absolute once read."""
    path = _absolute(text, folder)
    if not os.path.isfile(path):  # noqa: PTH113 Path.is_file raises where a folder is closed
        raise BadValue(f"names no file: there is no {shown(path, _PATH_CHARACTERS_MAX)}")
    return path


def mmdb(text: str, folder: Path) -> str:
    """A MaxMind DB file; absolute once read."""
    path = file(text, folder)
    try:
        open_database(Path(path))
    except Unusable as error:
        raise BadValue(f"names a file that cannot be used: {error}") from None
    except OSError as error:
        raise BadValue(f"names a file that cannot be read: {error.strerror}") from None
    return path


def directory(text: str, folder: Path) -> Path:
    """A folder, made at start when it is missing; absolute once read."""
    if not text:
        raise BadValue("must not be empty")
    path = _absolute(text, folder)
    if os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112 likewise
        raise BadValue(f"must be a folder, but {shown(path, _PATH_CHARACTERS_MAX)} is not one")
    return Path(path)


def public_key_pem(text: str, folder: Path) -> str:
    """A P-256 public key: PEM text, or the path of a file with it; a PEM text once read."""
    if "-----BEGIN" not in text:
        text = _pem_from_file(text, folder)
    if "PRIVATE KEY" in text:
        raise BadValue("that is a private key; put the public one (openssl ec -pubout makes it)")
    if "BEGIN CERTIFICATE" in text:
        raise BadValue("that is a certificate; put its public key (openssl x509 -pubkey -noout)")
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadValue("is not a public key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadValue("must be a key on the curve P-256 (ES256 uses no other)")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


KINDS: Final[dict[str, Callable[[str, Path], str]]] = {
    "name": name,
    "sha256": sha256,
    "uuid": uuid,
    "day": day,
    "listen_host": listen_host,
    "network": network,
    "domain_pattern": domain_pattern,
    "file": file,
    "mmdb": mmdb,
    "public_key_pem": public_key_pem,
}


def _absolute(text: str, folder: Path) -> str:
    # Links stay: one may be pointed elsewhere while we run.
    if _CONTROL.search(text):
        raise BadValue("must be a path without control characters")
    return os.path.abspath(folder / text)  # noqa: PTH100 resolve() follows links


def _pem_from_file(text: str, folder: Path) -> str:
    if _API_KEY.search(text):
        raise BadValue("that is an API key with its private key; put the public key")
    if not text:
        raise BadValue("must not be empty")
    path = Path(_absolute(text, folder))
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise BadValue("names a file that is not PEM text") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadValue(f"is neither PEM text nor a readable file: {reason or 'bad path'}") from None
