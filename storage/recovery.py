"""What happens to the files that an earlier run left: a pure decision table, then its execution.

`plan` never touches the disk. Its rules, first match first; a test walks all combinations:

| found                                              | action                                   |
| temporary file                                     | remove                                   |
| part inside a wider or revised one of its date     | remove                                   |
| segment covered by a part of its date              | remove                                   |
| last segment, no valid group, none further on      | torn first group: keep a copy, remove    |
| last segment, bytes behind the valid prefix,       | torn tail: keep a copy, cut, warn        |
|   no valid group further on                        |                                          |
| any segment, damage otherwise                      | stop with path, offset and hint          |
| segment that is whole                              | keep; the flusher takes it               |
| name that is none of ours                          | leave, warn once                         |

Everything `apply` does may be interrupted at any point and is done again at the next start.
"""

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import msgspec

from storage import layout, segment
from storage.errors import Corruption, StorageError
from storage.files import Files
from storage.layout import KeyRun, Part

HINT = (
    "Nothing was changed. `collector inspect-log` shows what can still be read; "
    "`collector recover --cut-damaged` keeps a copy and goes on without the damaged bytes"
)


class SegmentState(msgspec.Struct, frozen=True):
    """What `plan` needs to know of a segment. `date` None: no valid group, so nobody knows."""

    number: int
    date: date | None
    rows: int
    size: int
    valid_bytes: int
    damage: str = ""
    goes_on: bool = False


class RemoveTemporary(msgspec.Struct, frozen=True):
    """A file or folder that is not finished, or done with: its path below the data directory."""

    name: str


class RemovePart(msgspec.Struct, frozen=True):
    """A part whose rows are all in a wider one."""

    part: Part


class RemoveSegment(msgspec.Struct, frozen=True):
    """A segment that is in a part, or has no group; `copies`: keep its bytes aside."""

    number: int
    copies: bool = False


class CutTail(msgspec.Struct, frozen=True):
    """A last group that was never acknowledged: keep it aside, cut it off."""

    number: int
    valid_bytes: int


class Stop(msgspec.Struct, frozen=True):
    """Damage that no crash explains."""

    number: int
    offset: int
    reason: str


class Ignore(msgspec.Struct, frozen=True):
    """A name that is none of ours."""

    name: str


Action = RemoveTemporary | RemovePart | RemoveSegment | CutTail | Stop | Ignore


def plan(
    segments: Iterable[SegmentState],
    parts: Iterable[Part],
    temporaries: Iterable[str] = (),
    strangers: Iterable[str] = (),
) -> list[Action]:
    """Decide what to do with what was found; an empty list means all is well."""
    every_part = list(parts)
    live = set(layout.live_parts(every_part))
    actions: list[Action] = [RemoveTemporary(name) for name in temporaries]
    actions += [RemovePart(part) for part in sorted(every_part) if part not in live]
    states = sorted(segments, key=lambda state: state.number)
    for state in states:
        action = _judge(state, live, is_last=state is states[-1])
        if action is not None:
            actions.append(action)
    actions += [Ignore(name) for name in strangers]
    return actions


def _judge(state: SegmentState, live: set[Part], *, is_last: bool) -> Action | None:
    if state.date is not None and layout.is_covered(state.number, state.date, live):
        return RemoveSegment(state.number)
    if state.valid_bytes == state.size and state.rows:
        return None
    if not is_last or state.goes_on:
        return Stop(state.number, state.valid_bytes, state.damage or "the file is empty")
    if state.rows == 0:
        return RemoveSegment(state.number, copies=state.size > 0)
    return CutTail(state.number, state.valid_bytes)


def judge_bytes(number: int, data: bytes) -> tuple[SegmentState, segment.Scan]:
    """The state of segment `number`, whose bytes are `data`."""
    scan = segment.scan(data)
    damage, goes_on = scan.damage, scan.goes_on
    if scan.header is not None and scan.header.number != number:
        damage, goes_on = f"the header names segment {scan.header.number}", True
    day = scan.header.date if scan.header else None
    valid_bytes = 0 if damage and damage != scan.damage else scan.valid_bytes
    return SegmentState(number, day, scan.rows, len(data), valid_bytes, damage, goes_on), scan


class Found(msgspec.Struct):
    """A listing of the data directory."""

    segments: list[int]
    parts: list[Part]
    temporaries: list[str]
    strangers: list[str]
    runs: list[KeyRun] = []
    expired: list[int] = []


def look(directory: Path) -> Found:
    """List `directory`; reads names only."""
    wal, events, keys, temporary = (
        directory / name for name in (layout.WAL, layout.EVENTS, layout.KEYS, layout.TEMPORARY)
    )
    unfinished = [*temporary.iterdir(), *directory.glob("*.tmp"), *directory.glob("*/*.tmp")]
    temporaries = sorted({str(path.relative_to(directory)) for path in unfinished})
    strangers = [
        f"{layout.WAL}/{path.name}"
        for path in sorted(wal.iterdir())
        if layout.maybe_segment(path.name) is None
        and not path.name.startswith("torn-")
        and path.suffix != ".tmp"
    ]
    strangers += [
        f"{layout.EVENTS}/{path.relative_to(events)}"
        for path in sorted(events.glob("*/*"))
        if layout.maybe_part(str(path.relative_to(events))) is None
    ]
    names = sorted(path.name for path in keys.iterdir()) if keys.is_dir() else []
    runs = [layout.maybe_run(name) for name in names]
    expired = [layout.maybe_expired(name) for name in names]
    strangers += [
        f"{layout.KEYS}/{name}"
        for name, run, mark in zip(names, runs, expired, strict=True)
        if run is None and mark is None and not name.endswith(".tmp")
    ]
    return Found(
        segments=layout.list_segments(wal),
        parts=layout.list_parts(events),
        temporaries=temporaries,
        strangers=strangers,
        runs=[run for run in runs if run is not None],
        expired=[mark for mark in expired if mark is not None],
    )


def make_names_last(found: Found, directory: Path, files: Files) -> None:
    """Force to disk the names that a plan is about to rely on.

    A process that was killed, without a loss of power, between giving a file its name and forcing
    the folder leaves a name that can be seen and may yet be lost. A segment must not be removed
    because of such a part, nor rows be called stored because of such a segment.
    """
    if not found.segments:
        return
    events = directory / layout.EVENTS
    dates = {part.date for part in found.parts if part.last >= found.segments[0]}
    for day in sorted(dates):
        files.sync_folder((events / Part(day, 0, 0).name).parent)
    files.sync_folder(events)
    files.sync_folder(directory / layout.WAL)


def apply(
    actions: Iterable[Action], directory: Path, files: Files, warn: Callable[[str], None]
) -> None:
    """Carry out a plan. Raises `Corruption` before anything is changed if it says stop."""
    actions = list(actions)
    wal = directory / layout.WAL
    for action in actions:
        if isinstance(action, Stop):
            path = wal / layout.segment_name(action.number)
            raise Corruption(path, action.offset, action.reason, HINT)
    if any(isinstance(action, RemoveTemporary) for action in actions):
        # One of them may be a folder that was exchanged a moment before the process was killed:
        # it must not be emptied before the exchange lasts.
        files.sync_folder(directory / layout.EVENTS)
        files.sync_folder(directory / layout.TEMPORARY)
    for day in {action.part.date for action in actions if isinstance(action, RemovePart)}:
        # Likewise the name of a part before those that it covers go.
        files.sync_folder(directory / layout.EVENTS / layout.partition_name(day))
    for action in actions:
        match action:
            case RemoveTemporary(name):
                path = directory / name
                (files.remove_folder if path.is_dir() else files.remove)(path)
            case RemovePart(part):
                files.remove(directory / layout.EVENTS / part.name)
            case RemoveSegment(number, copies):
                path = wal / layout.segment_name(number)
                if copies:
                    keep_aside(path, 0, files, warn)
                files.remove(path)
            case CutTail(number, valid_bytes):
                keep_aside(wal / layout.segment_name(number), valid_bytes, files, warn)
            case Ignore(name):
                warn(f"{directory / name} is none of the collector's files; left alone")
    if any(isinstance(action, RemoveSegment) for action in actions):
        # Brought back by another crash, an empty segment would look damaged as soon as there is a
        # later one; so its removal must last before there is.
        files.sync_folder(wal)


def mend(directory: Path, files: Files, warn: Callable[[str], None], *, cuts: bool) -> list[Action]:
    """The plan for `directory`; with `cuts` it is carried out, damage included.

    What is damaged is cut at the end of its valid prefix, everything behind it kept aside: rows
    there were acknowledged and are given up, which is why nothing but an operator asks for it.
    The caller holds the lock. Without `cuts` nothing is changed.
    """
    wal = directory / layout.WAL
    if not wal.is_dir():
        raise StorageError(f"{wal}: no such folder; this is no data directory")
    for name in layout.FOLDERS:
        files.make_folder(directory / name)
    found = look(directory)
    states = [
        judge_bytes(number, files.read(wal / layout.segment_name(number)))[0]
        for number in found.segments
    ]
    actions = plan(states, found.parts, found.temporaries, found.strangers)
    if cuts:
        make_names_last(found, directory, files)
        rows = {state.number: state.rows for state in states}
        actions = [_cut_instead(action, rows) for action in actions]
        apply(actions, directory, files, warn)
    return actions


def describe(action: Action) -> str:
    """One line for an operator."""
    match action:
        case RemoveTemporary(name):
            return f"{name}: unfinished file: is removed"
        case RemovePart(part):
            return f"{layout.EVENTS}/{part.name}: inside a wider part: is removed"
        case RemoveSegment(number, copies):
            why = "no whole group: is kept aside" if copies else "done or empty: is removed"
            return f"{layout.WAL}/{layout.segment_name(number)}: {why}"
        case CutTail(number, valid_bytes):
            path = f"{layout.WAL}/{layout.segment_name(number)}"
            return f"{path}: from byte {valid_bytes} no whole group: is kept aside and cut"
        case Stop(number, offset, reason):
            path = f"{layout.WAL}/{layout.segment_name(number)}"
            return f"{path}: DAMAGED at byte {offset}: {reason}: stops the start"
        case Ignore(name):
            return f"{name}: none of ours: is left alone"


def _cut_instead(action: Action, rows: dict[int, int]) -> Action:
    if not isinstance(action, Stop):
        return action
    if action.offset and rows[action.number]:
        return CutTail(action.number, action.offset)
    return RemoveSegment(action.number, copies=True)


def keep_aside(path: Path, offset: int, files: Files, warn: Callable[[str], None]) -> Path:
    """Move what lies behind `offset` to `torn-<segment>-<offset>`; returns that path."""
    copy = path.with_name(f"torn-{path.stem}-{offset}")
    files.cut(path, offset, copy)
    warn(f"{path}: cut at byte {offset}; what stood behind is kept in {copy.name}")
    return copy
