"""Requests leave nothing behind that only the garbage collector finds."""

import asyncio
import gc
from pathlib import Path

from tests.support.app import ORIGIN, run, running
from tests.support.scanova import browser_event

# What the interpreter and the test itself leave, whatever is asked.
_OTHERS = 200
_REQUESTS = 400


def test_requests_leave_no_cycles(tmp_path: Path) -> None:
    """Cycles would be collected while others wait: a pause of milliseconds, again and again."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for _ in range(2):
                gc.collect()
                gc.disable()
                try:
                    for _ in range(_REQUESTS // 20):
                        asked = [
                            collector.request("POST", "/ct", headers=ORIGIN, body=browser_event())
                            for _ in range(20)
                        ]
                        answers = await asyncio.gather(*asked)
                        assert {answer.status for answer in answers} == {200}
                    del answers, asked
                    found = gc.collect()
                finally:
                    gc.enable()
            assert found < _OTHERS

    run(play())
