"""Random operations on a store, with crashes and reopening, against a set of row numbers.

The one invariant: acknowledged rows are readable, each once; a row that was not acknowledged may be
there, but never twice and never half. What is readable is what is seen.
"""

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage import keyindex, keymerge
from storage.keyindex import WINDOW_US
from tests.support.disk import io_error, no_space
from tests.support.store import Harness


class StoreMachine(RuleBasedStateMachine):
    """Append, roll, flush, join, fail, step the clock, crash, reopen."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.next_number = 1
        self.acknowledged: set[int] = set()
        self.submitted: set[int] = set()
        self.times: dict[int, int] = {}
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(keyindex, "GENERATION_KEYS", 3)
        self._patch.setattr(keymerge, "RUNS_YOUNG", 2)

    @initialize(
        seed=st.integers(0, 2**32),
        segment_bytes_max=st.sampled_from([600, 3_000, 10**7]),
        join_parts_min=st.sampled_from([2, 100]),
        exchanges=st.booleans(),
    )
    def start(
        self, seed: int, segment_bytes_max: int, join_parts_min: int, exchanges: bool
    ) -> None:
        """Open an empty store whose segments roll soon, late or never, on either kind of disk."""
        self.harness = Harness(
            Path(self._folder.name) / "data",
            seed,
            segment_bytes_max=segment_bytes_max,
            join_parts_min=join_parts_min,
        )
        self.harness.files.exchanges = exchanges
        self.harness.open()

    def _open_again(self) -> None:
        """Start; what is found is told to be a repeat from now on, so it is as if acknowledged."""
        self.harness.open()
        self.acknowledged |= set(self.harness.readable())

    def _submit(self, count: int) -> None:
        numbers = range(self.next_number, self.next_number + count)
        self.next_number += count
        self.submitted.update(numbers)
        self.times.update(dict.fromkeys(numbers, self.harness.now_us))
        if self.harness.submit(*numbers):
            self.acknowledged.update(numbers)

    @rule(count=st.integers(1, 4))
    def submit(self, count: int) -> None:
        """Rows are acknowledged and remembered as such."""
        self._submit(count)

    @rule(
        operation=st.sampled_from(["write", "sync", "create", "sync_folder", "truncate"]),
        error=st.sampled_from([no_space, io_error]),
        count=st.integers(1, 4),
    )
    def submit_with_failure(self, operation: str, error: Callable[[], OSError], count: int) -> None:
        """Rows whose commit meets a failing disk; acknowledged or not, never half."""
        # A truncate happens only after a failed write.
        names = {"write", operation} if operation == "truncate" else {operation}
        self.harness.files.fail = lambda _n, name: error() if name in names else None
        self._submit(count)
        self.harness.files.fail = lambda _n, _name: None

    @rule(seconds=st.sampled_from([0.3, 1.5, 3_600, 86_400, -7_200]))
    def advance(self, seconds: float) -> None:
        """Time passes, or the clock is set back."""
        self.harness.advance(seconds)

    @rule()
    def flush(self) -> None:
        """Every sealed segment becomes a part."""
        self.harness.advance(1.5)
        assert self.harness.settle_flushes()

    @rule(operation=st.sampled_from(["publish", "publish_sync", "remove"]))
    def flush_fails_once(self, operation: str) -> None:
        """A flush that failed is tried again and succeeds."""
        failures = iter([io_error()])
        self.harness.files.fail = lambda _n, name: (
            next(failures, None) if name == operation else None
        )
        self.harness.advance(1.5)
        assert self.harness.settle_flushes()
        self.harness.files.fail = lambda _n, _name: None
        self.harness.crash()
        self._open_again()

    @rule(operation=st.sampled_from(["publish", "publish_sync", "remove"]))
    def flush_fails_then_crash(self, operation: str) -> None:
        """A flush fails, then the power goes."""
        self.harness.files.fail = lambda _n, name: io_error() if name == operation else None
        self.harness.advance(1.5)
        self.harness.crash()
        self.harness.files.fail = lambda _n, _name: None
        self._open_again()

    @precondition(lambda self: not self.harness.fatal)
    @rule()
    def join(self) -> None:
        """Parts are joined by hand; as many as may be are left."""
        assert self.harness.compact()
        assert sorted(self.harness.glob()) == sorted(self.harness.readable())

    @precondition(lambda self: not self.harness.fatal)
    @rule(
        operation=st.sampled_from(
            [
                *("force", "link", "sync_folder", "exchange", "exchange_sync"),
                *("publish", "publish_sync", "remove"),
            ]
        ),
        at=st.integers(0, 3),
        ending=st.sampled_from(["goes on", "killed", "crash"]),
    )
    def join_fails(self, operation: str, at: int, ending: str) -> None:
        """Joining meets a failing disk; it goes on, or the process ends, or the power goes."""
        assert self.harness.compact()
        self._submit(2)
        self.harness.advance(1.5)
        self._submit(2)
        self.harness.advance(1.5)
        assert self.harness.settle_flushes()
        failures = iter([None] * at + [io_error()])
        self.harness.files.fail = lambda _n, name: (
            next(failures, None) if name == operation else None
        )
        self.harness.compact()
        self.harness.files.fail = lambda _n, _name: None
        if ending != "goes on":
            (self.harness.crash if ending == "crash" else self.harness.kill)()
            self._open_again()

    @rule()
    def crash(self) -> None:
        """Lose power and start again."""
        self.harness.crash()
        self._open_again()

    @rule(operation=st.sampled_from(["", "publish", "publish_sync", "remove", "sync_folder"]))
    def kill(self, operation: str) -> None:
        """The process ends at the worst line, the machine goes on; a crash may come later."""
        self.harness.files.fail = lambda _n, name: io_error() if name == operation else None
        self.harness.advance(1.5)
        self.harness.kill()
        self.harness.files.fail = lambda _n, _name: None
        self._open_again()

    @rule(at=st.integers(1, 12))
    def crash_in_recovery(self, at: int) -> None:
        """Lose power again while the start still repairs."""
        self.harness.crash()
        start = self.harness.files.operations
        self.harness.files.fail = lambda n, _name: io_error() if n == start + at else None
        try:
            self._open_again()
        except OSError:
            self.harness.files.crash()
        else:
            self.harness.files.fail = lambda _n, _name: None
            self.harness.crash()
        self.harness.files.fail = lambda _n, _name: None
        self._open_again()

    @precondition(lambda self: not self.harness.fatal)
    @rule()
    def restart(self) -> None:
        """An orderly stop leaves every row in parts."""
        self.harness.close()
        assert sorted(self.harness.glob()) == sorted(self.harness.readable())
        self._open_again()

    @precondition(lambda self: self.harness.fatal)
    @rule()
    def obey_fatal(self) -> None:
        """After a failed sync the process ends and is started anew."""
        self.harness.fatal.clear()
        self.harness.crash()
        self._open_again()

    @invariant()
    def acknowledged_is_readable_once(self) -> None:
        """Acknowledged rows are readable, each once, and none from nowhere."""
        readable = self.harness.readable()
        assert len(readable) == len(set(readable)), "a row is there twice"
        assert self.acknowledged <= set(readable), "an acknowledged row is missing"
        assert set(readable) <= self.submitted, "a row came from nowhere"

    @invariant()
    def stored_is_seen_and_nothing_else(self) -> None:
        """A key is seen if and only if its row is readable and came less than 24 hours ago.

        So no event is taken twice, and none that failed is called a repeat when it is sent again.
        After a failed sync nobody knows what is on disk, and nothing is taken until a restart.
        """
        store = self.harness.store
        assert store is not None
        stored = self.acknowledged if self.harness.fatal else set(self.harness.readable())
        asked = [*self.submitted, self.next_number]
        now_us = self.harness.now_us
        expected = [n in stored and now_us - self.times[n] < WINDOW_US for n in asked]
        keys = [number.to_bytes(16, "big") for number in asked]
        assert store.keys.seen(keys, now_us, waits=True) == expected

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "harness"):
            self.harness.end()
        self._patch.undo()
        self._folder.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)
