"""Backups taken while everything happens that can: at every look, link and read of the copy."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import Files, Retention, backup, query, removed_rows
from tests.faults.world import World, small_world
from tests.support.meddling import Meddling

_DAY_S = 86_400.0
_DAY_US = 86_400_000_000
_FIRST = 1
_ACTIONS = ("submit", "flush", "hold", "join", "erase", "expire")
_NOTHING = "nothing"
_STEPS = ("_small_files", "_quarantine", "_log", "_events")
_SETTINGS: dict[str, object] = {
    "segment_bytes_max": 1_500,
    "join_parts_min": 2,
    "tends_parts": False,
    "retention": Retention(days=1),
}


class Story:
    """A world whose days go on, one action after the other."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop, exchanges: bool) -> None:
        self.world = World(folder, _SETTINGS, loop, exchanges=exchanges)
        self.world.open()
        self._number = _FIRST

    def act(self, action: str) -> None:
        """Do one thing; whatever it is, it succeeds, for this disk has no faults."""
        world = self.world
        if action == "submit":
            assert world.send(*range(self._number, self._number + 3))
            self._number += 3
        elif action == "flush":
            world.hold_flushes(is_held=False)
            world.advance(1.5)
        elif action == "hold":
            world.hold_flushes(is_held=True)
        elif action == "join":
            world.hold_flushes(is_held=False)
            assert world.join()
        elif action == "erase" and world.must:
            world.hold_flushes(is_held=False)
            assert world.erase(min(world.must))
        elif action == "expire":
            self._expire()

    def _expire(self) -> None:
        world = self.world
        world.hold_flushes(is_held=False)
        world.advance(1.5)
        today = world.harness.now_us // _DAY_US
        old = {n for n in world.must if world.times[n] // _DAY_US < today - 1}
        assert world.expire(*old)


@pytest.fixture(scope="module", autouse=True)
def _inline() -> Iterator[None]:
    with small_world():
        yield


def _backup(story: Story, target: Path, moments: list[str]) -> None:
    """Back up while one thing after the other happens: before each step and call of it."""
    pending = iter(moments)

    def happen() -> None:
        story.act(next(pending, _NOTHING))

    def look(directory: Path) -> query.Listing:
        happen()
        return query.look(directory)

    def after_something(step: Callable[..., None]) -> Callable[..., None]:
        def run(self: object, *arguments: object) -> None:
            happen()
            step(self, *arguments)

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "query", SimpleNamespace(look=look))
        for name in _STEPS:
            patch.setattr(backup._Copy, name, after_something(getattr(backup._Copy, name)))
        backup.make(
            story.world.harness.directory,
            target,
            Meddling(happen),
            secret_state="salt-",
            wait=lambda _seconds: None,
        )


def _check(story: Story, target: Path, folder: Path, before: SimpleNamespace) -> None:
    """A store that starts on the copy has what it must have, and goes on."""
    world = story.world
    copy = World(folder, _SETTINGS, world.harness.loop)
    shutil.copytree(target, copy.harness.directory)
    copy.files.adopt()
    copy.times, copy.senders = dict(world.times), dict(world.senders)
    copy.harness.now_us = world.harness.now_us
    gone_meanwhile = (world.erased | world.expired) - before.gone
    copy.must = before.must - gone_meanwhile
    copy.may = (world.must | gone_meanwhile) - copy.must
    copy.erased = set(before.gone)
    copy.stored = set(before.stored)
    try:
        copy.open(is_held=True)
        copy.check()
        # What is counted as removed is exactly what is not there.
        counted = sum(one.of.rows for one in removed_rows(copy.harness.directory, Files()))
        there = set(copy.harness.readable())
        assert counted == len((world.erased | world.expired) - there)
        copy.erased |= gone_meanwhile - there
        copy.counts_as_told()
        copy.goes_on()
        copy.check()
        assert copy.join()
        copy.ends_well()
    finally:
        copy.end()


def _play(days: list[str], exchanges: bool, backups: list[list[str]]) -> None:
    """Live through some days, then make backups, and start on each."""
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        story = Story(folder / "world", loop, exchanges)
        try:
            for action in ("submit", "flush", "submit", "flush", "submit", *days):
                if action == "tomorrow":
                    story.world.advance(2 * _DAY_S)
                story.act(action)
            for number, moments in enumerate(backups):
                world = story.world
                before = SimpleNamespace(
                    must=set(world.must),
                    gone=world.erased | world.expired,
                    stored=set(world.stored),
                )
                _backup(story, folder / "copy", moments)
                _check(story, folder / "copy", folder / f"start-{number}", before)
                world.check()
        finally:
            story.world.end()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


# Of the first look at two files and a segment of the log.
_MOMENTS: Final = 14


@pytest.mark.parametrize("moment", range(_MOMENTS))
@pytest.mark.parametrize("actions", [["flush"], ["join", "erase"]], ids=" ".join)
def test_a_backup_is_whole_whatever_happens_at_one_moment(actions: list[str], moment: int) -> None:
    """Rows that leave the log for a file, and files that are replaced, at each step of a copy."""
    _play([], True, [[*(_NOTHING,) * moment, *actions]])


@given(
    days=st.lists(st.sampled_from((*_ACTIONS, "tomorrow")), max_size=6),
    exchanges=st.booleans(),
    backups=st.lists(
        st.lists(st.sampled_from((*_ACTIONS, *(_NOTHING,) * 6)), min_size=12, max_size=24),
        min_size=1,
        max_size=2,
    ),
)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_backup_holds_every_row_once_whatever_happens_meanwhile(
    days: list[str], exchanges: bool, backups: list[list[str]]
) -> None:
    """Flushes, joins, erasures and retention at any moment neither lose a row nor double one."""
    _play(days, exchanges, backups)
