"""Takes addresses out of a body that is kept as it was sent.

An accepted event keeps no address: the member in which its protocol reports one is hashed and
dropped. A refused body is kept byte for byte, so the value of that member is replaced first. Where
the body is no JSON nobody can say where a member begins or ends; then everything in it that reads
like an address is replaced, too. Pure; what a sender put into members of its own choice stays.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

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

_anything: Final = msgspec.json.Decoder(msgspec.Raw)
_text: Final = msgspec.json.Decoder(str)


def mask_addresses(body: bytes, member: str) -> bytes:
    """`body` with the value of every member called `member` replaced, at any depth.

    "" for a protocol that has no such member: then `body` comes back as it is. The name is found in
    any spelling that JSON has for it, and in any case of its letters.
    """
    if not member:
        return body
    masked = _masked_members(body, member.lower())
    if _is_json(body):
        return masked
    return _IPV6.sub(_BARE_MASK, _IPV4.sub(_BARE_MASK, masked))


def _is_json(body: bytes) -> bool:
    try:
        _anything.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _masked_members(body: bytes, member: str) -> bytes:
    if member.encode() not in body.lower() and b"\\u" not in body:
        return body  # the usual case, and much faster than taking a large body apart
    out, kept = [], 0
    for start, end in _values(body, member):
        out += [body[kept:start], MASK]
        kept = end
    return b"".join((*out, body[kept:]))


def _values(body: bytes, member: str) -> Iterator[tuple[int, int]]:
    """Where the values of `member` begin and end, in order, none inside another."""
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
