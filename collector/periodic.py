"""Work that is done again and again beside the requests: one task, so that no two runs overlap."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

_log: Final = logging.getLogger("collector")


class Periodic:
    """Runs `work` every `interval_s`, sooner when woken, and once more at the end.

    `pause_s`: how soon after a run the next one may begin, however often it is woken. What `work`
    raises is a bug of ours: it is told, and the next turn comes as ever. Made and used on one event
    loop.
    """

    def __init__(
        self, work: Callable[[], Awaitable[None]], *, interval_s: float, pause_s: float = 0.0
    ) -> None:
        self._work = work
        self._interval_s = interval_s
        self._pause_s = pause_s
        self._woken = asyncio.Event()
        self._is_over = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Do not wait for the next turn."""
        self._woken.set()

    async def finish(self) -> None:
        """Run once more, for all that came before, then end; raises nothing."""
        self._is_over = True
        self._woken.set()
        await self._task

    async def _run(self) -> None:
        is_last = False
        while not is_last:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._interval_s)
            self._woken.clear()
            # Looked at before the run: what comes during it needs another one.
            is_last = self._is_over
            try:
                await self._work()
            except Exception:  # noqa: BLE001 a task that ended would be missed only at a stop
                _log.exception("work that is done again and again failed")
            if not self._is_over:
                await asyncio.sleep(self._pause_s)
