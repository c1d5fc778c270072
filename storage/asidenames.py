"""What names of quarantine files mean. Reads folders, no file."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from storage import parquet

_PART: Final = re.compile(r"part-(\d{12})-(\d{12})-(\d{6})\.parquet")
# What else holds kept events: a file that is no Parquet any more, one of an earlier version that
# was not taken over, and what is left of replacing one.
_REMAINS: Final = re.compile(r"damaged-.*\.parquet|.*\.json|.*\.tmp")
DAMAGED: Final = "damaged-"


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


def remains(folder: Path) -> list[Path]:
    """Files with kept events that are no parts: they are searched and removed whole, or stay."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if _REMAINS.fullmatch(path.name) and path.is_file()
    )


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
