"""User tokens: which are believed, which are refused, and by which clock they are judged."""

from typing import Any

import pytest

from collector.config import PublicKey
from collector.refusal import INVALID_TOKEN, Refusal
from collector.tokens import LEEWAY_S, TOKEN_CHARS_MAX, Token
from tests.support.tokens import (
    API_KEY_ID,
    APP_ID,
    CLAIMS,
    NOW_S,
    OTHER,
    kind_of,
    part,
    signed,
    unsigned,
    verify,
)

# Made by the vendor's own library, @croct/sdk 0.22.1 (`Token.issue`, `signedWith`).
SDK_KEY = PublicKey(
    id="302a94de-6f85-4f21-93b5-7d1c1ad30cdf",
    pem="""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfDn+mEM+H05GadWQdPygbkdDwEEc
P5HAeR2gnQwveLCYjah1M8F3K7xUjy48IV8NrVSlkt4WG0BwJfJV8TFKrQ==
-----END PUBLIC KEY-----
""",
)
SDK_UNSIGNED = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIiwiYXBwSWQiOiI3ZTlkNTlhOS1lNGIzLTQ1ZDQtYjFjNy00ODI4N2YxZTVl"
    "OGEifQ.eyJpc3MiOiJjcm9jdC5pbyIsImF1ZCI6ImNyb2N0LmlvIiwiaWF0IjoxNzYwMDAwMDAwLCJzdWIiOiJ1c8Opci"
    "0xIn0."
)
SDK_SIGNED = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiIsImFwcElkIjoiN2U5ZDU5YTktZTRiMy00NWQ0LWIxYzctNDgyODdmMWU1"
    "ZThhIiwia2lkIjoiZWJkOTkxNDEyYTUwYjFhMDIzNTVlN2FhNmUwNTRlMTE0ZWU2MDcyNWExN2YxYTY0ZWIyY2I2MzUz"
    "ODVmODY1MyJ9.eyJpc3MiOiJjcm9jdC5pbyIsImF1ZCI6ImNyb2N0LmlvIiwiaWF0IjoxNzYwMDAwMDAwLCJzdWIiOiJ"
    "1c8Opci0xIn0.yMUET1iPFDwuzIrrEHxTcRKxRJTQho7nwb2xga-jTu7r1xF6w7nc37aUV3o56WFE9QfOuMK9VtnevJ1n"
    "bWumbw"
)


# --- good ones


def test_an_unsigned_token_names_its_user() -> None:
    """What the browser SDK makes is believed where signatures are not required."""
    assert verify(unsigned()) == Token(subject="user-1", is_signed=False)


def test_a_signed_token_names_its_user() -> None:
    """ES256 of a key of the site is believed, whether required or not."""
    for require_signed in (False, True):
        verdict = verify(signed(), require_signed=require_signed)
        assert verdict == Token(subject="user-1", is_signed=True)


def test_tokens_of_the_vendors_library_are_believed() -> None:
    """Both kinds, with the key known by the id of its API key."""
    assert verify(SDK_UNSIGNED, SDK_KEY) == Token(subject="usér-1", is_signed=False)
    verdict = verify(SDK_SIGNED, SDK_KEY, require_signed=True)
    assert verdict == Token(subject="usér-1", is_signed=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": ""},
        {"sub": None},
        {"aud": ["croct.io", "other"]},
        {"aud": "elsewhere", "iss": "elsewhere"},
        {"jti": "5f2c1b9e-8d3a-4c7e-9b1f-0a2d3c4e5f60"},
        {"exp": None},
        {"exp": NOW_S + 1, "role": {"any": ["thing"]}},
        {"iat": 0},
    ],
)
def test_claims_that_are_fine(changes: dict[str, Any]) -> None:
    """Issuer and audience are checked for type only, further claims are not looked at."""
    claims = CLAIMS | changes
    assert verify(unsigned(claims)) == Token(subject=claims["sub"] or "", is_signed=False)


def test_a_token_without_a_subject_is_anonymous() -> None:
    """Servers issue tokens for visitors who did not sign in."""
    claims = {name: value for name, value in CLAIMS.items() if name not in {"sub", "iss", "aud"}}
    assert verify(unsigned(claims)) == Token(subject="", is_signed=False)


# --- the application


def test_a_token_of_another_application_is_refused() -> None:
    """`appId` must be that of the request where it is there; case does not matter."""
    assert isinstance(verify(unsigned(appId=APP_ID.upper())), Token)
    assert isinstance(verify(unsigned(appId=None)), Token)
    assert kind_of(verify(unsigned(appId=API_KEY_ID))) == INVALID_TOKEN
    assert kind_of(verify(signed(appId=API_KEY_ID))) == INVALID_TOKEN
    assert kind_of(verify(signed(), app_id=API_KEY_ID)) == INVALID_TOKEN


# --- time


@pytest.mark.parametrize("make", [unsigned, signed])
def test_times_are_judged_at_the_event_with_a_leeway(make: Any) -> None:
    """Not issued after it, not expired before it, give or take a minute."""
    token = make(CLAIMS | {"iat": NOW_S, "exp": NOW_S + 100})
    for at_s, is_good in (
        (NOW_S, True),
        (NOW_S - LEEWAY_S, True),
        (NOW_S - LEEWAY_S - 0.001, False),
        (NOW_S + 100 + LEEWAY_S, True),
        (NOW_S + 100 + LEEWAY_S + 0.001, False),
    ):
        verdict = verify(token, at_s=at_s)
        assert isinstance(verdict, Token) is is_good
        assert is_good or kind_of(verdict) == INVALID_TOKEN


# --- shape


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "é.b.",
        "not-a-token",
        unsigned() + ".",
        unsigned()[:-1],
        unsigned() + "\n",
        " " + unsigned(),
        unsigned().replace(".", "=.", 1),
        f"{part([])}.{part(CLAIMS)}.",
        f"{part(b'{')}.{part(CLAIMS)}.",
        f"{part(b'{}')}.{part(CLAIMS)}.",
        f"{part(bytes([255]))}.{part(CLAIMS)}.",
        f"{part(b'[' * 3_000)}.{part(CLAIMS)}.",
        unsigned(b"[]"),
        unsigned(b"\xff"),
        unsigned(b'{"iat":1,"unknown":"\xff"}'),
        unsigned(b'{"iat":1,"unknown":"\xed\xa0\x80"}'),
        unsigned(b'{"iat":1}{}'),
        unsigned(b'{"a":' + b"[" * 3_000),
        unsigned(crit=["b64"], b64=False),
        unsigned(crit=None),
        unsigned(typ=1),
        unsigned(kid=1),
        unsigned(appId=1),
        unsigned(CLAIMS | {"pad": "x" * TOKEN_CHARS_MAX}),
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Parts, alphabet, padding, header and length are taken strictly, and nothing raises."""
    for require_signed in (False, True):
        assert kind_of(verify(token, require_signed=require_signed)) == INVALID_TOKEN


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": None},
        {"iat": str(NOW_S)},
        {"iat": NOW_S + 0.5},
        {"iat": True},
        {"iat": 10**30},
        {"exp": "never"},
        {"exp": 1.5},
        {"sub": 5},
        {"jti": 5},
        {"iss": 5},
        {"aud": 5},
        {"aud": [5]},
        {"aud": {}},
    ],
)
def test_claims_of_the_wrong_type_are_refused(changes: dict[str, Any]) -> None:
    """`iat` must be there, everything known must be of its type."""
    assert kind_of(verify(unsigned(CLAIMS | changes))) == INVALID_TOKEN


def test_messages_keep_quiet_about_what_was_sent() -> None:
    """A refusal repeats nothing of the token."""
    canary = "canary"
    for token in (
        canary,
        unsigned(alg=canary),
        unsigned(CLAIMS | {"iat": canary}),
        unsigned(appId=canary),
        unsigned(typ=[canary]),
        signed(CLAIMS | {"sub": canary}, key=OTHER, kid=canary),
    ):
        verdict = verify(token)
        assert isinstance(verdict, Refusal)
        assert canary not in verdict.message
