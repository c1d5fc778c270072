"""The key index with its files, under random claims, upkeep, failures and crashes, against a plain
dictionary with times: before and after whatever happens, the answers are the same.
"""

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage import keyindex, keymerge, keytasks, parquet, recovery
from storage.keyindex import WINDOW_US
from tests.support.files import io_error, no_fault, no_space
from tests.support.keys import KeyHarness, spread

# Some are spread as hashes are, some differ only in their last bits.
_UNIVERSE = [spread(n) for n in range(40)] + [n.to_bytes(16, "big") for n in range(20)]
_NUMBERS = st.lists(st.integers(0, len(_UNIVERSE) - 1), min_size=1, max_size=30, unique=True)
_HOUR_US = 3_600_000_000


class KeyIndexMachine(RuleBasedStateMachine):
    """Claim, end segments, flush, work, fail, kill, crash, damage, let time pass."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(parquet, "recent_keys", parquet.recent_keys)  # put back at the end
        # So small that everything happens all the time.
        self._patch.setattr(keyindex, "GENERATION_KEYS", 6)
        self._patch.setattr(keyindex, "_ARRAYS_FROM", 5)
        self._patch.setattr(keytasks, "SORTED_AT_ONCE", 16)
        self._patch.setattr(keymerge, "RUNS_YOUNG", 2)
        self._patch.setattr(keymerge, "_BLOCKS_AT_ONCE", 1)
        self.model: dict[bytes, int] = {}

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        """An empty index."""
        self.harness = KeyHarness(Path(self._folder.name) / "data", seed)

    def _is_seen(self, key: bytes) -> bool:
        return key in self.model and self.harness.now_us - self.model[key] < WINDOW_US

    @rule(numbers=_NUMBERS)
    def claim(self, numbers: list[int]) -> None:
        """New keys are accepted, others are repeats, exactly as the dictionary says."""
        keys = [_UNIVERSE[number] for number in numbers]
        expected = [self._is_seen(key) for key in keys]
        assert self.harness.claim(keys) == expected
        new = (key for key, is_seen in zip(keys, expected, strict=True) if not is_seen)
        self.model.update(dict.fromkeys(new, self.harness.now_us))

    @rule()
    def end_segment(self) -> None:
        """The log goes on in another segment."""
        self.harness.end_segment()

    @rule()
    def flush_and_work(self) -> None:
        """All that is due is done: what is written is published, and nothing left lying about."""
        self.harness.end_segment()
        self.harness.flush()
        self.harness.work()
        assert self.harness.index.loose == []
        found = recovery.look(self.harness.directory)
        assert (found.temporaries, found.strangers) == ([], [])

    @rule()
    def work_while_nothing_is_flushed(self) -> None:
        """Parts are late; what cannot be published yet does not become many files."""
        self.harness.end_segment()
        self.harness.work()
        assert len(self.harness.index.loose) <= 2 + 8

    @rule(steps=st.integers(0, 12))
    def work_and_be_killed(self, steps: int) -> None:
        """The process ends somewhere in the middle of it."""
        self.harness.flush()
        self.harness.work(steps)
        self.harness.kill()

    @rule(steps=st.integers(0, 12))
    def work_and_lose_power(self, steps: int) -> None:
        """The same with the power."""
        self.harness.work(steps)
        self.harness.crash()

    @rule(
        at=st.integers(1, 15),
        operation=st.sampled_from(
            ["", "create", "write", "rename", "sync", "sync_folder", "unlink"]
        ),
        is_full=st.booleans(),
    )
    def work_on_a_failing_disk(self, at: int, operation: str, is_full: bool) -> None:
        """An operation fails; what was known is known, and later everything works again."""
        files = self.harness.files
        last = files.operations + at
        error = no_space if is_full else io_error
        files.fail = lambda one: (
            error() if (one.call == operation if operation else one.number == last) else None
        )
        self.harness.flush()
        self.harness.work()
        files.fail = no_fault

    @rule(data=st.data())
    def damage_and_restart(self, data: st.DataObject) -> None:
        """A file that is not what was written is made again from the rows."""
        runs = self.harness.runs()
        if runs:
            path = data.draw(st.sampled_from(runs))
            content = bytearray(path.read_bytes())
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] ^= 0xFF
            path.write_bytes(content)
            self.harness.kill()

    @rule(data=st.data())
    def lose_a_run(self, data: st.DataObject) -> None:
        """So is a file that is gone."""
        runs = self.harness.runs()
        if runs:
            data.draw(st.sampled_from(runs)).unlink()
            self.harness.kill()

    @rule(
        step_us=st.sampled_from(
            [1, 1_000, _HOUR_US, 5 * _HOUR_US, WINDOW_US - 60_000_000, WINDOW_US - 1, WINDOW_US]
        )
    )
    def wait(self, step_us: int) -> None:
        """Time passes."""
        self.harness.now_us += step_us

    @invariant()
    def answers_agree(self) -> None:
        """Every key is seen if and only if it was accepted less than 24 hours ago."""
        if not hasattr(self, "harness"):
            return
        expected = [self._is_seen(key) for key in _UNIVERSE]
        assert self.harness.seen(_UNIVERSE) == expected
        assert [self.harness.seen([key])[0] for key in _UNIVERSE[::7]] == expected[::7]

    def teardown(self) -> None:
        """Leave nothing behind."""
        self._patch.undo()
        if hasattr(self, "harness"):
            self.harness.files.close_all()
        self._folder.cleanup()


TestKeyIndexMachine = KeyIndexMachine.TestCase
TestKeyIndexMachine.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)
