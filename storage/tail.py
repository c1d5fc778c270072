"""Following the log: rows as lines, in the order in which they were committed, each once.

Only reads, takes no lock. Segments are read as they grow. The one being read is held open, so that
it can be read to its end after it was flushed and removed; segments that came and went between two
looks are read from their parts. What is yielded is a line as it stands in the log; where it comes
from a part, JSON inside it may be spaced and escaped in another way.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from storage import layout, parquet, recovery, schema, segment
from storage.errors import Corruption
from storage.files import Files
from storage.layout import Part
from storage.query import Lake, Listing, QueryError, look

POLL_S: Final = 0.25
_STARTS_MAX: Final = 20
# When parts were joined across the place that was reached, what was yielded is told from what was
# not by comparing rows; so many of the latest are remembered. Far more than arrive out of order.
_REMEMBERED_MAX: Final = 65_536

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Key(msgspec.Struct, frozen=True):
    """The members of a line that matter here."""

    event_id: str
    site_id: str = ""
    protocol: str = ""
    received_time: int = 0
    is_duplicate: int = 0


# Tells rows apart: a repeat that is stored again differs in time or mark, or is truly the same.
_Identity = tuple[int, str, int]

_key_decoder: Final = msgspec.json.Decoder(_Key)
_members_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_time_decoder: Final = msgspec.json.Decoder(int)
_encoder: Final = msgspec.json.Encoder()


class _Gone(Exception):
    """A listed part is gone: joined, or expired."""


def follow(
    directory: Path,
    files: Files,
    *,
    wait: Callable[[float], bool],
    last: int = 0,
    site: str | None = None,
    protocol: str | None = None,
) -> Iterator[bytes]:
    """Yield the `last` newest rows, then every row that is committed from now on, as lines.

    `wait(seconds)` is called between two looks at the log and returns True to stop. `site` and
    `protocol` leave other rows out. Raises `QueryError`, or `Corruption` when a segment is damaged.
    """

    def is_wanted(line: bytes) -> bool:
        key = _key_decoder.decode(line)
        return site in {None, key.site_id} and protocol in {None, key.protocol}

    conditions = [
        f"{name} = {parquet.quote(value)}"
        for name, value in (("site_id", site), ("protocol", protocol))
        if value is not None
    ]
    follower = _Follower(directory, files)
    try:
        yield from follower.start(last, " AND ".join(conditions) or "true")
        while not wait(POLL_S):
            yield from filter(is_wanted, follower.poll())
    finally:
        follower.close()


def readable(line: bytes) -> bytes:
    """A line with its times as ISO 8601 in UTC, for people; everything else stays as it is."""
    members = _members_decoder.decode(line)
    for name in ("event_time", "received_time"):
        if name in members:
            moment = _EPOCH + timedelta(microseconds=_time_decoder.decode(members[name]))
            members[name] = msgspec.Raw(_encoder.encode(moment))
    return _encoder.encode(members)


class _Follower:
    """Where following has come to.

    Every row of the segments up to `_done` was yielded, or is from before the start. `_current` is
    the segment behind it, if it is being read: its rows up to byte `_offset` are done, too. If that
    one went before it could be opened, `_begun_rows` of its rows are done.
    """

    def __init__(self, directory: Path, files: Files) -> None:
        self._directory = directory
        self._files = files
        self._done = 0
        self._current: BinaryIO | None = None
        self._offset = 0
        self._begun_rows = 0
        self._latest: deque[_Identity] = deque()
        self._floor_us = 0  # what was received until then was yielded, or is from before the start

    def close(self) -> None:
        """Let go of the segment."""
        if self._current is not None:
            self._current.close()
            self._current = None

    def start(self, last: int, condition: str) -> list[bytes]:
        """Stand at the end of what is committed; returns the last rows that meet `condition`."""
        with Lake(self._directory, self._files) as lake:
            for _ in range(_STARTS_MAX):
                listing, states = lake.listing, lake.segments
                newest_first = f"ORDER BY received_time DESC, event_id DESC LIMIT {last:d}"
                lines = _lines(lake, f"events WHERE {condition} {newest_first}") if last else ()
                rows = list(lines)
                floor = lake.run("SELECT epoch_us(max(received_time)) FROM events").rows()
                if lake.listing is listing:
                    break
            else:
                raise QueryError(f"{self._directory}: files change too fast to be followed")
        self._floor_us = floor[0][0] or 0
        self._done = listing.newest
        if states and not _is_in(listing.newest, listing.parts):
            # The last segment is in no part, and may still grow.
            if self._open(listing.newest):
                self._offset = states[-1].valid_bytes
            else:
                self._done = listing.newest - 1
                self._begun_rows = states[-1].rows
        return rows[::-1]

    def poll(self) -> Iterator[bytes]:
        """The rows committed since the call before.

        What cannot be read because its file went meanwhile comes with the next call.
        """
        if self._offset == 0:
            # A segment without a valid group may be removed and its number used again.
            self.close()
        listing = look(self._directory)
        if self._current is not None:
            number = self._done + 1
            is_complete = _is_complete(number, listing)
            yield from self._read_current(is_complete=is_complete)
            if not is_complete:
                return
        with ExitStack() as stack:
            lake: Lake | None = None
            for source in self._sources(listing):
                if isinstance(source, Part):
                    lake = lake or stack.enter_context(Lake(self._directory, self._files))
                    try:
                        yield from self._read_part(source, lake)
                    except _Gone:
                        return
                elif self._open(source):
                    yield from self._read_current(is_complete=_is_complete(source, listing))
                else:
                    return

    def _sources(self, listing: Listing) -> list[int | Part]:
        """What holds rows not yielded yet, in order; a segment counts by its part if it has one."""
        parts = [part for part in listing.parts if part.last > self._done]
        sources: list[tuple[int, int | Part]] = [(part.first, part) for part in parts]
        sources += [
            (number, number)
            for number in listing.segments
            if number > self._done and not _is_in(number, parts)
        ]
        return [source for _, source in sorted(sources, key=lambda entry: entry[0])]

    def _open(self, number: int) -> bool:
        """Begin to read segment `number`; False when it is gone."""
        path = self._directory / layout.WAL / layout.segment_name(number)
        try:
            self._current = path.open("rb")
        except FileNotFoundError:
            return False
        self._done, self._offset = number - 1, 0
        return True

    def _read_current(self, *, is_complete: bool) -> Iterator[bytes]:
        """The rows that the segment being read has gained; if it is complete, be done with it."""
        current = self._current
        assert current is not None, "only called while a segment is being read"
        if current.seek(0, 2) > self._offset:
            current.seek(0)
            data = current.read()
            scan = segment.scan(data)
            if scan.damage and (is_complete or scan.goes_on):
                path = Path(current.name)
                raise Corruption(path, scan.valid_bytes, scan.damage, recovery.HINT)
            gained = tuple(group for group in scan.groups if group.next > self._offset)
            for line in segment.row_lines(data, gained):
                self._remember(line)
                yield line
            self._offset = scan.valid_bytes
        if is_complete:
            self.close()
            self._done += 1

    def _read_part(self, part: Part, lake: Lake) -> Iterator[bytes]:
        """The rows of `part` that were not yielded yet. Raises `_Gone` before the first one."""
        path = self._directory / layout.EVENTS / part.name
        is_joined = part.first < part.last
        begun, self._begun_rows = self._begun_rows, 0
        is_mixed = is_joined and part.first <= self._done + bool(begun)
        # A part of one segment is in the order of the log. Sorting makes DuckDB read all of the
        # file before it gives a row, so that the file may go while the rows are being yielded.
        order = "received_time, file_row_number" if is_joined else "file_row_number"
        condition = f"file_row_number >= {0 if is_joined else begun}"
        if is_mixed:
            condition = f"epoch_us(received_time) > {self._floor_us}"
        try:
            lines = _lines(
                lake,
                f"read_parquet({parquet.pattern(path)}, hive_partitioning = false, "
                f"file_row_number = true) WHERE {condition} ORDER BY {order}",
            )
        except QueryError:
            self._begun_rows = begun
            if path.exists():
                raise
            raise _Gone from None
        yielded = Counter(self._latest if is_mixed else ())
        for line in lines:
            identity = _identity(line)
            if yielded[identity] > 0:
                yielded[identity] -= 1
                continue
            self._remember(line)
            yield line
        self._done = part.last

    def _remember(self, line: bytes) -> None:
        self._latest.append(_identity(line))
        if len(self._latest) > _REMEMBERED_MAX:
            self._floor_us = max(self._floor_us, self._latest.popleft()[0])


def _is_complete(number: int, listing: Listing) -> bool:
    """Whether segment `number` was sealed when `listing` was made."""
    return (
        number not in listing.segments or number < listing.newest or _is_in(number, listing.parts)
    )


def _is_in(number: int, parts: tuple[Part, ...] | list[Part]) -> bool:
    return any(part.first <= number <= part.last for part in parts)


def _identity(line: bytes) -> _Identity:
    key = _key_decoder.decode(line)
    return key.received_time, key.event_id.lower(), key.is_duplicate


def _lines(lake: Lake, source: str) -> Iterator[bytes]:
    """The rows of `source`, what follows FROM in a query, as lines. Raises `QueryError`."""
    chosen = ", ".join(_as_member(column) for column in schema.COLUMNS)
    result = lake.run(f"SELECT {chosen} FROM {source}")  # noqa: S608  our own text, paths quoted
    return (_line(values) for chunk in result.chunks() for values in chunk)


def _as_member(column: schema.Column) -> str:
    if column.type == "TIMESTAMPTZ":
        return f"epoch_us({column.name})"
    if column.type in {"UUID", "JSON"}:
        return f"{column.name}::VARCHAR"
    return column.name


def _line(values: tuple[Any, ...]) -> bytes:
    """The line of a row that was read as `_lines` reads it."""
    members: dict[str, Any] = {
        column.name: msgspec.Raw(value) if column.type == "JSON" else value
        for column, value in zip(schema.COLUMNS, values, strict=True)
        if value is not None
    }
    members["flags"] = tuple(members.get("flags", ()))
    return schema.encode([schema.Row(**members)]).removesuffix(b"\n")
