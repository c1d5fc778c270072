"""Reading a body that was refused, as far as it can be read, by the shape that its endpoint tells.

Pure; raises nothing, whatever the bytes are. Names no protocol.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from collector.adapters import decoding
from collector.adapters.contract import BodyShape

Members = Mapping[str, msgspec.Raw]
NULL: Final = msgspec.Raw(b"null")

_CONSENT: Final = re.compile(rb'"consent"\s*+:\s*+(?:"([^"\\]{0,32})"|(?!null))')

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
    """What of a batch each of its items needs, as JSON."""
    named = {name: beside[name] for name in shape.envelope if name in beside}
    return _encoder.encode(named).decode("utf-8", "replace")


def consents(shape: BodyShape, raw: bytes) -> bool:
    """Whether nothing says that consent is withheld, as far as it can be read."""
    members = members_of(raw)
    if members and shape.items not in members:
        sent = members.get("consent", NULL)
        return bytes(sent) == b"null" or text_of(members, "consent") in shape.consents
    # No object, or a batch: consent is searched for, wherever it may stand.
    return all(
        found[1] is not None and found[1].decode("latin-1") in shape.consents
        for found in _CONSENT.finditer(raw)
    )
