"""User tokens for tests, made by a library that is not the collector's own code."""

import base64
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collector.config import PublicKey
from collector.refusal import Kind, Refusal
from collector.tokens import Token, TokenVerifier, key_id_digest

APP_ID = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"
API_KEY_ID = "00000000-0000-0000-0000-000000000001"
OTHER_KEY_ID = "00000000-0000-0000-0000-000000000002"
NOW_S = 1_760_000_000
CLAIMS = {"iss": "croct.io", "aud": "croct.io", "iat": NOW_S - 10, "sub": "user-1"}


def pem_of(private_key: Any) -> str:
    """The PEM text of a key's public half."""
    public_key = private_key.public_key()
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
PEM, OTHER_PEM = pem_of(KEY), pem_of(OTHER)


def part(value: Any) -> str:
    """One part of a compact JWT."""
    octets = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unsigned(claims: Any = None, signature: bytes = b"", **header: Any) -> str:
    """A token as `identify()` makes it in the browser, with members changed or added."""
    head = {"typ": "JWT", "alg": "none", "appId": APP_ID} | header
    return f"{part(head)}.{part(CLAIMS if claims is None else claims)}.{part(signature)}"


def signed(claims: Any = None, key: Any = KEY, **header: Any) -> str:
    """A token as a back end makes it, signed by a library that is not ours."""
    head = {"typ": "JWT", "appId": APP_ID, "kid": key_id_digest(API_KEY_ID)} | header
    return jwt.encode(CLAIMS if claims is None else claims, key, algorithm="ES256", headers=head)


def verify(
    token: str,
    *keys: PublicKey,
    require_signed: bool = False,
    app_id: str = APP_ID,
    at_s: float = NOW_S,
) -> Token | Refusal:
    """The verdict on a token at a site with these keys, by default one that answers to any kid."""
    verifier = TokenVerifier(keys or (PublicKey(pem=PEM),), require_signed=require_signed)
    return verifier.verify(token, app_id=app_id, at_us=round(at_s * 1_000_000))


def kind_of(verdict: Token | Refusal) -> Kind:
    """Why a token was refused."""
    assert isinstance(verdict, Refusal), verdict
    return verdict.kind
