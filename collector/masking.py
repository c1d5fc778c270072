"""Takes addresses out of a body that is kept as it was sent.

An accepted event keeps no address: the member in which its protocol reports one is hashed and
dropped. A refused body is kept byte for byte, so the value of that member is replaced first, and
so is every text that is nothing but an address, whatever it is called. Where the body is no object
or array of JSON nobody can say where a member begins or ends; then everything in it that reads
like an address is replaced. Pure; an address in the middle of a text of JSON stays.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from collector.adapters import decoding

MASK: Final = b'"[address removed]"'
_BARE_MASK: Final = b"[address removed]"

# One that is not closed goes on to the end: so no part of a body is ever looked through twice.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.|\\\Z)*+(?:"|\Z)', re.DOTALL)
# After the name: a colon and one value. Of an object or array whatever is inside goes as well.
_COLON: Final = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")
_PLAIN: Final = re.compile(rb'[^\s",:\[\]{}]*+')
_NESTING: Final = re.compile(rb'"(?:[^"\\]|\\.|\\\Z)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)

# Four numbers or more: where two addresses touch, nobody can say which digits are whose.
_IPV4: Final = re.compile(rb"(?:[0-9]{1,3}\.){3,}[0-9]{1,3}")
# At least two colons with hex digits around; takes times of day as well, and loses nothing by it.
_IPV6: Final = re.compile(rb"(?<![0-9A-Za-z:])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{3,45}+")

# What a text that is nothing but addresses may be made of, as JSON writes it.
_MAYBE_ADDRESS: Final = re.compile(rb'"(?=[^"]*[.:%\\])[0-9A-Za-z:.,;% \[\]\\]{2,400}+"')
_PORT: Final = re.compile(r":[0-9]{1,5}\Z")
_SEPARATOR: Final = re.compile(r"[,; ]+")

_anything: Final = msgspec.json.Decoder(msgspec.Raw)
_text: Final = msgspec.json.Decoder(str)


def mask_addresses(body: bytes, member: str) -> bytes:
    """`body` without addresses of clients.

    Replaced are the value of every member called `member`, at any depth ("": there is none), its
    name in any spelling that JSON has for it and any case; every text and name that is an address
    or a list of them, as of `X-Forwarded-For`; and of a body that is no object or array of JSON
    whatever reads like one.
    """
    masked = _masked_members(body, member.lower()) if member else body
    if is_document(body):
        return _STRING.sub(_masked_text, masked)
    return _IPV6.sub(_BARE_MASK, _IPV4.sub(_BARE_MASK, masked))


def hides_addresses(body: bytes) -> bool:
    """Whether `body`, which is no object or array of JSON, has addresses in a spelling of escapes.

    Those are not masked: where such a spelling begins and ends is anybody's guess.
    """
    if b"\\" not in body and b"%" not in body:
        return False
    return not _addresses(decoding.revealed(body).encode()) <= _addresses(body)


def _addresses(body: bytes) -> set[bytes]:
    return {*_IPV4.findall(body), *_IPV6.findall(_IPV4.sub(b" ", body))}


def is_document(body: bytes) -> bool:
    """Whether `body` is an object or an array of JSON, so that its members can be told."""
    if body.lstrip()[:1] not in {b"{", b"["}:
        return False
    try:
        _anything.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def is_address(text: str) -> bool:
    """Whether `text` is an IP address or a list of them: with ports, in brackets, as may be."""
    parts = [part for part in _SEPARATOR.split(text) if part]
    return bool(parts) and all(_is_one_address(part) for part in parts)


def _is_one_address(text: str) -> bool:
    bare = text if text.count(":") > 1 and "]" not in text else _PORT.sub("", text)
    try:
        ipaddress.ip_address(bare.strip("[]"))
    except ValueError:
        return False
    return True


def _masked_text(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if _MAYBE_ADDRESS.fullmatch(token) is None:
        return token
    text = _read(token)
    if "%" in text and not is_address(text):
        text = decoding.revealed(text.encode())
    return MASK if is_address(text) else token


def _masked_members(body: bytes, member: str) -> bytes:
    out, kept = [], 0
    for start, end in values_of(body, member):
        out += [body[kept:start], MASK]
        kept = end
    return b"".join((*out, body[kept:]))


def values_of(body: bytes, member: str) -> Iterator[tuple[int, int]]:
    """Where the values of `member` begin and end, in order, none inside another.

    At any depth, the name (given in lower case) in any spelling and case.
    """
    if member.encode() not in body.lower() and b"\\u" not in body:
        return  # the usual case, and much faster than taking a large body apart
    at = 0
    while (found := _STRING.search(body, at)) is not None:
        at = found.end()
        colon = _COLON.match(body, at)
        if colon is None or _read(found[0]).lower() != member:
            continue
        at = _end_of_value(body, colon.end())
        if at > colon.end():
            yield colon.end(), at


def _read(token: bytes) -> str:
    try:
        return _text.decode(token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return token[1:-1].decode("latin-1")


def _end_of_value(body: bytes, start: int) -> int:
    if body[start : start + 1] == b'"':
        string = _STRING.match(body, start)
        return len(body) if string is None else string.end()
    if body[start : start + 1] not in {b"[", b"{"}:
        plain = _PLAIN.match(body, start)
        return start if plain is None else plain.end()
    depth, at = 0, start
    while (token := _NESTING.search(body, at)) is not None:
        at = token.end()
        if token[0] in {b"[", b"{"}:
            depth += 1
        elif token[0] in {b"]", b"}"}:
            depth -= 1
            if depth == 0:
                return at
    return len(body)
