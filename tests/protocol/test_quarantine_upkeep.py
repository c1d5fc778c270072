"""What becomes of kept events: written once, counted as on disk, gone when their time is over."""

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from storage import Files, StorageError
from storage.aside import Aside, Kept
from tests.support.app import example, run, running, with_site, with_storage
from tests.support.quarantine import CROCT, SCANOVA_SERVER, kept, post


@pytest.mark.parametrize(
    ("quarantine", "lake", "site", "left"),
    [
        (30, 0, -1, {1, 10}),
        (30, 0, 5, {1}),
        (0, 0, 5, {1}),
        (0, 0, 0, {1, 10, 40}),
        (30, 5, -1, {1}),
        (30, 5, 0, {1, 10}),
        (30, 5, 60, {1, 10}),
        (0, 5, 20, {1, 10}),
    ],
)
def test_no_event_stays_longer_than_the_rows_of_its_site(
    tmp_path: Path, quarantine: int, lake: int, site: int, left: set[int]
) -> None:
    """At most `quarantine_days`, and at most the retention that holds for the site."""
    config = with_storage(example(tmp_path), quarantine_days=quarantine, retention_days=lake)
    config = with_site(config, retention_days=site)

    async def play() -> None:
        async with running(tmp_path, config) as collector:
            await post(collector, "/server-events", b"{", SCANOVA_SERVER)
            [one] = await kept(collector)
            day_us = 24 * 3600 * 1_000_000
            copies = [
                msgspec.structs.replace(
                    one, id=str(uuid.UUID(int=days)), time=one.time - days * day_us
                )
                for days in (1, 10, 40)
            ]
            collector.service._aside.settle([one.id])
            collector.service._aside.add(copies)
            collector.service._quarantine._expired_us = 0
            await kept(collector)  # the write after which it is looked for
            assert {uuid.UUID(one.id).int for one in await kept(collector)} == left

    run(play())


def test_what_is_on_disk_counts_as_kept_although_joining_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining files is not part of the write: Croct hears 204, and the counts are the files'."""
    monkeypatch.setattr("storage.aside._JOINED_AT", 1)

    class NoJoin(Files):
        def remove(self, path: Path) -> None:
            if path.parent.name == "quarantine" and path.suffix == ".parquet":
                raise OSError(5, "Input/output error")
            super().remove(path)

    async def play() -> None:
        config = with_site(example(tmp_path), croct_invalid="quarantine")
        async with running(tmp_path, config, NoJoin()) as collector:
            assert await post(collector, "/client/web/track", b"{1", CROCT) == 204
            assert [one.raw for one in await kept(collector)] == [b"{1"]
            quarantine = collector.service._quarantine
            assert (quarantine.kept, quarantine.withheld) == (1, 0)
            assert quarantine.failures >= 1
            await quarantine.flush()
            assert quarantine.bytes_kept == collector.service._aside.sizes()["demo"]

    run(play())


@pytest.mark.parametrize("error", [StorageError("1 of 2 events"), AssertionError("a bug")])
def test_a_write_that_fails_in_whatever_way_holds_nobody_up(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits is told no, the next write is done, and the stop closes the store."""
    add = Aside.add

    def fail(aside: Aside, events: Sequence[Kept]) -> None:
        if any(one.raw == b"{1" for one in events):
            raise error
        add(aside, events)

    monkeypatch.setattr("storage.aside.Aside.add", fail)

    async def play() -> None:
        config = with_site(example(tmp_path), croct_invalid="quarantine")
        async with running(tmp_path, config) as collector:
            assert await post(collector, "/client/web/track", b"{1", CROCT) == 400
            assert await post(collector, "/client/web/track", b"{2", CROCT) == 204
            assert [one.raw for one in await kept(collector)] == [b"{2"]
            await post(collector, "/client/web/track", b"{1", CROCT)
        Files().close(Files().lock(config.storage.directory / "lock"))

    run(asyncio.wait_for(play(), 30))
