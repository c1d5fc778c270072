"""Whatever is sent: JSON is read as any other reader would, or refused in one of two ways."""

import json
import re
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.adapters import decoding
from collector.adapters.decoding import Malformed

_anything = msgspec.json.Decoder[Any]()
_raw = msgspec.json.Decoder(msgspec.Raw)
_typed = msgspec.json.Decoder(dict[str, dict[str, int | None]])

# Surrogates too: JavaScript's texts are sequences of UTF-16 units.
_texts = st.text(st.characters(codec=None), max_size=8) | st.text(
    st.sampled_from('\ud83d\ude00\udbff\ud800\\"\nau'), max_size=8
)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_texts, children, max_size=4),
    max_leaves=12,
)


def _mended(value: Any) -> Any:
    """`value` as a reader sees it that joins pairs of surrogates and replaces lone ones."""
    if isinstance(value, str):
        joined = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return re.sub("[\ud800-\udfff]", "\ufffd", joined)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return value


def _accepts(decoder: msgspec.json.Decoder[Any], body: bytes) -> bool:
    try:
        decoding.decode(decoder, body)
    except Malformed:
        return False
    except msgspec.ValidationError:
        return True  # JSON, of another shape
    return True


def _reads(body: bytes) -> bool:
    """Whether `body` can be read to its end."""
    try:
        decoding.decode(_anything, body)
    except (Malformed, msgspec.ValidationError):
        return False
    return True


@given(_values)
@settings(max_examples=200, deadline=None)
def test_any_json_is_read(value: Any) -> None:
    """Every JSON value is read, with lone surrogates replaced and nothing else changed."""
    body = json.dumps(value).encode()
    expected = _mended(json.loads(body))
    assert decoding.decode(_anything, body) == expected
    raw = decoding.decode(_raw, body)
    assert msgspec.json.decode(raw) == expected
    decoding.check(body)


@given(_values, st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_one_line_keeps_the_meaning(value: Any, indent: int) -> None:
    """However a body is laid out, its one line means the same and holds no line break."""
    text = json.dumps(value, indent=indent)
    for laid_out in (text, text.replace("\n", "\r\n"), text.replace("\n", "\r")):
        line = decoding.one_line(laid_out.encode())
        assert b"\n" not in line
        assert b"\r" not in line
        assert decoding.decode(_anything, line) == _mended(value)


_TOKENS = [
    *("{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "\\ud83d", "\\ude00", "\\n", "\n", " "),
    *("0", "-1", "1.5", "1e5", "e", "true", "null", "nul", "a", "\x00", "\ufeff", "é"),
]
_broken = st.lists(st.sampled_from(_TOKENS), max_size=12).map(lambda found: "".join(found).encode())


@given(_broken | st.binary(max_size=24))
@example(b'{"a":"\xff"}')
@example(b'"\\ud83d')
@example(b"1e999")
@example(b"1e500{")
@settings(max_examples=400, deadline=None)
def test_skipping_is_as_strict_as_reading(body: bytes) -> None:
    """What `Raw` lets pass, any reader of the log can read; and what can be read whole, it passes.

    A reader stops at a number that is too large for it, and has not judged what follows.
    """
    for wrapped in (body, b'{"a":' + body + b"}", b"[" + body + b"]"):
        _accepts(_typed, wrapped)
        try:
            line = decoding.one_line(wrapped)
        except Malformed:
            continue
        if _accepts(_raw, line):
            assert _accepts(_anything, line)
            json.loads(bytes(decoding.decode(_raw, line)))
        else:
            assert not _reads(line)
