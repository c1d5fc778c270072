"""What is on its way to the disk: it arrives as a whole, once, or is forgotten."""

import asyncio
from collections.abc import Awaitable, Callable

from collector.flight import Flights
from storage import Commit, KeyIndex, Receipt

HOUR_US = 3_600_000_000
A, B, C = (bytes([letter]) * 16 for letter in b"abc")


class _Index(KeyIndex):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(keys_max=100)
        self.given: list[tuple[dict[bytes, int], int]] = []

    def add_each(self, times: dict[bytes, int], segment: int) -> None:
        """See `KeyIndex`."""
        self.given.append((dict(times), segment))
        super().add_each(times, segment)


def _run(play: Callable[[_Index, Flights, list[tuple[object, ...]]], Awaitable[None]]) -> None:
    async def main() -> None:
        index = _Index()
        stored: list[tuple[object, ...]] = []
        flights = Flights(index, lambda *told: stored.append(told))
        await play(index, flights, stored)
        assert list(flights) == []

    asyncio.run(main())


def _commit() -> Commit:
    return Commit(asyncio.get_running_loop())


def _decide(commit: Commit, receipt: Receipt | None) -> None:
    for on_done in commit.on_done:
        on_done(receipt)


def test_a_landing_brings_everything_once() -> None:
    """Keys with the times of their acceptance, and rows by site, protocol and hour."""

    async def play(index: _Index, flights: Flights, stored: list[tuple[object, ...]]) -> None:
        commit = _commit()
        flight = flights.of(commit)
        assert flights.of(commit) is flight, "a group has one flight"
        flight.board([A], 5)
        flight.count({"s": [1, 0]}, "p", 5)
        flight.board([B, C], HOUR_US + 7)
        flight.count({"s": [1, 2], "t": [1, 0]}, "p", HOUR_US + 7)
        flight.count({"s": [0, 1]}, "p", HOUR_US + 8)
        flight.count({"s": [3, 0]}, "q", HOUR_US + 8)
        assert index.given == stored == []
        assert list(flights) == [flight]
        _decide(commit, Receipt(4))
        assert index.given == [({A: 5, B: HOUR_US + 7, C: HOUR_US + 7}, 4)]
        assert stored == [
            (4, ("s", "p", 0), 1, 0),
            (4, ("s", "p", HOUR_US), 1, 3),
            (4, ("t", "p", HOUR_US), 1, 0),
            (4, ("s", "q", HOUR_US), 3, 0),
        ]

    _run(play)


def test_a_group_that_fails_is_forgotten() -> None:
    """Nothing of it is known afterwards; other groups are not touched."""

    async def play(index: _Index, flights: Flights, stored: list[tuple[object, ...]]) -> None:
        lost, kept = _commit(), _commit()
        for commit, key in ((lost, A), (kept, B)):
            flights.of(commit).board([key], 1)
            flights.of(commit).count({"s": [1, 0]}, "p", 1)
        _decide(lost, None)
        assert index.given == stored == []
        assert [flight.commit for flight in flights] == [kept]
        _decide(kept, Receipt(1))
        assert index.given == [({B: 1}, 1)]
        assert len(stored) == 1

    _run(play)
