"""Forged, mangled and stolen user tokens, sent with a beacon through the whole collector.

Each is told the refusal that docs/PROTOCOLS.md names and leaves no row, whether or not the site
requires signatures; `none` alone depends on that.
"""

import base64
import hmac
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from collector.config import PublicKey
from collector.tokens import key_id_digest
from tests.support.app import Answer, Collector, example, run, running, with_site
from tests.support.dialects import Croct
from tests.support.tokens import API_KEY_ID, APP_ID, KEY, OTHER, OTHER_KEY_ID, PEM, part

pytestmark = pytest.mark.usefixtures("each_front")

# The order of the group of P-256: no part of a signature may be 0 or this.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HOUR_S = 3_600
_INVALID = "https://croct.help/api/authentication/invalid-token"
_UNSIGNED = "https://croct.help/api/authentication/unsigned-token"
_HEAD = {"typ": "JWT", "alg": "ES256", "appId": APP_ID, "kid": key_id_digest(API_KEY_ID)}


def claims(**changes: Any) -> dict[str, Any]:
    """Good ones, or with changes."""
    now_s = int(time.time())
    return {"iss": "croct.io", "aud": "croct.io", "iat": now_s - 10, "sub": "Kan4rie"} | changes


def signed(head: Any = None, body: Any = None, key: Any = KEY) -> str:
    """Three parts, signed with ES256; `head` and `body` may be bytes."""
    text = f"{part(_HEAD if head is None else head)}.{part(claims() if body is None else body)}"
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return f"{text}.{part(algorithm.sign(text.encode(), key))}"


def unsigned(**head: Any) -> str:
    """Three parts, the last one empty."""
    return f"{part(_HEAD | {'alg': 'none'} | head)}.{part(claims())}."


def hs256(secret: bytes) -> str:
    """Signed with a shared secret, which everybody knows: the public key."""
    text = f"{part(_HEAD | {'alg': 'HS256'})}.{part(claims())}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256'))}"


def _der() -> bytes:
    public = load_pem_public_key(PEM.encode())
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _with_signature(change: Callable[[bytes], bytes]) -> str:
    text, _, signature = signed().rpartition(".")
    return f"{text}.{part(change(base64.urlsafe_b64decode(signature + '==')))}"


def _as_der(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


def _of_text(text: str, signature: bytes) -> str:
    return f"{text}.{part(signature)}"


def _with_unused_bits() -> str:
    """The same bytes spelled with bits that mean nothing: 64 bytes leave four of them."""
    token = signed()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def _of_another_curve() -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    text = f"{part(_HEAD | {'alg': 'ES384'})}.{part(claims())}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA384())))
    return _of_text(text, r.to_bytes(48) + s.to_bytes(48))


def _swapped() -> str:
    """The signature of one good token under the claims of another."""
    other = signed(None, claims(sub="somebody"))
    return f"{signed().rpartition('.')[0]}.{other.rpartition('.')[2]}"


_now_s = int(time.time())
# What is refused as invalid, whatever the site requires.
ATTACKS: dict[str, Callable[[], str]] = {
    # the algorithm
    "HS256 with the public key in PEM": lambda: hs256(PEM.encode()),
    "HS256 with the public key in PEM, without its last line feed": lambda: hs256(
        PEM.strip().encode()
    ),
    "HS256 with the public key in DER": lambda: hs256(_der()),
    "HS256 with the key's point": lambda: hs256(_der()[-65:]),
    "HS256 with nothing": lambda: hs256(b""),
    "ES256 signature called none": lambda: signed(_HEAD | {"alg": "none"}),
    "ES256 signature called RS256": lambda: signed(_HEAD | {"alg": "RS256"}),
    "ES384 of a key of its own": _of_another_curve,
    "a list of algorithms": lambda: signed(_HEAD | {"alg": ["none", "ES256"]}),
    "None": lambda: unsigned(alg="None"),
    "none with a signature": lambda: unsigned() + part(bytes(64)),
    "none with white space": lambda: unsigned(alg=" none"),
    "none first, then ES256": lambda: (
        part(b'{"alg":"none","alg":"ES256","appId":"' + APP_ID.encode() + b'"}')
        + f".{part(claims())}."
    ),
    # keys
    "the key in the header": lambda: signed(
        _HEAD | {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, key=OTHER
    ),
    "the key at an address": lambda: signed(
        _HEAD | {"jku": "http://localhost/keys", "x5u": "http://localhost/x"}, key=OTHER
    ),
    "signed with another key": lambda: signed(key=OTHER),
    "another key's kid": lambda: signed(_HEAD | {"kid": key_id_digest(OTHER_KEY_ID)}),
    "the id itself as kid": lambda: signed(_HEAD | {"kid": API_KEY_ID}),
    "kid in capitals": lambda: signed(_HEAD | {"kid": key_id_digest(API_KEY_ID).upper()}),
    "kid is a path": lambda: signed(_HEAD | {"kid": "../../dev/null"}),
    "kid is a list": lambda: signed(_HEAD | {"kid": [key_id_digest(API_KEY_ID)]}),
    "no kid": lambda: signed({name: _HEAD[name] for name in ("typ", "alg", "appId")}),
    # the signature
    "stripped": lambda: signed().rpartition(".")[0] + ".",
    "stripped with its dot": lambda: signed().rpartition(".")[0],
    "doubled": lambda: _with_signature(lambda raw: raw + raw),
    "doubled with a dot": lambda: f"{signed()}.{signed().rpartition('.')[2]}",
    "half": lambda: _with_signature(lambda raw: raw[:32]),
    "all zero": lambda: _with_signature(lambda _: bytes(64)),
    "r is zero": lambda: _with_signature(lambda raw: bytes(32) + raw[32:]),
    "s is zero": lambda: _with_signature(lambda raw: raw[:32] + bytes(32)),
    "r and s are the order": lambda: _with_signature(lambda _: _ORDER.to_bytes(32) * 2),
    "r beyond the order": lambda: _with_signature(lambda raw: b"\xff" * 32 + raw[32:]),
    "DER": lambda: _with_signature(_as_der),
    "one byte more": lambda: _with_signature(lambda raw: raw + b"\0"),
    "of another token": _swapped,
    # spelling
    "unused bits": _with_unused_bits,
    "padding": lambda: signed() + "==",
    "the other alphabet": lambda: signed().replace("-", "+").replace("_", "/") + "+",
    "an extra dot in front": lambda: "." + signed(),
    "an extra dot behind": lambda: signed() + ".",
    "two dots": lambda: "..",
    "white space inside": lambda: signed().replace(".", " .", 1),
    "Bearer": lambda: "Bearer " + signed(),
    "encrypted": lambda: ".".join([part(_HEAD | {"enc": "A128GCM"}), "", "", "", ""]),
    # header and claims
    "crit": lambda: signed(_HEAD | {"crit": ["b64"], "b64": False}),
    "crit is empty": lambda: signed(_HEAD | {"crit": []}),
    "header is a list": lambda: signed([_HEAD]),
    "header is a text": lambda: signed(json.dumps(json.dumps(_HEAD)).encode()),
    "claims are a token": lambda: signed(None, signed().encode()),
    "claims are a list": lambda: signed(None, [claims()]),
    "claims are nested": lambda: signed(
        None, b'{"iat":1,"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    ),
    "claims after claims": lambda: signed(None, json.dumps(claims()).encode() + b"{}"),
    "sub is an object": lambda: signed(None, claims(sub={"id": "a"})),
    "iat is an object": lambda: signed(None, claims(iat={"$gt": 0})),
    "iat beyond all numbers": lambda: signed(None, b'{"iat":' + b"9" * 400 + b"}"),
    "iat is 1e400": lambda: signed(None, b'{"iat":1e400}'),
    "exp is not a number": lambda: signed(None, b'{"iat":1,"exp":NaN}'),
    "exp is a text": lambda: signed(None, claims(exp=str(_now_s + _HOUR_S))),
    "huge claims": lambda: signed(None, claims(role="x" * 8_192)),
    "UTF-16": lambda: signed(None, json.dumps(claims()).encode("utf-16")),
    # whose, and when
    "another application": lambda: signed(_HEAD | {"appId": str(uuid.UUID(int=5))}),
    "no application named by text": lambda: signed(_HEAD | {"appId": ""}),
    "expired": lambda: signed(None, claims(iat=_now_s - 2 * _HOUR_S, exp=_now_s - _HOUR_S)),
    "expired before the epoch": lambda: signed(None, claims(exp=-1)),
    "issued in the future": lambda: signed(None, claims(iat=_now_s + _HOUR_S)),
    "issued in milliseconds": lambda: signed(None, claims(iat=_now_s * 1_000)),
}


async def _send(collector: Collector, token: str) -> Answer:
    sent = Croct().event(uuid.uuid4().hex)
    now_ms = time.time_ns() // 1_000_000
    sent.body |= {"originalTime": now_ms, "departureTime": now_ms}
    fields = sent.headers | {"X-Token": token}
    return await collector.request("POST", sent.path, headers=fields, body=sent.body)


def _refused(answer: Answer, kind: str) -> bool:
    assert b"Kan4rie" not in answer.body
    return (answer.status, answer.json["status"], answer.json["type"]) == (401, 401, kind)


@pytest.mark.parametrize("require_signed", [True, False])
def test_no_attack_gets_in(tmp_path: Path, require_signed: bool) -> None:
    """401 `invalid-token`, no row, and a beacon without the token is taken a moment later."""

    async def play() -> None:
        key = PublicKey(pem=PEM, id=API_KEY_ID)
        config = with_site(
            example(tmp_path),
            croct_public_keys=(key,),
            croct_require_signed_tokens=require_signed,
        )
        async with running(tmp_path, config) as collector:
            for name, make in ATTACKS.items():
                answer = await _send(collector, make())
                assert _refused(answer, _INVALID), (name, answer)
            answer = await _send(collector, unsigned())
            if require_signed:
                assert _refused(answer, _UNSIGNED), answer
            else:
                assert answer.status == 204
            for token in (signed(), signed(None, claims(exp=_now_s + _HOUR_S, other={"a": [1]}))):
                assert (await _send(collector, token)).status == 204
            rows = collector.rows("SELECT user_id FROM events ORDER BY received_time")
            assert [row["user_id"] for row in rows] == ["Kan4rie"] * (2 if require_signed else 3)

    run(play())


def test_members_that_occur_twice(tmp_path: Path) -> None:
    """The last one counts, for the header as for the claims, as RFC 7515 and 7519 allow."""
    head = json.dumps(_HEAD).encode()[:-1]
    token = signed(head + b',"alg":"none"}')
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["alg"] == "none"
    double = head.replace(b'"ES256"', b'"none"') + b',"alg":"ES256"}'

    async def play() -> None:
        config = with_site(
            example(tmp_path), croct_public_keys=(PublicKey(pem=PEM, id=API_KEY_ID),)
        )
        async with running(tmp_path, config) as collector:
            assert _refused(await _send(collector, token), _INVALID)
            body = json.dumps(claims()).encode()[:-1] + b',"sub":"last"}'
            assert (await _send(collector, signed(double, body))).status == 204
            assert collector.rows("SELECT user_id FROM events") == [{"user_id": "last"}]

    run(play())
