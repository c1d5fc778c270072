"""Each event once, for 24 hours, over every protocol: edges of the window, restarts, commits that
fail, damaged files. Requests go in and answers come out; the clock is set by hand.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from collector import service as service_module
from collector.service import Service
from storage import Files, keyindex, layout
from tests.support.app import Answer, Collector, example, run, running, with_storage
from tests.support.dialects import DEMO_KEY, DIALECTS, Dialect, Sent
from tests.support.files import FaultyFiles, failing, io_error, no_fault, no_space

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


class Clock:
    """The wall clock of a collector under test."""

    def __init__(self) -> None:
        self.now_us = time.time_ns() // 1000

    def __call__(self) -> int:
        """Microseconds since the epoch."""
        return self.now_us


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every collector of the test goes by it."""
    clock = Clock()
    monkeypatch.setattr(service_module, "now_us", clock)
    return clock


async def send(collector: Collector, sent: Sent) -> Answer:
    """One request."""
    return await collector.request("POST", sent.path, headers=sent.headers, body=sent.body)


def at(clock: Clock, sent: Sent) -> Sent:
    """`sent` with the time at which a batch says that its event happened set to the clock."""
    for event in sent.body.get("events", ()):
        event["ts"] = clock.now_us // 1000
    return sent


def batch(keys: list[str], clock: Clock) -> Sent:
    """A Zenovay batch of events with these idempotency keys."""
    events = [
        {"type": "event", "ts": clock.now_us // 1000, "props": {"name": "n"}, "idempotencyKey": key}
        for key in keys
    ]
    headers = {"Authorization": f"Bearer {DEMO_KEY}"}
    return Sent("/api/v1/events", headers, {"trackingCode": "ZV_demo", "events": events})


async def accepted(collector: Collector) -> int:
    """Rows that are no repeats."""
    [row] = collector.rows("SELECT count(*) AS n FROM events WHERE is_duplicate = 0")
    return int(row["n"])


async def write_keys(collector: Collector) -> None:
    """Have everything that was accepted so far written into runs, as time does."""
    store = collector.service._store
    store._wal.seal()
    store.keys.freeze(store._wal.complete)
    for _ in range(500):
        store.tick(service_module.now_us())
        if not (store.keys.frozen or store.keys.loose or store._waiting):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the keys are not written")


@dialects
@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_window_of_24_hours(
    dialect: Dialect, is_restarted: bool, tmp_path: Path, clock: Clock
) -> None:
    """A repeat 23 h 59 m later, or a millisecond before 24 h, is one; at 24 h 00 m 01 s it is new.

    From memory as well as from files that an earlier process left.
    """
    start_us = clock.now_us
    steps = [(0, 1), (DAY_US - 60_000_000, 1), (DAY_US - 1_000, 1), (DAY_US + 1_000_000, 2)]

    async def play() -> None:
        async with running(tmp_path) as collector:
            for later_us, rows in steps[:1] if is_restarted else steps:
                clock.now_us = start_us + later_us
                answer = await send(collector, at(clock, dialect.event("one")))
                assert dialect.is_success(answer.status, answer.body)
                assert await accepted(collector) == rows
        for later_us, rows in steps[1:] if is_restarted else []:
            clock.now_us = start_us + later_us
            async with running(tmp_path) as collector:
                assert collector.service._store.keys.runs > 0
                answer = await send(collector, at(clock, dialect.event("one")))
                assert dialect.is_success(answer.status, answer.body)
                assert await accepted(collector) == rows

    run(play())


@pytest.mark.parametrize("is_written", [False, True], ids=["in memory", "in runs"])
def test_a_batch_with_copies_old_and_new(tmp_path: Path, clock: Clock, is_written: bool) -> None:
    """Of 1,000 items 500 are repeats of before, 300 new, 200 copies within the batch."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            old = [f"old-{number}" for number in range(500)]
            answer = await send(collector, batch(old, clock))
            assert answer.json["acceptedCount"] == 500
            if is_written:
                await write_keys(collector)
            new = [f"new-{number}" for number in range(300)]
            answer = await send(collector, batch([*old, *new, *new[:200]], clock))
            assert (answer.json["acceptedCount"], answer.json["dedupedCount"]) == (300, 700)
            assert await accepted(collector) == 800

    run(play())


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_commit_that_fails_gives_all_keys_back(
    tmp_path: Path, clock: Clock, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails between claim and sync: 503, nothing stored, and the retry is accepted."""
    monkeypatch.setattr(Service, "_end", lambda _self, _error: None)  # this process goes on
    files = FaultyFiles(root=tmp_path)
    keys = [f"key-{number}" for number in range(1_000)]

    async def fail(collector: Collector) -> None:
        error = no_space if operation == "write" else io_error
        files.fail = failing(error, operation)
        answer = await send(collector, batch(keys, clock))
        files.fail = no_fault
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0

    async def retry(collector: Collector) -> None:
        answer = await send(collector, batch(keys, clock))
        assert (answer.json["acceptedCount"], answer.json["dedupedCount"]) == (1_000, 0)
        answer = await send(collector, batch(keys, clock))
        assert (answer.json["acceptedCount"], answer.json["dedupedCount"]) == (0, 1_000)
        assert await accepted(collector) == 1_000

    async def play() -> None:
        config = with_storage(example(tmp_path), durability="sync")
        async with Collector(config, files) as collector:
            await fail(collector)
            if operation == "write":
                await asyncio.sleep(1.2)  # until a probe finds the disk well
                await retry(collector)
        if operation == "sync":
            # After a failed sync the process ends, and the next start decides what is true: here
            # nothing of it reached the disk.
            files.crash(next(files.states(1)))
            async with Collector(config, files) as again:
                await retry(again)

    run(play())


def _damage(path: Path) -> None:
    """Turn a bit in the one block of keys."""
    data = bytearray(path.read_bytes())
    data[4096] ^= 1
    path.write_bytes(data)


def test_a_damaged_file_makes_nobody_forget(tmp_path: Path, clock: Clock) -> None:
    """Whose answer depends on it is told to come back; soon it is whole and the answer right."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            keys = [f"key-{number}" for number in range(100)]
            await send(collector, batch(keys, clock))
            await write_keys(collector)
            [path] = (tmp_path / "data" / layout.KEYS).glob("run-*")
            _damage(path)
            answer = await send(collector, batch(keys, clock))
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            # Others go on.
            other = await send(collector, batch([str(uuid.UUID(int=1))], clock))
            assert other.json["acceptedCount"] == 1
            for _ in range(500):
                collector.service._store.tick(clock.now_us)
                if collector.service._store.key_rebuilds:
                    break
                await asyncio.sleep(0.01)
            answer = await send(collector, batch(keys, clock))
            assert (answer.status, answer.json["dedupedCount"]) == (200, 100)
            page = (await collector.request("GET", "/metrics")).body.decode()
            assert "collector_key_rebuilds_total 1" in page
            assert await accepted(collector) == 101

    run(play())


def test_keys_that_cannot_be_written_are_not_taken_for_ever(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More keys in memory than there should be: 503, and not ready, until they are written."""
    monkeypatch.setattr(keyindex, "_HELD_KEYS_MAX", 150)

    async def play() -> None:
        async with running(tmp_path) as collector:
            for first in (0, 100):
                keys = [f"key-{number}" for number in range(first, first + 100)]
                assert (await send(collector, batch(keys, clock))).status == 200
            answer = await send(collector, batch(["one more"], clock))
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert (await collector.request("GET", "/readyz")).status == 503
            await write_keys(collector)
            assert (await collector.request("GET", "/readyz")).status == 200
            answer = await send(collector, batch(["one more", "key-7"], clock))
            assert (answer.json["acceptedCount"], answer.json["dedupedCount"]) == (1, 1)

    run(play())


def test_equal_ids_of_two_sites_and_protocols_are_different_events(
    tmp_path: Path, clock: Clock
) -> None:
    """The scope of an identity is its protocol and its site."""
    identity = str(uuid.UUID(int=77))
    config = example(tmp_path)
    [site] = config.sites
    other = msgspec.structs.replace(
        site, id="other", tracking_code="ZV_other", croct_app_id=str(uuid.UUID(int=8))
    )
    [key] = config.keys
    key = msgspec.structs.replace(key, scope="full_access", site="", team=site.team)
    config = msgspec.structs.replace(config, sites=(site, other), keys=(key,))

    def zenovay(code: str) -> Sent:
        sent = batch([identity], clock)
        sent.body["trackingCode"] = code
        return sent

    def scanova(site_id: str) -> Sent:
        body = {"site_id": site_id, "event_type": "purchase", "event_id": identity}
        return Sent("/ct", {"Origin": "http://localhost"}, body)

    async def play() -> None:
        async with running(tmp_path, config) as collector:
            for sent in [
                zenovay("ZV_demo"),
                zenovay("ZV_other"),
                scanova("demo"),
                scanova("other"),
            ]:
                for _ in range(2):
                    assert (await send(collector, sent)).status == 200
            assert await accepted(collector) == 4

    run(play())


def _blocking(calls: list[int]) -> Callable[..., bytes | None]:
    def read_cached(_self: object, _descriptor: int, _size: int, offset: int) -> bytes | None:
        calls.append(offset)
        return None

    return read_cached


def test_repeats_on_a_cold_disk_do_not_stop_the_others(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not in the system's cache is read on a thread; the answers are the same."""
    calls: list[int] = []
    threads: set[str] = set()
    read_into = Files.read_into

    def noted(files: Files, descriptor: int, buffer: memoryview, offset: int) -> int:
        threads.add(threading.current_thread().name)
        return read_into(files, descriptor, buffer, offset)

    async def play() -> None:
        async with running(tmp_path) as collector:
            keys = [f"key-{number}" for number in range(400)]
            await send(collector, batch(keys, clock))
            await write_keys(collector)
            monkeypatch.setattr(Files, "read_cached", _blocking(calls))
            monkeypatch.setattr(Files, "read_into", noted)
            answer = await send(collector, batch(keys, clock))
            assert answer.json["dedupedCount"] == 400
            answers = await asyncio.gather(
                *(send(collector, batch([key], clock)) for key in keys[:20])
            )
            assert all(answer.json["dedupedCount"] == 1 for answer in answers)
            assert calls
            assert threading.main_thread().name not in threads

    run(play())
