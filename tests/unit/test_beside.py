"""What pages do not wait for."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collector.beside import Beside

_FRESH_S = 5.0
_STALE_S = 60.0


class _World:
    """A clock, and a disk that answers when it may; an answer is the number of its question."""

    def __init__(self) -> None:
        self.now_us = 1_000_000
        self.asked = 0
        self.fault: Exception | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.beside = Beside(
            self._ask, fresh_s=_FRESH_S, stale_s=_STALE_S, now_us=lambda: self.now_us
        )

    async def _ask(self) -> int:
        self.asked += 1
        number = self.asked
        await self.answering.wait()
        if self.fault is not None:
            raise self.fault
        return number

    async def settle(self) -> None:
        """Have the disk answer."""
        self.answering.set()
        await self.beside.stop()


def _play(scene: Callable[[_World], Awaitable[None]]) -> None:
    async def play() -> None:
        await scene(_World())

    asyncio.run(play())


def test_an_answer_is_told_again_while_it_is_fresh() -> None:
    """One question for all who look within that time, and then one more."""

    async def scene(world: _World) -> None:
        assert [await world.beside.told() for _ in range(3)] == [1, 1, 1]
        world.now_us += int(_FRESH_S * 1e6)
        assert await world.beside.told() == 2

    _play(scene)


def test_a_page_does_not_wait_for_a_slow_disk() -> None:
    """It is told nothing, or what was known before; however many look, one question is asked."""

    async def scene(world: _World) -> None:
        world.answering.clear()
        assert await asyncio.gather(*(world.beside.told() for _ in range(3))) == [None] * 3
        assert world.asked == 1
        await world.settle()
        world.answering.clear()
        world.now_us += int(_FRESH_S * 1e6)
        assert await world.beside.told() == 1
        await world.settle()
        assert await world.beside.told() == 2

    _play(scene)


def test_what_is_too_old_is_not_told() -> None:
    """Whoever looks an hour later does not see the hour before."""

    async def scene(world: _World) -> None:
        assert await world.beside.told() == 1
        world.answering.clear()
        world.now_us += int(_STALE_S * 1e6)
        assert await world.beside.told() is None
        await world.settle()
        assert await world.beside.told() == 2

    _play(scene)


def test_what_is_forgotten_is_not_told() -> None:
    """Neither what was known nor what was under way, which may hold what was erased."""

    async def scene(world: _World) -> None:
        assert await world.beside.told() == 1
        world.answering.clear()
        world.now_us += int(_FRESH_S * 1e6)
        assert await world.beside.told() == 1
        world.beside.forget()
        await world.settle()
        assert world.beside._told is None, "question 2 was asked before"
        assert await world.beside.told() == 3

    _play(scene)


def test_a_clock_that_was_set_back_keeps_nothing() -> None:
    """How old an answer is that is of the future nobody knows: it is asked for again."""

    async def scene(world: _World) -> None:
        assert await world.beside.told() == 1
        world.now_us -= 500_000
        assert await world.beside.told() == 2

    _play(scene)


def test_a_fault_is_told_and_not_waited_for() -> None:
    """Whoever waits for the answer meets it; the next one asks anew."""

    async def scene(world: _World) -> None:
        world.fault = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await world.beside.told()
        world.fault = None
        assert await world.beside.told() == 2

    _play(scene)
