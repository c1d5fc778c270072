"""The engine as its users see it: open, submit, close, and what trouble does."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from storage import Corruption, Files, Locked, Settings, Store, keyindex, layout
from tests.support.files import failing, io_error, no_fault, no_space, of_date
from tests.support.rows import NOW_US, make_lines
from tests.support.store import Harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """A store on an empty directory."""
    made = Harness(tmp_path)
    yield made
    made.end()


def test_acknowledged_rows_are_readable_before_and_after_the_flush(harness: Harness) -> None:
    """A row is in the log when it is acknowledged, in a part a publish interval later, once."""
    harness.open()
    assert harness.submit(1, 2)
    assert sorted(harness.readable()) == [1, 2]
    assert harness.glob() == []
    harness.advance(1.1)
    assert harness.settle_flushes()
    assert sorted(harness.glob()) == sorted(harness.readable()) == [1, 2]
    assert layout.list_segments(harness.directory / layout.WAL) == []


@pytest.mark.parametrize("restarts", [False, True])
def test_lines_of_any_length_are_flushed(harness: Harness, *, restarts: bool) -> None:
    """A row of 34 MB among short ones gets into its part whole, before or after a restart."""
    harness.open()
    assert harness.submit(1)
    assert harness.submit(2, page_title="x" * 34_000_000)
    assert harness.submit(3)
    if restarts:
        harness.kill()
        harness.open()
    else:
        harness.advance(1.1)
    assert harness.settle_flushes()
    titles = "SELECT length(page_title) FROM read_parquet(?) ORDER BY dedup_key"
    with duckdb.connect() as connection:
        rows = connection.execute(titles, [f"{harness.directory}/events/*/*.parquet"]).fetchall()
    assert rows == [(None,), (34_000_000,), (None,)]


def test_close_leaves_parts_and_no_segment(harness: Harness) -> None:
    """After a stop in good order everything is in parts."""
    harness.open()
    assert harness.submit(1)
    harness.close()
    assert harness.glob() == [1]
    assert layout.list_segments(harness.directory / layout.WAL) == []


def test_idle_store_writes_nothing(harness: Harness) -> None:
    """Without rows no operation reaches the disk, however much time passes."""
    harness.open()
    calls: set[str] = set()
    harness.files.watch = lambda operation: calls.add(operation.call)
    for _ in range(20):
        harness.advance(10)
    assert calls == {"space"}, "it is only asked how much room is left"


def test_second_process_is_told(harness: Harness) -> None:
    """The directory has one owner; another gets a clear error and changes nothing."""
    harness.open()
    with pytest.raises(Locked, match="in use by another collector"):
        Files().lock(harness.directory / layout.LOCK)


def test_full_disk_refuses_then_resumes(harness: Harness) -> None:
    """A failed write loses nothing, leaves no half group, and ends by itself."""
    harness.open()
    assert harness.submit(1)
    harness.files.fail = failing(no_space, "write")
    assert not harness.submit(2)
    assert harness.store is not None
    assert harness.store.health.refusal is not None
    harness.advance(5)
    assert not harness.submit(3)
    assert sorted(harness.readable()) == [1]
    harness.files.fail = no_fault
    harness.advance(5)
    assert harness.submit(2)
    assert sorted(harness.readable()) == [1, 2]


def test_full_disk_on_the_first_group_of_a_segment(harness: Harness) -> None:
    """The same when the very first write of a segment fails, also across a restart."""
    harness.open()
    harness.files.fail = failing(no_space, "write")
    assert not harness.submit(1)
    harness.files.fail = no_fault
    harness.now_us += 86_400_000_000  # the next day gets another segment
    harness.advance(5)
    assert harness.submit(2)
    harness.crash()
    harness.open()
    assert sorted(harness.readable()) == [2]


def test_little_free_space_refuses(harness: Harness) -> None:
    """Below disk_free_bytes_min rows are refused, above it they are taken again."""
    harness.settings = type(harness.settings)(
        directory=harness.directory, disk_free_bytes_min=1_000_000
    )
    harness.files.free = 10
    harness.open()
    assert not harness.submit(1)
    harness.files.free = 2_000_000
    harness.advance(1)
    assert harness.submit(1)


def test_failed_sync_is_fatal(harness: Harness) -> None:
    """After a failed sync nothing is acknowledged any more until a restart has recovered."""
    harness.open()
    assert harness.submit(1)
    harness.files.fail = failing(io_error, "sync")
    assert not harness.submit(2)
    harness.files.fail = no_fault
    assert not harness.submit(3)
    assert len(harness.fatal) == 1
    harness.crash()
    harness.open()
    assert harness.submit(4)
    readable = harness.readable()
    assert set(readable) - {2} == {1, 4}
    assert len(readable) == len(set(readable))


def test_keys_survive_a_crash(harness: Harness) -> None:
    """What was seen before a crash is seen after it: from parts, and from the log's tail."""
    harness.open()
    assert harness.submit(1)
    harness.advance(1.1)
    assert harness.settle_flushes()
    assert harness.submit(2)
    harness.crash()
    store = harness.open()
    for number in (1, 2):
        assert store.keys.seen([number.to_bytes(16, "big")], harness.now_us) == [True]
    assert store.keys.seen([(3).to_bytes(16, "big")], harness.now_us) == [False]


def test_keys_expire_at_the_edge_also_after_a_restart(harness: Harness) -> None:
    """24 hours to the microsecond, counted from the acceptance, not from the restart."""
    harness.open()
    accepted_us = harness.now_us
    assert harness.submit(1)
    harness.close()
    harness.now_us = accepted_us + 3_600_000_000
    store = harness.open()
    edge_us = accepted_us + 24 * 3_600_000_000
    assert store.keys.seen([(1).to_bytes(16, "big")], edge_us - 1) == [True]
    assert store.keys.seen([(1).to_bytes(16, "big")], edge_us) == [False]


def test_damage_in_an_earlier_segment_stops_the_start(harness: Harness) -> None:
    """Rot that no crash explains is never skipped."""
    harness.open()
    harness.files.fail = failing(io_error, "rename", folder="events")
    assert harness.submit(1, 2)
    harness.advance(1.1)
    assert harness.submit(3)
    harness.crash()
    path = min((harness.directory / layout.WAL).glob("*.ndjson"))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corruption, match=f"{path.name}: damaged at byte 0"):
        harness.open()


@pytest.mark.parametrize("seed", range(8))
def test_removal_of_a_torn_first_group_lasts(tmp_path: Path, seed: int) -> None:
    """An empty segment that recovery removed does not come back as damage after another crash."""
    harness = Harness(tmp_path / "data", seed)
    harness.open()
    for _ in range(3):
        harness.files.fail = failing(no_space, "sync")
        assert not harness.submit(1)
        harness.files.fail = no_fault
        harness.crash()
        harness.open()
    assert harness.submit(2)
    assert 2 in harness.readable()
    harness.end()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("operation", ["publish_sync", "sync_folder"])
def test_kill_before_a_name_lasts_then_loss_of_power(
    tmp_path: Path, seed: int, operation: str
) -> None:
    """A start does not rely on a name that the killed process could not force to disk any more.

    publish_sync: a part was renamed, its folder not synced; the segment must outlive that.
    sync_folder: the name of a new segment; its rows count as seen from that start on.
    """
    harness = Harness(tmp_path / "data", seed)
    harness.open()
    if operation == "publish_sync":
        assert harness.submit(1)
    harness.files.fail = failing(
        io_error, "sync_folder", folder="events" if operation == "publish_sync" else "wal"
    )
    harness.advance(0)
    harness.advance(1.5)
    if operation == "sync_folder":
        assert not harness.submit(1)
    harness.kill()
    harness.files.fail = no_fault
    [seen] = harness.open().keys.seen([(1).to_bytes(16, "big")], harness.now_us)
    harness.files.fail = failing(io_error, "rename", folder="events")
    harness.crash()
    harness.files.fail = no_fault
    harness.open()
    assert seen or operation == "sync_folder"
    assert harness.readable() == ([1] if seen else [])
    harness.end()


def test_after_a_failed_sync_the_log_is_left_alone(harness: Harness) -> None:
    """Bytes nobody can judge are neither sealed nor flushed; the next start cuts them off."""
    harness.open()
    assert harness.submit(1)
    harness.files.fail = failing(no_space, "write", "truncate")
    assert not harness.submit(2)
    harness.files.fail = no_fault
    assert len(harness.fatal) == 1
    harness.advance(60)
    assert harness.glob() == []
    harness.close()
    assert harness.glob() == []
    harness.open()
    harness.advance(60)
    assert harness.settle_flushes()
    assert harness.glob() == [1]


def test_midnight_starts_a_new_segment(harness: Harness) -> None:
    """One segment belongs to one UTC date, and a clock that steps back does not reopen a day."""
    harness.open()
    assert harness.submit(1)
    harness.now_us += 86_400_000_000
    assert harness.submit(2)
    harness.now_us -= 86_400_000_000
    assert harness.submit(3)
    harness.close()
    folders = sorted(p.parent.name for p in (harness.directory / "events").glob("*/*.parquet"))
    assert len(folders) == 2
    assert len(set(folders)) == 2
    assert sorted(harness.glob()) == [1, 2, 3]


def test_flush_failure_is_tried_again(harness: Harness) -> None:
    """A flush that fails keeps the segment; the next try publishes it, once."""
    harness.open()
    harness.files.fail = failing(io_error, "sync_folder", where=of_date, times=1)
    assert harness.submit(1)
    harness.advance(1.1)
    assert harness.settle_flushes()
    assert harness.store is not None
    assert harness.store.flush_failures == 1
    assert harness.readable() == [1]


def test_keys_are_published_behind_their_rows(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a segment waits to be flushed its keys have no name in `keys/`; then they get one."""
    monkeypatch.setattr(keyindex, "GENERATION_KEYS", 2)
    store = harness.open()
    put, held = store._flush_thread.put, []
    monkeypatch.setattr(store._flush_thread, "put", held.append)
    assert harness.submit(1, 2, 3)
    folder = harness.directory / layout.KEYS

    def work() -> None:
        for _ in range(40):
            harness.advance(0.1)
            harness.loop.run_until_complete(asyncio.sleep(0.005))

    work()
    assert len(held) == 1
    assert store.keys.runs == 1, "written"
    assert list(folder.iterdir()) == [], "and not published"
    put(held[0])
    assert harness.settle_flushes()
    work()
    assert len(list(folder.glob("run-*"))) == 1


def test_numbers_of_runs_are_not_given_again(harness: Harness) -> None:
    """Parts may be moved away; a run that covers their numbers must not seem to know new rows."""
    harness.open()
    assert harness.submit(1)
    harness.close()
    parts = layout.list_parts(harness.directory / layout.EVENTS)
    for part in parts:
        (harness.directory / layout.EVENTS / part.name).unlink()
    harness.open()
    assert harness.submit(2)
    harness.advance(1.5)
    assert harness.settle_flushes()
    harness.crash()
    store = harness.open()
    keys = [number.to_bytes(16, "big") for number in (1, 2)]
    assert store.keys.seen(keys, harness.now_us, waits=True) == [True, True]


def test_nothing_is_sealed_by_hand_after_a_failed_sync(harness: Harness) -> None:
    """What a failed sync left in the log is nobody's to publish: joining is refused."""
    harness.open()
    assert harness.submit(1)
    harness.files.fail = failing(io_error, "sync")
    assert not harness.submit(2)
    harness.files.fail = no_fault
    assert harness.fatal
    assert not harness.compact()
    assert harness.glob() == []


def test_what_is_wanted_in_parts_does_not_wait_for_a_pause(tmp_path: Path) -> None:
    """A slow disk under steady load is written to without a gap; between two groups is enough."""

    class Slow(Files):
        def sync(self, descriptor: int) -> None:
            time.sleep(0.02)
            super().sync(descriptor)

    async def play() -> None:
        store = Store.open(
            Settings(directory=tmp_path / "data", publish_interval_ms=60_000),
            Slow(),
            now_us=NOW_US,
            monotonic_s=time.monotonic,
            on_fatal=lambda _error: None,
        )
        is_over = False

        async def send(number: int) -> None:
            while not is_over:
                number += 10
                lines = make_lines(number)
                await store.submit(lines, 1, NOW_US)

        senders = [asyncio.ensure_future(send(number)) for number in range(4)]
        await asyncio.sleep(0.5)
        assert await asyncio.wait_for(store.flushed(), 10) >= 1
        is_over = True
        await asyncio.gather(*senders)
        await store.close(flush_timeout_s=10)

    asyncio.run(play())
