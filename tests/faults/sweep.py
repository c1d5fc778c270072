"""Runs a scenario again and again: every operation fails once, and power is lost at every one.

A run is repeated exactly, because all work is done in one order (`inline`). So the operations of
one run without a fault are those of every run up to its fault.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from storage.files import CANNOT
from tests.faults.scenarios import Scenario
from tests.faults.world import Book, World
from tests.support.durable import State
from tests.support.files import ERRORS, Fault, Operation, Short, no_fault

_TAKES_ROOM = frozenset({"create", "write", "sync", "mkdir", "link", "rename", "convert"})


class Depth(NamedTuple):
    """How much is tried.

    States of each moment, of a recovery's moments, of those after a fault (`later`: so many
    operations later); faults of each call; every how-manieth operation of a recovery.
    """

    states: int
    nested: int
    after: int
    later: frozenset[int]
    errors: int
    stride: int


USUAL = Depth(states=3, nested=2, after=2, later=frozenset(), errors=1, stride=9)
# Enough to see that a safeguard is missing.
QUICK = Depth(states=6, nested=0, after=3, later=frozenset({1, 4, 16}), errors=1, stride=1_000)
# By hand: tens of times as much.
DEEP = Depth(states=60, nested=12, after=8, later=frozenset(range(40)), errors=9, stride=1)


# What is told of a fault, the fault, and which later calls fail like that.
_Named = tuple[str, Callable[[], Fault], frozenset[str]]


class Counts(msgspec.Struct):
    """What was tried."""

    operations: int = 0
    failed: int = 0
    states: int = 0
    recoveries: int = 0

    def add(self, other: "Counts") -> None:
        """Sum up."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Violation(AssertionError):
    """Something did not hold; says what was done, so that it can be done again."""


class Sweep:
    """All runs of one scenario. Not to be used outside of `world.small_world`."""

    def __init__(self, scenario: Scenario, depth: Depth) -> None:
        self.scenario = scenario
        self.depth = depth
        self.counts = Counts()
        self._loop = asyncio.new_event_loop()
        self._folder = Path(tempfile.mkdtemp(prefix="faults-", dir=_fast_folder()))
        self._numbers = itertools.count()
        self._seen: set[tuple[frozenset[tuple[str, bytes | None]], Book]] = set()
        self._turn = itertools.count()
        with self._world() as world:
            if scenario.prepare is not None:
                scenario.prepare(world)
            if world.harness.store is not None:
                world.harness.kill()
            self._prepared = _visible(world)
            self._told, self._world_before = world.book, world

    def close(self) -> None:
        """Leave nothing behind."""
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- failing

    def fail_each(self) -> None:
        """Fail operation 1, 2, 3, ... until a run passes unharmed."""
        calls = self._calls()
        self.counts.operations = len(calls)
        for number, call in enumerate(calls, 1):
            for fault in self._faults(number, call):
                self._fail(number, call, fault)
                self.counts.failed += 1

    def _faults(self, number: int, call: str) -> Iterator["_Named"]:
        """What to try at an operation: its name, the fault, and whether it stays."""
        kinds = ERRORS[call]
        for index in range(min(self.depth.errors, len(kinds))):
            yield _fault(kinds[(number + index) % len(kinds)], stays=frozenset())
        # Not everything everywhere, unless that is asked for.
        is_deep = self.depth.errors > 1
        if call in _TAKES_ROOM and (is_deep or number % 3 == 0):
            yield _fault(errno.ENOSPC, stays=_TAKES_ROOM)
        if is_deep or number % 3 == 1 or call.startswith("sync"):
            # For good, until the process is killed: as if it had been killed at this moment.
            yield _fault(errno.EIO, stays=frozenset(ERRORS))

    def _calls(self) -> list[str]:
        calls: list[str] = []
        with self._run(watch=lambda operation: calls.append(operation.call)) as world:
            world.check()
        return calls

    def _fail(self, number: int, call: str, fault: "_Named") -> None:
        name, make, stays = fault

        def fail(operation: Operation) -> Fault:
            is_it = operation.number == number or (
                operation.number > number and operation.call in stays
            )
            return make() if is_it else None

        told = f"{self.scenario.name}: operation {number} ({call}) fails: {name}"
        error = make()
        cannot = isinstance(error, OSError) and error.errno in CANNOT
        later: list[tuple[int, list[State], Book]] = []

        def watch(operation: Operation) -> None:
            if operation.number - number in self.depth.later:
                states = list(holder[0].files.states(self.depth.after))
                later.append((operation.number, states, holder[0].book))

        holder: list[World] = []
        with _told(told), self._run(fail, watch, holder, may_double=cannot) as world:
            if world.harness.store is not None and "read" not in stays:
                world.check()
                world.goes_on()
                world.check()
            later.append((0, list(world.files.states(self.depth.after)), world.book))
            before = world
            if world.harness.store is not None:
                world.harness.kill()
            world.open(is_held=True)
            world.check()
            world.counts_as_told()
            later.append((-1, list(world.files.states(self.depth.after)), world.book))
            world.goes_on()
            world.check()
            world.ends_well()
        for at, states, book in later:
            where = "the end" if at == 0 else f"operation {at}" if at > 0 else "the start after it"
            for state in states:
                self._after_crash(state, book, before, f"{told}, then a crash at {where}")

    # --- crashing

    def crash_everywhere(self) -> None:
        """Lose power before each operation, and at the end, in each way; and while it is mended."""
        moments: list[tuple[str, list[State], Book]] = []
        with self._run_watched(moments) as world:
            moments.append(("the end", list(world.files.states(self.depth.states)), world.book))
        for told, states, book in moments:
            for state in states:
                self._after_crash(state, book, world, f"{self.scenario.name}: crash at {told}")

    @contextlib.contextmanager
    def _run_watched(self, moments: list[tuple[str, list[State], Book]]) -> Iterator[World]:
        holder: list[World] = []

        def watch(operation: Operation) -> None:
            states = list(holder[0].files.states(self.depth.states))
            where = f"operation {operation.number} ({operation.call} {operation.path.name})"
            moments.append((where, states, holder[0].book))

        with self._run(watch=watch, holder=holder) as world:
            yield world

    def _after_crash(self, state: State, book: Book, before: World, told: str) -> None:
        """A start from this state, with a crash at each of its operations."""
        key = (frozenset(state.items()), book)
        if key in self._seen:
            return
        self._seen.add(key)
        self.counts.states += 1
        turn = next(self._turn)
        nested: list[State] = []
        with _told(told), self._world() as world:
            world.take(state, before, book)
            world.check_glob()
            wants = turn % 12 == 0 or self.depth.errors > 1

            def watch(operation: Operation) -> None:
                if (operation.number + turn) % self.depth.stride == 0:
                    nested.extend(world.files.states(self.depth.nested))

            world.files.watch = watch if wants else no_fault
            world.open(is_held=True)
            world.files.watch = no_fault
            world.check()
            if turn % 6 == 0:
                world.goes_on()
                world.check()
                world.ends_well()
        for inner in nested:
            key = (frozenset(inner.items()), book)
            if key not in self._seen:
                self._seen.add(key)
                self.counts.recoveries += 1
                with _told(f"{told}, and again while that is mended"), self._world() as world:
                    world.take(inner, before, book)
                    world.open(is_held=True)
                    world.check()

    # --- one run

    @contextlib.contextmanager
    def _run(
        self,
        fail: Callable[[Operation], Fault] = no_fault,
        watch: Callable[[Operation], object] = no_fault,
        holder: list[World] | None = None,
        *,
        may_double: bool = False,
    ) -> Iterator[World]:
        with self._world() as world:
            world.take(self._prepared, self._world_before, self._told)
            if self.scenario.is_open:
                world.open()
                world.settle()
            world.files.operations = 0
            world.files.fail, world.files.watch = fail, watch
            if holder is not None:
                holder.append(world)
            world.doubles_for_a_moment |= may_double
            self.scenario.act(world)
            world.files.fail = world.files.watch = no_fault
            yield world

    @contextlib.contextmanager
    def _world(self) -> Iterator[World]:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        world = World(folder, self.scenario.settings, self._loop, exchanges=self.scenario.exchanges)
        try:
            yield world
        finally:
            world.end()
            shutil.rmtree(folder, ignore_errors=True)


def _fault(kind: int | None, *, stays: frozenset[str]) -> _Named:
    if kind is None:
        return "a short write", Short, stays
    text = os.strerror(kind)
    until = ", and all calls from here on" if "read" in stays else ", from here on" if stays else ""
    return f"{text}{until}", lambda: OSError(kind, text), stays


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise Violation(f"{what}: {type(error).__name__}: {error}") from error


def _visible(world: World) -> State:
    """What is there, as if all of it were on disk."""
    world.files.adopt()
    [state] = world.files.states(1)
    return state


def _fast_folder() -> str | None:
    """Where a sync costs nothing, if there is such a place: the model knows what it means."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
