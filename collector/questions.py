"""The processes that questions of the dashboard are asked in, and their end.

Two lanes (`panels`), each with a process of its own (`asking`), and a thread that waits for it. A
part of the composition root (`inside`).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from collector.asking.session import AskingSession
from collector.config import Config
from collector.panels import Lane, Panels
from storage import Files

# Lanes, and the megabytes that DuckDB may take in each, beyond which it spills: what is counted
# already is small, but for the different visitors of a long range; rows are read in pieces.
_LANES: Final = {"kept": 384, "rows": 256}


class Questions:
    """Owns `panels`, which pages ask. `now_us`: Unix microseconds."""

    def __init__(self, config: Config, files: Files, now_us: Callable[[], int]) -> None:
        directory, priority = config.storage.directory, config.server.dashboard_priority
        self._threads = {name: ThreadPoolExecutor(1, f"questions-{name}") for name in _LANES}
        kept, rows = (
            _lane(
                thread,
                AskingSession(directory, files, memory_mb=_LANES[name], priority=priority),
            )
            for name, thread in self._threads.items()
        )
        self.panels = Panels(kept.session, run=kept.call, now_us=now_us, rows=rows)

    async def stop(self) -> None:
        """Give up what is being asked; processes and threads have ended when this returns."""
        await self.panels.stop()
        for thread in self._threads.values():
            await asyncio.to_thread(thread.shutdown)


def _lane(thread: ThreadPoolExecutor, session: AskingSession) -> Lane:
    return Lane(session, lambda ask: asyncio.get_running_loop().run_in_executor(thread, ask))
