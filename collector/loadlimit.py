"""How much work may be under way at a time, found from how long requests wait. Pure.

A window is some tenth of a second. Requests that waited too long in it lower the limit, in
proportion; a limit that held somebody back while waiting was short is raised. There is no model of
what a request costs: half as fast a machine, a slow disk or larger events show as longer waiting.
"""

from typing import Final

# Units, at the start; within a second it is found to be too much or too little.
_FIRST: Final = 1_024.0
# Below it, requests could not share a sync any more, and it would be of no use to go lower.
LIMIT_MIN: Final = 128.0
_LITTLE: Final = 64.0
# 64 MiB of bodies.
LIMIT_MAX: Final = 65_536.0
# The most that one window changes: a single pause must not close the door.
_SHRINK: Final = 0.7
_GROW: Final = 1.1
# A request waits for the group that is being written, and then for its own.
_COMMITS: Final = 2.0
_SMOOTHING: Final = 8


class LoadLimit:
    """The limit, in units of work.

    `target_s`: how long requests may wait on average; infinite: there is no limit.
    """

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._commit_s = 0.0
        self.units = _FIRST if target_s < float("inf") else target_s

    def observe_commit(self, seconds: float) -> None:
        """A group was written in so many seconds: as long as that nobody can help waiting."""
        self._commit_s += (seconds - self._commit_s) / _SMOOTHING

    def adjust(self, mean_wait_s: float, used_units: float, *, was_full: bool) -> None:
        """Learn from a window: the mean of waiting, how much work there was, who was held back."""
        allowed_s = self._target_s + _COMMITS * self._commit_s
        if mean_wait_s > allowed_s:
            # Who waits long although there is little to do waits for something else: a pause of the
            # machine, say. A lower limit would help nobody.
            if used_units >= _LITTLE:
                self.units = max(LIMIT_MIN, self.units * max(_SHRINK, allowed_s / mean_wait_s))
        elif was_full:
            grown = _GROW if mean_wait_s <= 0 else min(_GROW, (allowed_s / mean_wait_s) ** 0.5)
            self.units = min(LIMIT_MAX, self.units * grown)
