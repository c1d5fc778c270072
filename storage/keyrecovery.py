"""The key index at start: from the runs that an earlier process left, and the rows they lack.

Nothing is lost when all of `keys/` is: it is made again from the rows of the window. What a name
means is told by `layout`, what is done with which file by docs/KEYS_FORMAT.md.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np

from storage import keymerge, layout, parquet, segment
from storage.errors import UNDECODABLE, StorageError
from storage.keyindex import MARGIN_US, Generation, KeyIndex, LooseRun, PublishedRun
from storage.keyrun import DamagedRun, Keys, Run, split
from storage.keytasks import SORTED_AT_ONCE, KeyFiles
from storage.keyupkeep import KeyUpkeep
from storage.layout import KeyRun, Part


class RowLine(msgspec.Struct, gc=False):
    """The members of a row line that a start needs: for the key index, and to count rows."""

    received_time: int = 0
    dedup_key: str | None = None
    is_duplicate: int = 0
    site_id: str = ""
    protocol: str = ""


class UnreadableRows(StorageError):
    """Lines under a checksum that fits which are no rows: no disk did that, and no crash."""

    def __init__(self) -> None:
        super().__init__("lines whose checksum is right are no rows")


_decoder: Final = msgspec.json.Decoder(RowLine)
_log: Final = logging.getLogger("collector.storage")


def open_index(
    index: KeyIndex,
    disk: KeyFiles,
    *,
    runs: Iterable[KeyRun],
    expired: Iterable[int],
    parts: Iterable[Part],
    logged: Iterable[Keys],
    complete: int,
    now_us: int,
) -> KeyUpkeep:
    """Fill an empty index; every key of the window is in it afterwards. Raises `StorageError`.

    `runs`, `expired`: names found; `parts`: the live ones that may hold rows of the window.
    `logged`: keys of the segments that are in no part; `complete`: the newest number of all.
    """
    since_us = now_us - index.window_us - MARGIN_US
    mark = max(expired, default=0)
    index.published = _open_runs(runs, disk)
    covered = max([mark, *(one.name.last for one in index.published)])
    unread = [part for part in parts if part.last > mark and not _is_covered(part, index.published)]
    for hole in _holes(index.published, mark):
        if any(hole.first <= part.last and part.first <= hole.last for part in unread):
            _fill_hole(hole, index, disk, since_us)
    tail = [disk.events / part.name for part in unread if part.last > covered]
    _take_in(index, disk, _chain(parquet.recent_keys(tail, since_us), logged), now_us)
    # They end with the newest segment, and are published when that is in a part.
    index.turn(now_us, complete)
    index.refresh()
    return KeyUpkeep(index, covered=covered)


def _open_runs(names: Iterable[KeyRun], disk: KeyFiles) -> list[PublishedRun]:
    """The runs that count, oldest first; dead and damaged ones are removed."""
    listed = list(names)
    live = layout.live_runs(listed)
    opened = []
    for name in listed:
        path = disk.folder / name.name
        if name not in live:
            disk.files.remove(path)
            continue
        try:
            opened.append(PublishedRun(name, Run(path, disk.files)))
        except DamagedRun as error:
            _log.warning("%s; its keys are read from the rows again", error)
            disk.files.remove(path)
    return sorted(opened, key=lambda one: one.name)


def _is_covered(part: Part, published: list[PublishedRun]) -> bool:
    """Whether all keys of the part are in runs, which may share it between them."""
    first = part.first
    for one in published:
        if one.name.first <= first <= one.name.last:
            first = one.name.last + 1
    return first > part.last


def _holes(published: list[PublishedRun], mark: int) -> Iterator[KeyRun]:
    """Numbers before the last run that no run covers."""
    first = mark + 1
    for one in published:
        if one.name.first > first:
            yield KeyRun(first, one.name.first - 1)
        first = max(first, one.name.last + 1)


def _fill_hole(hole: KeyRun, index: KeyIndex, disk: KeyFiles, since_us: int) -> None:
    """Make a run that was lost from between others again."""
    making = disk.from_rows(hole, since_us)
    while True:
        try:
            next(making)
        except StopIteration as end:
            run = end.value
            break
    disk.publish(run, hole)
    index.published.append(PublishedRun(hole, run))
    index.published.sort(key=lambda one: one.name)


def _take_in(index: KeyIndex, disk: KeyFiles, pieces: Iterable[Keys], now_us: int) -> None:
    """Add keys in any order: few to the table, many as loose runs."""
    held: list[Keys] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece.high)
        if count >= SORTED_AT_ONCE:
            _keep(index, disk, keymerge.sort(held))
            held, count = [], 0
    if index.loose or index.frozen or count >= index.generation_keys:
        _keep(index, disk, keymerge.sort(held))
    elif count:
        index.active = Generation(_table_of(keymerge.sort(held)), now_us)


def _keep(index: KeyIndex, disk: KeyFiles, keys: Keys) -> None:
    """Write keys, or have them written later: a full disk must not keep anybody from starting."""
    try:
        index.loose.append(LooseRun(disk.write(keys), None))
    except OSError as error:
        if index.is_full:
            raise
        _log.warning("keys: %s; they stay in memory until they can be written", error)
        index.frozen.append(Generation(_table_of(keys)))


def _table_of(keys: Keys) -> dict[bytes, int]:
    joined = np.stack((keys.high, keys.low), axis=1).astype(">u8").tobytes()
    split_up = [joined[at : at + 16] for at in range(0, len(joined), 16)]
    return dict(zip(split_up, keys.times.tolist(), strict=True))


def lines_in(data: bytes | memoryview, groups: Iterable[segment.Group]) -> list[RowLine]:
    """The rows in groups of a segment's bytes; many lines with each call, a start waits for it.

    Raises `UnreadableRows`.
    """
    view = memoryview(data)
    try:
        return [
            line
            for group in groups
            for line in _decoder.decode_lines(view[group.start : group.end])
        ]
    except UNDECODABLE:
        raise UnreadableRows from None


def keys_of(rows: Iterable[RowLine]) -> Keys:
    """The keys of rows; repeats that were stored are left out. Raises `UnreadableRows`."""
    lines = [line for line in rows if line.dedup_key is not None and not line.is_duplicate]
    try:
        high, low = split(bytes.fromhex("".join([line.dedup_key or "" for line in lines])))
        times = np.array([line.received_time for line in lines], dtype=np.int64)
    except (ValueError, OverflowError):
        raise UnreadableRows from None
    return Keys(high, low, times)


def _chain(*sources: Iterable[Keys]) -> Iterator[Keys]:
    for source in sources:
        yield from source
