"""Keys in front of the index: who waits, who is a repeat, and what a failed commit gives back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from collector.dedup import Dedup
from collector.flight import Flights
from storage import ColdKeys, Commit, KeyIndex, Receipt

ON_DISK = Receipt(1)
A, B = b"a" * 16, b"b" * 16


class _World:
    """An index, what is on its way to it, and how often the disk was asked."""

    def __init__(self) -> None:
        self.index = KeyIndex(keys_max=100)
        self.flights = Flights(self.index, lambda *_: None)
        self.warmed: list[ColdKeys] = []
        self.dedup = Dedup(self.index, self.flights, self._warm)

    async def _warm(self, cold: ColdKeys) -> None:
        self.warmed.append(cold)

    def depart(self, *keys: bytes) -> Commit:
        """Put `keys` in flight."""
        commit = Commit(asyncio.get_running_loop())
        self.flights.of(commit).board(keys, 1)
        return commit


def _decide(commit: Commit, receipt: Receipt | None) -> None:
    for on_done in commit.on_done:
        on_done(receipt)


def _run(play: Callable[[_World], Awaitable[None]]) -> None:
    async def main() -> None:
        await play(_World())

    asyncio.run(main())


def test_new_then_in_flight_then_repeat() -> None:
    """Nowhere: new. In flight: wait. In the index: a repeat."""

    async def play(world: _World) -> None:
        find = world.dedup.find
        assert find([A], 1) == [False]
        commit = world.depart(A)
        assert find([A], 1) is commit
        assert find([B, None, A], 1) is commit
        assert find([B, None], 1) == [False, False], "others need not wait"
        _decide(commit, ON_DISK)
        assert find([A], 2) == [True]
        assert find([B, None, A], 2) == [False, False, True]

    _run(play)


def test_failed_commit_gives_keys_back() -> None:
    """After a failure the key is free: a retry is not called a duplicate."""

    async def play(world: _World) -> None:
        _decide(world.depart(A, B), None)
        assert world.dedup.find([A, B], 2) == [False, False]
        assert len(world.index) == 0

    _run(play)


def test_repeat_within_one_batch() -> None:
    """The second time within a batch is a repeat; events without a key never are."""

    async def play(world: _World) -> None:
        found = world.dedup.find([A, None, A, B, None, A], 1)
        assert found == [False, False, True, False, False, True]
        assert world.dedup.find([A, A], 1) == [False, True]
        assert world.dedup.find([None], 1) == [False]
        assert world.dedup.find([None, None], 1) == [False, False]

    _run(play)


@pytest.mark.filterwarnings("error")
def test_the_disk_is_asked_by_who_waits_for_it() -> None:
    """What is returned reads once it is awaited; who drops it has asked for nothing."""

    async def play(world: _World) -> None:
        cold = ColdKeys([])
        asked: list[bool] = []

        def seen(keys: list[bytes], _now_us: int, *, waits: bool) -> list[bool] | ColdKeys:
            asked.append(waits)
            return [True] * len(keys) if waits else cold

        world.index.seen = seen  # type: ignore[method-assign,assignment]
        found = world.dedup.find([A], 1)
        world.dedup.find([A], 1)
        assert not isinstance(found, list)
        assert world.warmed == []
        await found
        assert world.warmed == [cold]
        tries = 0
        while not isinstance(world.dedup.find([A], 1, tries), list):
            tries += 1
        assert 1 <= tries <= 10, "it does not try for ever"
        assert asked == [False] * (tries + 2) + [True]

    _run(play)
