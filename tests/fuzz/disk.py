"""Files of any bytes under the readers of the storage engine and of small state.

A file that was written by us and then changed in one place is taken for damaged, or read as it was
written: never as something else.
"""

import json
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

import xxhash

from collector import book
from collector.book import Book, DamagedDay, DayFile
from collector.salt import DailySalt
from collector.usage import MonthlyUsage
from storage import Files, layout, opening, recovery, removals, segment
from storage.errors import Corruption, StorageError
from storage.keyrecovery import UnreadableRows
from storage.keyrun import BLOCK_BYTES, DamagedRun, Run, words_of
from storage.logreader import LogReader
from tests.fuzz.target import SEPARATOR, Target, edit, edited, join, parts
from tests.support.golden import GOLDEN
from tests.support.rows import NOW_US, make_lines, make_segment

_PATH: Final = Path("a file")


class OneFile(Files):
    """A disk with one file that cannot be changed; every path is its path."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open_for_reading(self, path: Path) -> int:  # noqa: ARG002 (see the class)
        """See Files."""
        return -2

    def close(self, descriptor: int) -> None:
        """See Files."""

    def size(self, descriptor: int) -> int:  # noqa: ARG002 (see the class)
        """See Files."""
        return len(self._data)

    def read(self, path: Path) -> bytes:  # noqa: ARG002 (see the class)
        """See Files."""
        return self._data

    def read_at(self, descriptor: int, size: int, offset: int) -> bytes:  # noqa: ARG002
        """See Files."""
        return self._data[offset : offset + size]

    def read_into(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        """See Files."""
        found = self.read_at(descriptor, len(buffer), offset)
        buffer[: len(found)] = found
        return len(found)


class _Quick(Files):
    """A disk that is not waited for."""

    def sync(self, descriptor: int) -> None:
        """See Files."""

    def sync_folder(self, path: Path) -> None:
        """See Files."""


# --- the log

_WHOLE: Final = (
    make_segment(42, [1, 2], [3]),
    make_segment(42, [4]),
    make_segment(42, [5, 6, 7], [8], [9, 10]),
)
_LINES: Final = frozenset(line for whole in _WHOLE for line in whole.split(b"\n"))


def _check_segment(data: bytes) -> tuple[recovery.SegmentState, list[bytes]]:
    """What every reader of a segment makes of `data`, and that they agree."""
    state, scan = recovery.judge_bytes(42, data)
    assert 0 <= scan.valid_bytes <= len(data)
    assert bool(scan.damage) == (scan.valid_bytes < len(data)), scan
    is_whole = bool(scan.groups) and not scan.damage
    try:
        whole = LogReader(OneFile(data)).maybe_whole(_PATH)
        assert (whole is not None) == is_whole, (whole, scan)
    except UnreadableRows:
        assert scan.groups, "by a fuzzer that found the checksum out"
    header = segment.read_header(data)
    if not isinstance(header, str):
        assert segment.leading_groups(memoryview(data), header[1]) == scan.groups
    for group in scan.groups:
        commit = data[group.end : group.next]
        counted = json.loads(commit)["commit"]
        first = group.start if group is not scan.groups[0] else 0
        assert counted["xxh3"] == xxhash.xxh3_64_hexdigest(data[first : group.end])
        assert counted["rows"] == group.rows == data.count(b"\n", group.start, group.end)
    return state, list(segment.row_lines(data, scan.groups))


def _run_segment(data: bytes) -> None:
    """A valid prefix of whole groups; of one that was changed, only rows that were written."""
    base, change, more = parts(data, 3)
    if base[:1].isdigit() and not more:
        whole = _WHOLE[int(base[:1]) % len(_WHOLE)]
        found = edited(whole, change)
        _, rows = _check_segment(found)
        assert _LINES.issuperset(rows), found
        if found != whole:
            written = list(segment.row_lines(whole, segment.scan(whole).groups))
            assert len(rows) < len(written) or rows == written, found
    else:
        _check_segment(data)


def _run_start(data: bytes) -> None:
    """A start over a segment of any bytes keeps the valid prefix, or stops and changes nothing."""
    base, change = parts(data, 2)
    is_ours = base[:1].isdigit()
    found = edited(_WHOLE[int(base[:1]) % len(_WHOLE)], change) if is_ours else data
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for name in layout.FOLDERS:
            (directory / name).mkdir()
        path = directory / layout.WAL / layout.segment_name(42)
        path.write_bytes(found)
        state, _ = recovery.judge_bytes(42, found)
        try:
            waiting, _, _ = opening.recover(recovery.look(directory), directory, _Quick())
        except Corruption as error:
            where, is_explained = error.offset, "checksum" in error.reason
        else:
            where, is_explained = -1, False
        if where >= 0:
            assert path.read_bytes() == found
            assert where == state.valid_bytes or is_explained
            return
        kept = path.read_bytes() if path.exists() else b""
        assert kept == found[: state.valid_bytes]
        assert sum(one.rows for one in waiting) == state.rows


def _segment_seeds() -> list[bytes]:
    found = [join(b"%d" % number, b"") for number in range(len(_WHOLE))]
    found += [join(b"%d" % n, edit(at, 1, b"\n")) for n in range(3) for at in range(0, 900, 90)]
    found += [
        *_WHOLE,
        _WHOLE[0] + _WHOLE[1],
        make_lines(1),
        (GOLDEN / "segment.ndjson").read_bytes(),
    ]
    return found


# --- keys

_RUN: Final = (GOLDEN / "run.keys").read_bytes()


def _pairs(run: Run) -> dict[bytes, int]:
    found = {}
    for keys in run.read_keys(1):
        for high, low, time_us in zip(*(column.tolist() for column in keys), strict=True):
            found[high.to_bytes(8, "big") + low.to_bytes(8, "big")] = time_us
    return found


_KEYS: Final = _pairs(Run(_PATH, OneFile(_RUN)))
_ASKED: Final = [*list(_KEYS)[::25], bytes(16), b"\xff" * 16]


def _run_keys(data: bytes) -> None:
    """Keys with their times as they were written, or `DamagedRun`; never another time."""
    mode, change, rest = parts(data, 3)
    if mode == b"header":
        # A header that somebody sealed: nothing else may be trusted because of it.
        line = change.replace(b"\n", b" ") + b"\n"
        seal = b'{"xxh3":"%b"}\n' % xxhash.xxh3_64_hexdigest(line).encode()
        found = (line + seal).ljust(BLOCK_BYTES, b"\0")[:BLOCK_BYTES] + (rest or _RUN[BLOCK_BYTES:])
    else:
        found = edited(_RUN, change) if mode == b"edit" else data
    try:
        run = Run(_PATH, OneFile(found))
    except DamagedRun:
        return
    for key in _ASKED:
        try:
            time_us = run.find(*words_of(key), waits=True)
        except DamagedRun:
            continue
        if mode == b"edit":
            assert time_us == _KEYS.get(key), key
    try:
        pairs = _pairs(run)
    except DamagedRun:
        return
    assert mode != b"edit" or pairs == _KEYS


def _keys_seeds() -> list[bytes]:
    header = _RUN.split(b"\n")[0]
    edits = [join(b"edit", edit(at, 1, b"\x80")) for at in range(3, len(_RUN), 1_500)]
    return [_RUN, join(b"header", header), join(b"edit", edit(0, 0)), *edits]


# --- small files


class _State:
    """Small state that is what it is; see `storage.Store`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_state(self, name: str) -> bytes | None:  # noqa: ARG002 (every name)
        """See Store."""
        return self._data

    def write_state(self, name: str, data: bytes) -> None:
        """See Store."""

    def keep_state(self, prefix: str, name: str) -> None:
        """See Store."""


def _run_salt(data: bytes) -> None:
    """Thirty-two bytes, whatever the file holds."""
    salt = DailySalt(_State(data))  # type: ignore[arg-type]
    found = salt.of(NOW_US)
    assert len(found) == 32
    assert (found == data) == (len(data) == 32)


def _run_usage(data: bytes) -> None:
    """Counts that can be counted on, or ValueError and the counts there were."""
    usage = MonthlyUsage()
    usage.count("a", NOW_US)
    try:
        usage.load(data)
    except ValueError:
        assert usage.total("a") == 1, "as it was"
    for name in ("a", "demo"):
        before = usage.total(name)
        month = usage.count(name, NOW_US)
        assert usage.total(name) == before + 1
        assert usage.used(name, NOW_US) >= 1
        assert usage.reset_s(name, NOW_US) > NOW_US // 1_000_000
        usage.give_back(name, month)
    again = MonthlyUsage()
    again.load(usage.dump())


def _run_audit(data: bytes) -> None:
    """A day that adds up with what is counted meanwhile and is read again, or ValueError."""
    try:
        found = book.read_day(data)
    except ValueError:
        return

    def read(day: date) -> DayFile | None:
        if day != date(2026, 11, 18):
            raise DamagedDay(str(day))
        return found

    counted = Book(read)
    counted.refused(("demo", "scanova", NOW_US), "rejected", "invalid_field")
    days, _ = counted.dump()
    for day in days.values():
        book.read_day(day)


def _run_removals(data: bytes) -> None:
    """Notes of rows that were removed, or the documented error."""
    try:
        removals._read(_PATH, OneFile(data))
    except StorageError:
        return


def _some(*documents: Any) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(one, separators=(",", ":")).encode() for one in documents]


_ENTRY: Final = {"site": "demo", "protocol": "scanova", "received": 3, "stored": 2,
                 "rejected": {"invalid_field": 1}}  # fmt: skip
_DAY: Final = {"format": 1, "date": "2026-11-18", "through": 7,
               "hours": {"2026-11-18T11:00:00Z": [_ENTRY]}}  # fmt: skip
_ROWS: Final = {
    "site": "demo",
    "protocol": "croct",
    "hour_us": NOW_US,
    "is_duplicate": 0,
    "rows": 3,
}

TARGETS: Final = {
    "segment": Target(run=_run_segment, seeds=_segment_seeds, words=(b'{"commit":', SEPARATOR)),
    "start": Target(run=_run_start, seeds=_segment_seeds, words=(b'{"commit":', SEPARATOR)),
    "keys": Target(run=_run_keys, seeds=_keys_seeds, words=(b"edit", b"header", SEPARATOR)),
    "salt": Target(run=_run_salt, seeds=lambda: [bytes(32), b""]),
    "usage": Target(
        run=_run_usage,
        seeds=_some({"a": {"month": "2026-11", "used": 1, "total": 5}}, {"demo": {}}),
    ),
    "audit": Target(run=_run_audit, seeds=_some(_DAY, _DAY | {"hours": {}})),
    "removals": Target(
        run=_run_removals, seeds=_some({"part-1": {"reason": "erased", "rows": [_ROWS]}})
    ),
}
