"""The log at start: what an earlier run left of it is mended, judged and read for its keys."""

import logging
from pathlib import Path
from typing import Final

import msgspec

from storage import census, keyrecovery, layout, recovery, views
from storage.census import Logged, Places
from storage.errors import Corruption
from storage.files import Files
from storage.keyrun import Keys
from storage.logreader import LogReader
from storage.recovery import SegmentState
from storage.wal import Sealed

_log: Final = logging.getLogger("collector.storage")
_HINT: Final = (
    "Nothing was changed. The checksum says that the lines were written like this; "
    "`collector inspect-log --rows` shows them. To go on without them, move the file elsewhere"
)


class _Read(msgspec.Struct, frozen=True):
    """What a start has to know of one segment; `last`: where its last valid group begins."""

    state: SegmentState
    keys: Keys
    places: Places
    group_bytes_max: int
    last: int


def recover(
    found: recovery.Found, directory: Path, files: Files
) -> tuple[list[Sealed], list[Keys], dict[int, Logged]]:
    """Carry out the plan for `found`; what is to be flushed, the keys in it, and its rows, counted.

    Raises `Corruption` or OSError.
    """
    wal = directory / layout.WAL
    paths = {number: wal / layout.segment_name(number) for number in found.segments}
    reader = LogReader(files)
    every = [_read(number, path, reader, files) for number, path in paths.items()]
    recovery.make_names_last(found, directory, files)
    states = [one.state for one in every]
    actions = recovery.plan(states, found.parts, found.temporaries, found.strangers)
    recovery.apply(actions, directory, files, _log.warning)
    removed = {a.number for a in actions if isinstance(a, recovery.RemoveSegment)}
    if every and states[-1].number not in removed:
        _write_again(paths[states[-1].number], every[-1].last, states[-1].valid_bytes, files)
    waiting: list[Sealed] = []
    keys: list[Keys] = []
    logged: dict[int, Logged] = {}
    for one in every:
        number, day = one.state.number, one.state.date
        if day is None:
            continue
        logged[number] = Logged(day, one.places)
        if number not in removed:
            rows, size = one.state.rows, one.state.valid_bytes
            waiting.append(Sealed(number, day, rows, size, one.group_bytes_max, paths[number]))
            keys.append(one.keys)
    return waiting, keys, logged


def _read(number: int, path: Path, reader: LogReader, files: Files) -> _Read:
    try:
        return _read_rows(number, path, reader, files)
    except keyrecovery.UnreadableRows as error:
        raise Corruption(path, 0, str(error), _HINT) from None


def _read_rows(number: int, path: Path, reader: LogReader, files: Files) -> _Read:
    whole = reader.maybe_whole(path)
    if whole is not None and whole.header.number == number:
        state = SegmentState(number, whole.header.date, whole.rows, whole.bytes, whole.bytes)
        return _Read(state, whole.keys, whole.places, whole.group_bytes_max, whole.last)
    data = files.read(path)
    state, scan = recovery.judge_bytes(number, data)
    lines = keyrecovery.lines_in(data, scan.groups)
    return _Read(
        state,
        keyrecovery.keys_of(lines),
        census.places_of(lines),
        max((group.next - group.start for group in scan.groups), default=0),
        scan.groups[-2].next if len(scan.groups) > 1 else 0,
    )


def _write_again(path: Path, start: int, end: int, files: Files) -> None:
    """Make sure that the last group, which looks valid, is on disk and not only in memory.

    A run that ended in a failed sync leaves a last group that can be read but may never have
    reached the disk, and syncing the same pages again would claim success. From now on its
    rows count as stored; so its bytes are written once more, where they are. Interrupted, that
    changes nothing: they are the same bytes. All groups before it were synced.
    """
    descriptor = files.open_for_reading(path)
    try:
        data = files.read_at(descriptor, end - start, start)
    finally:
        files.close(descriptor)
    files.write_again(path, data, start)


def write_views(directory: Path, files: Files) -> None:
    """Write `views.sql` anew; a disk that is full keeps nobody from starting."""
    text = views.views_sql(directory / layout.EVENTS).encode()
    try:
        files.replace(directory / layout.VIEWS, text)
    except OSError as error:
        _log.warning("%s could not be written: %s", layout.VIEWS, error.strerror)
