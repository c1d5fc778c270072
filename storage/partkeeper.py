"""When parts are looked after: what has changed, what day it is, who asked. On the event loop.

The work itself is `partwork`, `retention` and `erasure`, done by the thread of `upkeep`; here is
only which of it is due. A date is looked at when something was flushed into it, when it closes, and
at the start. What failed is told and tried again an hour later.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import date, timedelta
from functools import partial
from typing import Final, TypeVar

import msgspec

from storage import layout, retention
from storage.datefolders import DateFolders
from storage.partwork import Joined, PartWork, on_each
from storage.retention import Expired, Retention
from storage.upkeep import Job, PartThread

_T = TypeVar("_T")
_log: Final = logging.getLogger("collector.storage")
_LOOK_S: Final = 10.0
# Rows are counted within about a second.
_LOOK_AGAIN_S: Final = 1.0
_RETRY_S: Final = 3600.0
# After making summaries of the open date, so many times what it took: joining comes first.
_SUMMARISE_PAUSES: Final = 2.0
# Stands for retention among the dates that changed or failed.
_RETENTION: Final = date.min


class Looked(msgspec.Struct):
    """What one look did."""

    joined: list[Joined] = []
    expired: list[Expired] = []
    failures: dict[date, str] = {}
    days: list[date] = []
    # Dates with parts that may not be touched yet.
    behind: set[date] = msgspec.field(default_factory=set)


class PartKeeper:
    """Decides what the thread is given to do. `parts_min`: see `joining`."""

    def __init__(
        self,
        work: PartWork,
        folders: DateFolders,
        *,
        parts_min: int,
        retention: Retention,
        monotonic_s: Callable[[], float],
        call_soon: Callable[..., object],
        on_fewer: Callable[[int], None],
    ) -> None:
        self._thread = PartThread(work, folders)
        # Called with how many parts there are fewer than before.
        self._on_fewer = on_fewer
        self._parts_min = parts_min
        self._retention = retention
        self._monotonic_s = monotonic_s
        self._call_soon = call_soon
        self._changed: set[date] | None = None  # None: nobody has looked yet
        self._today: date | None = None
        self._is_looking = False
        self._next_s = 0.0
        self._failed: dict[date, float] = {}
        # One date after the other, so that whatever is ordered waits for one at most.
        # With the time from which on they are due; 0 at once.
        self._unsummarised: dict[date, float] = {}
        self._is_summarising = False
        self._summarise_s = 0.0
        self.joins = 0
        self.rows_expired = 0
        self.failures = 0

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()
        self._thread.submit(lambda work: work.tidy())

    def finish(self) -> None:
        """Give up what is under way; parts stay as they were."""
        self._thread.finish()

    @property
    def is_alive(self) -> bool:
        """Whether work still goes on."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait until the work has ended."""
        self._thread.join(timeout_s)

    def submit(self, job: Job[_T]) -> "Future[_T]":
        """Have `job` done on the thread."""
        return self._thread.submit(job)

    def retain(self, retention: Retention) -> None:
        """Keep rows for so long from now on.

        Applied at the next new day, not at once: what a slip of the pen would remove is gone.
        """
        self._retention = retention

    def flushed(self, day: date) -> None:
        """A part was added to `day`."""
        if self._changed is not None:
            self._changed.add(day)

    def tick(self, now_us: int, limit: int) -> None:
        """Have done what is due, on parts up to segment `limit`; call it often."""
        now_s = self._monotonic_s()
        if self._is_looking:
            return
        if now_s < self._next_s:
            self._summarise(now_s)
            return
        self._next_s = now_s + _LOOK_S
        today = layout.day_of(now_us)
        is_new_day = today != self._today
        changed = self._changed
        if changed is not None:
            if self._today is not None and is_new_day:
                changed |= {self._today, today - timedelta(days=1)}
            self._forgive(now_s, changed)
            if not changed and not is_new_day:
                return
        self._today = today
        self._changed = set()
        self._is_looking = True
        is_due = changed is None or is_new_day or _RETENTION in changed
        look = partial(self._look, changed, today, limit, expires=is_due)
        future = self._thread.submit(look)
        future.add_done_callback(partial(self._call_soon, self._looked))

    def compact(self, work: PartWork, limit: int) -> tuple[list[Joined], dict[date, str]]:
        """Join all that can be joined, as if every date were closed; on the thread.

        Returns what was done, and why dates could not be worked on. Raises `Interrupted`.
        """
        join = partial(work.join, is_open=False, limit=limit, parts_min=self._parts_min)
        return on_each(work.dates(), join)

    def expire(
        self, work: PartWork, today: date, limit: int, *, dry_run: bool
    ) -> tuple[list[Expired], dict[date, str]]:
        """Apply retention now; on the thread. Returns and raises as `compact`."""
        return retention.expire(work, self._retention, today, limit, dry_run=dry_run)

    def _look(
        self, changed: set[date] | None, today: date, limit: int, work: PartWork, *, expires: bool
    ) -> Looked:
        looked = Looked()
        looked.days = [day for day in work.dates() if changed is None or day in changed]
        if expires:
            looked.expired, failed = self.expire(work, today, limit, dry_run=False)
            if failed:
                looked.failures[_RETENTION] = "; ".join(failed.values())
            past = retention.past(work, self._retention, today)
            if any(work.is_behind(day, limit) for day in past):
                looked.behind.add(_RETENTION)

        def join(day: date) -> Joined | None:
            if work.is_behind(day, limit):
                looked.behind.add(day)
            is_open = day >= today
            return work.join(day, is_open=is_open, limit=limit, parts_min=self._parts_min)

        days = [day for day in work.dates() if day in looked.days]
        looked.joined, failed = on_each(days, join)
        looked.failures |= failed
        return looked

    def _looked(self, future: "Future[Looked]") -> None:
        self._is_looking = False
        if self._thread.is_stopping:
            return
        # Not one of the errors that work on files meets: a bug of ours.
        bug = future.exception()
        result = Looked(failures={_RETENTION: repr(bug)}) if bug else future.result()
        self.rewritten(result.days)
        if self._changed is not None:
            self._changed |= result.behind
        now_s = self._monotonic_s()
        if result.behind:
            self._next_s = now_s + _LOOK_AGAIN_S
        for day, reason in result.failures.items():
            self._failed[day] = now_s + _RETRY_S
            self.failures += 1
            name = "every date" if day == _RETENTION else day
            _log.warning("parts of %s stay as they are for an hour: %s", name, reason)
        self.account_for(result.joined, result.expired)

    def _summarise(self, now_s: float) -> None:
        """Have the newest date that is due summarised, which is what most pages are about."""
        if self._is_summarising or now_s < self._summarise_s or self._thread.is_stopping:
            return
        day = max(
            (day for day, due_s in self._unsummarised.items() if due_s <= now_s), default=None
        )
        if day is None:
            return
        del self._unsummarised[day]
        self._is_summarising = True
        is_open = self._today is None or day >= self._today
        future = self._thread.submit(lambda work: work.summarise(day, is_open=is_open))
        future.add_done_callback(partial(self._call_soon, self._summarised, day, now_s))

    def _summarised(self, day: date, began_s: float, future: "Future[bool | None]") -> None:
        self._is_summarising = False
        if self._thread.is_stopping:
            return
        now_s = self._monotonic_s()
        bug = future.exception()
        if bug is not None:
            _log.error("summaries: %r", bug)
        elif future.result() is None:
            self._unsummarised.setdefault(day, now_s + _RETRY_S)
        elif future.result():
            self._unsummarised[day] = 0.0
        if self._today is not None and day >= self._today:
            self._summarise_s = now_s + (now_s - began_s) * _SUMMARISE_PAUSES

    def rewritten(self, days: Sequence[date]) -> None:
        """Parts of these dates were written anew."""
        self._unsummarised |= dict.fromkeys(days, 0.0)

    def account_for(self, joined: Sequence[Joined], expired: Sequence[Expired] = ()) -> None:
        """Count and tell what was done."""
        for one in joined:
            self.joins += 1
            self._on_fewer(one.parts_before - one.parts_after)
            _log.info(
                "%s: %d parts joined into %d, %d rows, %d bytes",
                *(one.date, one.parts_before, one.parts_after, one.rows, one.bytes_after),
            )
        for gone in expired:
            self.rows_expired += gone.rows
            if gone.is_whole:
                self._on_fewer(gone.parts)
            _log.info("%s: %d rows removed, kept long enough", gone.date, gone.rows)

    def _forgive(self, now_s: float, changed: set[date]) -> None:
        """Leave failed dates alone until their hour is over, then look at them once more."""
        for day, until_s in list(self._failed.items()):
            if now_s >= until_s:
                del self._failed[day]
                changed.add(day)
            else:
                changed.discard(day)
