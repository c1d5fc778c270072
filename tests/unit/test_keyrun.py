"""One run of keys: its bytes, what damage is noticed, and that nothing waits for the disk."""

from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import Files
from storage.keyindex import ColdKeys, KeyIndex, LooseRun
from storage.keyrun import BLOCK_BYTES, BLOCK_KEYS, ColdBlock, DamagedRun, Run, RunWriter
from tests.support.files import FaultyFiles, io_error
from tests.support.keys import keys_of, pairs_of, spread, write_run
from tests.support.rows import NOW_US

GOLDEN = Path(__file__).parents[1] / "golden" / "run.keys"
# Not quite two blocks, so that the second one is padded.
PAIRS = [(spread(number), NOW_US + number) for number in range(2 * BLOCK_KEYS - 10)]


def lookup(run: Run, key: bytes) -> int | None:
    """When `key` was accepted."""
    high, low = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
    return run.find(high, low, waits=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of `PAIRS`."""
    return write_run(tmp_path / "run", FaultyFiles(), PAIRS)


def test_the_format_is_pinned(run: Run) -> None:
    """The bytes are those of docs/KEYS_FORMAT.md, and of every version that can read them."""
    assert GOLDEN.read_bytes() == run.path.read_bytes()


def test_a_run_of_an_earlier_version_can_be_read() -> None:
    """Every key of the golden file is found with its time, and no other."""
    golden = Run(GOLDEN, Files())
    assert [(key, lookup(golden, key)) for key, _ in PAIRS] == PAIRS
    assert (golden.keys, golden.oldest_us, golden.newest_us) == (330, NOW_US, NOW_US + 329)
    assert lookup(golden, spread(10**6)) is None


_KEY = st.one_of(
    st.binary(min_size=16, max_size=16),
    # Many that share their first half, over several blocks.
    st.integers(0, 2_000).map(lambda n: b"\xab" * 8 + n.to_bytes(8, "big")),
    st.integers(0, 5).map(lambda n: bytes(15) + bytes([n])),
)


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.dictionaries(_KEY, st.integers(0, 2**62), max_size=1_200),
    others=st.lists(_KEY, max_size=50),
    cut=st.integers(1, 1_000),
)
def test_whatever_is_written_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: dict[bytes, int],
    others: list[bytes],
    cut: int,
) -> None:
    """Every key with its time and no other; read in one go, the same; whatever the portions."""
    path = tmp_path_factory.mktemp("run") / "run"
    ordered = sorted(pairs.items())
    writer = RunWriter(path, Files(), len(ordered))
    for start in range(0, len(ordered), cut):
        writer.append(keys_of(ordered[start : start + cut]))
    writer.finish()
    assert writer.close()
    found = Run(path, Files())
    assert found.keys == len(pairs)
    for key in [*pairs, *others]:
        assert lookup(found, key) == pairs.get(key)
    assert [pair for keys in found.read_keys(3) for pair in pairs_of(keys)] == ordered


def test_keys_that_share_their_first_half_over_many_blocks(tmp_path: Path) -> None:
    """Somebody may choose identities so; each key is found, wherever their blocks begin and end."""
    same = [(b"\xab" * 8 + (7 * n).to_bytes(8, "big"), n) for n in range(5 * BLOCK_KEYS)]
    before = [(b"\x01" + spread(n)[1:], n) for n in range(100)]
    after = [(b"\xfe" + spread(n)[1:], n) for n in range(100)]
    run = write_run(tmp_path / "run", FaultyFiles(), [*before, *same, *after])
    for key, time_us in [*before, *same, *after]:
        assert lookup(run, key) == time_us
    for n in range(5 * BLOCK_KEYS):
        assert lookup(run, b"\xab" * 8 + (7 * n + 1).to_bytes(8, "big")) is None


@pytest.mark.parametrize(
    ("block", "at", "reason"),
    [
        (0, 3, "header cannot be read"),
        (0, 27, "checksum of the header is wrong"),
        (3, 0, "checksum of what lies at byte 12288"),
        (4, 100, "checksum of what lies at byte 16384"),
    ],
)
def test_damage_outside_the_blocks_is_noticed_at_once(
    run: Run, block: int, at: int, reason: str
) -> None:
    """Header, fences and filter are checked before anything is asked."""
    data = bytearray(run.path.read_bytes())
    data[block * BLOCK_BYTES + at] ^= 1
    run.path.write_bytes(data)
    with pytest.raises(DamagedRun, match=reason):
        Run(run.path, Files())


@pytest.mark.parametrize("at", [0, 8 * BLOCK_KEYS, 16 * BLOCK_KEYS, BLOCK_BYTES - 16, 4095])
@pytest.mark.parametrize("block", [1, 2])
def test_a_damaged_block_is_not_believed(run: Run, block: int, at: int) -> None:
    """Keys, times, counts, checksums: whatever bit is wrong, there is no answer from that block."""
    data = bytearray(run.path.read_bytes())
    data[block * BLOCK_BYTES + at] ^= 1
    run.path.write_bytes(data)
    damaged = Run(run.path, Files())
    ordered = sorted(PAIRS)
    mine, other = ordered[:BLOCK_KEYS], ordered[BLOCK_KEYS:]
    if block == 2:
        mine, other = other, mine
    for key, time_us in other:
        assert lookup(damaged, key) == time_us
    for key, _ in mine:
        with pytest.raises(DamagedRun, match=f"checksum of block {block}"):
            lookup(damaged, key)
    with pytest.raises(DamagedRun):
        list(damaged.read_keys(8))


@pytest.mark.parametrize("size", [0, 100, BLOCK_BYTES, 3 * BLOCK_BYTES, 5 * BLOCK_BYTES - 1])
def test_a_file_that_is_cut_off_is_damaged(run: Run, size: int) -> None:
    """So is one that goes on behind its end."""
    data = run.path.read_bytes()
    run.path.write_bytes(data[:size])
    with pytest.raises(DamagedRun):
        Run(run.path, Files())
    run.path.write_bytes(data + bytes(1))
    with pytest.raises(DamagedRun, match="bytes"):
        Run(run.path, Files())


def test_another_format_is_not_guessed_at(run: Run) -> None:
    """A file of a later version is made again rather than misread."""
    data = run.path.read_bytes()
    first, second, _ = data.split(b"\n", 2)
    later = first.replace(b'"format":1', b'"format":2') + b"\n"
    checksum = xxhash.xxh3_64_hexdigest(later).encode()
    run.path.write_bytes(later + b'{"xxh3":"%s"}' % checksum + data[len(first + second) + 1 :])
    with pytest.raises(DamagedRun, match="format 2"):
        Run(run.path, Files())


class _ColdFiles(Files):
    """A system that has forgotten everything, and says so."""

    def read_cached(self, descriptor: int, size: int, offset: int) -> bytes | None:
        """See Files."""
        del descriptor, size, offset
        return None


def test_a_lookup_does_not_wait_for_the_disk(run: Run) -> None:
    """It says what it lacks; once that was read, on any thread, the answer is there."""
    cold = Run(run.path, _ColdFiles())
    key, time_us = PAIRS[5]
    words = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
    with pytest.raises(ColdBlock) as told:
        cold.find(*words, waits=False)
    told.value.run.warm(told.value.block)
    assert cold.find(*words, waits=False) == time_us
    cold.cool()
    with pytest.raises(ColdBlock):
        cold.find(*words, waits=False)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_an_index_does_not_wait_for_the_disk_either(run: Run, count: int) -> None:
    """However many keys are asked for, on every way of looking them up."""
    index = KeyIndex(keys_max=1_000)
    index.loose.append(LooseRun(Run(run.path, _ColdFiles()), None))
    index.refresh()
    keys = [key for key, _ in PAIRS[:count]]
    cold = index.seen(keys, NOW_US + 1_000)
    assert isinstance(cold, ColdKeys)
    cold.load()
    assert index.seen(keys, NOW_US + 1_000) == [True] * count
    index.turn(NOW_US, 0)
    assert isinstance(index.seen(keys, NOW_US + 1_000), ColdKeys)
    assert index.seen(keys, NOW_US + 1_000, waits=True) == [True] * count


class _BrokenFiles(Files):
    """A disk that cannot read any more."""

    is_broken = False

    def read_cached(self, descriptor: int, size: int, offset: int) -> bytes | None:
        """See Files."""
        if self.is_broken:
            raise io_error()
        return super().read_cached(descriptor, size, offset)

    def read_into(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        """See Files."""
        if self.is_broken:
            raise io_error()
        return super().read_into(descriptor, buffer, offset)


def test_what_cannot_be_read_is_damaged(run: Run) -> None:
    """A block that the disk refuses is like one that is wrong: the rows know what it held."""
    files = _BrokenFiles()
    broken = Run(run.path, files)
    files.is_broken = True
    key = PAIRS[5][0]
    words = int.from_bytes(key[:8], "big"), int.from_bytes(key[8:], "big")
    for waits in (False, True):
        with pytest.raises(DamagedRun, match="cannot be read: Input/output error"):
            broken.find(*words, waits=waits)
    with pytest.raises(DamagedRun):
        list(broken.read_keys(8))
    with pytest.raises(DamagedRun):
        Run(run.path, files)


def test_an_empty_run_is_a_run(tmp_path: Path) -> None:
    """It knows no key, and says that its segments have none."""
    empty = write_run(tmp_path / "run", FaultyFiles(), [])
    assert (empty.keys, empty.newest_us) == (0, 0)
    assert lookup(empty, PAIRS[0][0]) is None
    assert list(empty.read_keys(8)) == []


def test_the_file_lives_as_long_as_its_reader(run: Run) -> None:
    """A run that was replaced and removed still answers those who have it open."""
    run.path.unlink()
    assert lookup(run, PAIRS[0][0]) == NOW_US
