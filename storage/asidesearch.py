"""Whether bytes that were refused hold a value that a person is known by.

What is refused need not be JSON, or is JSON with a fault in it. A long value counts wherever it
stands. A short one, such as the user `42`, stands in very much that has nothing to do with it; it
counts where it is a whole value: a string or a number of JSON, in bytes that are no JSON what
stands between quotes or separators. Letters of either case are alike.
"""

import re
import uuid
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from storage.errors import UNDECODABLE

# From here on a value is looked for as a part of others, too.
_LONG_CHARS_MIN: Final = 8
_ESCAPE: Final = re.compile(r"\\u([0-9a-f]{4})")
# What a value follows, and what follows it, in JSON and in forms.
_BEFORE: Final = r"(?:^|[\"'=:,&?\[])\s*"
_AFTER: Final = r"\s*(?:[\"'&;,\]}]|$)"
# How a frame of Zstandard begins, RFC 8878 section 3.1.1: what the pages of our files are.
_COMPRESSED: Final = b"\x28\xb5\x2f\xfd"
_anything: Final = msgspec.json.Decoder[object]()


class _Old(msgspec.Struct):
    """What an earlier version kept in one file: the rest of its members tells nothing of whom."""

    site: str
    body: str | None = None
    body_base64: bytes | None = None


_old: Final = msgspec.json.Decoder(_Old)


class Search:
    """Looks for `values`, a UUID in both of its spellings; an empty text is nobody."""

    def __init__(self, values: Iterable[str]) -> None:
        found: set[str] = set()
        for value in values:
            found.add(value.lower())
            try:
                one = uuid.UUID(value)
            except ValueError:
                continue
            found |= {str(one), one.hex}
        found.discard("")
        self._long = sorted(value for value in found if len(value) >= _LONG_CHARS_MIN)
        self._short = frozenset(found.difference(self._long))
        listed = "|".join(re.escape(value) for value in sorted(self._short))
        self._bounded = re.compile(f"{_BEFORE}(?:{listed}){_AFTER}", re.MULTILINE)

    def __bool__(self) -> bool:
        return bool(self._long or self._short)

    def finds(self, values: Iterable[object]) -> bool:
        """Whether one of `values` (bytes, texts, JSON of either, None) holds what is sought."""
        return any(self._is_in(value) for value in values if value is not None)

    def finds_in_remains(self, data: bytes, site: str) -> bool:
        """Whether a file that is no part must go: it holds the values, or nobody can tell.

        Compressed bytes of a damaged file cannot be searched. A file of an earlier version belongs
        to one site; of others it does not matter whose they are.
        """
        try:
            old = _old.decode(data)
        except UNDECODABLE:
            return _COMPRESSED in data or self.finds([data])
        return old.site == site and self.finds([data, old.body, old.body_base64])

    def _is_in(self, value: object) -> bool:
        data: bytes = value if isinstance(value, bytes) else str(value).encode()
        text = data.decode("utf-8", "replace").lower()
        if self._has_long([text]) or text.strip() in self._short:
            return True
        if not self._short and b"\\" not in data:
            return False
        try:
            texts, names = _texts(_anything.decode(data))
        except UNDECODABLE:
            # No JSON as a whole; its texts may be escaped all the same.
            plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
            plain = plain.replace("\\/", "/").replace('\\"', '"').lower()
            return self._has_long([plain]) or self._has_short(plain)
        return self._has_long([*texts, *names]) or not self._short.isdisjoint(texts)

    def _has_long(self, texts: Iterable[str]) -> bool:
        return any(needle in text for text in texts for needle in self._long)

    def _has_short(self, text: str) -> bool:
        return bool(self._short) and self._bounded.search(text) is not None


def _texts(value: Any) -> tuple[list[str], list[str]]:
    """Texts and numbers in a value, and the names of its members, in small letters."""
    texts: list[str] = []
    names: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            texts.append(one.lower())
        elif isinstance(one, dict):
            names += [name.lower() for name in one]
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, int | float) and not isinstance(one, bool):
            texts.append(str(one))
    return texts, names
