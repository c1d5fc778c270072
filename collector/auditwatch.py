"""The audit of today, for a page that is not to wait for it: asked beside, kept for a while.

Counting rows takes the longer the more there are. Must not know what is shown of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final

from collector.admin_api import Audit, Trouble

_FRESH_US: Final = 15_000_000
_PATIENCE_S: Final = 0.15


class AuditWatch:
    """Asks `audit` of a date, one at a time. `now_us`: Unix microseconds."""

    def __init__(
        self,
        audit: Callable[[date], Awaitable[Audit | Trouble]],
        *,
        today: Callable[[], date],
        now_us: Callable[[], int],
    ) -> None:
        self._audit = audit
        self._today = today
        self._now_us = now_us
        self._task: asyncio.Task[None] | None = None
        self._told: Audit | Trouble | None = None
        self._fresh_until_us = 0

    async def told(self) -> Audit | Trouble | None:
        """The newest audit that is known, after a moment at the latest; None: not yet."""
        if self._now_us() >= self._fresh_until_us and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._ask())
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=_PATIENCE_S)
        return self._told

    async def stop(self) -> None:
        """Wait for what is being asked; it has a deadline of its own."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _ask(self) -> None:
        self._told = await self._audit(self._today())
        self._fresh_until_us = self._now_us() + _FRESH_US
