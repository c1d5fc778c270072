"""How JSON is read: strict but for one thing, and fit for a log of one line per row."""

import time
from typing import Any

import msgspec
import pytest

from collector.adapters import decoding
from collector.adapters.decoding import Malformed


class _Item(msgspec.Struct):
    name: str = ""
    number: float = 0.0
    rest: msgspec.Raw = msgspec.Raw(b"null")


_anything = msgspec.json.Decoder[Any]()
_item = msgspec.json.Decoder(_Item)
_raw = msgspec.json.Decoder(msgspec.Raw)


def test_a_typed_decode() -> None:
    """Good JSON is decoded as the decoder would."""
    item = decoding.decode(_item, b'{"name":"a","number":1,"rest":[1, {}],"unknown":null}')
    assert (item.name, item.number, bytes(item.rest)) == ("a", 1.0, b"[1, {}]")


MALFORMED = (
    b"",
    b" ",
    b"{",
    b"{}x",
    b"{} {}",
    b"[1,]",
    b'{"a":1,}',
    b"{a:1}",
    b"{'a':1}",
    b"[01]",
    b"[+1]",
    b"[.5]",
    b"[1.]",
    b"[NaN]",
    b"[Infinity]",
    b"[0x10]",
    b"[tru]",
    rb'["\x"]',
    rb'["\u12"]',
    rb'["\u12zz"]',
    rb'["\ud8"]',
    b'["a\nb"]',
    b'["a\tb"]',
    b'["a\x00b"]',
    b'["a',
    b'["a\\',
    b"\xef\xbb\xbf[]",
    b"// comment\n[]",
)


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize("decoder", [_anything, _raw])
def test_what_is_not_json(decoder: msgspec.json.Decoder[Any], body: bytes) -> None:
    """What is not JSON is told as such, also where the decoder would only skip over it."""
    with pytest.raises(Malformed):
        decoding.decode(decoder, body)
    with pytest.raises(Malformed):
        decoding.decode(_item, b'{"rest":' + body + b"}")
    with pytest.raises(Malformed):
        decoding.check(body)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b'{"name":5}', b'{"number":1e999}', b"null"])
def test_what_is_of_another_shape(body: bytes) -> None:
    """JSON of another shape is told apart from what is not JSON."""
    with pytest.raises(msgspec.ValidationError):
        decoding.decode(_item, body)
    decoding.check(body)


def test_check_looks_at_all_of_it() -> None:
    """A typed decode stops at the first wrong type; `check` does not."""
    body = b'{"name":5, and then nonsense'
    with pytest.raises(msgspec.ValidationError):
        decoding.decode(_item, body)
    with pytest.raises(Malformed):
        decoding.check(body)


def test_invalid_utf_8() -> None:
    """Bytes that are no UTF-8 are malformed; skipped over, they are found by `one_line` only."""
    for wrong in (b"\xff", b"\xc3", b"\xed\xa0\xbd", b"\xf5\x80\x80\x80", b"\xc0\x80"):
        body = b'{"name":"' + wrong + b'"}'
        with pytest.raises(Malformed):
            decoding.decode(_item, body)
        skipped = b'{"rest":"' + wrong + b'"}'
        decoding.decode(_item, skipped)
        with pytest.raises(Malformed):
            decoding.one_line(skipped)


@pytest.mark.parametrize("decoder", [_anything, _raw, _item])
def test_depth(decoder: msgspec.json.Decoder[Any]) -> None:
    """What is nested beyond the interpreter's depth is malformed, not an exception of ours."""
    deep = b'{"rest":' * 100_000 + b"1" + b"}" * 100_000
    with pytest.raises(Malformed, match="too deeply"):
        decoding.decode(decoder, deep)
    with pytest.raises(Malformed):
        decoding.decode(decoder, deep[:-1])


def test_messages_repeat_nothing() -> None:
    """What a client sent never comes back in the message."""
    for body in (b"{xyzzy}", b'{"xyzzy"', b'["xyzzy\x00"]', b'{"xyzzy":\xff}', b"xyzzy"):
        with pytest.raises(Malformed) as caught:
            decoding.decode(_anything, body)
        assert "xyzzy" not in str(caught.value)


# --- lone surrogates

LONE = {
    rb"\ud83d": "\ufffd",
    rb"\uDE00": "\ufffd",
    rb"a\ud83d": "a\ufffd",
    rb"\ud83d\n": "\ufffd\n",
    rb"\ud83d\\u0041": "\ufffd\\u0041",
    rb"\ud83d\ud83d\ude00": "\ufffd\U0001f600",
    rb"\ude00\ud83d": "\ufffd\ufffd",
    rb"\ud83d\u0041": "\ufffdA",
    rb"\ud83d\ude00\ud83d": "\U0001f600\ufffd",
    rb"\\\ud83d": "\\\ufffd",
    rb"\\ud83d\ude00": "\\ud83d\ufffd",
    rb"\udbff\udfff\ud800": "\U0010ffff\ufffd",
    rb"\"\ud83d\"": '"\ufffd"',
}


@pytest.mark.parametrize(("escaped", "expected"), LONE.items())
def test_lone_surrogates(escaped: bytes, expected: str) -> None:
    """Half of a surrogate pair becomes U+FFFD; whole pairs and escaped backslashes stay."""
    assert decoding.decode(_anything, b'"' + escaped + b'"') == expected
    assert decoding.decode(_anything, b'{"' + escaped + b'":1}') == {expected: 1}
    item = decoding.decode(_item, b'{"rest":["' + escaped + b'"],"name":"ok"}')
    assert msgspec.json.decode(item.rest) == [expected]
    decoding.check(b'"' + escaped + b'"')


@pytest.mark.parametrize(
    "escaped", [rb"\\ud83d", rb"\\\\ud83d", rb"\ud83d\ude00", rb"\ud7ff\ue000"]
)
def test_what_is_no_lone_surrogate(escaped: bytes) -> None:
    """A text that needs no mending is left as it is."""
    body = b'"' + escaped + b'"'
    assert decoding.decode(_anything, body) == msgspec.json.decode(body)
    assert bytes(decoding.decode(_raw, body)) == body


def test_mending_mends_nothing_else() -> None:
    """A lone surrogate does not make up for another fault in the same body."""
    for body in (rb'["\ud83d", 01]', rb'["\ud83d" x]', rb'["\ud83d\x"]', b'["\\ud83d\xff"]'):
        with pytest.raises(Malformed):
            decoding.decode(_anything, body)


def test_mending_takes_linear_time() -> None:
    """No mixture of escapes makes a body be read over and over."""
    size = 1_000_000
    for unit in (
        rb"\n",
        rb"\ud83d",
        rb"\ud83d\ude00",
        rb"\\",
        rb"a\n",
        rb"\u0041",
        b"\\",
        rb"\ud8",
    ):
        body = b'"' + unit * (size // len(unit)) + rb'\ud83d\x"'
        started_s = time.perf_counter()
        with pytest.raises(Malformed):
            decoding.decode(_anything, body)
        assert time.perf_counter() - started_s < 2


# --- one line


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1}', b'{"a":1}'),
        (b'{\n  "a": 1\n}', b'{   "a": 1 }'),
        (b'{\r\n"a":1\r}', b'{  "a":1 }'),
        (rb'{"a":"x\ny\r"}', rb'{"a":"x\ny\r"}'),
        ('{"a":"\u2028\x85"}'.encode(), '{"a":"\u2028\x85"}'.encode()),
    ],
)
def test_one_line(body: bytes, expected: bytes) -> None:
    """Line breaks between tokens become spaces, escaped ones stay; nothing else changes."""
    assert decoding.one_line(body) == expected


def test_one_line_hides_no_fault() -> None:
    """A line break inside a string is malformed, not silently a space."""
    for body in (b'{"a":"x\ny"}', b'{"a":"x\ry"}', b'{"a\n":1}', b'{\n"a"', b"{\n}x"):
        with pytest.raises(Malformed):
            decoding.one_line(body)


def test_one_line_mends() -> None:
    """Where a body is rewritten anyway, lone surrogates in it are mended."""
    line = decoding.one_line(b'{\n"a": "\\ud83d"}')
    assert b"\n" not in line
    assert decoding.decode(_anything, line) == {"a": "\ufffd"}
