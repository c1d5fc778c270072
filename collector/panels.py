"""What the dashboard's pages may ask of the files, and what they are told at once.

A page states its questions; each is SQL of ours with values bound to its names. An answer that is
young enough is given again. Everything else is asked on one thread that gives way to whatever else
wants the processor, and a page waits for it for a moment only: after that it shows what was known
before, or how far the question has come. So no page is slow, and no question slows down intake.

Must not know what a page shows, nor run SQL of anybody else's.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from storage import Deadline, StorageError, TookTooLong

# An answer that took long is kept for longer: so many times what it took, within bounds.
_FRESH_TIMES: Final = 20.0
_FRESH_S_MIN: Final = 5.0
_FRESH_S_MAX: Final = 300.0
_KEPT_MAX: Final = 512
_WAITING_MAX: Final = 64
_SECONDS_MAX: Final = 60.0
# What a page waits for its answers.
PATIENCE_S: Final = 0.15


class Question(msgspec.Struct, frozen=True):
    """One query of ours; `values` are bound to its `$names`. Equal questions share an answer."""

    sql: str
    values: tuple[tuple[str, str | int | float | None], ...] = ()


class Found(msgspec.Struct, frozen=True):
    """Rows, their columns, when they were asked for (Unix microseconds), how long that took."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    as_of_us: int
    seconds: float

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows by the names of their columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Pending(msgspec.Struct, frozen=True):
    """Not answered yet. `share` done, 0 to 1; None: not known, or others are asked first."""

    share: float | None = None


class Failed(msgspec.Struct, frozen=True):
    """Not answered, and why, in words that tell no secret."""

    why: str


Told: TypeAlias = Found | Pending | Failed


class Session(Protocol):
    """Asks the files. Called on the thread of questions. Raises `StorageError` and OSError."""

    def __call__(
        self, question: Question, deadline: Deadline, progress: Callable[[float], None], /
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Names of columns, and rows."""


class _Job:
    def __init__(self) -> None:
        self.share: float | None = None
        self.done = asyncio.Event()

    def progressed(self, share: float) -> None:
        """Called from another thread: one assignment."""
        self.share = share


class Panels:
    """Answers questions. `run` has a function called on the thread of questions, one at a time."""

    def __init__(
        self,
        session: Session,
        *,
        run: Callable[[Callable[[], Any]], "asyncio.Future[Any]"],
        now_us: Callable[[], int],
    ) -> None:
        self._session = session
        self._run = run
        self._now_us = now_us
        self._known: OrderedDict[Question, Found | Failed] = OrderedDict()
        self._jobs: dict[Question, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, *questions: Question, patience_s: float = PATIENCE_S) -> Sequence[Told]:
        """An answer for each question, in their order, after `patience_s` at the latest."""
        waited = [
            asyncio.ensure_future(job.done.wait())
            for job in (self._start(question) for question in questions)
            if job is not None
        ]
        if waited:
            await asyncio.wait(waited, timeout=patience_s)
            for one in waited:
                one.cancel()
        return [self._told(question) for question in questions]

    def _told(self, question: Question) -> Told:
        known = self._known.get(question)
        if known is not None:
            self._known.move_to_end(question)
            return known
        job = self._jobs.get(question)
        if job is None:
            return Failed("many other questions are being answered; load the page again")
        return Pending(job.share)

    def _start(self, question: Question) -> _Job | None:
        """What answers a question, None where the answer is there or nobody can be asked."""
        known = self._known.get(question)
        if isinstance(known, Found):
            fresh_s = min(max(_FRESH_S_MIN, known.seconds * _FRESH_TIMES), _FRESH_S_MAX)
            if self._now_us() - known.as_of_us < fresh_s * 1e6:
                return None
        job = self._jobs.get(question)
        if job is None and len(self._jobs) < _WAITING_MAX:
            job = self._jobs[question] = _Job()
            task = asyncio.ensure_future(self._answer(question, job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return job

    async def _answer(self, question: Question, job: _Job) -> None:
        try:
            self._known[question] = await self._run(lambda: self._asked(question, job))
        finally:
            del self._jobs[question]
            job.done.set()
        self._known.move_to_end(question)
        while len(self._known) > _KEPT_MAX:
            self._known.popitem(last=False)

    def _asked(self, question: Question, job: _Job) -> Found | Failed:
        """On the thread of questions."""
        began_us = self._now_us()
        try:
            with Deadline(_SECONDS_MAX) as deadline:
                columns, rows = self._session(question, deadline, job.progressed)
        except TookTooLong as error:
            return Failed(f"this took too long: {error}")
        except (StorageError, OSError):
            # Its message may name a folder of this machine.
            return Failed("the files cannot be read at present; the log says why")
        return Found(columns, rows, began_us, (self._now_us() - began_us) / 1e6)


def bound(values: Mapping[str, str | int | float | None]) -> tuple[tuple[str, Any], ...]:
    """The values of a `Question`, in one order."""
    return tuple(sorted(values.items()))
