"""Segments read at a start: in pieces, each byte once, in memory that does not grow with them.

What it takes is whole, from the header to the last group: `segment.leading_groups` holds the same
rules as `segment.scan`. Anything else is left to `scan`, which has all bytes at hand and says what
is wrong.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from storage import census, keyrecovery, segment
from storage.census import Places
from storage.files import Files
from storage.keyrun import Keys
from storage.segment import Group

# Fits into a processor's own cache: what is read is checked and decoded while it is there.
_PIECE_BYTES: Final = 1024 * 1024
# A group that is larger is damage, or rare enough.
_PIECE_BYTES_MAX: Final = 128 * 1024 * 1024


class Whole(msgspec.Struct, frozen=True):
    """A segment without damage. No group has more bytes than `group_bytes_max`; the last one
    begins at byte `last`.
    """

    header: segment.Header
    bytes: int
    rows: int
    group_bytes_max: int
    last: int
    keys: Keys
    places: Places


class LogReader:
    """Reads one segment after the other, through one buffer."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._buffer = bytearray(_PIECE_BYTES)

    def maybe_whole(self, path: Path) -> Whole | None:
        """The segment at `path`; None when it is damaged, or has no group.

        Raises OSError, or `UnreadableRows`.
        """
        descriptor = self._files.open_for_reading(path)
        try:
            return self._maybe_whole(descriptor, self._files.size(descriptor))
        finally:
            self._files.close(descriptor)

    def _maybe_whole(self, descriptor: int, size: int) -> Whole | None:
        start = self._files.read_at(descriptor, segment.HEADER_BYTES_MAX, 0)
        found = segment.read_header(start)
        if isinstance(found, str):
            return None
        header, body = found
        keys: list[Keys] = []
        places = Places()
        end, last, rows, group_bytes_max = 0, 0, 0, 0
        for at, piece, groups in self._pieces(descriptor, size, body):
            lines = keyrecovery.lines_in(piece, groups)
            keys.append(keyrecovery.keys_of(lines))
            places.update(census.places_of(lines))
            rows += sum(one.rows for one in groups)
            group_bytes_max = max(group_bytes_max, *(one.next - one.start for one in groups))
            last = at + (groups[-2].next if len(groups) > 1 else 0)
            end = at + groups[-1].next
        if end != size or not keys:
            return None
        every = keys[0].followed_by(*keys[1:])
        return Whole(header, size, rows, group_bytes_max, last, every, places)

    def _pieces(
        self, descriptor: int, size: int, body: int
    ) -> Iterator[tuple[int, memoryview, tuple[Group, ...]]]:
        """Bytes of the file, where they begin in it, and the groups in them, one or more.

        Ends at the first group that is not valid. `body`: where the header line ends. The bytes
        are good until the next.
        """
        at, filled = 0, 0
        while at + filled < size:
            buffer = memoryview(self._buffer)
            filled += self._files.read_into(descriptor, buffer[filled:], at + filled)
            groups = segment.leading_groups(buffer[:filled], body if at == 0 else 0)
            if groups:
                yield at, buffer[:filled], groups
                taken = groups[-1].next
                buffer[: filled - taken] = buffer[taken:filled]
                at, filled = at + taken, filled - taken
            elif filled == len(buffer) < _PIECE_BYTES_MAX:
                self._buffer = bytearray(2 * len(buffer))
                self._buffer[:filled] = buffer[:filled]
            else:
                return
