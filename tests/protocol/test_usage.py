"""Requests per month as their senders see them: over restarts, on a bad disk, into a new month."""

import asyncio
import errno
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector import service as service_module
from storage import Files
from tests.support.app import Answer, Collector, example, run, running, with_tier
from tests.support.dialects import Zenovay


class Clock:
    """A wall clock that tests set."""

    def __init__(self, text: str) -> None:
        self.us = 0
        self.set(text)

    def set(self, text: str) -> None:
        """It is now `text`, ISO 8601 in UTC."""
        self.us = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)

    def __call__(self) -> int:
        """Unix time in microseconds."""
        return self.us


async def _ask(collector: Collector) -> Answer:
    """One request that counts."""
    sent = Zenovay().event("a")
    return await collector.request("POST", sent.path, headers=sent.headers, body=sent.body)


async def _usage(collector: Collector) -> tuple[str, str, str]:
    """What one more request is told: used this month, ever, and when the month ends."""
    answer = await _ask(collector)
    names = ("x-usage-monthly", "x-usage-total", "x-usage-reset")
    monthly, total, reset = (answer.headers[name] for name in names)
    return monthly, total, reset


def test_the_month_ends_on_the_first_in_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last microsecond of a month still counts in it, the next is a new one; restarts too."""
    clock = Clock("2026-11-30T23:59:59.999")
    monkeypatch.setattr(service_module, "now_us", clock)
    december, january = "2026-12-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"

    async def play() -> None:
        async with running(tmp_path) as collector:
            assert await _usage(collector) == ("1", "1", december)
            clock.us += 999
            assert await _usage(collector) == ("2", "2", december)
            clock.us += 1
            assert await _usage(collector) == ("1", "3", january)
            clock.set("2026-12-31T23:59:59.999")
            assert await _usage(collector) == ("2", "4", january)
        clock.set("2026-12-31T23:59:59.999")
        async with running(tmp_path) as collector:
            assert await _usage(collector) == ("3", "5", january)
        clock.set("2027-01-01T00:00:00.000")
        async with running(tmp_path) as collector:
            assert await _usage(collector) == ("1", "6", "2027-02-01T00:00:00.000Z")

    run(play())


def test_a_used_up_month_is_used_up_after_a_restart(tmp_path: Path) -> None:
    """Starting anew buys nothing."""

    async def play() -> None:
        config = with_tier(example(tmp_path), requests_per_minute=0, requests_per_month=3)
        async with running(tmp_path, config) as collector:
            statuses = [(await _ask(collector)).status for _ in range(4)]
            assert statuses == [200, 200, 200, 429]
        async with running(tmp_path, config) as collector:
            answer = await _ask(collector)
            assert answer.status == 429
            assert answer.json["error"]["code"] == "MONTHLY_LIMIT_EXCEEDED"

    run(play())


class SlowState(Files):
    """Takes its time over the monthly usage, and notices two writes at once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.error = 0
        self.writing = 0
        self.overlaps = 0
        self.writes = 0

    def replace(self, path: Path, data: bytes) -> None:
        """See Files."""
        if path.name != "usage.json":
            super().replace(path, data)
            return
        self.writing += 1
        self.overlaps += self.writing > 1
        self.writes += 1
        time.sleep(self.seconds)
        if self.error:
            self.writing -= 1
            raise OSError(self.error, "as the test wants it")
        super().replace(path, data)
        self.writing -= 1


def test_a_stop_loses_no_count_even_on_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is under way when the stop begins and more is counted: all of it is kept.

    The loop serves meanwhile, and no two writes run at once.
    """
    monkeypatch.setattr(service_module, "_KEEP_S", 0.01)
    files = SlowState()

    async def play() -> None:
        files.seconds = 0.2
        async with running(tmp_path, files=files) as collector:
            await _ask(collector)
            while not files.writing:  # noqa: ASYNC110 (it is another thread that writes)
                await asyncio.sleep(0.005)
            began_s = time.monotonic()
            for _ in range(9):
                await _ask(collector)
            assert files.writing, "the loop did not wait for the disk"
            assert time.monotonic() - began_s < 0.2
        assert files.overlaps == 0
        async with running(tmp_path) as collector:
            assert (await _usage(collector))[:2] == ("11", "11")

    run(play())


def test_an_idle_collector_does_not_write_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write after the last request, then none, though it looks a hundred times a second."""
    monkeypatch.setattr(service_module, "_KEEP_S", 0.01)
    files = SlowState()

    async def play() -> None:
        async with running(tmp_path, files=files) as collector:
            await asyncio.sleep(0.1)
            assert files.writes == 0
            await _ask(collector)
            await asyncio.sleep(0.2)
            assert files.writes == 1
        assert files.writes == 1

    run(play())


def test_damaged_counts_are_kept_aside_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be read is not overwritten: it stays under another name, and is logged."""
    caplog.set_level(logging.WARNING)
    state = tmp_path / "data" / "state"

    async def play() -> None:
        async with running(tmp_path) as collector:
            await _usage(collector)
        whole = (state / "usage.json").read_bytes()
        (state / "usage.json").write_bytes(whole[:-5])
        async with running(tmp_path) as collector:
            assert (await _usage(collector))[:2] == ("1", "1")
        (aside,) = state.glob("usage-damaged-*.json")
        assert aside.read_bytes() == whole[:-5]
        assert aside.name in caplog.text
        async with running(tmp_path) as collector:
            assert (await _usage(collector))[:2] == ("2", "2")
        assert list(state.glob("usage-damaged-*.json")) == [aside]

    run(play())


def test_counts_that_cannot_be_written_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that refuses the file is told in the log; requests go on, the next write is whole."""
    monkeypatch.setattr(service_module, "_KEEP_S", 0.01)
    files = SlowState()

    async def play() -> None:
        files.error = errno.EIO
        async with running(tmp_path, files=files) as collector:
            assert (await _usage(collector))[0] == "1"
            await asyncio.sleep(0.1)
            assert (await _usage(collector))[0] == "2"
            assert "the monthly usage could not be kept: as the test wants it" in caplog.text
            files.error = 0
        async with running(tmp_path) as collector:
            assert (await _usage(collector))[0] == "3"

    run(play())
