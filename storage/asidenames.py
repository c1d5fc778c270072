"""What names of quarantine files mean, and what is looked for in a kept event. Reads folders."""

import re
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from storage import parquet

_PART: Final = re.compile(r"part-(\d{12})-(\d{12})-(\d{6})\.parquet")
# Shorter texts are in everything.
_NEEDLE_CHARS_MIN: Final = 2
_ESCAPE: Final = re.compile(r"\\u([0-9a-f]{4})")
_anything: Final = msgspec.json.Decoder[object]()


class AsidePart(msgspec.Struct, frozen=True, order=True):
    """One file: what was kept by writes `first` to `last`, but for what was taken out since."""

    first: int
    last: int
    generation: int

    @property
    def name(self) -> str:
        """File name below the quarantine folder."""
        return f"part-{self.first:012d}-{self.last:012d}-{self.generation:06d}.parquet"

    def covers(self, other: "AsidePart") -> bool:
        """Whether `other` is dead because of this one."""
        if (self.first, self.last) == (other.first, other.last):
            return self.generation > other.generation
        return self.first <= other.first and other.last <= self.last


def listed(folder: Path) -> list[AsidePart]:
    """The files found in `folder`, dead ones included; foreign names are left out."""
    if not folder.is_dir():
        return []
    found = (_PART.fullmatch(path.name) for path in folder.iterdir())
    return sorted(AsidePart(int(m[1]), int(m[2]), int(m[3])) for m in found if m)


def live(parts: Iterable[AsidePart]) -> list[AsidePart]:
    """The files that no other makes dead, by number."""
    kept: list[AsidePart] = []
    for part in sorted(parts, key=lambda part: (part.first, -part.last, -part.generation)):
        if not kept or not kept[-1].covers(part):
            kept.append(part)
    return kept


def source(paths: Sequence[Path], *, numbered: bool = False) -> str:
    """A table expression: the rows of `paths`; `numbered`: with their files and numbers in them."""
    more = ", filename = true, file_row_number = true" if numbered else ""
    return f"read_parquet({parquet.listed(paths)}, hive_partitioning = false{more})"


def needles(values: Iterable[str]) -> list[str]:
    """What to look for: each text in small letters, a UUID in both of its spellings."""
    found: set[str] = set()
    for value in values:
        if len(value) < _NEEDLE_CHARS_MIN:
            continue
        found.add(value.lower())
        try:
            one = uuid.UUID(value)
        except ValueError:
            continue
        found |= {str(one), one.hex}
    return sorted(found)


def holds(sought: Sequence[str], values: Iterable[object]) -> bool:
    """Whether one of the texts stands in one of the values: bytes, texts, or JSON of either."""
    return any(needle in text for value in values for text in _texts(value) for needle in sought)


def _texts(value: object) -> list[str]:
    """A value as it stands, and the texts in it if it is JSON, in small letters."""
    if value is None:
        return []
    data: bytes = value if isinstance(value, bytes) else str(value).encode()
    texts = [data.decode("utf-8", "replace").lower()]
    if b"\\" in data:
        try:
            texts += [text.lower() for text in _strings(_anything.decode(data))]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # No JSON as a whole; its texts may be escaped all the same.
            plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), texts[0])
            texts.append(plain.replace("\\/", "/").lower())
    return texts


def _strings(value: Any) -> list[str]:
    found: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
    return found
