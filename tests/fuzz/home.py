"""One collector for all inputs of a fuzz target, and a count of the rows that it owes.

Starts it when it is first asked, and anew after some thousands of requests, so that memory and disk
stay small. Whatever the collector logs as an exception is raised here. When it ends, there must be
no fewer rows than were acknowledged, and no more.
"""

import asyncio
import logging
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from collector.adapters.contract import Endpoint
from tests.support.app import Collector, example, with_site
from tests.support.fronts import Answered, Asked, Front, ask

_REQUESTS_MAX: Final = 20_000
_log: Final = logging.getLogger("collector")


class _Faults(logging.Handler):
    """Keeps the exceptions that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException | str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        error = record.exc_info[1] if record.exc_info else None
        self.found.append(error or record.getMessage())


class Home:
    """A running collector, and what it said it had stored."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._faults = _Faults()

    def now_ms(self) -> int:
        """The clock of this machine."""
        return time.time_ns() // 1_000_000

    def ask(self, front: Front, asked: Asked) -> Answered:
        """The answer to one request. Raises what the collector logged as a fault of its own."""
        if self._loop is None or self._requests >= _REQUESTS_MAX:
            self.close()
            self._start()
        self._requests += 1
        assert self._loop is not None, "started"
        answer = self._loop.run_until_complete(ask(front, self._collector.edge, asked))
        self._raise_faults()
        return answer

    def expect_rows(self, endpoint: Endpoint, answer: Answered) -> None:
        """Take note of the rows that an answer acknowledges."""
        if answer.status not in {200, 204}:
            return
        if answer.status == 204:
            self._rows_max += 1  # a repeat, or what is dropped, is acknowledged like a new one
        elif endpoint.protocol == "zenovay":
            self._expect(msgspec.json.decode(answer.body)["acceptedCount"])
        elif endpoint.path.endswith("/batch"):
            verdict = msgspec.json.decode(answer.body)
            self._expect(verdict["accepted"] + verdict["duplicates"])
            assert len(verdict["results"]) == sum(
                verdict[name] for name in ("accepted", "duplicates", "rejected")
            )
        else:
            self._expect(1)

    def close(self) -> None:
        """Stop the collector, if it runs, and compare its rows with what it acknowledged."""
        if self._loop is None:
            return
        try:
            self._loop.run_until_complete(self._collector.service.stop())
            self._raise_faults()
            [found] = self._collector.rows("SELECT count(*) AS rows FROM events")
            assert self._rows_min <= found["rows"] <= self._rows_max, (
                found,
                self._rows_min,
                self._rows_max,
            )
        finally:
            self._loop.close()
            self._loop = None
            _log.removeHandler(self._faults)
            self._folder.cleanup()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        config = with_site(example(Path(self._folder.name)), goals=("signup",))
        self._requests = self._rows_min = self._rows_max = 0
        self._loop = asyncio.new_event_loop()
        self._collector = Collector(config)
        _log.addHandler(self._faults)
        self._faults.found.clear()
        self._loop.run_until_complete(self._collector.__aenter__())

    def _expect(self, rows: int) -> None:
        self._rows_min += rows
        self._rows_max += rows

    def _raise_faults(self) -> None:
        for fault in self._faults.found:
            self._faults.found = []
            raise fault if isinstance(fault, BaseException) else AssertionError(fault)


HOME: Final = Home()
