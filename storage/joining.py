"""Which parts of a date are joined, and when. Pure: sizes in, groups out.

Rules:

1. Only neighbours by number are joined, so that a part goes on meaning "segments a to b".
2. A part is never made larger than `bytes_max`, unless it is alone.
3. The open date is left alone until it has `parts_min` parts of one segment each: each exchange of
   its folder makes readers who have just listed it ask again.
4. A part takes its left neighbour along while that one is no larger than all of it: sizes then
   about double from right to left, so that a row is written again a number of times that grows
   with the logarithm of the day's bytes.
5. A closed date gets no more rows: its parts are packed, left to right, as full as they go.
"""

from collections.abc import Iterable, Sequence

import msgspec

from storage.layout import Part


class Sized(msgspec.Struct, frozen=True):
    """A live part and how many bytes it has."""

    part: Part
    bytes: int


Group = list[Sized]


def due(parts: Sequence[Sized], *, is_open: bool, parts_min: int, bytes_max: int) -> list[Group]:
    """The groups of one date's live `parts` (by number) to be joined, each into one part."""
    if not is_open:
        return packed(parts, bytes_max)
    singles = sum(1 for one in parts if one.part.first == one.part.last)
    if singles < parts_min:
        return []
    return doubled(parts, bytes_max)


def packed(parts: Iterable[Sized], bytes_max: int) -> list[Group]:
    """Neighbours packed up to `bytes_max`, left to right."""
    groups: list[Group] = [[]]
    size = 0
    for one in parts:
        if groups[-1] and size + one.bytes > bytes_max:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += one.bytes
    return [group for group in groups if len(group) > 1]


def doubled(parts: Sequence[Sized], bytes_max: int) -> list[Group]:
    """From the newest to the oldest, while a left neighbour is no larger than what is right of it.

    Parts of one segment are always taken; what is full begins a group of its own.
    """
    groups: list[Group] = [[]]
    size = 0
    for one in reversed(parts):
        is_single = one.part.first == one.part.last
        if groups[-1] and size + one.bytes > bytes_max:
            if not is_single:
                break
            groups.append([])
            size = 0
        if not is_single and one.bytes > size:
            break
        groups[-1].insert(0, one)
        size += one.bytes
    return [group for group in reversed(groups) if len(group) > 1]


def whole(group: Group) -> Part:
    """The part that a group becomes. Joined parts start with revision 0: they are wider."""
    first, last = group[0].part, group[-1].part
    return Part(first.date, first.first, last.last)
