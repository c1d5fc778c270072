"""What the log holds, segment by segment, for people: counts, states, groups, rows.

Only reads, takes no lock, and judges by the rules of a start (`recovery.plan`). Beside a running
collector the last segment may show an unfinished group: it is being written at that moment.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Final, Literal

import msgspec

from storage import layout, recovery, segment
from storage.errors import StorageError
from storage.files import Files
from storage.layout import Part

# whole: every byte counts. torn: an unfinished group at the very end. damaged: a start stops here.
# covered: its rows are in a part, the next start removes it.
State = Literal["whole", "torn", "damaged", "covered"]

_NUMBER: Final = re.compile(r"\d{1,12}")


class SegmentReport(msgspec.Struct, frozen=True):
    """One segment. `date` is None when no group of it can be read; `part` is what covers it.

    `bytes` is the size of the file, `valid_bytes` that of its valid prefix; where they differ,
    `reason` says what is wrong at byte `valid_bytes`.
    """

    number: int
    path: Path
    state: State
    date: date | None
    groups: int
    rows: int
    bytes: int
    valid_bytes: int
    reason: str = ""
    part: str = ""


class GroupReport(msgspec.Struct, frozen=True):
    """One group: where it starts (the header line included) and its size with its commit line.

    `is_valid` False: the rest of the segment, from the first byte that does not count; `reason`
    says why. How many rows it may hold nobody knows: 0.
    """

    offset: int
    bytes: int
    rows: int
    is_valid: bool
    reason: str = ""


def segments(directory: Path, files: Files) -> list[SegmentReport]:
    """Report on every segment of the data directory, in order. Raises `StorageError`, OSError."""
    wal = directory / layout.WAL
    if not wal.is_dir():
        raise StorageError(f"{wal}: no such folder; this is no data directory")
    judged: list[tuple[recovery.SegmentState, int]] = []
    for number in layout.list_segments(wal):
        try:
            data = files.read(wal / layout.segment_name(number))
        except FileNotFoundError:
            continue  # flushed since the folder was listed
        state, scan = recovery.judge_bytes(number, data)
        judged.append((state, len(scan.groups)))
    # Parts after segments, as in storage/query.py: so a flush in between cannot hide rows.
    parts = layout.live_parts(layout.list_parts(directory / layout.EVENTS))
    actions = recovery.plan([state for state, _ in judged], parts)
    by_number = {a.number: a for a in actions if isinstance(a, _ON_SEGMENTS)}
    return [
        _report(wal, state, groups, by_number.get(state.number), parts) for state, groups in judged
    ]


_ON_SEGMENTS: Final = (recovery.RemoveSegment, recovery.CutTail, recovery.Stop)


def _report(
    wal: Path,
    state: recovery.SegmentState,
    groups: int,
    action: recovery.Action | None,
    parts: list[Part],
) -> SegmentReport:
    part = _maybe_covering(state, parts)
    verdict: State = "whole"
    if part is not None:
        verdict = "covered"
    elif isinstance(action, recovery.Stop):
        verdict = "damaged"
    elif action is not None:
        verdict = "torn"
    reason = "" if state.valid_bytes == state.size and state.rows else state.damage
    return SegmentReport(
        number=state.number,
        path=wal / layout.segment_name(state.number),
        state=verdict,
        date=state.date,
        groups=groups,
        rows=state.rows,
        bytes=state.size,
        valid_bytes=state.valid_bytes,
        reason=reason or ("" if state.size else "the file is empty"),
        part=part.name if part else "",
    )


def _maybe_covering(state: recovery.SegmentState, parts: list[Part]) -> Part | None:
    if state.date is None:
        return None
    own = Part(state.date, state.number, state.number)
    return next((part for part in parts if part.covers(own)), None)


def number_of(name: str) -> int:
    """The number that `name` means: 42, 000000000042.ndjson, or a path that ends so.

    Raises `StorageError` when it means none.
    """
    number = layout.maybe_segment(Path(name).name)
    if number is None and _NUMBER.fullmatch(name):
        number = int(name)
    if number is None:
        raise StorageError(f"{name!r} is no segment: give its number, or the name of its file")
    return number


def groups(path: Path, files: Files) -> list[GroupReport]:
    """The groups of the segment at `path`; behind damage the rest as one. Raises OSError."""
    data = files.read(path)
    scan = segment.scan(data)
    found: list[GroupReport] = []
    offset = 0
    for group in scan.groups:
        found.append(GroupReport(offset, group.next - offset, group.rows, is_valid=True))
        offset = group.next
    if scan.damage:
        found.append(GroupReport(offset, len(data) - offset, 0, is_valid=False, reason=scan.damage))
    return found


def rows(paths: Iterable[Path], files: Files) -> Iterator[bytes]:
    """The row lines in the valid prefixes of `paths`, without line feeds. Raises OSError."""
    for path in paths:
        data = files.read(path)
        yield from segment.row_lines(data, segment.scan(data).groups)
