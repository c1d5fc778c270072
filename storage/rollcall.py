"""A roll call: which of the rows that somebody numbered are on disk, and what cannot be read.

For rows whose `visitor_id` starts with a tag and ends in a number of eight hex digits. Only reads,
takes no lock, works beside a running collector and without one. A part is read once, by itself, so
that one that cannot be read is known by name; parts never change, so that numbers are kept.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import msgspec
import numpy as np
import numpy.typing as npt

from storage import layout, parquet, query, recovery, segment
from storage.files import Files

Numbers = npt.NDArray[np.uint32]

# Stands for a row without the tag; no row has this number.
STRANGE: Final = 0xFFFF_FFFF
DIGITS: Final = 8
_TRIES: Final = 9


# No methods in structs here: see storage/query.py, at `Listing`.
class Unreadable(msgspec.Struct, frozen=True):
    """A published file, or a segment behind its valid groups, that cannot be read."""

    path: str
    reason: str


class Roll(msgspec.Struct, frozen=True):
    """The numbers of all rows, file by file: of first copies, and of rows marked as repeats.

    `STRANGE` stands for each row without the tag. `bytes`: of all published files.
    """

    first: list[Numbers]
    marked: list[Numbers]
    unreadable: list[Unreadable]
    parts: int
    bytes: int


class _RowLine(msgspec.Struct, gc=False):
    visitor_id: str = ""
    is_duplicate: int = 0


class _Read(msgspec.Struct, frozen=True):
    """What one file holds."""

    first: Numbers
    marked: Numbers
    fault: str = ""


_decoder: Final = msgspec.json.Decoder(_RowLine)
_none: Final = np.zeros(0, np.uint32)
# A part by name, inode, bytes and time of change: whatever else has its name is read again.
_Identity = tuple[str, int, int, int]


class RollCall:
    """Reads the rows below `directory` whose `visitor_id` starts with `tag`. A context manager."""

    def __init__(self, directory: Path, files: Files, tag: str) -> None:
        self._directory = directory
        self._files = files
        self._tag = tag
        self._known: dict[_Identity, _Read] = {}
        self._connection = parquet.connect(threads=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def take(self, *, anew: bool = False) -> Roll:
        """Every row once; `anew`: read also what was read before.

        Raises `StorageError` when the files never hold still, and OSError.
        """
        if anew:
            self._known = {}
        for _ in range(_TRIES):
            try:
                return self._take()
            except FileNotFoundError:  # flushed or joined meanwhile
                continue
        raise query.QueryError(f"{self._directory}: files kept changing while they were read")

    def _take(self) -> Roll:
        listing = query.look(self._directory)
        events = self._directory / layout.EVENTS
        # The glob that others read, so that a file which does not count must be readable too.
        found = {
            path: self._identity(path) for path in events.glob("**/*.parquet") if path.is_file()
        }
        known = {one: self._known.get(one) or self._part(path) for path, one in found.items()}
        self._known = known
        live = {events / part.name for part in listing.parts}
        if not live <= found.keys():
            raise FileNotFoundError
        reads = {path: known[one] for path, one in found.items()}
        segments = self._segments(listing)
        counting = [reads[path] for path in live] + list(segments.values())
        return Roll(
            first=[one.first for one in counting],
            marked=[one.marked for one in counting],
            unreadable=[
                Unreadable(str(path), one.fault)
                for path, one in sorted((reads | segments).items())
                if one.fault
            ],
            parts=len(found),
            bytes=sum(size for _, _, size, _ in found.values()),
        )

    def _identity(self, path: Path) -> _Identity:
        status = path.stat()
        return str(path), status.st_ino, status.st_size, status.st_mtime_ns

    def _part(self, path: Path) -> _Read:
        """Read every value of a part, so that damage anywhere in it is met."""
        try:
            columns = self._connection.execute(
                "SELECT coalesce(CASE WHEN starts_with(visitor_id, $tag) THEN "  # noqa: S608
                f"try_cast('0x' || right(visitor_id, {DIGITS}) AS UINTEGER) END, {STRANGE})"
                "::UINTEGER AS number, is_duplicate <> 0 AS is_marked, hash(part) AS every_value "
                f"FROM read_parquet({parquet.listed([path])}, hive_partitioning = false) AS part",
                {"tag": self._tag},
            ).fetchnumpy()
        except duckdb.Error as error:
            path.stat()  # gone is not unreadable
            return _Read(_none, _none, str(error).partition("\n")[0])
        return _split(columns["number"], columns["is_marked"])

    def _segments(self, listing: query.Listing) -> dict[Path, _Read]:
        """What segments hold that no part covers."""
        wal = self._directory / layout.WAL
        states = []
        reads = {}
        for number in listing.segments:
            data = self._files.read(wal / layout.segment_name(number))
            state, scan = recovery.judge_bytes(number, data)
            states.append(state)
            # Without a date there is no valid group.
            if state.date and not layout.is_covered(number, state.date, listing.parts):
                reads[number] = self._lines(data, scan.groups)
        # What a start would refuse to go on with; a torn tail is what a kill leaves.
        for action in recovery.plan(states, listing.parts):
            if isinstance(action, recovery.Stop):
                read = reads.get(action.number, _Read(_none, _none))
                fault = f"damaged at byte {action.offset}: {action.reason}"
                reads[action.number] = msgspec.structs.replace(read, fault=fault)
        return {wal / layout.segment_name(number): read for number, read in reads.items()}

    def _lines(self, data: bytes, groups: Iterable[segment.Group]) -> _Read:
        lines = [
            line for one in groups for line in _decoder.decode_lines(data[one.start : one.end])
        ]
        return _split(
            np.fromiter((self._number(line.visitor_id) for line in lines), np.uint32, len(lines)),
            np.fromiter((line.is_duplicate != 0 for line in lines), np.bool_, len(lines)),
        )

    def _number(self, visitor_id: str) -> int:
        if not visitor_id.startswith(self._tag):
            return STRANGE
        try:
            return int(visitor_id[-DIGITS:], 16)
        except ValueError:
            return STRANGE


def _split(numbers: Any, is_marked: Any) -> _Read:
    """First copies and marked repeats apart; of what DuckDB gives nothing is NULL."""
    every, marked = np.asarray(numbers, np.uint32), np.asarray(is_marked, np.bool_)
    return _Read(every[~marked], every[marked])
