"""Scanova's free-form members: size, depth, e-mail addresses."""

import time
from typing import Any

import msgspec
import pytest

from collector import refusal as kinds
from collector.adapters.scanova_metadata import BYTES_MAX, judge
from collector.refusal import Refusal
from tests.support.scanova import refusal_of, row_of

MEMBERS = (("browser", "metadata"), ("server", "properties"))


def _judged(sent: bytes) -> bytes | Refusal:
    return judge(sent, is_depth_limited=True)


def _kind(sent: bytes) -> kinds.Kind:
    refusal = judge(sent, is_depth_limited=True)
    assert isinstance(refusal, Refusal), sent
    return refusal.kind


@pytest.mark.parametrize(("source", "member"), MEMBERS)
def test_it_is_kept_as_sent(source: str, member: str) -> None:
    """Free-form members reach the row byte for byte."""
    body = msgspec.json.encode({"a": 1.50, "b": [None, True, {}], "é": "\U0001f600"})
    row = row_of(source, **{member: msgspec.Raw(body)})
    assert isinstance(row.metadata, msgspec.Raw)
    assert body == bytes(row.metadata)
    for exact in (b'{"n":1.10,"n":1e999,"z":-0}', b"{}", b'{"":""}'):
        assert exact == _judged(exact)


@pytest.mark.parametrize(("source", "member"), MEMBERS)
def test_size(source: str, member: str) -> None:
    """10,240 bytes pass, one more is refused."""
    fits = {"t": "x" * (BYTES_MAX - 8)}
    assert len(msgspec.json.encode(fits)) == BYTES_MAX
    assert row_of(source, **{member: fits}).metadata is not None
    refusal = refusal_of(source, **{member: {"t": fits["t"] + "x"}})
    assert refusal.kind is kinds.FIELD_TOO_LARGE
    assert refusal.path == ("body", member)


def test_size_is_that_of_compact_utf_8() -> None:
    """White space and escapes do not count; what would not fit with them is stored without."""
    text = "é" * ((BYTES_MAX - 8) // 2)
    compact = msgspec.json.encode({"t": text})
    assert len(compact) == BYTES_MAX
    escaped = b'{"t":"' + b"\\u00e9" * len(text) + b'"}'
    assert _judged(escaped) == compact
    assert _judged(b"{ " + b" " * 1_000_000 + compact[1:]) == compact
    assert _kind(escaped[:-2] + b"x" + b'"}') is kinds.FIELD_TOO_LARGE
    assert _kind(b'{"t":"' + b"\\u0041" * (BYTES_MAX + 1) + b'"}') is kinds.FIELD_TOO_LARGE


def test_numbers_survive_compaction() -> None:
    """Taking white space out changes no digit; a number beyond all limits is refused, not lost."""
    spaced = b'{"n": 1.10, "e": 1e999, "i": 123456789012345678901' + b" " * BYTES_MAX + b"}"
    assert _judged(spaced) == b'{"n":1.10,"e":1e999,"i":123456789012345678901}'
    huge = b'{"i":' + b"9" * 5_000 + b" " * BYTES_MAX + b"}"
    assert _kind(huge) is kinds.INVALID_FIELD


@pytest.mark.parametrize(
    "deepest",
    [
        {"2": {"3": {"4": {"5": 1}}}},
        {"2": [[[[]]]]},
        {"2": [{"4": [1, 2, 3]}, {}, [], {"x": []}], "b": [[[[]]]]},
        {"text": "{[{[{[{[", "more": ['"[[[[[[', "\\[[[[[["]},
        {str(n): {} for n in range(100)},
        {"[[[[[[[[": {"{{{{{{": 1}},
    ],
)
def test_depth(deepest: dict[str, Any]) -> None:
    """Five levels of objects and arrays pass, the outermost counted; texts have no levels."""
    sent = msgspec.json.encode(deepest)
    assert sent == _judged(sent)


@pytest.mark.parametrize(
    "too_deep",
    [
        {"2": {"3": {"4": {"5": {"6": {}}}}}},
        {"2": {"3": {"4": {"5": {}}}} | {"3": [[[[]]]]}},
        {"2": [[[[[]]]]]},
        {"2": [1, [2, {"4": [{"x": 1}, []]}], {}]},
        {"shallow": [[], [], {}], "deep": [{"3": [{"5": [[]]}]}]},
    ],
)
def test_too_deep(too_deep: dict[str, Any]) -> None:
    """A sixth level is refused in metadata, not in properties."""
    refusal = refusal_of("browser", metadata=too_deep)
    assert refusal.kind is kinds.FIELD_TOO_DEEP
    assert refusal.path == ("body", "metadata")
    assert row_of("server", properties=too_deep).metadata is not None


def test_depth_beyond_all_measure() -> None:
    """Depth that no reader could follow is refused, with and without the limit of five."""
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        deep = b'{"a":' + opening * 6_000 + b"1" + closing * 6_000 + b"}"
        limited = judge(deep, is_depth_limited=True)
        assert isinstance(limited, Refusal)
        assert limited.kind is kinds.FIELD_TOO_DEEP
        unlimited = judge(deep, is_depth_limited=False)
        assert isinstance(unlimited, Refusal)
        # How deep the interpreter can follow depends on its version; it is over 10 KB as well.
        assert unlimited.kind in {kinds.FIELD_TOO_DEEP, kinds.FIELD_TOO_LARGE}


ADDRESSES = (
    "jane@example.com",
    "a.b+c@example.co.uk",
    "write to a.b+c@example.co.uk, please",
    "mailto:jane@example.com?subject=x",
    "JANE@EXAMPLE.COM",
    "jane_doe-1%x@sub.sub-domain.example.museum",
    "<jane@example.com>",
    "jane@example.com.",
    "jörg@müller.de",
    "用户@例子.广告",
    "jane@xn--mller-kva.de",
    "https://jane@example.com/",
    "x" * 64 + "@example.com",
    "logo@2x.png and jane@example.com",
)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(("source", "member"), MEMBERS)
def test_addresses_are_refused(source: str, member: str, address: str) -> None:
    """An e-mail address is found in any text and in any key, at any depth."""
    for value in (
        {"a": address},
        {"a": [1, {"b": [address]}]},
        {address: 1},
        {"a": {address: {}}},
        {"a": "b@", "c": f'"{address}"'},
    ):
        refusal = refusal_of(source, **{member: value})
        assert refusal.kind is kinds.RAW_EMAIL
        assert refusal.path == ("body", member)


@pytest.mark.parametrize(
    "sent",
    [
        rb'{"a":"jane\u0040example.com"}',
        rb'{"a":"\u006a\u0061ne@e\u0078ample\u002ecom"}',
        rb'{"jane\u0040example.com":1}',
        rb'{"a":"x\njane@example.com\t"}',
        rb'{"a":"\"jane@example.com\""}',
        rb'{"a":"\/jane@example.com\/"}',
        rb'{"a":"\\jane@example.com"}',
        rb'{"a":"jane@example.com","a":"nobody"}',
    ],
)
def test_escapes_hide_no_address(sent: bytes) -> None:
    """However an address is escaped, and whichever of two equal keys holds it, it is found."""
    assert _kind(sent) is kinds.RAW_EMAIL


@pytest.mark.parametrize(
    "text",
    [
        "@handle",
        "thanks @handle.name",
        "user@localhost",
        "root@192.168.0.1",
        "package@1.2.3",
        "@scope/package@1.2.3",
        "logo@2x.png",
        "/images/logo@3x.webp?v=1",
        "5 @ 3.50",
        "a@",
        "jane%40example.com",
        "jane at example.com",
        "https://medium.com/@jane.doe",
        "jane\\u0040example.com",
        "jane@ example.com",
        "jane @example.com",
    ],
)
def test_what_is_no_address(text: str) -> None:
    """An at sign alone makes no address, and a backslash that is escaped escapes nothing."""
    sent = msgspec.json.encode({"a": text, text: [text]})
    assert sent == _judged(sent)


def test_two_strings_make_no_address() -> None:
    """Parts of an address in two texts are not one."""
    for sent in (b'{"a":"jane@","b":"example.com"}', b'["jane","@example.com"]', b'{"a@b":"c.de"}'):
        wrapped = b'{"x":' + sent + b"}"
        assert wrapped == _judged(wrapped)


def test_address_checks_take_linear_time() -> None:
    """The worst text of 10 KB is judged at once: nothing is looked at over and over."""
    for unit in ("a@", "a@b.", "a@" + "b" * 50 + "-", "@", "\\u0040", "a.b-c@1."):
        sent = ('{"a":"' + unit * ((BYTES_MAX - 10) // len(unit)) + '"}').encode()
        started_s = time.perf_counter()
        _judged(sent)
        assert time.perf_counter() - started_s < 1
