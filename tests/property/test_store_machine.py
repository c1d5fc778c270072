"""Random operations on a store, with faults, crashes and reopening, against a set of row numbers.

What must hold is told by `tests/faults/world.py`, and is checked after every step. What a start
finds is told to be a repeat from then on, so it is as if acknowledged.
"""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage import Retention
from tests.faults.world import Book, World, small_world
from tests.support.durable import State
from tests.support.files import ERRORS, Fault, Operation, Short, no_fault

_DAY_US = 86_400_000_000
_STATES = 10
_ACTIONS = ("submit", "flush", "join", "erase", "expire", "advance", "stop")
_nth = st.integers(0, _STATES - 1)


class StoreMachine(RuleBasedStateMachine):
    """Append, roll, flush, join, erase, expire, fail, step the clock, crash, reopen."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(small_world())
        self._folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self._loop = asyncio.new_event_loop()
        self.next_number = 1

    @initialize(
        segment_bytes_max=st.sampled_from([600, 3_000, 10**7]),
        join_parts_min=st.sampled_from([2, 100]),
        tends_parts=st.booleans(),
        exchanges=st.booleans(),
    )
    def start(
        self, segment_bytes_max: int, join_parts_min: int, tends_parts: bool, exchanges: bool
    ) -> None:
        """Open an empty store whose segments roll soon, late or never, on either kind of disk."""
        values: dict[str, object] = {
            "segment_bytes_max": segment_bytes_max,
            "join_parts_min": join_parts_min,
            "tends_parts": tends_parts,
            # Applied by itself, nobody could tell when it was.
            "retention": Retention(days=0 if tends_parts else 1),
        }
        self.world = World(Path(self._folder), values, self._loop, exchanges=exchanges)
        self.world.open()

    def _open_again(self) -> None:
        self.world.open()
        self.world.counts_as_told()

    def _act(self, action: str, number: int = 0) -> None:
        world = self.world
        if action == "submit":
            count = 1 + number % 4
            world.send(*range(self.next_number, self.next_number + count))
            self.next_number += count
        elif action == "flush":
            world.advance(1.5)
        elif action == "join":
            world.join()
        elif action == "erase" and world.must:
            world.erase(sorted(world.must)[number % len(world.must)])
        elif action == "expire":
            self._expire()
        elif action == "stop":
            world.attempt(world.close)
            if world.harness.store is not None:
                world.harness.kill()
            self._open_again()
        else:
            world.advance(20)

    def _expire(self) -> None:
        """Rows of days long past may go; where a clock was set back they stay somewhat longer."""
        world = self.world
        today = world.harness.now_us // _DAY_US
        old = {n for n in world.must if world.times[n] // _DAY_US < today - 1}
        if not world.harness.settings.tends_parts:
            world.expire(*old, is_certain=False)

    @rule(count=st.integers(0, 3))
    def submit(self, count: int) -> None:
        """Rows are acknowledged and remembered as such."""
        self._act("submit", count)

    @rule(seconds=st.sampled_from([0.3, 1.5, 3_600, 86_400, -7_200]))
    def advance(self, seconds: float) -> None:
        """Time passes, or the clock is set back."""
        self.world.advance(seconds)

    @rule(is_held=st.booleans())
    def hold_flushes(self, is_held: bool) -> None:
        """Flushing does not keep up for a while."""
        self.world.hold_flushes(is_held=is_held)

    @precondition(lambda self: not self.world.harness.fatal)
    @rule()
    def flush(self) -> None:
        """Every sealed segment becomes a part."""
        self.world.hold_flushes(is_held=False)
        self.world.advance(1.5)
        assert self.world.harness.store is not None
        assert not self.world.harness.store._waiting

    @precondition(lambda self: not self.world.harness.fatal)
    @rule()
    def join(self) -> None:
        """Parts are joined by hand; as many as may be are left."""
        self.world.hold_flushes(is_held=False)
        self.world.advance(1.5)  # until a probe finds the disk well
        assert self.world.join()
        with self.world.files.quiet():
            there = sorted(self.world.harness.readable())
            assert sorted(self.world.harness.glob()) == there

    @rule(number=st.integers(0, 100))
    def erase(self, number: int) -> None:
        """A visitor's rows go for good, once that is reported."""
        self._act("erase", number)

    @rule()
    def expire(self) -> None:
        """Retention by hand."""
        self._expire()

    @rule(
        action=st.sampled_from(_ACTIONS),
        number=st.integers(0, 100),
        at=st.integers(1, 60),
        kind=st.integers(0, 9),
        stays=st.booleans(),
        ending=st.sampled_from(["goes on", "killed", "crash"]),
        nth=_nth,
    )
    def fail(
        self, *, action: str, number: int, at: int, kind: int, stays: bool, ending: str, nth: int
    ) -> None:
        """An operation meets a failing disk; it goes on, or the process ends, or the power goes."""
        files = self.world.files
        last = files.operations + at

        def fault(operation: Operation) -> Fault:
            is_it = operation.number == last or (stays and operation.number > last)
            if not is_it:
                return None
            kinds = ERRORS[operation.call]
            chosen = kinds[kind % len(kinds)]
            return Short() if chosen is None else OSError(chosen, "as drawn")

        files.fail = fault
        was_open = True
        try:
            self._act(action, number)
        except OSError:
            was_open = False  # a stop, and a start that failed
        files.fail = no_fault
        if not was_open or ending == "killed":
            self._kill()
            self._open_again()
        elif ending == "crash":
            self._lose_power(self._states()[nth:])
            self._open_again()

    @rule(action=st.sampled_from(_ACTIONS), number=st.integers(0, 100), at=st.integers(1, 60))
    def crash_within(self, action: str, number: int, at: int) -> None:
        """The power goes before the n-th operation of something."""
        self._crash_within(lambda: self._act(action, number), at)
        self._open_again()

    def _crash_within(self, job: Callable[[], None], at: int) -> None:
        files = self.world.files
        last = files.operations + at
        moment: list[tuple[list[State], Book]] = []

        def watch(operation: Operation) -> None:
            if operation.number == last:
                moment.append((self._states(), self.world.book))

        files.watch = watch
        job()
        files.watch = no_fault
        states, book = moment[0] if moment else (self._states(), self.world.book)
        self.world.go_back_to(book)
        self._lose_power(states[at % len(states) :])

    @rule(nth=_nth)
    def crash(self, nth: int) -> None:
        """Lose power and start again."""
        self._lose_power(self._states()[nth:])
        self._open_again()

    @rule(nth=_nth, at=st.integers(1, 40))
    def crash_in_recovery(self, nth: int, at: int) -> None:
        """Lose power again while the start still repairs."""
        self._lose_power(self._states()[nth:])
        self._crash_within(self.world.open, at)
        self._open_again()

    @rule()
    def kill(self) -> None:
        """The process ends, the machine goes on; a crash may come later."""
        self._kill()
        self._open_again()

    @precondition(lambda self: not self.world.harness.fatal)
    @rule()
    def restart(self) -> None:
        """An orderly stop leaves every row in parts."""
        self.world.hold_flushes(is_held=False)
        self.world.advance(1.5)
        self.world.ends_well()
        self._open_again()

    def _kill(self) -> None:
        if self.world.harness.store is not None:
            self.world.harness.kill()

    def _states(self) -> list[State]:
        return list(self.world.files.states(_STATES))

    def _lose_power(self, states: list[State]) -> None:
        """One of the states becomes true; at random, where there are not so many."""
        self._kill()
        self.world.files.crash(states[0] if states else None)

    @invariant()
    def everything_holds(self) -> None:
        """Acknowledged is readable, each once; see `tests/faults/world.py`."""
        self.world.check()

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "world"):
            self.world.end()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self.stack.close()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)
