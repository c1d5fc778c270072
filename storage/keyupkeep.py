"""Which upkeep of the key index is due, and in what order.

Generations are written before anything else is done: they are what takes memory. Of the rest there
is one task at a time. What failed is tried again, after a pause that grows.
"""

import logging
import math
from typing import Final

from storage import keymerge
from storage.keyindex import MARGIN_US, KeyIndex
from storage.keyrun import DamagedRun, Run
from storage.keytasks import (
    Drop,
    Garbage,
    Gather,
    Join,
    KeyFiles,
    Publish,
    Rebuild,
    Release,
    Seal,
    Task,
)
from storage.layout import KeyRun

_log: Final = logging.getLogger("collector.storage")
# After a failure: doubled from the first to the last.
_RETRY_S: Final = (1.0, 30.0)
# A run is dropped when it has been out of the window for so long: a clock that was ahead for less
# than that makes nobody forget.
DROP_AFTER_S: Final = MARGIN_US / 1e6


class KeyUpkeep:
    """Decides what is due. Lives where the index lives; one task that is not urgent at a time."""

    def __init__(self, index: KeyIndex, *, covered: int = 0) -> None:
        self._index = index
        self._covered = covered  # the last segment that a run, or the expired mark, covers
        self._sealing: Seal | None = None
        self._busy: Task | None = None
        self._garbage: Garbage = []
        self._seal_at_s = self._retry_at_s = self._rebuild_at_s = -math.inf
        self._pause_s = _RETRY_S[0]
        self._rewrites = False
        # Runs that are out of the window, and since when by a clock that does not jump.
        self._out_since_s: dict[KeyRun, float] = {}
        self.rebuilt = 0

    def due(self, now_us: int, now_s: float, published: int) -> list[Task]:
        """Tasks to be done now. `published`: all segments up to it are in parts."""
        tasks: list[Task] = [Release(self._garbage)] if self._garbage else []
        self._garbage = []
        if self._index.frozen and self._sealing is None and now_s >= self._seal_at_s:
            self._sealing = Seal(self._index.frozen[0])
            tasks.append(self._sealing)
        if self._busy is None and now_s >= self._retry_at_s:
            self._busy = self._next(now_us, now_s, published)
            if self._busy is not None:
                tasks.append(self._busy)
        return tasks

    def done(self, task: Task, error: Exception | None, now_s: float) -> None:
        """A task of `due` ended, with an error or without."""
        index = self._index
        if task is self._busy:
            self._busy = None
        if task is self._sealing:
            self._sealing = None
        if error is not None:
            self._failed(task, error, now_s)
            return
        if not task.is_urgent:
            self._pause_s = _RETRY_S[0]
        self._garbage += task.finish(index)
        if isinstance(task, Publish):
            self._rewrites = False
            self._covered = index.published[-1].name.last
        self.rebuilt += isinstance(task, Rebuild)

    def _failed(self, task: Task, error: Exception, now_s: float) -> None:
        _log.warning("keys: %s; this is tried again", error)
        if isinstance(error, DamagedRun):
            self._index.mark_damaged(error)
        if task.is_urgent:
            self._seal_at_s = now_s + _RETRY_S[0]
            return
        self._rewrites = True
        if isinstance(task, Rebuild):
            # What cannot be made again must not keep everything else from being done.
            self._rebuild_at_s = now_s + _RETRY_S[1]
            return
        self._retry_at_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, _RETRY_S[1])

    @property
    def is_idle(self) -> bool:
        """Nothing is being done but writing generations."""
        return self._busy is None

    def write_all(self, disk: KeyFiles) -> None:
        """Write and publish everything, here and now; no other task may run. Raises as tasks do."""
        self._busy = self._sealing = None
        for generation in list(self._index.frozen):
            self._perform(Seal(generation), disk)
        publish = self._publish(0, max((one.last or 0 for one in self._index.loose), default=0))
        if publish is not None:
            self._perform(publish, disk)

    def _perform(self, task: Task, disk: KeyFiles) -> None:
        for _ in task.steps(disk):
            pass
        task.finish(self._index)

    def _next(self, now_us: int, now_s: float, published: int) -> Task | None:
        since_us = now_us - self._index.window_us
        kept_us = since_us - MARGIN_US
        return (
            self._publish(kept_us, published)
            or self._rebuild(kept_us, now_s)
            or self._drop(since_us, now_s)
            or self._gather()
            or self._join()
        )

    def _rebuild(self, since_us: int, now_s: float) -> Rebuild | None:
        for one in self._index.published:
            if one.run.is_damaged and now_s >= self._rebuild_at_s:
                return Rebuild(one, since_us)
        return None

    def _publish(self, since_us: int, published: int) -> Publish | None:
        loose = self._index.loose
        for end in range(len(loose), 0, -1):
            last = loose[end - 1].last
            if last is not None and last <= published:
                name = KeyRun(self._covered + 1, last)
                return Publish(loose[:end], name, since_us, self._rewrites)
        return None

    def _drop(self, since_us: int, now_s: float) -> Drop | None:
        index = self._index
        out = [one for one in index.published if one.run.newest_us <= since_us]
        self._out_since_s = {one.name: self._out_since_s.get(one.name, now_s) for one in out}
        dropped = [one for one in out if now_s - self._out_since_s[one.name] >= DROP_AFTER_S]
        left = [one for one in index.published if one not in dropped]
        is_early = not dropped and len(left) > 1 and len(index) > index.keys_max
        if is_early:
            dropped = [left.pop(0)]
        if not dropped:
            return None
        expired = left[0].name.first - 1 if left else self._covered
        return Drop(dropped, expired, is_early=is_early)

    def _join(self) -> Join | None:
        published = self._index.published
        group = self._plan([one.run for one in published])
        return Join(published[group]) if group else None

    def _gather(self) -> Gather | None:
        """While parts are not published, runs are not either: they must not become many."""
        loose = self._index.loose
        if any(one.run.is_damaged for one in loose):
            return None  # they wait for their rows to be in parts
        group = self._plan([one.run for one in loose])
        return Gather(loose[group]) if group else None

    def _plan(self, runs: list[Run]) -> slice | None:
        # So that forgetting one run forgets an eighth at most.
        keys_max = min(keymerge.RUN_KEYS_MAX, self._index.keys_max // 8)
        return keymerge.plan(runs, self._index.window_us, keys_max)
