"""One run: keys sorted in a file, with their times; how it is written, checked and asked.

docs/KEYS_FORMAT.md is the definition. Knows one file; nothing of other runs, of what a key means or
of when a key is out of the window. Rules:

1. Nothing is believed that does not agree with its checksum: `DamagedRun`.
2. In memory are only the filter and one word per block of 170 keys, whatever the run holds.
3. A look-up never waits for the disk unless it is told to: what is not in the system's cache is
   `ColdBlock`, and `warm` fetches it on another thread.
"""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from storage import keyfilter
from storage.errors import UNDECODABLE, StorageError
from storage.files import Files

FORMAT: Final = 1
BLOCK_BYTES: Final = 4096
BLOCK_KEYS: Final = 170
_WORD_BYTES: Final = 8
_BLOCK_WORDS: Final = BLOCK_BYTES // _WORD_BYTES
_LOW_AT: Final = BLOCK_KEYS * _WORD_BYTES
_TIME_AT: Final = 2 * _LOW_AT
_COUNT_AT: Final = 3 * _LOW_AT
_CHECKSUM_AT: Final = BLOCK_BYTES - _WORD_BYTES
_LITTLE: Final = np.dtype("<u8")
# Blocks that look-ups wait for at a time: those of two large batches, 8 MB.
_WARMED_MAX: Final = 2_048
# So much is forced to disk at a time, so that a run of gigabytes is published within a moment.
_SYNCED_BYTES: Final = 32 * 1024 * 1024

Words = npt.NDArray[np.uint64]
Times = npt.NDArray[np.int64]


class Keys(NamedTuple):
    """Keys and when each was accepted (microseconds), as three arrays of one length."""

    high: Words
    low: Words
    times: Times

    def part(self, chosen: slice | npt.NDArray[np.bool_]) -> "Keys":
        """Some of them."""
        return Keys(self.high[chosen], self.low[chosen], self.times[chosen])

    def followed_by(self, *others: "Keys") -> "Keys":
        """These and others, one behind the other."""
        every = (self, *others)
        return Keys(
            np.concatenate([keys.high for keys in every]),
            np.concatenate([keys.low for keys in every]),
            np.concatenate([keys.times for keys in every]),
        )


NO_KEYS: Final = Keys(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64))


class DamagedRun(StorageError):
    """A file of keys is not what was written; its keys must be taken from the rows again."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ColdBlock(Exception):
    """The answer is in a block that is not in memory: `run.warm(block)`, then ask again."""

    def __init__(self, run: "Run", block: int) -> None:
        super().__init__()
        self.run = run
        self.block = block


class _Header(msgspec.Struct, frozen=True):
    format: int
    keys: int
    oldest_us: int
    newest_us: int
    blocks: int
    filter_words: int
    fences_xxh3: str
    filter_xxh3: str


class _HeaderLine(msgspec.Struct, frozen=True):
    run: _Header


class _ChecksumLine(msgspec.Struct, frozen=True):
    xxh3: str


_encoder: Final = msgspec.json.Encoder()
_header_decoder: Final = msgspec.json.Decoder(_HeaderLine)
_checksum_decoder: Final = msgspec.json.Decoder(_ChecksumLine)


def words_of(key: bytes) -> tuple[int, int]:
    """High and low word of a key of 16 bytes."""
    return int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")


def split(joined: bytes) -> tuple[Words, Words]:
    """High and low words of keys that stand one behind the other."""
    words = np.frombuffer(joined, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])


class RunWriter:
    """Writes a run from keys that arrive in order. `keys_max`: how many there may be at most."""

    def __init__(self, path: Path, files: Files, keys_max: int) -> None:
        self.path = path
        self._files = files
        self._filter = keyfilter.allocate(keyfilter.words_for(keys_max))
        self._fences: list[Words] = []
        self._rest = NO_KEYS
        self._blocks = self._keys = 0
        self._end = self._synced = BLOCK_BYTES
        self._is_whole = False
        self._oldest_us, self._newest_us = (1 << 63) - 1, 0
        files.remove(path)
        self._descriptor = files.create(path)

    def append(self, keys: Keys) -> None:
        """Add keys, sorted, none smaller than or equal to those before. Raises OSError."""
        if not len(keys.high):
            return
        keyfilter.fill(self._filter, keys.high, keys.low)
        self._keys += len(keys.high)
        self._oldest_us = min(self._oldest_us, int(keys.times.min()))
        self._newest_us = max(self._newest_us, int(keys.times.max()))
        if len(self._rest.high):
            keys = self._rest.followed_by(keys)
        whole = len(keys.high) // BLOCK_KEYS * BLOCK_KEYS
        self._write_blocks(keys.part(slice(whole)))
        self._rest = keys.part(slice(whole, None))

    def finish(self) -> None:
        """Write what is missing; the file is whole, and not forced to disk. Raises OSError."""
        if len(self._rest.high):
            self._write_blocks(self._rest)
        fences = np.concatenate([NO_KEYS.high, *self._fences])
        checksums = [self._write_section(section) for section in (fences, self._filter)]
        header = _Header(
            format=FORMAT,
            keys=self._keys,
            oldest_us=min(self._oldest_us, self._newest_us),
            newest_us=self._newest_us,
            blocks=self._blocks,
            filter_words=len(self._filter),
            fences_xxh3=checksums[0],
            filter_xxh3=checksums[1],
        )
        # Whoever opens the run reads it: two of this size are not needed.
        del self._filter
        line = _encoder.encode(_HeaderLine(header)) + b"\n"
        line += _encoder.encode(_ChecksumLine(xxhash.xxh3_64_hexdigest(line))) + b"\n"
        self._files.write(self._descriptor, line.ljust(BLOCK_BYTES, b"\0"), 0)
        self._is_whole = True

    def close(self) -> bool:
        """Close the file; whether it is whole."""
        self._files.close(self._descriptor)
        return self._is_whole

    def _write_section(self, words: Words) -> str:
        """Write behind what is written, up to a whole block; returns the checksum."""
        data = words.astype(_LITTLE, copy=False).data.cast("B")
        if data:
            self._files.write(self._descriptor, data, self._end)
            padding = bytes(_padded(len(data)) - len(data))
            if padding:
                self._files.write(self._descriptor, padding, self._end + len(data))
        self._end += _padded(len(data))
        return xxhash.xxh3_64_hexdigest(data)

    def _write_blocks(self, keys: Keys) -> None:
        count = len(keys.high)
        if not count:
            return
        blocks = -(-count // BLOCK_KEYS)
        table = np.zeros((blocks, _BLOCK_WORDS), dtype=_LITTLE)
        for index, column in enumerate(keys):
            filled = np.zeros(blocks * BLOCK_KEYS, dtype=np.uint64)
            filled[:count] = column.view(np.uint64)
            table[:, index * BLOCK_KEYS : (index + 1) * BLOCK_KEYS] = filled.reshape(blocks, -1)
        table[:, -2] = BLOCK_KEYS
        table[-1, -2] = count - (blocks - 1) * BLOCK_KEYS
        view = table.data.cast("B")
        starts = range(0, blocks * BLOCK_BYTES, BLOCK_BYTES)
        checksum = xxhash.xxh3_64_intdigest
        table[:, -1] = [checksum(view[start : start + _CHECKSUM_AT]) for start in starts]
        self._fences.append(table[:, 0].astype(np.uint64))
        self._files.write(self._descriptor, table.data.cast("B"), self._end)
        self._end += blocks * BLOCK_BYTES
        self._blocks += blocks
        if self._end - self._synced >= _SYNCED_BYTES:
            self._files.sync(self._descriptor)
            self._synced = self._end


class Run:
    """A finished run, open for look-ups. Raises `DamagedRun`, also when it cannot be read.

    `oldest_us`, `newest_us`: times of the first and the last acceptance in it. Closed when nobody
    refers to it any more, so that a look-up on another thread never meets a foreign file.
    """

    def __init__(self, path: Path, files: Files) -> None:
        self.path = path
        self._files = files
        self._warmed: dict[int, bytes] = {}
        self.is_damaged = False
        try:
            self._descriptor = files.open_for_reading(path)
        except OSError as error:
            raise self._unreadable(error) from error
        header = self._read_header()
        self.keys, self._blocks = header.keys, header.blocks
        self.oldest_us, self.newest_us = header.oldest_us, header.newest_us
        fences_at = (1 + header.blocks) * BLOCK_BYTES
        filter_at = fences_at + _padded(header.blocks * _WORD_BYTES)
        end = filter_at + _padded(header.filter_words * _WORD_BYTES)
        if files.size(self._descriptor) != end:
            raise DamagedRun(path, f"should have {end} bytes")
        fences = np.empty(header.blocks, dtype=np.uint64)
        self._fill(fences, fences_at, header.fences_xxh3)
        self.filter = keyfilter.allocate(header.filter_words)
        self._fill(self.filter, filter_at, header.filter_xxh3)
        self.bytes = end
        self.memory_bytes = fences.nbytes + self.filter.nbytes
        self._fences = fences.data
        # What one key is looked up in, without a call: see `KeyIndex`.
        self.filter_view = self.filter.data
        self.filter_words = header.filter_words

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self._files.close(self._descriptor)

    def find(self, high: int, low: int, *, waits: bool) -> int | None:
        """When the key was accepted, None when it is not here.

        Raises `DamagedRun`; with `waits` False also `ColdBlock`.
        """
        fences = self._fences
        block = bisect_right(fences, high) - 1
        if block < 0:
            return None
        if fences[block] == high:
            block = self._search(block, high, low, waits)
        data = self._block(block, waits)
        at = data.find(high.to_bytes(_WORD_BYTES, "little"), 0, _LOW_AT)
        return None if at < 0 else _time_of(data, at, high, low)

    def _search(self, end: int, high: int, low: int, waits: bool) -> int:
        """The block of a key whose high word stands at the beginning of block `end`.

        Keys that share it may begin further up, and fill many blocks where somebody chose them so.
        """
        start, end = max(0, bisect_left(self._fences, high) - 1), end + 1
        while end - start > 1:
            middle = (start + end) // 2
            block = self._block(middle, waits)
            if (_word(block, 0), _word(block, _LOW_AT)) <= (high, low):
                start = middle
            else:
                end = middle
        return start

    def warm(self, block: int) -> None:
        """Read a block for the look-up that misses it; may wait, may run on another thread.

        It stays until `cool`, so that a look-up that needs several has them all in the end.
        """
        if len(self._warmed) < _WARMED_MAX:
            self._warmed[block] = self._read(block)

    def cool(self) -> None:
        """Forget what was warmed."""
        if self._warmed:
            self._warmed = {}

    def read_keys(self, blocks_at_once: int) -> Iterator[Keys]:
        """All keys in order, so many blocks at a time."""
        for first in range(0, self._blocks, blocks_at_once):
            blocks = min(blocks_at_once, self._blocks - first)
            data = self._get(blocks * BLOCK_BYTES, (1 + first) * BLOCK_BYTES)
            for index in range(blocks):
                start = index * BLOCK_BYTES
                self._check(data[start : start + BLOCK_BYTES], first + index)
            table = np.frombuffer(data, dtype=_LITTLE).astype(np.uint64).reshape(blocks, -1)
            count = int(table[:, -2].sum())
            columns = [
                np.ascontiguousarray(table[:, at : at + BLOCK_KEYS]).reshape(-1)[:count]
                for at in range(0, 3 * BLOCK_KEYS, BLOCK_KEYS)
            ]
            yield Keys(columns[0], columns[1], columns[2].view(np.int64))

    def _block(self, block: int, waits: bool) -> bytes:
        if self._warmed and (data := self._warmed.get(block)) is not None:
            return data
        if waits:
            return self._read(block)
        offset = (1 + block) * BLOCK_BYTES
        try:
            data = self._files.read_cached(self._descriptor, BLOCK_BYTES, offset)
        except OSError as error:
            raise self._unreadable(error) from error
        if data is None:
            raise ColdBlock(self, block)
        return self._check(data, block)

    def _read(self, block: int) -> bytes:
        return self._check(self._get(BLOCK_BYTES, (1 + block) * BLOCK_BYTES), block)

    def _get(self, size: int, offset: int) -> bytes:
        try:
            return self._files.read_at(self._descriptor, size, offset)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> DamagedRun:
        return DamagedRun(self.path, f"cannot be read: {error.strerror}")

    def _check(self, data: bytes, block: int) -> bytes:
        if len(data) != BLOCK_BYTES or (
            xxhash.xxh3_64_intdigest(memoryview(data)[:_CHECKSUM_AT]) != _word(data, _CHECKSUM_AT)
        ):
            raise DamagedRun(self.path, f"the checksum of block {1 + block} is wrong")
        return data

    def _read_header(self) -> _Header:
        data = self._get(BLOCK_BYTES, 0)
        first, _, rest = data.partition(b"\n")
        try:
            header = _header_decoder.decode(first).run
            checksum = _checksum_decoder.decode(rest.partition(b"\n")[0]).xxh3
        except UNDECODABLE:
            raise DamagedRun(self.path, "the header cannot be read") from None
        if checksum != xxhash.xxh3_64_hexdigest(first + b"\n"):
            raise DamagedRun(self.path, "the checksum of the header is wrong")
        if header.format != FORMAT:
            raise DamagedRun(self.path, f"written in format {header.format}, this is {FORMAT}")
        return header

    def _fill(self, section: Words, offset: int, checksum: str) -> None:
        """Read what lies at `offset`, as long as `section` is."""
        view = section.data.cast("B")
        try:
            self._files.read_into(self._descriptor, view, offset)
        except OSError as error:
            raise self._unreadable(error) from error
        if xxhash.xxh3_64_hexdigest(view) != checksum:
            raise DamagedRun(self.path, f"the checksum of what lies at byte {offset} is wrong")
        if sys.byteorder == "big":
            section.byteswap(inplace=True)


def _time_of(block: bytes, at: int, high: int, low: int) -> int | None:
    """The time of the key in a block in which its high word occurs at byte `at`, or further on."""
    wanted = high.to_bytes(_WORD_BYTES, "little")
    end = _word(block, _COUNT_AT) * _WORD_BYTES
    while 0 <= at < end:
        if at % _WORD_BYTES == 0 and _word(block, _LOW_AT + at) == low:
            return _word(block, _TIME_AT + at)
        at = block.find(wanted, at + 1, _LOW_AT)
    return None


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + _WORD_BYTES], "little")


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
