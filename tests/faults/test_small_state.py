"""The small state and the quarantine: every operation fails, and power is lost at every one."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from storage import SmallFiles, StorageError, layout
from storage.aside import Aside, Kept
from tests.faults.world import small_world
from tests.support.durable import State
from tests.support.files import ERRORS, Fault, FaultyFiles, Operation, Short, no_fault


class Told(NamedTuple):
    """What callers know: what must be there, what may be, and what must not any more."""

    must: set[object]
    may: set[object]


Job = Callable[[FaultyFiles, Path, Told], None]
Look = Callable[[Path], set[object]]


def _made(folder: Path) -> FaultyFiles:
    files = FaultyFiles(root=folder)
    for name in layout.FOLDERS:
        files.make_folder(folder / name)
    files.adopt()
    files.operations = 0
    return files


def _sweep(folder: Path, job: Job, look: Look) -> tuple[int, int]:
    """How many operations there are, and how many states were looked at."""
    tried = set()

    def holds(state: State, told: Told) -> None:
        print_ = (frozenset(state.items()), frozenset(told.must), frozenset(told.may))
        if print_ in tried:
            return
        tried.add(print_)
        at = folder / "again"
        shutil.rmtree(at, ignore_errors=True)
        FaultyFiles(root=at).crash(state)
        there = look(at)
        assert told.must <= there <= told.must | told.may, (told, there)

    count = _run(folder, 1 << 40, None, job, holds)
    for number in range(1, count + 1):
        for turn in range(3):
            _run(folder, number, turn, job, holds)
    return count, len(tried)


def _run(
    folder: Path, number: int, turn: int | None, job: Job, holds: Callable[[State, Told], None]
) -> int:
    """The job, in which an operation fails, or none does; how many there were."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    files, told = _made(folder / "data"), Told(set(), set())

    def fail(operation: Operation) -> Fault:
        if turn is None or operation.number != number:
            return None
        kinds = ERRORS[operation.call]
        kind = kinds[turn % len(kinds)]
        return Short() if kind is None else OSError(kind, os.strerror(kind))

    def watch(operation: Operation) -> None:
        if turn is None or 0 < operation.number - number < 4:
            for state in list(files.states(6 if turn is None else 3)):
                holds(state, told)

    files.fail, files.watch = fail, watch
    job(files, folder / "data", told)
    files.fail, files.watch = no_fault, no_fault
    for state in list(files.states(6)):
        holds(state, told)
    return files.operations


def test_small_files_are_the_old_or_the_new_whole(tmp_path: Path) -> None:
    """Usage, salt, book: replaced under every fault and every loss of power."""

    def job(files: FaultyFiles, folder: Path, told: Told) -> None:
        small = SmallFiles(folder / layout.STATE, files)
        told.may.add(None)
        for content in (b"one" * 400, b"two" * 800, b"three"):
            told.may.update(told.must, {content})
            told.must.clear()
            try:
                small.write("usage.json", content)
            except OSError:
                continue
            told.may.clear()
            told.must.add(content)

    def look(folder: Path) -> set[object]:
        return {SmallFiles(folder / layout.STATE, FaultyFiles()).read("usage.json")}

    operations, states = _sweep(tmp_path, job, look)
    assert operations >= 15
    assert states >= 10


def _kept(number: int) -> Kept:
    return Kept(
        id=str(uuid.UUID(int=number)),
        time=number,
        site_id="demo",
        protocol="croct",
        source="browser",
        endpoint="/x",
        reason="r",
        message="m",
        raw=b"{}" * number,
    )


@pytest.fixture
def _one_database() -> Iterator[None]:
    with small_world():
        yield


@pytest.mark.usefixtures("_one_database")
def test_kept_events_stay_until_they_are_settled(tmp_path: Path) -> None:
    """The quarantine: what was kept is there, once; what was taken out stays away."""

    def job(files: FaultyFiles, folder: Path, told: Told) -> None:
        aside = Aside(folder, files)
        try:
            aside.open()
        except (StorageError, OSError):
            return
        for number in (1, 2, 3):
            told.may.add(number)
            try:
                aside.add([_kept(number)])
            except (StorageError, OSError):
                continue
            told.may.discard(number)
            told.must.add(number)
        told.may.add(2)
        told.must.discard(2)
        try:
            aside.settle([str(uuid.UUID(int=2))])
        except (StorageError, OSError):
            return
        told.may.discard(2)

    def look(folder: Path) -> set[object]:
        aside = Aside(folder, FaultyFiles(root=folder))
        aside.open()
        return {uuid.UUID(one).int for one in aside.ids()}

    operations, states = _sweep(tmp_path, job, look)
    assert operations >= 20
    assert states >= 20
