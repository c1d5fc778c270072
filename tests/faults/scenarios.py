"""What is done while operations fail and power is lost: small data, tiny segments, few keys."""

from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from storage import Retention
from tests.faults.world import World
from tests.support.lake import DataDirectory
from tests.support.rows import make_lines, make_row

_DAY_S = 86_400.0


def nothing(_world: World) -> None:
    """There is nothing to prepare, or to do."""


class Scenario(NamedTuple):
    """`prepare` on a disk without faults, then `act` under them.

    `is_open`: the store is opened before anything is counted. `exchanges`: the disk can exchange
    folders. What `act` may not do is raise: what fails is told by `World`.
    """

    name: str
    act: Callable[[World], None]
    prepare: Callable[[World], None] = nothing
    is_open: bool = True
    settings: Mapping[str, object] = MappingProxyType({})
    exchanges: bool = True


def _retried(world: World, *numbers: int) -> None:
    """A client that is refused comes again; the disk is looked at in between."""
    if world.harness.store is not None and not world.send(*numbers):
        world.advance(1.1)
        world.send(*numbers)


def _start(world: World) -> None:
    if world.attempt(world.open) or world.attempt(world.open):
        _retried(world, 1)


def _append(world: World) -> None:
    _retried(world, 1)
    _retried(world, 2, 3)
    _retried(world, 4)
    _retried(world, 5)


def _roll(world: World) -> None:
    _retried(world, 1)
    _retried(world, 2)
    world.harness.now_us += int(_DAY_S * 1e6)
    _retried(world, 3)


def _behind(world: World) -> None:
    """Flushing does not keep up: several segments wait, of which only the last may be torn."""
    world.hold_flushes(is_held=True)
    _retried(world, 1)
    _retried(world, 2)
    world.advance(1.1)
    _retried(world, 3)
    world.harness.now_us += int(_DAY_S * 1e6)
    _retried(world, 4)
    _retried(world, 5)
    world.hold_flushes(is_held=False)


def _three_parts(world: World) -> None:
    world.open()
    for number in (1, 2, 3):
        world.send(number)
        world.advance(1.1)
    world.harness.kill()


def _flush(world: World) -> None:
    _retried(world, 1)
    world.advance(1.1)
    _retried(world, 2, 3)
    world.advance(1.1)


def _join(world: World) -> None:
    _retried(world, 10)
    world.join() or world.join()
    world.advance(20)  # what was replaced goes


def _flush_two_groups_each(world: World) -> None:
    world.open()
    for number in (1, 3):
        world.send(number)
        world.send(number + 1)
        world.advance(1.1)


def _two_groups_each(world: World) -> None:
    """Two parts, each with rows of two visitors; and one torn group that names one of them."""
    _flush_two_groups_each(world)
    world.harness.kill()
    data = DataDirectory(world.harness.directory)
    torn = make_lines(9, visitor_id="visitor-0002", received_time=world.harness.now_us)
    (data.wal / "torn-000000000009-0").write_bytes(torn)


def _summarised(world: World) -> None:
    """Two parts of two visitors, with a summary each."""
    _flush_two_groups_each(world)
    for _ in range(3):
        world.advance(10)
    world.harness.kill()


def _erase_summarised(world: World) -> None:
    _erase(world)
    for _ in range(2):
        world.advance(10)


def _erase(world: World) -> None:
    world.erase(2) or world.erase(2)


def _old_rows(world: World) -> None:
    """Rows of two sites-worth of days: old ones, and one of today in the log."""
    world.open()
    world.send(1)
    world.advance(1.1)
    world.send(2)
    world.advance(3 * _DAY_S)
    world.send(3)
    world.advance(1.1)
    world.harness.kill()


def _expire(world: World) -> None:
    world.expire(1, 2) or world.expire(1, 2)


def _keys(world: World) -> None:
    for first in (1, 4):
        _retried(world, first, first + 1, first + 2)
        world.advance(1.1)
        world.advance(1.1)


def _seal_keys_again(world: World) -> None:
    world.advance(25 * 3_600.0)
    world.advance(3_700.0)
    _retried(world, 20, 21, 22)
    world.advance(1.1)
    world.advance(1.1)


def _runs(world: World) -> None:
    world.open()
    _keys(world)
    world.harness.kill()


def _after_a_kill(world: World) -> None:
    """Everything that a start mends: see the table in `recovery`."""
    _three_parts(world)
    data = DataDirectory(world.harness.directory)
    events = data.events
    one = next(iter(sorted(events.rglob("*.parquet"))))
    # A wide part beside narrow ones, a part's segment, unfinished files, a torn tail.
    data.append(1, 1, day=_day_of(one.parent.name))
    data.append(5, make_row(5, received_time=world.harness.now_us), day=_day_of(one.parent.name))
    world.must.add(5)
    world.times[5] = world.harness.now_us
    world.senders[5] = 5
    world.senders[6] = 6
    data.append_bytes(5, make_lines(6)[:200])
    world.may.add(6)
    (world.harness.directory / "tmp" / "7-part.parquet").write_bytes(b"half")
    folder = world.harness.directory / "tmp" / "8-date"
    folder.mkdir()
    (folder / "part").write_bytes(b"old")
    (world.harness.directory / "state" / "salt.json.tmp").write_bytes(b"{")


def _day_of(name: str) -> date:
    return date.fromisoformat(name.removeprefix("date="))


def _stop(world: World) -> None:
    _retried(world, 1, 2, 3)
    world.advance(1.1)
    _retried(world, 4)
    world.attempt(world.close)


_TINY = {"segment_bytes_max": 600}
_JOINED = {"join_parts_min": 2, "tends_parts": False}

SCENARIOS = (
    Scenario("start", _start, is_open=False),
    Scenario("append", _append),
    Scenario("roll", _roll, settings=_TINY),
    Scenario("behind", _behind),
    Scenario("flush", _flush),
    Scenario("join", _join, _three_parts, settings=_JOINED),
    Scenario("join without exchange", _join, _three_parts, settings=_JOINED, exchanges=False),
    Scenario("erase", _erase, _two_groups_each, settings=_JOINED),
    Scenario("erase without exchange", _erase, _two_groups_each, settings=_JOINED, exchanges=False),
    Scenario(
        "erase with summaries",
        _erase_summarised,
        _summarised,
        settings={"summary_bytes_min": 1, "join_parts_min": 100},
    ),
    Scenario(
        "retention",
        _expire,
        _old_rows,
        settings={**_JOINED, "retention": Retention(days=1)},
    ),
    Scenario("seal keys", _keys),
    Scenario("drop keys", _seal_keys_again, _runs),
    Scenario("recover", _start, _after_a_kill, is_open=False),
    Scenario("stop", _stop),
)
