"""What the admin pages may ask of the files: these questions, with values for an answer, no other.

Each has a time after which it is given up, and only so many are under way at once, on threads of
their own: whoever looks must not slow down what is being taken. Must not know who asks.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from collector import auditor, orders, receipt
from collector.audit import Line
from collector.orders import UnderWay
from collector.receipt import Receipt
from storage import Deadline, Files, latest, layout, stock

T = TypeVar("T")

ROWS_MAX: Final = 100
# Longer texts are the id of nothing.
ID_CHARS_MAX: Final = 256
_AT_ONCE: Final = 2
_SECONDS: Final = 5.0


class Stock(msgspec.Struct, frozen=True):
    """Files of the data directory, and orders that are not done."""

    files: stock.Stock
    orders: Sequence[UnderWay]


class Busy(Exception):
    """As many questions as may be asked at once are under way."""


class InThread(Protocol):
    """Has a function called on another thread, as `asyncio.to_thread` does."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """What `function` returns or raises."""


class Lookups:
    """Asks the data directory. Every method raises `Busy`, `StorageError` or OSError."""

    def __init__(
        self,
        directory: Path,
        files: Files,
        *,
        in_thread: InThread,
        wait: Callable[[float], object],
        seconds: float = _SECONDS,
    ) -> None:
        self._directory = directory
        self._files = files
        self._in_thread = in_thread
        self._wait = wait
        self._seconds = seconds
        # Taking and giving back are one step each, whichever thread does it.
        self._places = deque([None] * _AT_ONCE)

    async def newest(self, count: int) -> Sequence[dict[str, Any]]:
        """The newest rows, at most `ROWS_MAX`; see `storage.latest`."""
        count = max(0, min(count, ROWS_MAX))
        return await self._ask(
            lambda deadline: latest.latest(self._directory, self._files, count, deadline)
        )

    async def receipt(self, text: str) -> Receipt:
        """What became of the event that `text` is an id of."""

        def look_up(deadline: Deadline) -> Receipt:
            def in_time(days: Sequence[date]) -> Any:
                for day in days:
                    deadline.check()
                    yield day

            return receipt.look_up(
                self._directory,
                self._files,
                text[:ID_CHARS_MAX],
                every_date=False,
                progress=in_time,
                deadline=deadline,
            )

        return await self._ask(look_up)

    async def audit(self, since: date) -> list[Line]:
        """The lines of an audit of hours that begin at `since` or later."""
        return await self._ask(
            lambda deadline: auditor.examine(
                self._directory,
                self._files,
                wait=self._wait,
                since=since,
                deadline=deadline,
            )
        )

    async def stock(self) -> Stock:
        """What is on the disk, and which orders are under way."""

        def look(deadline: Deadline) -> Stock:
            found = stock.measure(self._directory, deadline)
            return Stock(found, orders.under_way(self._directory / layout.ORDERS))

        return await self._ask(look)

    async def _ask(self, question: Callable[[Deadline], T]) -> T:
        try:
            self._places.pop()
        except IndexError:
            raise Busy from None

        def ask() -> T:
            try:
                with Deadline(self._seconds) as deadline:
                    return question(deadline)
            finally:
                self._places.append(None)

        return await self._in_thread(ask)
