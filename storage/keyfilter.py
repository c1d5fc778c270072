"""Bloom filters in front of runs: which runs certainly do not hold a key.

docs/KEYS_FORMAT.md is the definition. A key has all its bits in one 64-bit word, so that asking
costs one look into memory. The word is chosen by the high end of the key, by which runs are sorted:
a filter is filled from its beginning to its end, without random writes. "No" is certain, "maybe"
must be checked exactly. Must not do I/O.
"""

import contextlib
import mmap
from struct import Struct
from typing import Final

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_BITS_PER_KEY: Final = 14
_WORD_BITS: Final = 64
# Thirty bits choose the word: in Python a product of two small integers is the cheap kind.
CHOOSING_BITS: Final = 30
_DROPPED_BITS: Final = 64 - CHOOSING_BITS
# Two bits at once for twelve bits of the low word.
_PAIR_BITS: Final = 12
_PAIR_MASK: Final = (1 << _PAIR_BITS) - 1
_PAIRS: Final = tuple(1 << (i & 63) | 1 << (i >> 6) for i in range(1 << _PAIR_BITS))
_PAIRS_ARRAY: Final = np.array(_PAIRS, dtype=np.uint64)

# Of a key the first 32 bits, which hold those that choose the word, and the last, which hold those
# that choose the pairs.
_END_BITS: Final = 32
_ENDS: Final = Struct(">I8xI")


def probe_of(key: bytes) -> tuple[int, int]:
    """For one key what chooses its word, and the bits it sets there.

    Its word is number `choice * words >> CHOOSING_BITS` of a filter of so many words.
    """
    first, last = _ENDS.unpack(key)
    mask = _PAIRS[last & _PAIR_MASK] | _PAIRS[last >> _PAIR_BITS & _PAIR_MASK]
    return first >> _END_BITS - CHOOSING_BITS, mask


def masks_of(low: Words) -> Words:
    """The bits that keys with these low words set."""
    first = _PAIRS_ARRAY.take((low & np.uint64(_PAIR_MASK)).view(np.int64))
    low = low >> np.uint64(_PAIR_BITS)
    masks: Words = first | _PAIRS_ARRAY.take((low & np.uint64(_PAIR_MASK)).view(np.int64))
    return masks


def choices_of(high: Words) -> Words:
    """What chooses the words of keys with these high words."""
    return high >> np.uint64(_DROPPED_BITS)


def words_for(keys: int) -> int:
    """How many words a filter for so many keys has."""
    return max(1, -(-keys * _BITS_PER_KEY // _WORD_BITS))


def allocate(words: int) -> Words:
    """So many words, all zero, in pages of their own.

    They go back to the system when the run goes; in the allocator's heap, between what comes and
    goes while runs are joined, much of it would stay. Large pages, because each look-up goes
    somewhere else.
    """
    pages = mmap.mmap(-1, words * _WORD_BITS // 8)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype=np.uint64)


def places(choices: Words, words: int) -> npt.NDArray[np.int64]:
    """Which word of `words` each key uses."""
    return (choices * np.uint64(words) >> np.uint64(CHOOSING_BITS)).view(np.int64)


def fill(words: Words, high: Words, low: Words) -> None:
    """Add keys, which must be sorted by `high`, to the filter `words`."""
    if not len(high):
        return
    places_ = places(choices_of(high), len(words))
    starts = np.flatnonzero(places_[1:] != places_[:-1]) + 1
    starts = np.concatenate((np.zeros(1, starts.dtype), starts))
    # Each place occurs once among the starts, so that no bit of a neighbour is lost.
    words[places_.take(starts)] |= np.bitwise_or.reduceat(masks_of(low), starts)
