"""Keys as such: scopes, windows, and memory that is bounded."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import KeyIndex, keyindex, make_key, make_scope, parquet
from storage.keyindex import WINDOW_US
from tests.support.keys import KeyHarness, spread

_KEYS = st.integers(0, 30).map(lambda n: n.to_bytes(16, "big"))
_PARTS = st.tuples(st.lists(st.binary(max_size=5), max_size=3), st.binary(max_size=5))


@given(_PARTS, _PARTS)
def test_keys_of_different_scopes_or_identities_differ(
    one: tuple[list[bytes], bytes], other: tuple[list[bytes], bytes]
) -> None:
    """Two sites or protocols with equal ids never collide, whatever they are called."""
    keys = [make_key(make_scope(*scope), identity) for scope, identity in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@given(keys=st.lists(_KEYS, min_size=1, max_size=60), accepted_us=st.integers(0, 10**16))
def test_the_window_ends_to_the_microsecond(keys: list[bytes], accepted_us: int) -> None:
    """A key is seen until exactly 24 hours after it was accepted, one by one and in batches."""
    index = KeyIndex(keys_max=10**9)
    index.add(keys, accepted_us, 1)
    end_us = accepted_us + WINDOW_US
    assert index.seen(keys, end_us - 1) == [True] * len(keys)
    assert index.seen(keys, end_us) == [False] * len(keys)
    assert index.seen(keys[:1], end_us - 1) == [True]
    assert index.seen(keys[:1], end_us) == [False]


@pytest.mark.parametrize("is_written", [False, True])
def test_the_edge_of_24_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool):
    """A repeat 23 h 59 m later is one; 24 h 00 m 01 s later it is new; and to the millisecond."""
    monkeypatch.setattr(parquet, "recent_keys", parquet.recent_keys)
    harness = KeyHarness(tmp_path / "data")
    start_us = harness.now_us
    harness.claim([spread(n) for n in range(100)])
    if is_written:
        harness.index.freeze(harness.segment)
        harness.end_segment()
        harness.flush()
        harness.work()
        assert harness.index.runs == 1
        assert harness.index.active.table == {}
    minute_us = 60_000_000
    for later_us, expected in [
        (WINDOW_US - minute_us, True),
        (WINDOW_US - 1_000, True),
        (WINDOW_US, False),
        (WINDOW_US + 1_000, False),
        (WINDOW_US + 1_000_000, False),
    ]:
        harness.now_us = start_us + later_us
        assert harness.seen([spread(7)]) == [expected]


def test_no_run_has_a_name_before_its_rows_are_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key must not outlive a row that a power cut takes from the log (`durability = "os"`)."""
    monkeypatch.setattr(parquet, "recent_keys", parquet.recent_keys)
    monkeypatch.setattr(keyindex, "GENERATION_KEYS", 6)
    harness = KeyHarness(tmp_path / "data")
    harness.claim([spread(number) for number in range(20)])
    harness.end_segment()
    harness.work()
    assert harness.index.runs == 1, "written"
    assert harness.runs() == [], "and not published"
    harness.flush()
    harness.work()
    assert len(harness.runs()) == 1


def test_a_generation_does_not_end_within_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run holds the keys of whole segments, so that it can be made again from their rows.

    When one that was lost also held the first keys of the next segment, those were forgotten:
    the next run said that it covers them.
    """
    monkeypatch.setattr(parquet, "recent_keys", parquet.recent_keys)
    monkeypatch.setattr(keyindex, "GENERATION_KEYS", 6)
    harness = KeyHarness(tmp_path / "data")
    for first in (0, 10, 20):
        harness.claim([spread(number) for number in range(first, first + 8)])
        harness.end_segment()
        # The first half of the next segment, which is in no part yet.
        harness.claim([spread(number) for number in range(first + 8, first + 10)])
        harness.flush()
        harness.work()
    assert len(harness.runs()) > 0
    for path in harness.runs():
        data = path.read_bytes()
        path.unlink()
        harness.kill()
        assert harness.seen([spread(number) for number in range(30)]) == [True] * 30
        path.write_bytes(data)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.integers(1, 60), min_size=1, max_size=25))
def test_memory_is_bounded_and_the_newest_stay(
    tmp_path_factory: pytest.TempPathFactory, batches: list[int]
) -> None:
    """Beyond keys_max the oldest are forgotten and counted; the newest are always known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "recent_keys", parquet.recent_keys)
        harness = KeyHarness(tmp_path_factory.mktemp("keys") / "data", keys_max=160)
        added = 0
        for size in batches:
            keys = [spread(number) for number in range(added, added + size)]
            added += size
            harness.claim(keys)
            harness.end_segment()
            harness.flush()
            harness.work()
            # One run may stay beyond the bound, and what is not written yet.
            assert len(harness.index) <= 160 + 60 + 20
            assert len(harness.index) + harness.index.forgotten == added
            assert harness.seen(keys[-1:]) == [True]
        harness.kill()
        assert len(harness.index) + harness.index.forgotten <= added
