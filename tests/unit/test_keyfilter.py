"""Bloom filters: no key is ever missed, few others are let through, both ways of asking agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import keyfilter
from storage.keyrun import split
from tests.support.keys import spread

_KEYS = st.lists(
    st.one_of(st.binary(min_size=16, max_size=16), st.integers(0, 99).map(spread)), max_size=200
)


def filled(keys: list[bytes]) -> "keyfilter.Words":
    """A filter that holds `keys`."""
    words = np.zeros(keyfilter.words_for(len(keys)), dtype=np.uint64)
    high, low = split(b"".join(sorted(keys)))
    keyfilter.fill(words, high, low)
    return words


def may_hold(words: "keyfilter.Words", key: bytes) -> bool:
    """What the filter says of one key."""
    choice, mask = keyfilter.probe_of(key)
    return int(words[choice * len(words) >> keyfilter.CHOOSING_BITS]) & mask == mask


@given(keys=_KEYS, others=_KEYS)
def test_no_key_is_missed_and_both_ways_agree(keys: list[bytes], others: list[bytes]) -> None:
    """One by one and in arrays the answer is the same, and "no" is never said of a key within."""
    words = filled(keys)
    asked = [*keys, *others]
    high, low = split(b"".join(asked))
    masks = keyfilter.masks_of(low)
    found = words.take(keyfilter.places(keyfilter.choices_of(high), len(words))) & masks == masks
    assert [may_hold(words, key) for key in asked] == found.tolist()
    assert all(found[: len(keys)])


@pytest.mark.parametrize("pieces", [1, 7])
def test_few_others_are_let_through(pieces: int) -> None:
    """Under one in a hundred, also when the keys came in several portions, in order."""
    keys = sorted(spread(number) for number in range(20_000))
    words = np.zeros(keyfilter.words_for(len(keys)), dtype=np.uint64)
    for piece in np.array_split(np.arange(len(keys)), pieces):
        high, low = split(b"".join(keys[index] for index in piece))
        keyfilter.fill(words, high, low)
    others = [spread(number) for number in range(100_000, 120_000)]
    let_through = sum(may_hold(words, key) for key in others) / len(others)
    assert 0.003 < let_through < 0.01
    assert all(may_hold(words, key) for key in keys)
