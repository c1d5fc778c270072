"""Reading a body that was refused, as far as it can be read, by the shape that its endpoint tells.

Pure; raises nothing, whatever the bytes are. Names no protocol.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from collector import masking
from collector.adapters import decoding
from collector.adapters.contract import BodyShape

Members = Mapping[str, msgspec.Raw]
NULL: Final = msgspec.Raw(b"null")

_CONSENT: Final = "consent"
# The same word in what is no JSON, and what may follow where it is plainly given.
_WORD: Final = re.compile(_CONSENT, re.IGNORECASE)
_GIVEN: Final = re.compile(
    r"""\\?["']?\s*+[:=]\s*+\\?["']?([A-Za-z-]{1,32}+)\\?["']?\s*+(?:[,;&}\]]|\Z)"""
)
_ABSENT: Final = frozenset({"null"})
# Looked through at once, while others wait; no batch that a protocol knows has so much beside it.
_BESIDE_BYTES_MAX: Final = 65_536

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_text: Final = msgspec.json.Decoder(str)
_encoder: Final = msgspec.json.Encoder()


def join(shape: BodyShape, beside: str | None, raw: bytes) -> bytes:
    """The body that a kept event makes: itself, or a batch of one."""
    if not shape.items or beside is None:
        return raw
    members = {**members_of(beside.encode()), shape.items: [msgspec.Raw(raw)]}
    return _encoder.encode(members)


def members_of(raw: bytes) -> Members:
    """The members of an object, none if it is no object."""
    try:
        return decoding.decode(_members, bytes(raw))
    except (msgspec.ValidationError, decoding.Malformed):
        return {}


def items_of(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The elements of an array, none if it is no array."""
    try:
        return decoding.decode(_list, bytes(raw))
    except (msgspec.ValidationError, decoding.Malformed):
        return []


def text_of(members: Members, name: str) -> str:
    """The member if it is a text, else ""."""
    raw = members.get(name, NULL)
    try:
        return decoding.decode(_text, bytes(raw))
    except (msgspec.ValidationError, decoding.Malformed):
        return ""


def envelope(shape: BodyShape, beside: Members) -> str:
    """What of a batch each of its items needs, as JSON: texts only."""
    named: dict[str, Any] = {}
    for first, *rest in shape.envelope:
        members = members_of(bytes(beside.get(first, NULL))) if rest else beside
        inner = named.setdefault(first, {}) if rest and first in beside else named
        name = rest[0] if rest else first
        if text := text_of(members, name):
            inner[name] = text
    return _encoder.encode(named).decode("utf-8", "replace")


def is_text(raw: bytes) -> bool:
    """Whether `raw` can be searched: UTF-8 without NUL.

    In any other encoding a word or an address is in nobody's sight, and yet there for who reads it.
    """
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in raw


def consents(shape: BodyShape, raw: bytes) -> bool:
    """Whether `raw` can be searched, and nothing in it says that consent is withheld.

    Consent that is not plainly given is withheld. In an object or array of JSON that is any member
    of that name, at any depth; in anything else the word, wherever it stands. What spells addresses
    so that they would not be masked (`masking.hides_addresses`) cannot be searched either.
    """
    if not is_text(raw):
        return False
    if masking.is_document(raw):
        return all(
            _is_given(shape, raw[start:end]) for start, end in masking.values_of(raw, _CONSENT)
        )
    if masking.hides_addresses(raw):
        return False
    text = decoding.revealed(raw)
    for word in _WORD.finditer(text):
        given = _GIVEN.match(text, word.end())
        if given is None or given[1] not in shape.consents | _ABSENT:
            return False
    return True


def consents_beside(shape: BodyShape, body: bytes, beside: Members) -> bool:
    """The same of a batch, its items left out: each of them answers for itself."""
    rest = body.replace(bytes(beside.get(shape.items, NULL)), b"null", 1)
    return len(rest) <= _BESIDE_BYTES_MAX and consents(shape, rest)


def _is_given(shape: BodyShape, value: bytes) -> bool:
    return value == b"null" or text_of({_CONSENT: msgspec.Raw(value)}, _CONSENT) in shape.consents
