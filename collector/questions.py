"""The threads on which questions of the dashboard are asked, and their end.

Two lanes (`panels`), each with a DuckDB session of its own, both at the lowest priority. A part of
the composition root (`inside`).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from collector.lakeorders import EraseAside
from collector.panel_session import LakeSession
from collector.panels import Lane, Panels
from storage import Files, Person, give_way

_NICE: Final = 19
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

    def forgetting(self, erase: EraseAside) -> EraseAside:
        """`erase`, and no page shows from memory what was removed."""

        async def erase_and_forget(
            person: Person, is_dry_run: bool, values: Sequence[str]
        ) -> Mapping[str, int]:
            if not is_dry_run:
                await self.panels.forget()
            return await erase(person, is_dry_run, values)

        return erase_and_forget

    async def stop(self) -> None:
        """Give up what is being asked; the threads have ended when this returns."""
        await self.panels.stop()
        for thread in self._threads.values():
            await asyncio.to_thread(thread.shutdown)


def _lane(thread: ThreadPoolExecutor, session: LakeSession) -> Lane:
    return Lane(session, lambda ask: asyncio.get_running_loop().run_in_executor(thread, ask))
