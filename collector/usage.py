"""Requests per API key and calendar month, and how the counts are kept over a restart.

Rules that this module keeps:

1. Months are UTC. A key's month begins at the first request of the key that is counted in it, and
   never goes back: while the clock is behind it, counting goes on in it. So no step of the clock
   makes a count zero that was made.
2. Only what was admitted counts; what is refused after all is given back to the month that it was
   counted in. No count is ever negative, or the file could not be read again.
3. The file is replaced whole and never written by two at once. A stop leaves every count in it; a
   process that is killed forgets what it counted, and what it gave back, since the last write.
4. A file that cannot be read is set aside before anything is written in its place.

Counts are touched from the event loop only. Clocks are passed in: `wall_us` is Unix time. Must not
know what a month's allowance is, nor touch the disk itself.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Final, Protocol

import msgspec

_log: Final = logging.getLogger("collector")
_SECOND_US: Final = 1_000_000
USAGE_FILE: Final = "usage.json"


class _Usage(msgspec.Struct):
    """Requests of one key: in `month` (as "2026-11"), and ever."""

    # A year that `datetime` cannot follow with another would be a fault at each request.
    month: Annotated[str, msgspec.Meta(pattern=r"^([12][0-9]{3}-(0[1-9]|1[0-2]))?\Z")] = ""
    used: Annotated[int, msgspec.Meta(ge=0)] = 0
    total: Annotated[int, msgspec.Meta(ge=0)] = 0


_encoder: Final = msgspec.json.Encoder()
_usages_decoder: Final = msgspec.json.Decoder(dict[str, _Usage])


class MonthlyUsage:
    """Requests per key name in the current month (UTC), and in total.

    As many entries as names were ever configured and used: one that left the configuration stays
    in the file, so that it goes on where it was when it comes back. `dirty`: something was
    counted since the last `dump`. Keeping the bytes of `dump` is up to somebody else.
    """

    def __init__(self) -> None:
        self.dirty = False
        self._usages: dict[str, _Usage] = {}
        self._month = ""
        self._month_start_us = 0
        self._month_end_us = 0

    def used(self, name: str, wall_us: int) -> int:
        """Requests of this month, or of the month the key is in where the clock is behind it."""
        self._look_up_month(wall_us)
        usage = self._usages.get(name)
        return usage.used if usage is not None and usage.month >= self._month else 0

    def total(self, name: str) -> int:
        """Requests ever counted."""
        usage = self._usages.get(name)
        return 0 if usage is None else usage.total

    def latest(self, name: str) -> tuple[str, int]:
        """The month of the key's last request, as "2026-11", and its requests in it; "" for none.

        Asks no clock.
        """
        usage = self._usages.get(name)
        return ("", 0) if usage is None else (usage.month, usage.used)

    def count(self, name: str, wall_us: int) -> str:
        """Count one request; the month that it is counted in, for `give_back`."""
        self._look_up_month(wall_us)
        usage = self._usages.get(name)
        if usage is None:
            usage = self._usages[name] = _Usage()
        if usage.month < self._month:
            usage.month, usage.used = self._month, 0
        usage.used += 1
        usage.total += 1
        self.dirty = True
        return usage.month

    def give_back(self, name: str, month: str) -> None:
        """Undo a `count` of `name` that returned `month`, also when another has begun meanwhile."""
        usage = self._usages[name]
        if usage.month == month:
            usage.used = max(0, usage.used - 1)
        usage.total = max(0, usage.total - 1)
        self.dirty = True

    def reset_s(self, name: str, wall_us: int) -> int:
        """The Unix second at which the month ends that `used` tells of."""
        self._look_up_month(wall_us)
        usage = self._usages.get(name)
        if usage is None or usage.month <= self._month:
            return self._month_end_us // _SECOND_US
        return int(_end(datetime.fromisoformat(f"{usage.month}-01T00:00:00+00:00")).timestamp())

    def dump(self) -> bytes:
        """All counts, for `load`; not `dirty` any more (set it again if the bytes are lost)."""
        self.dirty = False
        return _encoder.encode(self._usages)

    def load(self, data: bytes) -> None:
        """Replace all counts by those of a `dump`; ValueError, and no change, if unreadable."""
        try:
            self._usages = _usages_decoder.decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"not a record of monthly usage: {error}") from error
        self.dirty = False

    def _look_up_month(self, wall_us: int) -> None:
        if self._month_start_us <= wall_us < self._month_end_us:
            return
        now = datetime.fromtimestamp(wall_us // _SECOND_US, UTC)
        start = datetime(now.year, now.month, 1, tzinfo=UTC)
        self._month = f"{start:%Y-%m}"
        self._month_start_us = int(start.timestamp()) * _SECOND_US
        self._month_end_us = int(_end(start).timestamp()) * _SECOND_US


def _end(start: datetime) -> datetime:
    """The end of the month that begins at `start`."""
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)


class KeepsState(Protocol):
    """Where small state is kept, by name (`storage.Store`)."""

    def read_state(self, name: str) -> bytes | None:
        """The bytes kept under `name`, None when there are none."""

    def write_state(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`, lasting on success. Raises OSError."""


class UsageKeeper:
    """Keeps monthly usage in a file of the data directory.

    `in_thread` runs a function with its arguments beside the event loop and waits for it
    (`asyncio.to_thread`). `wall_us`: the time of the start, which names what has to be set aside.
    """

    def __init__(
        self,
        usage: MonthlyUsage,
        state: KeepsState,
        *,
        wall_us: int,
        in_thread: Callable[..., Awaitable[None]],
    ) -> None:
        self._usage = usage
        self._state = state
        self._aside_name = f"usage-damaged-{wall_us // _SECOND_US}.json"
        self._damaged: bytes | None = None
        self._in_thread = in_thread

    def load(self) -> None:
        """Go on with the counts of the last run; a damaged file is set aside, counts are zero."""
        data = self._state.read_state(USAGE_FILE)
        if data is None:
            return
        try:
            self._usage.load(data)
        except ValueError as error:
            _log.warning(
                "state/%s is damaged and monthly usage starts from zero; what it held is kept in "
                "state/%s: %s",
                *(USAGE_FILE, self._aside_name, error),
            )
            self._damaged = data

    async def save(self) -> None:
        """Write the counts if there are new ones; a failed write is told and tried next time.

        Waits for the disk, so the owner calls it again only when it has returned.
        """
        usage = self._usage
        try:
            if self._damaged is not None:
                await self._in_thread(self._state.write_state, self._aside_name, self._damaged)
                self._damaged = None
            if usage.dirty:
                await self._in_thread(self._state.write_state, USAGE_FILE, usage.dump())
        except OSError as error:
            usage.dirty = True
            _log.warning("the monthly usage could not be kept: %s", error.strerror)
