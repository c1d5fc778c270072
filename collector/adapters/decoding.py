r"""How every adapter reads JSON: strictly, item by item when it must, and forgiving in one place.

The one forgiveness: a lone surrogate escape (`"\ud83d"`), which JavaScript produces whenever a
script cuts a text in the middle of an emoji, is read as U+FFFD instead of refusing the event.
Values kept as `msgspec.Raw` are made safe for a log of one line per row by `one_line`.
"""

import re
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_REPLACEMENT: Final = b"\\ufffd"


class Malformed(ValueError):
    """The body is not JSON at all (syntax, encoding, depth, a number no float can hold)."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode `body`.

    Raises `msgspec.ValidationError` when it is JSON of another shape, `Malformed` when it is not
    JSON that can be stored: bad syntax, not UTF-8, nested beyond the interpreter's depth.
    """
    try:
        return _decode(decoder, body)
    except Malformed:
        mended = _mend_surrogates(body)
        if mended is None:
            raise
    return _decode(decoder, mended)


def one_line(body: bytes) -> bytes:
    """Check that `body` is UTF-8 and replace its line breaks by spaces; raises `Malformed`.

    Call it on the whole body before decoding into `Raw` members: msgspec skips over a `Raw` without
    looking at its encoding, and in JSON a literal line break can only be white space between
    tokens, so that a space means the same.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Malformed("not valid UTF-8") from None
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\n", b" ").replace(b"\r", b" ")
    return body


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise Malformed(str(error).removeprefix("JSON is malformed: ")) from None
    except UnicodeDecodeError:
        raise Malformed("not valid UTF-8") from None
    except RecursionError:
        raise Malformed("nested too deeply") from None


def _mend_surrogates(body: bytes) -> bytes | None:
    """`body` with each lone surrogate escape replaced, None when it holds none."""
    out: list[bytes] = []
    done = 0
    escapes = list(_ESCAPE.finditer(body))
    index = 0
    while index < len(escapes):
        match = escapes[index]
        index += 1
        if match[1] is None or not 0xD800 <= (unit := int(match[1], 16)) <= 0xDFFF:
            continue
        if unit < 0xDC00 and index < len(escapes):
            low = escapes[index]
            adjacent = low.start() == match.end() and low[1] is not None
            if adjacent and 0xDC00 <= int(low[1], 16) <= 0xDFFF:
                index += 1  # a proper pair
                continue
        out += (body[done : match.start()], _REPLACEMENT)
        done = match.end()
    if not out:
        return None
    out.append(body[done:])
    return b"".join(out)
