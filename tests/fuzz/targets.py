"""The table of fuzz targets, and the words that fuzzers are given to begin with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.fuzz import disk, texts, wire
from tests.fuzz.target import Target
from tests.support.golden import requests

TARGETS: Final[dict[str, Target]] = {**wire.TARGETS, **texts.TARGETS, **disk.TARGETS}
# Inputs that once failed, by target: one folder each.
REGRESSIONS: Final = Path(__file__).parent / "regressions"
_LITERALS: Final = (
    b"null", b"true", b"1e400", b"-0", b"NaN", b"1.0", b"9223372036854775808", b"\\ud83d",
    b"\\u0000", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"[[[[", b'{"a":', b"2026-11-18T11:06:40Z",
    b"demo", b"ZV_demo", b"\n--\n", b"\n\n",
)  # fmt: skip


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _names(member)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def words(target: Target) -> list[bytes]:
    """Members of JSON as the golden requests name them, literals, and the target's own words."""
    names = {name for request in requests(0) for name in _names(request.get("body"))}
    quoted = [msgspec.json.encode(name) for name in sorted(names) if len(name) <= 24]
    return [*target.words, *_LITERALS, *quoted]


def regressions(name: str) -> list[bytes]:
    """What once failed in the target of that name."""
    folder = REGRESSIONS / name
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
