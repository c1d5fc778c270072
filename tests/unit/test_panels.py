"""Questions of the dashboard: who is told what, and when; who waits, and for how long."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from collector import panels
from collector.panels import Failed, Found, Lane, Panels, Pending, Question, bound
from storage import Deadline, StorageError, TookTooLong

_S = 1_000_000
_SHORT_S = 0.01
_LONG_S = 20.0


class Held:
    """A session whose answers come when they are let go; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = 0
        # By question: how often it was closed before.
        self.closed_before: dict[str, int] = {}
        self.is_closed = threading.Event()
        self.error: BaseException | None = None
        self.is_free = threading.Event()
        self.is_free.set()
        self.began = threading.Event()
        self.share = 0.0
        self.seconds = 0.001

    def ask(
        self, question: Question, deadline: Deadline, progress: Callable[[float], None]
    ) -> Found:
        """See Session."""
        self.asked.append(question.sql)
        self.closed_before[question.sql] = self.closed
        self.began.set()
        if self.share:
            progress(self.share)
        while not self.is_free.wait(0.002):
            deadline.check()
        if self.error is not None:
            raise self.error
        return Found(("n",), [(len(self.asked),)], self.clock_us(), self.seconds)

    def close(self) -> None:
        """See Session."""
        self.closed += 1
        self.is_closed.set()

    def clock_us(self) -> int:
        """The clock of the world."""
        return World.now_us


class World:
    """The panels, their thread, and a clock that is set by hand."""

    now_us = 1_000 * _S

    def __init__(self, session: Held) -> None:
        World.now_us = 1_000 * _S
        self._threads: list[ThreadPoolExecutor] = []
        self.rows = Held()
        kept, rows = self._lane(session), self._lane(self.rows)
        self.panels = Panels(kept.session, run=kept.call, now_us=lambda: World.now_us, rows=rows)

    def _lane(self, session: Held) -> Lane:
        thread = ThreadPoolExecutor(1)
        self._threads.append(thread)
        return Lane(session, lambda ask: asyncio.get_running_loop().run_in_executor(thread, ask))

    async def ask(self, sql: str = "one", *, patience_s: float = _LONG_S) -> Any:
        """What is told of one question."""
        [told] = await self.panels.ask(Question(sql), patience_s=patience_s)
        return told

    async def end(self, session: Held) -> None:
        """Leave nothing running."""
        session.is_free.set()
        self.rows.is_free.set()
        await self.panels.stop()
        for thread in self._threads:
            await asyncio.to_thread(thread.shutdown)


def play(scene: Callable[[World, Held], Awaitable[None]]) -> None:
    """Play one scene, and stop."""

    async def run() -> None:
        session = Held()
        world = World(session)
        try:
            await scene(world, session)
        finally:
            await world.end(session)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_an_answer_is_given_again_while_it_is_fresh() -> None:
    """For five seconds, or longer if it took long; then it is asked for anew."""

    async def scene(world: World, session: Held) -> None:
        assert (await world.ask()).rows == [(1,)]
        World.now_us += 4 * _S
        assert (await world.ask()).rows == [(1,)]
        World.now_us += 2 * _S
        session.seconds = 2.0
        assert (await world.ask()).rows == [(2,)]
        World.now_us += 39 * _S
        assert (await world.ask()).rows == [(2,)]
        World.now_us += 2 * _S
        assert (await world.ask()).rows == [(3,)]

    play(scene)


def test_after_a_step_back_of_the_clock_it_is_asked_anew() -> None:
    """Else an answer of before would be given until the clock has come to that time again."""

    async def scene(world: World, session: Held) -> None:
        await world.ask()
        World.now_us -= 3_600 * _S
        assert (await world.ask()).rows == [(2,)]
        session.is_free.clear()
        World.now_us -= 3_600 * _S
        assert await world.ask(patience_s=_SHORT_S) == Pending()

    play(scene)


def test_who_does_not_get_an_answer_in_time_gets_the_last_one() -> None:
    """With its moment; unless it is so old that it says nothing any more."""

    async def scene(world: World, session: Held) -> None:
        first = await world.ask()
        session.is_free.clear()
        World.now_us += 600 * _S
        assert await world.ask(patience_s=_SHORT_S) == first
        World.now_us += 301 * _S
        assert await world.ask(patience_s=_SHORT_S) == Pending()

    play(scene)


def test_what_is_not_known_yet_is_pending() -> None:
    """With the share done, where the session says it; and the answer is there later."""

    async def scene(world: World, session: Held) -> None:
        session.is_free.clear()
        session.share = 0.4
        assert isinstance(await world.ask(patience_s=0.0), Pending)
        await asyncio.to_thread(session.began.wait)
        for _ in range(1_000):
            if (told := await world.ask(patience_s=_SHORT_S)) == Pending(0.4):
                break
        assert told == Pending(0.4)
        session.is_free.set()
        assert (await world.ask()).rows == [(1,)]

    play(scene)


def test_many_askers_share_one_job() -> None:
    """A question is asked once, however many pages show its answer."""

    async def scene(world: World, session: Held) -> None:
        told = await asyncio.gather(*(world.ask() for _ in range(50)))
        assert {one.rows[0] for one in told} == {(1,)}
        assert session.asked == ["one"]

    play(scene)


def test_a_job_whose_asker_went_away_is_done() -> None:
    """Its answer is there for the next who asks."""

    async def scene(world: World, session: Held) -> None:
        session.is_free.clear()
        asker = asyncio.ensure_future(world.ask())
        await asyncio.to_thread(session.began.wait)
        asker.cancel()
        await asyncio.wait({asker})
        session.is_free.set()
        assert (await world.ask()).rows == [(1,)]
        assert session.asked == ["one"]

    play(scene)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT date FROM events",
        "SELECT 1 FROM counts JOIN valid_events USING (date)",
        "SELECT * FROM (\n    SELECT date FROM\n    goal_completions)",
    ],
)
def test_what_reads_rows_holds_nothing_else_up(sql: str) -> None:
    """It has a lane of its own; a column called `events` is no row."""

    async def scene(world: World, session: Held) -> None:
        world.rows.is_free.clear()
        assert await world.ask(sql, patience_s=_SHORT_S) == Pending()
        assert (await world.ask("SELECT sum(events) FROM counts")).rows == [(1,)]
        assert session.asked == ["SELECT sum(events) FROM counts"]
        world.rows.is_free.set()
        assert (await world.ask(sql)).rows == [(1,)]

    play(scene)


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that a page is told so at once, and may ask again later."""
    monkeypatch.setattr(panels, "_WAITING_MAX", 3)

    async def scene(world: World, session: Held) -> None:
        session.is_free.clear()
        told = await world.panels.ask(*map(Question, "abcd"), patience_s=_SHORT_S)
        assert [type(one) for one in told] == [Pending, Pending, Pending, Failed]
        assert await world.ask("e", patience_s=_SHORT_S) == Pending(), "in the place of b"
        session.is_free.set()
        await world.panels.ask(*map(Question, "ce"), patience_s=_LONG_S)
        assert sorted(session.asked) == ["a", "c", "e"]
        assert (await world.ask("d")).rows == [(4,)]

    play(scene)


def test_what_was_wanted_last_is_asked_first() -> None:
    """Somebody looks at that page now; whoever loads an older one again is next."""

    async def scene(world: World, session: Held) -> None:
        session.is_free.clear()
        for name in ("a", "b", "c", "d", "b"):
            await world.ask(name, patience_s=_SHORT_S)
        session.is_free.set()
        await world.ask("b")
        await world.panels.ask(*map(Question, "cd"), patience_s=_LONG_S)
        assert session.asked == ["a", "b", "d", "c"]

    play(scene)


def test_only_so_many_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody asked for longest go, also when there are few with many rows."""
    monkeypatch.setattr(panels, "_KEPT_MAX", 2)

    async def scene(world: World, session: Held) -> None:
        for name in ("a", "b", "a", "c", "a", "b"):
            await world.ask(name)
        assert session.asked == ["a", "b", "c", "b"]
        monkeypatch.setattr(panels, "_ROWS_KEPT_MAX", 1)
        for name in ("d", "a"):
            await world.ask(name)
        assert session.asked == ["a", "b", "c", "b", "d", "a"]

    play(scene)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TookTooLong("given up after 60 s"), "took too long"),
        (StorageError("/srv/data/secret is gone"), "cannot be read"),
        (OSError(5, "broken", "/srv/data"), "cannot be read"),
        (KeyError("a mistake of ours"), "could not be answered"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_told_without_secrets(
    error: Exception, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept for a moment, so that it is not tried at every load; then it is tried again."""

    async def scene(world: World, session: Held) -> None:
        session.error = error
        told = await world.ask()
        assert isinstance(told, Failed)
        assert words in told.why
        assert "/srv" not in told.why
        assert await world.ask() == told
        assert session.asked == ["one"]
        session.error = None
        World.now_us += 6 * _S
        assert (await world.ask()).rows == [(2,)]

    with caplog.at_level(logging.WARNING, logger="collector"):
        play(scene)
    is_told = any(record.levelno >= logging.WARNING for record in caplog.records)
    assert is_told is not isinstance(error, TookTooLong)


def test_a_stop_does_not_wait_for_an_answer() -> None:
    """What is asked is given up, what waits is not begun, the session is closed."""

    async def scene(world: World, session: Held) -> None:
        session.is_free.clear()
        await world.panels.ask(*map(Question, "abc"), patience_s=_SHORT_S)
        await asyncio.to_thread(session.began.wait)
        await world.panels.stop()
        assert not session.is_free.is_set()
        assert session.closed == 1
        assert isinstance(await world.ask("new"), Failed)

    play(scene)


def test_nothing_is_told_of_who_was_erased() -> None:
    """Neither an answer that is known, nor one that was on its way; sessions begin anew."""

    async def scene(world: World, session: Held) -> None:
        await world.ask("known")
        session.is_free.clear()
        session.began.clear()
        assert await world.ask("on its way", patience_s=_SHORT_S) == Pending()
        await asyncio.to_thread(session.began.wait)
        await world.panels.forget()
        assert session.closed == 1
        session.is_free.set()
        assert (await world.ask("known")).rows == [(3,)]
        assert (await world.ask("on its way")).rows == [(4,)]

    play(scene)


def test_what_is_asked_while_forgetting_is_asked_anew() -> None:
    """Of the session after it was closed, not of what it held of who was erased."""

    async def scene(world: World, session: Held) -> None:
        session.is_free.clear()
        await world.ask("on its way", patience_s=_SHORT_S)
        await asyncio.to_thread(session.began.wait)
        forgetting = asyncio.ensure_future(world.panels.forget())
        await asyncio.sleep(0)
        asking = asyncio.ensure_future(world.ask("meanwhile"))
        await forgetting
        session.is_free.set()
        assert (await asking).rows == [(2,)]
        assert session.closed_before == {"on its way": 0, "meanwhile": 1}

    play(scene)


def test_what_nobody_waits_for_makes_way() -> None:
    """Half a minute after somebody last asked, if others wait; nothing is told of it."""

    async def scene(world: World, session: Held) -> None:
        session.is_free.clear()
        await world.ask("left", patience_s=_SHORT_S)
        await asyncio.to_thread(session.began.wait)
        session.began.clear()
        World.now_us += 29 * _S
        assert await world.ask("next", patience_s=_SHORT_S) == Pending()
        assert session.asked == ["left"]
        World.now_us += 2 * _S
        await world.ask("next", patience_s=_SHORT_S)
        await asyncio.to_thread(session.began.wait)
        assert session.asked == ["left", "next"]
        session.is_free.set()
        assert (await world.ask("next")).rows == [(2,)]
        assert (await world.ask("left")).rows == [(3,)]

    play(scene)


def test_what_the_session_holds_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody has asked for a while."""
    monkeypatch.setattr(panels, "_IDLE_S", 0.001)

    async def scene(world: World, session: Held) -> None:
        await world.ask()
        await asyncio.to_thread(session.is_closed.wait)

    play(scene)


def test_values_are_bound_in_one_order() -> None:
    """The same values make the same question, whatever order they are given in."""
    assert bound({"b": 1, "a": "x"}) == bound({"a": "x", "b": 1}) == (("a", "x"), ("b", 1))
    found = Found(("a", "b"), [(1, 2)], 0, 0.0)
    assert found.records == [{"a": 1, "b": 2}]
