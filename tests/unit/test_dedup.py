"""Keys in flight: who waits, who is a repeat, and what a failed commit gives back."""

import asyncio
from collections.abc import Callable
from typing import Any

from collector.dedup import Dedup
from storage import ColdKeys, KeyIndex, Receipt

ON_DISK = Receipt(1)
A, B = b"a" * 16, b"b" * 16


async def _warm(cold: ColdKeys) -> None:
    cold.load()


def _run(play: Callable[[Dedup, KeyIndex], Any]) -> None:
    async def main() -> None:
        index = KeyIndex(keys_max=100)
        await play(Dedup(index, _warm), index)

    asyncio.run(main())


def test_new_then_in_flight_then_repeat() -> None:
    """Nowhere: new. In flight: wait. In the index: a repeat."""

    async def play(dedup: Dedup, _: KeyIndex) -> None:
        commit = asyncio.get_running_loop().create_future()
        assert dedup.find([A], 1) == [False]
        dedup.hold([A], commit)
        assert dedup.find([A], 1) is commit
        assert dedup.find([B, None, A], 1) is commit
        dedup.settle([A], 1, ON_DISK)
        assert dedup.find([A], 2) == [True]
        assert dedup.find([B, None, A], 2) == [False, False, True]

    _run(play)


def test_failed_commit_gives_keys_back() -> None:
    """After a failure the key is free: a retry is not called a duplicate."""

    async def play(dedup: Dedup, index: KeyIndex) -> None:
        dedup.hold([A, B], asyncio.get_running_loop().create_future())
        dedup.settle([A, B], 1, None)
        assert dedup.find([A, B], 2) == [False, False]
        assert len(index) == 0

    _run(play)


def test_repeat_within_one_batch() -> None:
    """The second time within a batch is a repeat; events without a key never are."""

    async def play(dedup: Dedup, _: KeyIndex) -> None:
        assert dedup.find([A, None, A, B, None, A], 1) == [False, False, True, False, False, True]

    _run(play)
