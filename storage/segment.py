"""One log file: how a group of rows is written down, and which of its bytes count.

docs/WAL_FORMAT.md is the definition. Knows one file's bytes; nothing of other files, of waiting
callers, or of what a row means.
"""

from collections.abc import Iterator
from datetime import date
from typing import Final

import msgspec
import numpy as np
import xxhash

from storage.errors import UNDECODABLE

FORMAT: Final = 1
# A header line is about 70 bytes.
HEADER_BYTES_MAX: Final = 1_000
_LINE_FEED: Final = ord("\n")
_COMMIT_START: Final = b'{"commit":'
_NEXT_COMMIT: Final = b"\n" + _COMMIT_START
# A commit line is about 80 bytes; a longer one is damage, whatever it holds.
_COMMIT_BYTES_MAX: Final = 200


class _Commit(msgspec.Struct, frozen=True):
    rows: int
    bytes: int
    xxh3: str


class _CommitLine(msgspec.Struct, frozen=True):
    commit: _Commit


class Header(msgspec.Struct, frozen=True):
    """First line of a segment."""

    format: int
    number: int
    date: date


class _HeaderLine(msgspec.Struct, frozen=True):
    segment: Header


_commit_decoder: Final = msgspec.json.Decoder(_CommitLine)
_header_decoder: Final = msgspec.json.Decoder(_HeaderLine)
_encoder: Final = msgspec.json.Encoder()


class Group(msgspec.Struct, frozen=True):
    """A valid group: its rows are the bytes from `start` to `end`, without the commit line.

    `start` is behind the header line where the group is the first; `next` is where the next group
    starts.
    """

    start: int
    end: int
    next: int
    rows: int


class Scan(msgspec.Struct, frozen=True):
    """What a segment's bytes hold.

    `valid_bytes` is the length of the valid prefix; 0 and no header when there is no valid group.
    `damage` tells what is wrong behind it, "" when nothing follows; `goes_on`: a valid group stands
    further on, so that it cannot be a torn tail.
    """

    header: Header | None
    groups: tuple[Group, ...]
    valid_bytes: int
    damage: str = ""
    goes_on: bool = False

    @property
    def rows(self) -> int:
        """Rows in the valid prefix."""
        return sum(group.rows for group in self.groups)


def encode_header(number: int, day: date) -> bytes:
    """The header line of segment `number`."""
    return _encoder.encode(_HeaderLine(Header(FORMAT, number, day))) + b"\n"


def encode_commit(group: bytes, rows: int) -> bytes:
    """The commit line behind `group`: all bytes since the commit line before."""
    assert rows > 0, "a group without rows is never written"
    digest = xxhash.xxh3_64_hexdigest(group)
    return b'{"commit":{"rows":%d,"bytes":%d,"xxh3":"%s"}}\n' % (rows, len(group), digest.encode())


def scan(data: bytes) -> Scan:
    """Find the valid prefix of a segment's bytes and judge what follows it."""
    groups: list[Group] = []
    header: Header | None = None
    position, damage = 0, ""
    while position < len(data):
        body = 0
        if position == 0:
            found = read_header(data)
            if isinstance(found, str):
                damage = found
                break
            header, body = found
        group = _read_group(data, position, body)
        if isinstance(group, str):
            damage = group
            break
        groups.append(group)
        position = group.next
    goes_on = bool(damage) and _has_valid_group(data, position)
    return Scan(header if groups else None, tuple(groups), position, damage, goes_on)


def leading_groups(data: memoryview, body: int) -> tuple[Group, ...]:
    """The valid groups at the start of `data`, as `scan` finds them; none is looked for behind
    one that is not valid, or not all there.

    `data`: bytes from the border of a group on, `body`: where the header line in front ends, or 0.
    Many times as fast as `scan` where groups are large, because it looks for all lines at once.
    """
    octets = np.frombuffer(data, np.uint8)
    line_feeds = np.flatnonzero(octets == _LINE_FEED)
    # Of each line but the first: the byte by which a commit line differs from a row.
    thirds = octets[np.minimum(line_feeds[:-1] + 3, len(octets) - 1)]
    groups: list[Group] = []
    position, first = 0, 1 if body else 0
    for index in np.flatnonzero(thirds == _COMMIT_START[2]).tolist():
        end, following = int(line_feeds[index]) + 1, int(line_feeds[index + 1]) + 1
        if index < first or bytes(data[end : end + len(_COMMIT_START)]) != _COMMIT_START:
            continue
        group = data[position:end]
        commit = _decode_commit(data[end:following])
        if (
            commit is None
            or commit.bytes != len(group)
            or commit.xxh3 != xxhash.xxh3_64_hexdigest(group)
            or commit.rows != index + 1 - first
        ):
            break
        groups.append(Group(max(position, body), end, following, commit.rows))
        position, first, body = following, index + 2, 0
    return tuple(groups)


def row_lines(data: bytes, groups: tuple[Group, ...]) -> Iterator[bytes]:
    """The row lines of `groups`, each without its line feed."""
    for group in groups:
        yield from data[group.start : group.end - 1].split(b"\n")


def read_header(data: bytes) -> tuple[Header, int] | str:
    """The header line at the start of `data` and where it ends, or what is wrong with it."""
    end = data.find(b"\n")
    if end < 0:
        return "no whole header line"
    try:
        header = _header_decoder.decode(data[:end]).segment
    except UNDECODABLE:
        return "the first line is no segment header"
    if header.format != FORMAT:
        return f"written in format {header.format}, this version reads format {FORMAT}"
    return header, end + 1


def _read_group(data: bytes, position: int, body: int) -> Group | str:
    """The group that starts at `position`; `body` is the end of the header line, or 0."""
    start = max(position, body)
    line_feed = data.find(_NEXT_COMMIT, start)
    if line_feed < 0:
        return "no commit line follows"
    commit = _maybe_commit(data, line_feed + 1)
    if commit is None:
        return "the commit line cannot be read"
    line, following = commit
    end = line_feed + 1
    if line.bytes != end - position:
        return f"the commit line counts {line.bytes} bytes, found {end - position}"
    if line.xxh3 != xxhash.xxh3_64_hexdigest(memoryview(data)[position:end]):
        return "the checksum of the group is wrong"
    if line.rows != data.count(b"\n", start, end):
        return f"the commit line counts {line.rows} rows"
    return Group(start, end, following, line.rows)


def _maybe_commit(data: bytes, start: int) -> tuple[_Commit, int] | None:
    end = data.find(b"\n", start, start + _COMMIT_BYTES_MAX)
    if end < 0:
        return None
    commit = _decode_commit(memoryview(data)[start:end])
    return None if commit is None else (commit, end + 1)


def _decode_commit(line: memoryview) -> _Commit | None:
    """A commit line, with or without its line feed."""
    if len(line) > _COMMIT_BYTES_MAX:
        return None
    try:
        return _commit_decoder.decode(line).commit
    except UNDECODABLE:
        return None


def _has_valid_group(data: bytes, position: int) -> bool:
    """Whether any commit line behind `position` fits the bytes before it."""
    view = memoryview(data)
    at = data.find(_NEXT_COMMIT, position)
    while at >= 0:
        commit = _maybe_commit(data, at + 1)
        if commit is not None and 0 < commit[0].bytes <= at + 1 - position:
            start = at + 1 - commit[0].bytes
            if commit[0].xxh3 == xxhash.xxh3_64_hexdigest(view[start : at + 1]):
                return True
        at = data.find(_NEXT_COMMIT, at + 1)
    return False
