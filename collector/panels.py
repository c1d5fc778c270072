"""What the dashboard's pages may ask of the files, and what they are told at once.

A page states its questions; each is SQL of ours with values bound to its names. An answer that is
young enough is given again. Everything else is asked of processes that give way to whatever else
wants the processor, and a page waits for it for a moment only: after that it shows what was known
before, or how far the question has come. So no page is slow, and no question slows down intake.
There are two lanes, one question after the other in each: what has to read rows, which may take
long, does not hold up what is counted already. What was wanted last is asked first, and what nobody
waits for any more makes way.

Must not know what a page shows, nor run SQL of anybody else's.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from storage import Deadline, StorageError, TookTooLong, views

_log: Final = logging.getLogger("collector")

# An answer that took long is kept for longer: so many times what it took, within bounds.
_FRESH_TIMES: Final = 20.0
_FRESH_S_MIN: Final = 5.0
_FRESH_S_MAX: Final = 300.0
# What is older is not shown any more while a new answer is looked for.
_STALE_S_MAX: Final = 900.0
_KEPT_MAX: Final = 512
# Many of these may be large: an answer has as many rows as its page shows.
_ROWS_KEPT_MAX: Final = 200_000
_WAITING_MAX: Final = 64
_SECONDS_MAX: Final = 180.0
# Nobody waits any more for what nobody has asked for so long: pages load themselves anew at least
# every 15 s. It is given up then, if others wait.
_UNWANTED_S: Final = 30.0
# What a page waits for its answers.
PATIENCE_S: Final = 0.12
# What the session holds is given back when nobody has asked for so long.
_IDLE_S: Final = 120.0


_READS_ROWS: Final = re.compile(
    rf"\b(?:FROM|JOIN)\s+(?:events|{'|'.join(view.name for view in views.VIEWS)})\b"
)


class Question(msgspec.Struct, frozen=True):
    """One query of ours; `values` are bound to its `$names`. Equal questions share an answer.

    `$now_us` is bound to the moment of asking (Unix microseconds). `first`: queries with one row
    each, asked before, in this order; their columns are bound to whatever follows. So the rows of a
    few dates are read, not of all.
    """

    sql: str
    values: tuple[tuple[str, str | int | float | None], ...] = ()
    first: tuple[str, ...] = ()

    @property
    def reads_rows(self) -> bool:
        """Whether rows are read, and not only what is counted already."""
        return any(map(_READS_ROWS.search, (*self.first, self.sql)))


class Found(msgspec.Struct, frozen=True):
    """Rows, and their columns. `as_of_us`: all rows of that moment were there (Unix microseconds).

    `seconds`: what answering took. `lacks_newest`: rows that were still in the log are left out,
    because there were very many of them; they are a few seconds old at most.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    as_of_us: int
    seconds: float
    lacks_newest: bool = False

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
    """Asks the files; both methods are called on the thread of its lane."""

    def ask(
        self, question: Question, deadline: Deadline, progress: Callable[[float], None], /
    ) -> Found:
        """The answer; `progress` is told the share done. Raises `StorageError` and OSError."""

    def close(self) -> None:
        """Give back what was held for the next question."""


# Has a function called on a thread, one at a time.
Run: TypeAlias = Callable[[Callable[[], Any]], "asyncio.Future[Any]"]


class Lane(msgspec.Struct, frozen=True):
    """A session, and its thread."""

    session: Session
    call: Run


class _Job:
    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.is_begun = False
        self.askers = 0
        self.wanted_us = 0
        self.is_given_up = False
        self.deadline: Deadline | None = None
        self.share: float | None = None
        self.done = asyncio.Event()

    def progressed(self, share: float) -> None:
        """Called from another thread: one assignment."""
        self.share = share

    def give_up(self) -> None:
        """Have it end soon, without an answer."""
        self.is_given_up = True
        if self.deadline is not None:
            self.deadline.end()


class _Known(msgspec.Struct, frozen=True):
    """What was told, when it was known, and until when it is told again without asking."""

    told: Found | Failed
    since_us: int
    fresh_until_us: int


class Panels:
    """Answers questions, by `session` on the thread of `run`.

    `rows`: the lane of those that read rows, if they have one. `now_us`: Unix microseconds.
    """

    def __init__(
        self, session: Session, *, run: Run, now_us: Callable[[], int], rows: Lane | None = None
    ) -> None:
        self._kept = Lane(session, run)
        self._rows = rows or self._kept
        self._now_us = now_us
        self._known: OrderedDict[Question, _Known] = OrderedDict()
        self._jobs: dict[Question, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._is_stopping = False

    async def ask(self, *questions: Question, patience_s: float = PATIENCE_S) -> Sequence[Told]:
        """An answer for each question, in their order, after `patience_s` at the latest."""
        jobs: list[_Job] = []
        for question in questions:
            job = self._start(question)
            if job is not None:
                job.askers += 1
                jobs.append(job)
        if jobs:
            waited = [asyncio.ensure_future(job.done.wait()) for job in jobs]
            try:
                await asyncio.wait(waited, timeout=patience_s)
            finally:
                for job, one in zip(jobs, waited, strict=True):
                    job.askers -= 1
                    one.cancel()
        return [self._told(question) for question in questions]

    async def stop(self) -> None:
        """Give up what is being asked, and whatever waits; nothing is answered any more."""
        self._is_stopping = True
        if self._idle is not None:
            self._idle.cancel()
        await self.forget()

    async def forget(self) -> None:
        """Give up what is being asked, and let go of every answer and of what sessions hold.

        Of a person who was erased nothing is shown any more.
        """
        self._known.clear()
        for question, job in list(self._jobs.items()):
            if not job.is_begun:
                del self._jobs[question]
                job.done.set()
        for job in self._jobs.values():
            job.give_up()
        # Behind what is being given up, but before whatever is asked from now on: that must not be
        # told what a session still holds.
        closed = [lane.call(lane.session.close) for lane in (self._kept, self._rows)]
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*closed)

    def _told(self, question: Question) -> Told:
        known, job = self._known.get(question), self._jobs.get(question)
        if known is not None:
            self._known.move_to_end(question)
            is_too_old = not 0 <= self._now_us() - known.since_us <= _STALE_S_MAX * 1e6
            if job is None or not is_too_old:
                return known.told
        if job is None:
            return Failed("many other questions are being answered; load the page again")
        return Pending(job.share)

    def _start(self, question: Question) -> _Job | None:
        """What answers a question, None where the answer is there or nobody can be asked."""
        known = self._known.get(question)
        # After a step back of the clock nobody knows how old an answer is.
        if known is not None and known.since_us <= self._now_us() < known.fresh_until_us:
            return None
        job = self._jobs.get(question)
        if job is None and not self._is_stopping and self._has_place():
            lane = self._rows if question.reads_rows else self._kept
            job = _Job(lane)
        if job is not None:
            # Who asks again goes to the front: somebody is looking at that page now.
            job.wanted_us = self._now_us()
            self._jobs.pop(question, None)
            self._jobs[question] = job
            self._begin(job.lane)
        return job

    def _has_place(self) -> bool:
        """Whether one more may wait; who was asked for longest ago makes room."""
        if len(self._jobs) >= _WAITING_MAX:
            for question, job in self._jobs.items():
                if not job.is_begun and not job.askers:
                    del self._jobs[question]
                    return True
        return len(self._jobs) < _WAITING_MAX

    def _begin(self, lane: Lane) -> None:
        """Have the question asked that was wanted last, if nothing is asked in this lane.

        What is asked there is given up when only others are waited for.
        """
        ours = [(q, job) for q, job in self._jobs.items() if job.lane is lane]
        begun = next((job for _, job in ours if job.is_begun), None)
        if begun is not None:
            unwanted_us = 0 if begun.askers else self._now_us() - begun.wanted_us
            if len(ours) > 1 and unwanted_us > _UNWANTED_S * 1e6:
                begun.give_up()
        elif ours:
            question, job = ours[-1]
            job.is_begun = True
            task = asyncio.ensure_future(self._answer(question, job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: Question, job: _Job) -> None:
        began_us = self._now_us()
        lane = job.lane
        asked = lane.call(lambda: self._asked(lane.session, question, job))
        await asyncio.wait({asked})
        now_us = self._now_us()
        self._jobs.pop(question, None)
        job.done.set()
        self._begin(lane)
        bug = asked.exception()
        if bug is not None:
            _log.error("a question of the dashboard failed: %s", question.sql, exc_info=bug)
        told = Failed("this could not be answered; the log says why") if bug else asked.result()
        if job.is_given_up:
            return  # or else it may tell what is to be forgotten
        seconds = told.seconds if isinstance(told, Found) else (now_us - began_us) / 1e6
        fresh_s = min(max(_FRESH_S_MIN, seconds * _FRESH_TIMES), _FRESH_S_MAX)
        since_us = told.as_of_us if isinstance(told, Found) else now_us
        self._known[question] = _Known(told, since_us, now_us + int(fresh_s * 1e6))
        self._known.move_to_end(question)
        self._forget()
        self._close_when_idle()

    def _forget(self) -> None:
        """Let go of the answers that nobody asked for longest, when there are too many."""
        rows = sum(
            len(one.told.rows) for one in self._known.values() if isinstance(one.told, Found)
        )
        while len(self._known) > 1 and (len(self._known) > _KEPT_MAX or rows > _ROWS_KEPT_MAX):
            _, gone = self._known.popitem(last=False)
            rows -= len(gone.told.rows) if isinstance(gone.told, Found) else 0

    def _close_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if not self._jobs and not self._is_stopping:
            self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._give_back)

    def _give_back(self) -> None:
        for lane in (self._kept, self._rows):
            lane.call(lane.session.close)

    def _asked(self, session: Session, question: Question, job: _Job) -> Found | Failed:
        """On the thread of a lane."""
        deadline = job.deadline = Deadline(_SECONDS_MAX)
        try:
            with deadline:
                if self._is_stopping or job.is_given_up:
                    deadline.end()
                return session.ask(question, deadline, job.progressed)
        except TookTooLong as error:
            return Failed(f"this took too long: {error}")
        except (StorageError, OSError) as error:
            # Its message may name a folder of this machine: it is for the log.
            _log.warning("a question of the dashboard failed: %s", error)
            return Failed("the files cannot be read at present; the log says why")


def bound(values: Mapping[str, str | int | float | None]) -> tuple[tuple[str, Any], ...]:
    """The values of a `Question`, in one order."""
    return tuple(sorted(values.items()))
