"""Group commit: what one sync decides, for whom, and in which order."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from storage.commit import GroupCommit, Receipt
from storage.errors import Closed, DiskFull, QueueFull, StorageError, SyncFailed
from tests.support.rows import TODAY


class FakeWal:
    """Remembers groups; fails on demand; takes as long as it is told."""

    def __init__(self) -> None:
        self.groups: list[tuple[date, bytes, int]] = []
        self.error: StorageError | None = None
        self.seconds = 0.0
        self.clock = 0.0

    def commit(self, day: date, lines: bytes, rows: int) -> int:
        """See Wal."""
        self.clock += self.seconds
        if self.error is not None:
            raise self.error
        self.groups.append((day, lines, rows))
        return len(self.groups)


def _run(play: Callable[[FakeWal, GroupCommit, list[StorageError]], Any], **options: int) -> None:
    async def main() -> None:
        wal, failures = FakeWal(), []
        commit = GroupCommit(
            wal,  # type: ignore[arg-type]
            queue_bytes_max=options.get("queue_bytes_max", 1_000_000),
            monotonic_s=lambda: wal.clock,
            on_failure=failures.append,
        )
        await play(wal, commit, failures)
        await commit.close()

    asyncio.run(main())


def test_requests_of_one_round_share_one_write() -> None:
    """Everything submitted before the loop turns lies in one group, in order."""

    async def play(wal: FakeWal, commit: GroupCommit, _: list[StorageError]) -> None:
        futures = [commit.submit(b"%d\n" % n, 1, TODAY) for n in range(5)]
        results = await asyncio.gather(*futures)
        assert wal.groups == [(TODAY, b"0\n1\n2\n3\n4\n", 5)]
        assert results == [Receipt(1)] * 5

    _run(play)


def test_days_do_not_share_a_group() -> None:
    """A group belongs to one date."""

    async def play(wal: FakeWal, commit: GroupCommit, _: list[StorageError]) -> None:
        days = [TODAY, TODAY, date(2026, 11, 19), TODAY]
        await asyncio.gather(*(commit.submit(b"x", 1, day) for day in days))
        assert [(day, rows) for day, _, rows in wal.groups] == [
            (TODAY, 2),
            (date(2026, 11, 19), 1),
            (TODAY, 1),
        ]

    _run(play)


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_done_is_called_once_before_waiters_wake(seconds: float) -> None:
    """On the loop and on the thread alike: keys are settled before anyone is answered."""

    async def play(wal: FakeWal, commit: GroupCommit, failures: list[StorageError]) -> None:
        wal.seconds = seconds
        order: list[str] = []
        for number in range(20):
            wal.error = DiskFull("full") if number % 3 == 2 else None
            future = commit.submit(b"x", 1, TODAY)
            future.on_done.append(lambda ok: order.append(f"done {bool(ok)}"))
            result = await future
            order.append(f"woken {isinstance(result, Receipt)}")
        assert len(order) == 40
        pairs = list(zip(order[::2], order[1::2], strict=True))
        assert set(pairs) == {("done True", "woken True"), ("done False", "woken False")}
        assert len(failures) == 6
        assert commit._uses_thread == bool(seconds)

    _run(play)


def test_a_busy_slow_disk_lets_the_log_be_looked_after() -> None:
    """With requests always waiting there is a moment between two groups when nothing is written.

    Without it, no segment would be sealed or flushed as long as the load lasts.
    """

    async def play(wal: FakeWal, commit: GroupCommit, _: list[StorageError]) -> None:
        looked: list[bool] = []
        commit._uses_thread = True
        wal.seconds = 0.05
        commit._between_groups = lambda: looked.append(commit.is_writing)
        futures = [commit.submit(b"%d\n" % n, 1, date(2026, 11, n + 1)) for n in range(5)]
        await asyncio.gather(*futures)
        await asyncio.sleep(0)
        assert looked == [False] * 5

        def fail() -> None:
            raise OSError(5, "Input/output error")

        commit._between_groups = fail
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        futures = [commit.submit(b"%d\n" % n, 1, date(2026, 12, n + 1)) for n in range(3)]
        assert len(await asyncio.gather(*futures)) == 3, "groups behind it are written all the same"

    _run(play)


def test_slow_disk_moves_to_the_thread_and_back() -> None:
    """While writes are slow the loop stays free; once they are fast again it does them itself."""

    async def play(wal: FakeWal, commit: GroupCommit, _: list[StorageError]) -> None:
        wal.seconds = 0.1
        await commit.submit(b"x", 1, TODAY)
        assert commit._uses_thread
        wal.seconds = 0.0
        for _round in range(40):
            await commit.submit(b"x", 1, TODAY)
        assert not commit._uses_thread

    _run(play)


def test_queue_is_bounded() -> None:
    """Beyond queue_bytes_max a submission is refused and nothing of it is kept."""

    async def play(wal: FakeWal, commit: GroupCommit, _: list[StorageError]) -> None:
        first = commit.submit(b"x" * 80, 1, TODAY)
        with pytest.raises(QueueFull):
            commit.submit(b"y" * 30, 1, TODAY)
        assert commit.queue_bytes == 80
        await first
        assert commit.queue_bytes == 0
        await commit.submit(b"z" * 30, 1, TODAY)
        assert [lines[:1] for _, lines, _ in wal.groups] == [b"x", b"z"]

    _run(play, queue_bytes_max=100)


def test_after_a_failed_sync_nothing_is_written() -> None:
    """Neither what was waiting nor what comes later reaches the log."""

    async def play(wal: FakeWal, commit: GroupCommit, failures: list[StorageError]) -> None:
        wal.error = SyncFailed("sync")
        settled: list[Receipt | None] = []
        futures = [
            commit.submit(b"x", 1, TODAY),
            commit.submit(b"y", 1, date(2026, 11, 19)),
        ]
        for future in futures:
            future.on_done.append(settled.append)
        results = await asyncio.gather(*futures)
        wal.error = None
        assert all(isinstance(result, SyncFailed) for result in results)
        assert settled == [None, None]
        with pytest.raises(SyncFailed):
            commit.submit(b"z", 1, TODAY)
        assert wal.groups == []
        assert failures

    _run(play)


def test_close_decides_what_is_enqueued() -> None:
    """A stop finishes what was taken and refuses what comes later."""

    async def play(wal: FakeWal, commit: GroupCommit, _: list[StorageError]) -> None:
        wal.seconds = 0.1
        futures = [commit.submit(b"x", 1, TODAY) for _round in range(3)]
        await commit.close()
        assert all(isinstance(future.result(), Receipt) for future in futures)
        with pytest.raises(Closed):
            commit.submit(b"y", 1, TODAY)

    _run(play)


def test_who_gives_up_waiting_takes_nobody_along() -> None:
    """A task that is cancelled while its lines are written: the group is decided for all others."""

    async def play(_wal: FakeWal, commit: GroupCommit, _: list[StorageError]) -> None:
        settled: list[object] = []

        async def wait() -> object:
            future = commit.submit(b"x", 1, TODAY)
            future.on_done.append(settled.append)
            return await future

        tasks = [asyncio.ensure_future(wait()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[0], results[2]] == [Receipt(1)] * 2
        assert isinstance(results[1], asyncio.CancelledError)
        assert settled == [Receipt(1)] * 3
        assert await commit.submit(b"y", 1, TODAY) == Receipt(2)

    _run(play)
