"""User tokens (`X-Token`): compact JWTs, unsigned or signed with ES256, and who they say it is.

Owns every rule about them. Whatever is wrong with a token makes it a refusal; a bad token never
counts as no token. Time is handed in. Apart from remembering which signatures were found good,
nothing here has state; nothing is read from disk or looked up.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm

from collector.config import PublicKey
from collector.refusal import INVALID_TOKEN, UNSIGNED_TOKEN, Refusal

# Real ones have 150 to 400 characters; claims of one's own may be added.
TOKEN_CHARS_MAX: Final = 8_192
# How far the clocks of whoever issued it and of the visitor may be apart.
LEEWAY_S: Final = 60
# A page sends the same token with every beacon, and checking a signature takes longer than all the
# rest. At 400 characters a token these are about 1 MB per site.
_REMEMBERED_MAX: Final = 1_024

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")


class Token(msgspec.Struct, frozen=True):
    """A good token. `subject` is the user's id, "" for an anonymous visitor."""

    subject: str
    is_signed: bool


class _Header(msgspec.Struct, rename={"app_id": "appId"}):
    alg: str
    typ: str | None = None
    kid: str | None = None
    app_id: str | None = None
    crit: object = msgspec.UNSET


class _Claims(msgspec.Struct):
    iat: int
    iss: str | None = None
    aud: str | list[str] | None = None
    sub: str | None = None
    exp: int | None = None
    jti: str | None = None


class _Parsed(msgspec.Struct):
    """A token taken apart; its signature is not judged yet."""

    header: _Header
    claims: _Claims
    signed_text: bytes
    signature: bytes


_header: Final = msgspec.json.Decoder(_Header)
_claims: Final = msgspec.json.Decoder(_Claims)
_es256: Final = ECAlgorithm(ECAlgorithm.SHA256)


class _BadToken(ValueError):
    """Why a token is no good, in words for its sender."""


class TokenVerifier:
    """Judges the tokens of one site; build another when its keys change.

    Raises ValueError with a clear text when a key cannot be used.
    """

    def __init__(self, keys: Sequence[PublicKey], *, require_signed: bool) -> None:
        self._require_signed = require_signed
        self._any_kid: list[EllipticCurvePublicKey] = []
        self._by_kid: dict[str, list[EllipticCurvePublicKey]] = {}
        for key in keys:
            public_key = load_public_key(key.pem)
            if key.id:
                self._by_kid.setdefault(key_id_digest(key.id), []).append(public_key)
            else:
                self._any_kid.append(public_key)
        self._verified: dict[str, _Parsed] = {}

    def verify(self, token: str, *, app_id: str, at_us: int) -> Token | Refusal:
        """Judge `token` as of `at_us`, the corrected time of the event it came with.

        Events wait in the browser with the token of the moment they were tracked, so their time
        counts, not that of their arrival. `app_id` is the value of X-App-Id.
        """
        try:
            parsed = self._verified.get(token)
            if parsed is None:
                parsed = _parse(token)
                if parsed.header.alg == "none":
                    return self._judge_unsigned(parsed, app_id, at_us)
                self._check_signature(parsed)
                self._remember(token, parsed)
            _check_claims(parsed, app_id, at_us)
        except _BadToken as fault:
            return Refusal(INVALID_TOKEN, str(fault))
        return Token(subject=parsed.claims.sub or "", is_signed=True)

    def _judge_unsigned(self, parsed: _Parsed, app_id: str, at_us: int) -> Token | Refusal:
        if parsed.signature:
            raise _BadToken("X-Token says it is not signed, but has a signature")
        if self._require_signed:
            return Refusal(UNSIGNED_TOKEN, "X-Token must be signed: the application requires it")
        _check_claims(parsed, app_id, at_us)
        return Token(subject=parsed.claims.sub or "", is_signed=False)

    def _check_signature(self, parsed: _Parsed) -> None:
        if parsed.header.alg != "ES256":
            raise _BadToken("X-Token uses an algorithm that is not accepted; ES256 is")
        keys = [*self._by_kid.get(parsed.header.kid or "", ()), *self._any_kid]
        if not any(_es256.verify(parsed.signed_text, key, parsed.signature) for key in keys):
            raise _BadToken("X-Token is not signed with a key of the application")

    def _remember(self, token: str, parsed: _Parsed) -> None:
        if len(self._verified) >= _REMEMBERED_MAX:
            del self._verified[next(iter(self._verified))]
        parsed.signed_text = parsed.signature = b""
        self._verified[token] = parsed


def load_public_key(pem: str) -> EllipticCurvePublicKey:
    """The P-256 public key in a PEM text; raises ValueError that says what is there instead."""
    if "PRIVATE KEY-----" in pem:
        raise ValueError("is a private key; only the public key belongs here")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a public key in PEM form") from None
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise ValueError("is not a P-256 key, the only kind that ES256 can use")


def key_id_digest(api_key_id: str) -> str:
    """The `kid` of an API key: hex SHA-256 of the 16 bytes of its UUID. Raises ValueError."""
    try:
        identifier = UUID(api_key_id)
    except ValueError:
        raise ValueError("the id of a public key must be the UUID of its API key") from None
    return hashlib.sha256(identifier.bytes).hexdigest()


def _parse(token: str) -> _Parsed:
    if len(token) > TOKEN_CHARS_MAX:
        raise _BadToken(f"X-Token is longer than {TOKEN_CHARS_MAX} characters")
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise _BadToken("X-Token is not a compact JWT: three base64url parts joined by dots")
    try:
        header = _header.decode(_text(match[1]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _BadToken("X-Token has an invalid header") from None
    if header.crit is not msgspec.UNSET:
        raise _BadToken("X-Token demands an extension that is not supported")
    try:
        claims = _claims.decode(_text(match[2]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _BadToken("X-Token has invalid claims: iat is required, as a whole number") from None
    signed_text = token[: match.end(2)].encode("ascii")
    return _Parsed(header, claims, signed_text, _base64url(match[3]))


def _text(part: str) -> str:
    """A part that is text. Raises UnicodeDecodeError: what no member asks for is looked at too."""
    return _base64url(part).decode()


def _base64url(text: str) -> bytes:
    """Decode an unpadded part whose alphabet was checked; only the one true spelling passes."""
    if len(text) % 4 == 1:
        raise _BadToken("X-Token has a part that is not base64url")
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != text:
        raise _BadToken("X-Token has a part that is not base64url")
    return decoded


def _check_claims(parsed: _Parsed, app_id: str, at_us: int) -> None:
    meant_for = parsed.header.app_id
    if meant_for is not None and meant_for.lower() != app_id.lower():
        raise _BadToken("X-Token was issued for another application")
    if parsed.claims.iat * 1_000_000 > at_us + LEEWAY_S * 1_000_000:
        raise _BadToken("X-Token was issued after the event it came with")
    expiry_s = parsed.claims.exp
    if expiry_s is not None and expiry_s * 1_000_000 < at_us - LEEWAY_S * 1_000_000:
        raise _BadToken("X-Token had expired before the event it came with")
