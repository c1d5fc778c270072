r"""How every adapter reads JSON: strictly, item by item when it must, and forgiving in one place.

The one forgiveness: a lone surrogate escape (`"\ud83d"`), which JavaScript produces whenever a
script cuts a text in the middle of an emoji, is read as U+FFFD instead of refusing the event.
Values kept as `msgspec.Raw` are made safe for a log of one line per row by `one_line`.

What a `Raw` may hold: well-formed JSON of any depth up to the interpreter's, numbers of any size,
names that occur twice. msgspec checks all of its grammar but not its encoding (`one_line` does).
"""

import re
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

# As numbers: of `b"\n" in body` Python first finds out that it is none, with an exception.
LINE_FEED: Final = 0x0A
CARRIAGE_RETURN: Final = 0x0D

_REPLACEMENT: Final = rb"\ufffd"
_ESCAPE_LENGTH: Final = 6
# Everything up to an escape that is a surrogate on its own, then that escape if there is one. It
# matches in any case and is possessive: a search that fails would begin again at the next byte, in
# the middle of an escape, and read a long body once per byte.
_UP_TO_LONE_SURROGATE: Final = re.compile(
    rb"""
    (?: [^\\]++
      | \\[^u]
      | \\u(?![dD][89a-fA-F][0-9a-fA-F]{2})
      | \\u[dD][89abAB][0-9a-fA-F]{2} \\u[dD][c-fC-F][0-9a-fA-F]{2}
    )*+
    (\\u[dD][89a-fA-F][0-9a-fA-F]{2})?+""",
    re.DOTALL | re.VERBOSE,
)

# A character in another spelling: of JSON, of a script, of a URL.
_SPELLED: Final = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|%([0-9a-fA-F]{2})")
# As a form within a form; who spells it more often than that does not read it either.
_ROUNDS_MAX: Final = 3

_whole: Final = msgspec.json.Decoder(msgspec.Raw)


class Malformed(ValueError):
    """The body is no JSON that can be stored: bad syntax or encoding, or nested too deeply."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode `body`.

    Raises `msgspec.ValidationError` when it is JSON of another shape or holds a number that does
    not fit the type asked for, `Malformed` when it is not JSON that can be stored: bad syntax, not
    UTF-8, nested beyond the interpreter's depth. The message of `Malformed` repeats nothing of the
    body.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_mended(decoder, body)


def check(body: bytes) -> None:
    """Raise `Malformed` if `body` is not JSON at all.

    A typed decode stops at the first value of another type; what follows may be anything.
    """
    decode(_whole, body)


def one_line(body: bytes) -> bytes:
    """Check that `body` is UTF-8 and replace its line breaks by spaces; raises `Malformed`.

    Call it on the whole body before decoding into `Raw` members: msgspec skips over a `Raw` without
    looking at its encoding, and in JSON a literal line break can only be white space between
    tokens, so that a space means the same. Where few of the members are kept as `Raw`, it is
    cheaper to check the encoding of all and to replace the line breaks of those.
    """
    check_encoding(body)
    if LINE_FEED in body or CARRIAGE_RETURN in body:
        # Judged before the breaks are gone: one inside a string makes a body malformed.
        return without_breaks(bytes(decode(_whole, body)))
    return body


def check_encoding(body: bytes) -> None:
    """Raise `Malformed` if `body` is not UTF-8."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise Malformed("not valid UTF-8") from None


def without_breaks(raw: bytes) -> bytes:
    """`raw`, a well-formed JSON value, with spaces for its line breaks."""
    return raw.replace(b"\n", b" ").replace(b"\r", b" ")


def revealed(body: bytes) -> str:
    r"""`body` as a text in which characters of ASCII stand for themselves.

    Undoes `\u0040`, `\x40` and `%40`, also where one is inside another. For searching only:
    the result need not mean what `body` meant.
    """
    text = body.decode("utf-8", "replace")
    for _ in range(_ROUNDS_MAX):
        if "\\" not in text and "%" not in text:
            break
        text = _SPELLED.sub(_spelled_out, text)
    return text


def _spelled_out(match: re.Match[str]) -> str:
    character = chr(int(match[match.lastindex or 1], 16))
    return character if character.isascii() else match[0]


def _mend(match: re.Match[bytes]) -> bytes:
    return match[0] if match[1] is None else match[0][:-_ESCAPE_LENGTH] + _REPLACEMENT


def _decode_mended(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body that did not decode: with its lone surrogates mended, if it has any."""
    try:
        return _decode(decoder, body)
    except Malformed:
        mended = _UP_TO_LONE_SURROGATE.sub(_mend, bytes(body))
        if mended == body:
            raise
    return _decode(decoder, mended)


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
