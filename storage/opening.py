"""The log at start: what an earlier run left of it is mended, judged and read for its keys."""

import logging
from pathlib import Path
from typing import Final

from storage import census, keyrecovery, layout, recovery, segment, views
from storage.census import Logged
from storage.files import Files
from storage.keyrun import Keys
from storage.wal import Sealed

_log: Final = logging.getLogger("collector.storage")


def recover(
    found: recovery.Found, directory: Path, files: Files
) -> tuple[list[Sealed], list[Keys], dict[int, Logged]]:
    """Carry out the plan for `found`; what is to be flushed, the keys in it, and its rows, counted.

    Raises `Corruption` or OSError.
    """
    wal = directory / layout.WAL
    states: list[recovery.SegmentState] = []
    keys: dict[int, Keys] = {}
    logged: dict[int, Logged] = {}
    group_bytes_max: dict[int, int] = {}
    for number in found.segments:
        data = files.read(wal / layout.segment_name(number))
        state, scan = recovery.judge_bytes(number, data)
        states.append(state)
        group_bytes_max[number] = max((g.next - g.start for g in scan.groups), default=0)
        lines = keyrecovery.lines_in(data, scan.groups)
        keys[number] = keyrecovery.keys_of(lines)
        if state.date is not None:
            logged[number] = Logged(state.date, census.places_of(lines))
    recovery.make_names_last(found, directory, files)
    actions = recovery.plan(states, found.parts, found.temporaries, found.strangers)
    recovery.apply(actions, directory, files, _log.warning)
    removed = {a.number for a in actions if isinstance(a, recovery.RemoveSegment)}
    if states and states[-1].number not in removed:
        _write_again(wal / layout.segment_name(states[-1].number), data, scan.groups, files)
    waiting = [
        Sealed(
            s.number,
            s.date,
            s.rows,
            s.valid_bytes,
            group_bytes_max[s.number],
            wal / layout.segment_name(s.number),
        )
        for s in states
        if s.number not in removed and s.date is not None
    ]
    return waiting, [keys[sealed.number] for sealed in waiting], logged


def _write_again(path: Path, data: bytes, groups: tuple[segment.Group, ...], files: Files) -> None:
    """Make sure that the last group, which looks valid, is on disk and not only in memory.

    A run that ended in a failed sync leaves a last group that can be read but may never have
    reached the disk, and syncing the same pages again would claim success. From now on its
    rows count as stored; so its bytes are written once more, where they are. Interrupted, that
    changes nothing: they are the same bytes. All groups before it were synced.
    """
    start = groups[-2].next if len(groups) > 1 else 0
    files.write_again(path, data[start : groups[-1].next], start)


def write_views(directory: Path, files: Files) -> None:
    """Write `views.sql` anew; a disk that is full keeps nobody from starting."""
    text = views.views_sql(directory / layout.EVENTS).encode()
    try:
        files.replace(directory / layout.VIEWS, text)
    except OSError as error:
        _log.warning("%s could not be written: %s", layout.VIEWS, error.strerror)
