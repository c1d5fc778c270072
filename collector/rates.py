"""What came in within the last hour, by minute, and how old the oldest row is that is in no file.

Counters are looked at once a second and compared with the look before, so that counting an event
costs no more than it did. An event may therefore be told of the minute after its own, if it came in
the last second. Memory only: a new process knows nothing of the hour before it. Times are passed
in. Must not know who asks.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final

from collector.metrics import EventLabels, Metrics

MINUTES: Final = 60
_MINUTE_US: Final = 60_000_000
# Marks of when rows were acknowledged, one for each second with any; every other one is let go of
# when there are more, so that a flush that fails for days costs precision and no memory.
_MARKS_MAX: Final = 4_096


class Rates:
    """`unflushed`: rows that are in no file yet. `sample` is to be called once a second."""

    def __init__(self, metrics: Metrics, unflushed: Callable[[], float]) -> None:
        self._metrics = metrics
        self._unflushed = unflushed
        self._seen: dict[EventLabels, int] = {}
        self._minutes: deque[tuple[int, Counter[EventLabels]]] = deque(maxlen=MINUTES)
        # How many rows were acknowledged, and when so many were; the oldest first.
        self._marks: deque[tuple[int, int]] = deque()
        self._at_start: int | None = None

    def sample(self, now_us: int) -> None:
        """Look at the counters. `now_us`: Unix time; a step back is taken for no time at all."""
        minute = now_us // _MINUTE_US
        if not self._minutes or minute > self._minutes[-1][0]:
            self._minutes.append((minute, Counter()))
        counts = self._minutes[-1][1]
        for labels, count in self._metrics.events.items():
            before = self._seen.get(labels, 0)
            if count > before:
                counts[labels] += count - before
                self._seen[labels] = count
        self._mark(now_us)

    def minutes(self, now_us: int) -> list[Mapping[EventLabels, int]]:
        """Events of each of the last `MINUTES` minutes, the oldest first, the present one last."""
        known = dict(self._minutes)
        last = now_us // _MINUTE_US
        return [known.get(minute, {}) for minute in range(last - MINUTES + 1, last + 1)]

    def unflushed_age_s(self, now_us: int) -> float:
        """Seconds since the oldest row was acknowledged that is in no file; 0 without any."""
        left = int(self._unflushed())
        if not left or not self._marks:
            return 0.0
        published = self._acknowledged() - left
        oldest = next((when for rows, when in self._marks if rows > published), now_us)
        return max(0.0, (now_us - oldest) / 1e6)

    def _mark(self, now_us: int) -> None:
        left = int(self._unflushed())
        if self._at_start is None:
            # Rows that a start finds in the log are as old as the start, at least.
            self._at_start = left - int(self._metrics.commit_events.sum)
        rows = self._acknowledged()
        if rows > (self._marks[-1][0] if self._marks else 0):
            self._marks.append((rows, now_us))
        while self._marks and self._marks[0][0] <= rows - left:
            self._marks.popleft()
        if len(self._marks) > _MARKS_MAX:
            self._marks = deque(list(self._marks)[::2])

    def _acknowledged(self) -> int:
        """Rows that were in the log at the start, and all that came since."""
        return (self._at_start or 0) + int(self._metrics.commit_events.sum)


def by_outcome(minute: Mapping[EventLabels, int]) -> Counter[str]:
    """Events of one minute by what became of them."""
    found: Counter[str] = Counter()
    for (_, _, outcome, _), count in minute.items():
        found[outcome] += count
    return found
