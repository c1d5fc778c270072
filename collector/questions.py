"""The threads on which questions of the dashboard are asked, and their end.

Two lanes (`panels`), each with a DuckDB session of its own, both at a low priority. A part of the
composition root (`inside`).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from collector.panel_session import LakeSession
from collector.panels import Lane, Panels
from storage import Files, give_way

# Beside a thread of intake that wants a whole core, a lane gets 4 % of it: Linux shares by weights,
# 1,024 at nice 0, 45 at 14. That is what intake may lose; at 19 it is 1.4 %, and a question of a
# second takes more than a minute.
_NICE: Final = 14
# Lanes, and the megabytes that DuckDB may take in each, beyond which it spills: what is counted
# already is small, but for the different visitors of a long range; rows are read in pieces.
_LANES: Final = {"kept": 384, "rows": 256}


class Questions:
    """Owns `panels`, which pages ask. `now_us`: Unix microseconds."""

    def __init__(self, directory: Path, files: Files, now_us: Callable[[], int]) -> None:
        self._threads = {
            name: ThreadPoolExecutor(1, f"questions-{name}", lambda: give_way(_NICE))
            for name in _LANES
        }
        kept, rows = (
            _lane(thread, LakeSession(directory, files, now_us, memory_mb=_LANES[name]))
            for name, thread in self._threads.items()
        )
        self.panels = Panels(kept.session, run=kept.call, now_us=now_us, rows=rows)

    async def stop(self) -> None:
        """Give up what is being asked; the threads have ended when this returns."""
        await self.panels.stop()
        for thread in self._threads.values():
            await asyncio.to_thread(thread.shutdown)


def _lane(thread: ThreadPoolExecutor, session: LakeSession) -> Lane:
    return Lane(session, lambda ask: asyncio.get_running_loop().run_in_executor(thread, ask))
