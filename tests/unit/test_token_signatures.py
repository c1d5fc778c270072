"""Signed user tokens: algorithms, keys, and what is remembered of a signature."""

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from collector import tokens
from collector.config import PublicKey
from collector.refusal import INVALID_TOKEN, UNSIGNED_TOKEN
from collector.tokens import Token, TokenVerifier
from tests.support.tokens import (
    API_KEY_ID,
    APP_ID,
    CLAIMS,
    KEY,
    NOW_S,
    OTHER,
    OTHER_KEY_ID,
    OTHER_PEM,
    PEM,
    kind_of,
    part,
    pem_of,
    signed,
    unsigned,
    verify,
)

# --- signatures


def test_a_required_signature_is_required() -> None:
    """An unsigned token is told apart from a bad one."""
    assert kind_of(verify(unsigned(), require_signed=True)) == UNSIGNED_TOKEN
    assert kind_of(verify(unsigned(signature=b"x"), require_signed=True)) == INVALID_TOKEN


def test_an_unsigned_token_has_no_signature() -> None:
    """`none` with a signature is no token, whatever is required."""
    assert kind_of(verify(unsigned(signature=b"\1" * 64))) == INVALID_TOKEN


@pytest.mark.parametrize(
    "algorithm",
    ["None", "NONE", "nOnE", "", "HS256", "ES384", "ES512", "RS256", "EdDSA", "es256", None, 1],
)
def test_other_algorithms_are_refused(algorithm: Any) -> None:
    """Neither spelling games nor other algorithms get a token in."""
    for signature in (b"", b"\1" * 64):
        for require_signed in (False, True):
            token = unsigned(alg=algorithm, signature=signature)
            assert kind_of(verify(token, require_signed=require_signed)) == INVALID_TOKEN


def test_an_algorithm_must_be_told() -> None:
    """A header without `alg` is no header."""
    token = f"{part({'typ': 'JWT'})}.{part(CLAIMS)}."
    assert kind_of(verify(token)) == INVALID_TOKEN


def test_a_public_key_is_no_shared_secret() -> None:
    """HS256 keyed with the text of the public key is refused."""
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    text = f"{part({'typ': 'JWT', 'alg': 'HS256'})}.{part(CLAIMS)}"
    token = f"{text}.{part(algorithm.sign(text.encode(), PEM.encode()))}"
    assert kind_of(verify(token)) == INVALID_TOKEN


def test_a_signature_is_verified_even_where_none_is_required() -> None:
    """A token that claims to be signed is never taken for an unsigned one."""
    assert kind_of(verify(signed(key=OTHER))) == INVALID_TOKEN
    verifier = TokenVerifier((), require_signed=False)
    verdict = verifier.verify(signed(), app_id=APP_ID, at_us=NOW_S * 1_000_000)
    assert kind_of(verdict) == INVALID_TOKEN


def test_a_changed_token_is_refused() -> None:
    """Claims, header and signature are bound to each other."""
    head, _, signature = signed().split(".")
    forged = part(CLAIMS | {"sub": "admin"})
    assert kind_of(verify(f"{head}.{forged}.{signature}")) == INVALID_TOKEN
    assert kind_of(verify(f"{head}.{forged}.")) == INVALID_TOKEN
    for size in (0, 32, 63, 65, 72, 128):
        assert kind_of(verify(f"{head}.{forged}.{part(bytes(size))}")) == INVALID_TOKEN


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "es256"])
def test_a_good_signature_under_another_name_is_refused(algorithm: str) -> None:
    """The algorithm told must be the one that was used, even if the signature would verify."""
    text = unsigned(alg=algorithm).removesuffix(".")
    es256 = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    token = f"{text}.{part(es256.sign(text.encode(), KEY))}"
    assert kind_of(verify(token)) == INVALID_TOKEN


def test_a_token_has_one_spelling() -> None:
    """Bits of the last character that mean nothing must not be set."""
    token = signed()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(token[-1]) + 1]
    assert isinstance(verify(token), Token)
    assert kind_of(verify(token[:-1] + other)) == INVALID_TOKEN


def test_a_signature_in_der_is_refused() -> None:
    """Only the 64 bytes r and s are a signature of a JWT."""
    text = signed().rpartition(".")[0]
    der = KEY.sign(text.encode(), ec.ECDSA(jwt.algorithms.ECAlgorithm.SHA256()))
    assert kind_of(verify(f"{text}.{part(der)}")) == INVALID_TOKEN


# --- keys


def test_kid_is_the_digest_of_the_api_key_id() -> None:
    """Hex SHA-256 of the sixteen bytes of the UUID, as the SDK computes it."""
    assert (
        tokens.key_id_digest("00000000-0000-0000-0000-000000000000")
        == "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb"
    )
    assert tokens.key_id_digest("ABCDEF01-0000-0000-0000-000000000000") == tokens.key_id_digest(
        "abcdef01-0000-0000-0000-000000000000"
    )


def test_a_key_with_an_id_answers_to_its_kid_only() -> None:
    """The right key under another kid, or under none, does not verify."""
    key = PublicKey(pem=PEM, id=API_KEY_ID)
    assert isinstance(verify(signed(), key), Token)
    assert kind_of(verify(signed(kid=tokens.key_id_digest(OTHER_KEY_ID)), key)) == INVALID_TOKEN
    assert kind_of(verify(signed(kid="unknown"), key)) == INVALID_TOKEN
    assert kind_of(verify(signed(kid=""), key)) == INVALID_TOKEN
    no_kid = jwt.encode(CLAIMS, KEY, algorithm="ES256")
    assert kind_of(verify(no_kid, key)) == INVALID_TOKEN
    mixed = (PublicKey(pem=OTHER_PEM, id=API_KEY_ID), PublicKey(pem=PEM, id=OTHER_KEY_ID))
    assert kind_of(verify(signed(), *mixed)) == INVALID_TOKEN


def test_keys_without_id_are_all_tried() -> None:
    """Any kid, an unknown one and none at all reach the keys without id."""
    keys = (
        PublicKey(pem=OTHER_PEM, id=API_KEY_ID),
        PublicKey(pem=OTHER_PEM),
        PublicKey(pem=PEM),
    )
    for token in (
        signed(),
        signed(kid="unknown"),
        jwt.encode(CLAIMS, KEY, algorithm="ES256"),
        signed(key=OTHER),
    ):
        assert isinstance(verify(token, *keys), Token)


def test_two_keys_may_share_an_id() -> None:
    """While a key is replaced, both are configured under one id."""
    keys = (PublicKey(pem=OTHER_PEM, id=API_KEY_ID), PublicKey(pem=PEM, id=API_KEY_ID))
    assert isinstance(verify(signed(), *keys), Token)
    assert isinstance(verify(signed(key=OTHER), *keys), Token)


def test_keys_that_cannot_be_used_are_told_apart() -> None:
    """The text says what was found instead of a P-256 public key."""
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for pem, words in (
        (private, "private key"),
        ("", "PEM"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PEM"),
        (pem_of(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "P-256"),
    ):
        with pytest.raises(ValueError, match=words):
            tokens.load_public_key(pem)
    with pytest.raises(ValueError, match="UUID"):
        TokenVerifier((PublicKey(pem=PEM, id="backend"),), require_signed=False)


# --- what is remembered


def test_a_remembered_signature_does_not_outlive_its_claims() -> None:
    """The second look at a token skips the signature, not the time nor the application."""
    verifier = TokenVerifier((PublicKey(pem=PEM),), require_signed=True)
    token = signed(CLAIMS | {"exp": NOW_S})
    at_us = NOW_S * 1_000_000
    assert isinstance(verifier.verify(token, app_id=APP_ID, at_us=at_us), Token)
    assert isinstance(verifier.verify(token, app_id=APP_ID, at_us=at_us), Token)
    later_us = at_us + 61_000_000
    assert kind_of(verifier.verify(token, app_id=APP_ID, at_us=later_us)) == INVALID_TOKEN
    other = verifier.verify(token, app_id=API_KEY_ID, at_us=at_us)
    assert kind_of(other) == INVALID_TOKEN
    assert isinstance(verifier.verify(token, app_id=APP_ID, at_us=at_us), Token)


def test_a_busy_page_pays_for_one_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same token again is not verified again; only good ones are remembered, up to a bound."""
    monkeypatch.setattr(tokens, "_REMEMBERED_MAX", 2)
    verifier = TokenVerifier((PublicKey(pem=PEM),), require_signed=True)
    checked: list[bytes] = []

    class Counting:
        def verify(self, text: bytes, key: Any, signature: bytes) -> bool:
            checked.append(text)
            return es256.verify(text, key, signature)

    es256 = tokens._es256
    monkeypatch.setattr(tokens, "_es256", Counting())
    good = [signed(CLAIMS | {"sub": str(number)}) for number in range(3)]
    bad = signed(key=OTHER)

    def look(token: str) -> int:
        before = len(checked)
        verifier.verify(token, app_id=APP_ID, at_us=NOW_S * 1_000_000)
        return len(checked) - before

    assert [look(good[0]), look(good[0])] == [1, 0]
    assert [look(bad), look(bad)] == [1, 1]
    assert [look(good[1]), look(good[2]), look(good[1]), look(good[0])] == [1, 1, 0, 1]
    assert len(verifier._verified) == 2
