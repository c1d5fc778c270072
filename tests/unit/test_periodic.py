"""Work done again and again: a turn that fails is told, and is not the last."""

import asyncio
import logging

import pytest

from collector.periodic import Periodic


def test_a_failed_turn_is_told_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody expected ends neither the task nor the stop."""
    turns = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            third.set()
        if turns != 2:
            raise AssertionError(f"turn {turns}")

    async def play() -> None:
        periodic = Periodic(work, interval_s=0.001)
        await third.wait()
        await periodic.finish()

    with caplog.at_level(logging.ERROR, logger="collector"):
        asyncio.run(asyncio.wait_for(play(), 10))
    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert told[:2] == ["turn 1", "turn 3"]
    assert told[-1] == f"turn {turns}", "also the one at the end"
