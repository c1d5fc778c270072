r"""What may stand in Scanova's free-form members, `metadata` and `properties`.

They are never built into objects: size, depth and addresses are judged on the bytes as sent, and
those bytes are what is stored. Owns the vendor's limits on them. Must not know which member it is
given, nor fill columns.

What counts as an e-mail address: a letter, digit or one of `_ % + ~ -`, an at sign, then a domain
name with a dot and, behind a dot, two letters of any script. It is found anywhere in a text or an
object key, however its characters are escaped. Left alone: `@handle`, `user@localhost`,
`user@192.0.2.1`, `package@1.2.3`, percent-encoded addresses, and names of images for dense screens
(`logo@2x.png`), which the elements that people click on carry.
"""

import re
from typing import Final

import msgspec

from collector.refusal import FIELD_TOO_DEEP, FIELD_TOO_LARGE, INVALID_FIELD, RAW_EMAIL, Refusal

# The vendor's 10 KB and depth 5; the outermost object is level 1.
BYTES_MAX: Final = 10_240
DEPTH_MAX: Final = 5

# No character takes more bytes than six when escaped, and only white space can be left out.
_ESCAPED_BYTES_MAX: Final = 6 * BYTES_MAX

_ADDRESS: Final = re.compile(
    r"[\w%+~-]@(?!\dx\.(?i:png|jpe?g|gif|webp|avif|svg)\b)(?:[\w-]+\.)+[^\W\d_]{2}"
)
# What nearly all of it looks like: nothing to be unescaped, replaced or looked at twice, no more
# brackets than levels allowed, and together not larger than allowed. One look tells; whatever else
# there is goes to `judge`, which would give these back as they are.
PLAIN: Final = re.compile(rb"\{[^@\\{[\n\r]{0,2047}+(?:[{[][^@\\{[\n\r]{0,2047}+){0,4}+")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
# Depth does not tell objects from arrays; everything that is no bracket is dropped.
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_AT: Final = 0x40  # as a number, or `in` takes several times as long
_WHITE_SPACE: Final = b" \t\r\n"

# Fractions stay as written: no digit is lost and no number is out of range.
_anything: Final = msgspec.json.Decoder(object, float_hook=lambda text: msgspec.Raw(text.encode()))
_encoder: Final = msgspec.json.Encoder()

_NOT_AN_OBJECT: Final = Refusal(INVALID_FIELD, "value is not a valid dict", rule="type_error.dict")
_TOO_LARGE: Final = Refusal(
    FIELD_TOO_LARGE, f"must not be larger than {BYTES_MAX} bytes", rule="value_error"
)
_TOO_DEEP: Final = Refusal(
    FIELD_TOO_DEEP, f"must not be nested deeper than {DEPTH_MAX} levels", rule="value_error"
)
_BAD_NUMBER: Final = Refusal(INVALID_FIELD, "holds a number out of range", rule="value_error")
_UNREADABLE: Final = Refusal(FIELD_TOO_DEEP, "is nested too deeply", rule="value_error")
_HAS_ADDRESS: Final = Refusal(
    RAW_EMAIL,
    "must not contain raw e-mail addresses; send a hash in user_identifiers instead",
    rule="value_error",
)


def judge(sent: bytes, *, is_depth_limited: bool) -> bytes | Refusal:
    """What to store for `sent`, a well-formed JSON value; or why it is refused.

    The same bytes in all but one case: what is too large only for its white space and escapes comes
    back without them, so that nothing stored is larger than the limit. The refusal has no path.
    """
    if sent[0] != 0x7B:  # "{"
        return _NOT_AN_OBJECT
    if len(sent) > BYTES_MAX and len(sent.translate(None, _WHITE_SPACE)) > _ESCAPED_BYTES_MAX:
        return _TOO_LARGE
    if is_depth_limited and sent.count(b"{") + sent.count(b"[") > DEPTH_MAX and _is_too_deep(sent):
        return _TOO_DEEP
    if len(sent) > BYTES_MAX:
        compact = _compact(sent)
        if isinstance(compact, Refusal):
            return compact
        sent = compact
    if (_AT in sent or sent.find(b"\\u0040") >= 0) and holds_address(sent):
        return _HAS_ADDRESS
    return sent


def is_address(text: str) -> bool:
    """Whether `text` contains an e-mail address."""
    return "@" in text and _ADDRESS.search(text) is not None


def _is_too_deep(sent: bytes) -> bool:
    """Whether more than `DEPTH_MAX` objects and arrays stand within each other."""
    skeleton = _STRING.sub(b"", sent).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(DEPTH_MAX):
        skeleton = skeleton.replace(b"[]", b"")  # the innermost level, everywhere at once
    return bool(skeleton)


def _compact(sent: bytes) -> bytes | Refusal:
    try:
        compact = _encoder.encode(_anything.decode(sent))
    except msgspec.ValidationError:
        return _BAD_NUMBER
    except RecursionError:
        return _UNREADABLE
    return compact if len(compact) <= BYTES_MAX else _TOO_LARGE


def holds_address(sent: bytes) -> bool:
    """Whether an e-mail address stands anywhere in `sent`: JSON, or what was meant to be."""
    # The text of the JSON will do: a quotation mark ends an address as it ends a string.
    text = sent.decode("utf-8", "replace")
    if "\\" in text:
        text = _ESCAPE.sub(_unescape, text)
    return _ADDRESS.search(text) is not None


def _unescape(match: re.Match[str]) -> str:
    if match[1] is not None:
        return chr(int(match[1], 16))
    return match[2] if match[2] in '"\\/' else " "
