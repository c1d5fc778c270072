"""A question that takes a while, for pages that are not to wait for it: asked beside, kept a while.

Must not know what is asked, nor what is shown of the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S: Final = 0.12


class Beside(Generic[T]):
    """Has `ask` called, once at a time, and again when its answer is `fresh_s` old.

    Until there is a new one, one that is not yet `stale_s` old is told. `now_us`: Unix
    microseconds.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        fresh_s: float,
        stale_s: float,
        now_us: Callable[[], int],
    ) -> None:
        self._ask = ask
        self._fresh_us = int(fresh_s * 1e6)
        self._stale_us = int(stale_s * 1e6)
        self._now_us = now_us
        self._task: asyncio.Task[None] | None = None
        self._told: T | None = None
        self._told_us = 0
        self._generation = 0

    async def told(self) -> T | None:
        """The newest answer that is known, after a moment at the latest; None: not yet.

        Raises what `ask` raised meanwhile: nobody is to wait for an answer that never comes.
        """
        if not self._is_within(self._fresh_us) and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._look())
        task = self._task
        if task is not None and not task.done():
            await asyncio.wait({task}, timeout=_PATIENCE_S)
        if task is not None and task.done():
            task.result()
        return self._told if self._is_within(self._stale_us) else None

    def forget(self) -> None:
        """Show no answer that is known or under way: it may tell what was erased."""
        self._generation += 1
        self._told = None

    async def stop(self) -> None:
        """Wait for what is being asked, which has a deadline of its own."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def _is_within(self, age_us: int) -> bool:
        """Whether there is an answer that is younger; after a step back its age is not known."""
        return self._told is not None and 0 <= self._now_us() - self._told_us < age_us

    async def _look(self) -> None:
        generation = self._generation
        told = await self._ask()
        if generation == self._generation:
            self._told, self._told_us = told, self._now_us()
