"""The key index against a plain dictionary with times."""

from hypothesis import given, settings
from hypothesis import strategies as st

from storage import KeyIndex, make_key, make_scope
from storage.keyindex import WINDOW_US

_KEYS = st.integers(0, 30).map(lambda n: n.to_bytes(16, "big"))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(_KEYS, max_size=5)),
        st.tuples(st.just("seen"), _KEYS),
        st.tuples(
            st.just("wait"), st.sampled_from([0, 1, 3_600_000_000, WINDOW_US - 1, WINDOW_US])
        ),
        st.tuples(st.just("expire"), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(steps=_STEPS)
def test_seen_is_exact_to_the_microsecond(steps: list[tuple[str, object]]) -> None:
    """A key is seen from its first acceptance until exactly 24 hours later, expired or not."""
    index, model, now_us = KeyIndex(keys_max=10_000), {}, 1_000
    for name, argument in steps:
        if name == "add":
            index.add(argument, now_us)
            for key in argument:
                if now_us - model.get(key, now_us - WINDOW_US) >= WINDOW_US:
                    model[key] = now_us
        elif name == "seen":
            expected = argument in model and now_us - model[argument] < WINDOW_US
            assert index.seen(argument, now_us) == expected
        elif name == "wait":
            now_us += argument
        else:
            index.expire(now_us, spans_max=1_000)
    for key, time_us in model.items():
        assert index.seen(key, now_us) == (now_us - time_us < WINDOW_US)


@settings(max_examples=50)
@given(batches=st.lists(st.integers(1, 3_000), max_size=8))
def test_memory_is_bounded_and_the_newest_stay(batches: list[int]) -> None:
    """Beyond keys_max the oldest are forgotten and counted; the newest are always known."""
    index, added = KeyIndex(keys_max=4_000), 0
    for now_us, size in enumerate(batches):
        keys = [number.to_bytes(16, "big") for number in range(added, added + size)]
        added += size
        index.add(keys, now_us)
        # One span may stay beyond the bound: it is the unit of forgetting.
        assert len(index) <= 4_000 + 3_000
        assert len(index) + index.forgotten == added
        assert index.seen(keys[-1], now_us)


def test_expiry_gives_memory_back_in_steps() -> None:
    """Expired keys leave the table, a bounded number at a time."""
    index = KeyIndex(keys_max=100_000)
    for number in range(50):
        index.add([(number * 1_000 + k).to_bytes(16, "big") for k in range(1_000)], number)
    assert index.expire(WINDOW_US - 1) == 0
    assert 0 < index.expire(WINDOW_US + 50, spans_max=2) <= 6_000
    while index.expire(WINDOW_US + 50):
        pass
    assert len(index) == 0


_PARTS = st.tuples(st.lists(st.binary(max_size=5), max_size=3), st.binary(max_size=5))


@given(_PARTS, _PARTS)
def test_keys_of_different_scopes_or_identities_differ(
    one: tuple[list[bytes], bytes], other: tuple[list[bytes], bytes]
) -> None:
    """Two sites or protocols with equal ids never collide, whatever they are called."""
    keys = [make_key(make_scope(*scope), identity) for scope, identity in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)
