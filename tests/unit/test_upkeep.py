"""The thread that keeps keys small: what is urgent first, whatever fails, an end at any time."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from storage.upkeep import KeyThread


class Work:
    """A task that says what it does; `between` is called after each step."""

    def __init__(
        self, name: str, told: list[str], steps: int = 1, *, is_urgent: bool = False
    ) -> None:
        self.name = name
        self.is_urgent = is_urgent
        self.error: BaseException | None = None
        self.between: Any = lambda _step: None
        self._told = told
        self._steps = steps

    def steps(self, disk: object) -> Iterator[None]:
        """See Task."""
        del disk
        try:
            for step in range(self._steps):
                self._told.append(f"{self.name} {step}")
                if self.error is not None:
                    raise self.error
                self.between(step)
                yield
        finally:
            self._told.append(f"{self.name} ends")


class Desk:
    """A running thread, and what it reported."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.reports: list[tuple[str, Exception | None]] = []
        self.reported = threading.Semaphore(0)
        self.thread = KeyThread(None, self._report)  # type: ignore[arg-type]

    def _report(self, task: Any, error: Exception | None) -> None:
        self.reports.append((task.name, error))
        self.reported.release()

    def wait(self, count: int) -> None:
        """Until so many tasks were reported."""
        for _ in range(count):
            assert self.reported.acquire(timeout=5)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A thread that ends with the test."""
    desk = Desk()
    yield desk
    desk.thread.finish()
    desk.thread.join(5)
    assert not desk.thread.is_alive()


def test_what_is_urgent_is_done_between_two_steps(desk: Desk) -> None:
    """A long task is interrupted by urgent ones, and by no other."""
    long = Work("long", desk.told, 3)

    def bring(step: int) -> None:
        if step == 0:
            desk.thread.put(Work("other", desk.told))  # type: ignore[arg-type]
            desk.thread.put(Work("urgent", desk.told, is_urgent=True))  # type: ignore[arg-type]

    long.between = bring
    desk.thread.put(long)  # type: ignore[arg-type]
    desk.thread.start()
    desk.wait(3)
    assert desk.told == [
        *("long 0", "urgent 0", "urgent ends", "long 1", "long 2", "long ends"),
        *("other 0", "other ends"),
    ]
    assert [name for name, _ in desk.reports] == ["urgent", "long", "other"]


@pytest.mark.parametrize("error", [OSError(28, "No space"), MemoryError(), ValueError("a bug")])
def test_the_thread_outlives_whatever_fails(desk: Desk, error: Exception) -> None:
    """An error is reported with its task, and the next task is done."""
    broken = Work("broken", desk.told)
    broken.error = error
    desk.thread.put(broken)  # type: ignore[arg-type]
    desk.thread.put(Work("next", desk.told))  # type: ignore[arg-type]
    desk.thread.start()
    desk.wait(2)
    assert desk.reports == [("broken", error), ("next", None)]


def test_an_end_does_not_wait_for_a_long_task(desk: Desk) -> None:
    """The task is closed between two steps and not reported: it was never done."""
    endless = Work("endless", desk.told, 10**9)
    endless.between = lambda step: desk.thread.finish() if step == 3 else None
    desk.thread.put(endless)  # type: ignore[arg-type]
    desk.thread.start()
    desk.thread.join(5)
    assert not desk.thread.is_alive()
    assert desk.told[-1] == "endless ends"
    assert desk.reports == []
