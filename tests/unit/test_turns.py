"""Requests that are taken together: what they share, and what stays each one's own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from collector import turns
from collector.adapters.contract import Response
from storage import DiskFull
from tests.support.turning import Sent, World, verdicts


def _run(tmp_path: Path, play: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World(tmp_path)
        await play(world)
        world.assert_at_rest()

    asyncio.run(asyncio.wait_for(main(), 30))


def _names(world: World) -> list[str]:
    """The filler of each row on disk, in order."""
    return [row["metadata"]["filler"] for row in world.rows]


def _faulty(sent: Sent, error: Exception) -> Sent:
    def decode(_request: object) -> None:
        raise error

    sent.endpoint = msgspec.structs.replace(sent.endpoint, decode=decode)  # type: ignore[arg-type]
    return sent


def test_all_that_is_ready_is_one_group_in_order(tmp_path: Path) -> None:
    """Requests of one turn share one look-up, one submission and one sync, in their order."""

    async def play(world: World) -> None:
        sent = [world.batch(f"{n}a", f"{n}b", filler=str(n)) for n in range(5)]
        answers = await world.answers(*sent)
        assert [verdicts(answer) for answer in answers] == [(2, 0)] * 5
        assert len(world.disk.log.groups) == 1
        assert _names(world) == [*"0011223344"]
        assert len(world.disk.keys.asked) == 1
        assert world.book_of() == {"received": 10, "stored": 10}

    _run(tmp_path, play)


def test_a_fault_of_one_request_is_its_own(tmp_path: Path) -> None:
    """Whatever is raised while one request is decoded or judged, the others are stored."""

    async def play(world: World) -> None:
        broken = ValueError("a bug")
        decoding = _faulty(world.batch("x"), broken)
        checking = world.batch("y")

        def check(*_: object) -> None:
            raise broken

        checking.endpoint = msgspec.structs.replace(checking.endpoint, check=check)
        first, second, third, last = await world.answers(
            world.batch("a"), decoding, checking, world.batch("b")
        )
        assert verdicts(first) == verdicts(last) == (1, 0)
        assert second is third is broken
        assert len(world.rows) == 2
        again = await world.answer(world.batch("x", "y"))
        assert verdicts(again) == (2, 0), "their keys were not used up"

    _run(tmp_path, play)


def test_a_row_that_cannot_be_encoded_is_its_own(tmp_path: Path) -> None:
    """A bug of ours in one row takes no other request along, though all are encoded at once."""

    async def play(world: World) -> None:
        bad = world.batch("x", filler="bad")
        decode = bad.endpoint.decode

        def spoil(request: object) -> object:
            batch = decode(request)  # type: ignore[arg-type]
            batch.items[0].row.page_title = "\ud800"  # type: ignore[union-attr]
            return batch

        bad.endpoint = msgspec.structs.replace(bad.endpoint, decode=spoil)  # type: ignore[arg-type]
        first, second, third = await world.answers(
            world.batch("a", filler="a"), bad, world.batch("b", "a", filler="b")
        )
        assert isinstance(second, UnicodeEncodeError)
        assert (verdicts(first), verdicts(third)) == ((1, 0), (1, 1))
        assert _names(world) == ["a", "b"]
        assert world.book_of() == {"received": 4, "stored": 2, "duplicates": 1, "refused": 1}
        assert verdicts(await world.answer(world.batch("x"))) == (1, 0), "its key is free"

    _run(tmp_path, play)


def test_a_refused_event_does_not_use_its_key_up(tmp_path: Path) -> None:
    """Refusals stand beside what is stored; the same key is new when it comes in order."""

    async def play(world: World) -> None:
        [answer] = await world.answers(world.batch("a", "!b", "c"))
        assert verdicts(answer) == (2, 0)
        assert world.book_of() == {"received": 3, "stored": 2, "refused": 1}
        assert verdicts(await world.answer(world.batch("!b", "b"))) == (1, 0)

    _run(tmp_path, play)


# --- keys


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_key_twice_in_one_turn(tmp_path: Path, is_alone: bool) -> None:
    """The first is new, the second a repeat, and when both are told so, the row is on disk."""

    async def play(world: World) -> None:
        sent = [world.batch("a"), world.batch("a") if is_alone else world.batch("b", "a")]
        answers = await world.answers(*sent, world.single("s"), world.single("s"))
        assert verdicts(answers[0]) == (1, 0)
        assert verdicts(answers[1]) == ((0, 1) if is_alone else (1, 1))
        assert all(isinstance(one, Response) and one.status == 200 for one in answers[2:])
        assert len(world.disk.log.groups) == 1
        marks = [row.get("is_duplicate", 0) for row in world.rows if row["protocol"] == "scanova"]
        assert marks == [0, 1]
        stored = 2 if is_alone else 3
        counts = {"stored": stored, "repeats": 1, "duplicates": 1, "received": stored + 2}
        assert world.book_of() == counts

    _run(tmp_path, play)


@pytest.mark.parametrize("held", [False, True])
def test_a_failed_group_refuses_all_and_frees_its_keys(tmp_path: Path, held: bool) -> None:
    """Neither the first nor its repeat in the same turn is acknowledged; both may come again."""

    async def play(world: World) -> None:
        world.disk.log.error = DiskFull("full")
        if held:
            world.disk.hold()
        waiting = asyncio.ensure_future(
            world.answers(world.batch("a", "b"), world.batch("a"), world.single("s"))
        )
        await world.settle()
        if held:
            assert not waiting.done()
            world.disk.release()
        answers = await waiting
        assert [one.status for one in answers if isinstance(one, Response)] == [503] * 3
        assert world.rows == []
        assert world.book_of() == {"received": 4, "refused": 4}
        world.assert_at_rest()
        world.disk.log.error = None
        again = await world.answers(world.batch("a"), world.single("s"), world.batch("a", "b"))
        assert (verdicts(again[0]), verdicts(again[2])) == ((1, 0), (1, 1))

    _run(tmp_path, play)


def test_a_full_queue_refuses_before_anything_is_taken(tmp_path: Path) -> None:
    """What would have been new is refused, and with it its repeat beside it: neither is on disk.

    A repeat of what is on disk is told so all the same.
    """

    async def play(world: World) -> None:
        await world.answer(world.batch("old"))
        world.disk.is_full = True
        answers = await world.answers(
            world.batch("a"), world.batch("a"), world.batch("old"), world.batch("old", "a")
        )
        assert [verdicts(one) for one in answers] == [503, 503, (0, 1), 503]
        assert list(world.turns._flights) == []
        world.disk.is_full = False
        assert verdicts(await world.answer(world.batch("a"))) == (1, 0)
        counts = {"received": 7, "stored": 2, "duplicates": 1, "refused": 4}
        assert world.book_of() == counts

    _run(tmp_path, play)


def test_a_key_in_flight_is_waited_for(tmp_path: Path) -> None:
    """Whether it is a repeat is told when the row is on disk; the others in its turn go on."""

    async def play(world: World) -> None:
        world.disk.hold()
        first = asyncio.ensure_future(world.answer(world.batch("a")))
        await world.settle()
        second = asyncio.ensure_future(world.answers(world.batch("a", "c"), world.batch("b")))
        await world.settle()
        assert not first.done()
        [flight] = world.turns._flights
        assert len(flight.keys) == 2, "a and b; who waits holds nothing, so c is free"
        world.disk.release()
        assert verdicts(await first) == (1, 0)
        assert [verdicts(one) for one in await second] == [(1, 1), (1, 0)]
        assert world.book_of() == {"received": 4, "stored": 3, "duplicates": 1}

    _run(tmp_path, play)


def test_a_key_whose_flight_fails_is_new(tmp_path: Path) -> None:
    """Who waited for it looks again, and is the first."""

    async def play(world: World) -> None:
        world.disk.hold()
        first = asyncio.ensure_future(world.answer(world.batch("a")))
        await world.settle()
        second = asyncio.ensure_future(world.answer(world.batch("a")))
        await world.settle()
        world.disk.log.error = DiskFull("full")
        world.disk.queue.observe = lambda *_: setattr(world.disk.log, "error", None)
        world.disk.release()
        assert verdicts(await first) == 503
        assert verdicts(await second) == (1, 0)
        assert world.book_of() == {"received": 2, "stored": 1, "refused": 1}

    _run(tmp_path, play)


# --- an index that has to ask the disk, or cannot be asked


def _key(world: World, name: str) -> bytes:
    """The key of the row with that filler."""
    [key] = {row["dedup_key"] for row in world.rows if row["metadata"]["filler"] == name}
    return bytes.fromhex(key)


@pytest.mark.filterwarnings("error")
def test_only_who_needs_a_cold_block_waits(tmp_path: Path) -> None:
    """The others of its turn are stored and answered; nothing is begun that nobody waits for."""

    async def play(world: World) -> None:
        await world.answer(world.batch("cold", filler="cold"))
        world.disk.keys.cold.add(_key(world, "cold"))
        world.disk.warmth.clear()
        needs = asyncio.ensure_future(world.answer(world.batch("cold", "x")))
        others = await world.answers(world.batch("a"), world.batch("b"))
        assert [verdicts(one) for one in others] == [(1, 0)] * 2
        await world.settle()
        assert not needs.done()
        assert world.disk.warmed == 1
        world.disk.warmth.set()
        assert verdicts(await needs) == (1, 1)
        assert world.book_of() == {"received": 5, "stored": 4, "duplicates": 1}

    _run(tmp_path, play)


def test_a_block_that_stays_cold_is_read_at_last(tmp_path: Path) -> None:
    """A job does not look for ever: after some tries it reads, whatever that costs."""

    async def play(world: World) -> None:
        await world.answer(world.batch("cold", filler="cold"))
        key = _key(world, "cold")
        world.disk.keys.cold = _Eternal({key})
        assert verdicts(await world.answer(world.batch("cold"))) == (0, 1)
        assert 1 < world.disk.warmed < 10

    _run(tmp_path, play)


class _Eternal(set[bytes]):
    def clear(self) -> None:
        """It stays."""


def test_keys_that_cannot_be_looked_up(tmp_path: Path) -> None:
    """Only the requests that have one are refused, and may try again."""

    async def play(world: World) -> None:
        await world.answer(world.batch("bad", filler="bad"))
        world.disk.keys.damaged.add(_key(world, "bad"))
        answers = await world.answers(world.batch("a"), world.batch("bad", "c"), world.batch("b"))
        assert [verdicts(one) for one in answers] == [(1, 0), 503, (1, 0)]
        assert isinstance(answers[1], Response)
        assert "Retry-After" in dict(answers[1].headers) or "retry-after" in dict(
            answers[1].headers
        )
        assert world.book_of() == {"received": 5, "stored": 3, "refused": 2}

    _run(tmp_path, play)


# --- size, and those who give up


def test_large_bodies_have_turns_of_their_own(tmp_path: Path) -> None:
    """More than a turn takes is taken in several, in order; all are answered."""

    async def play(world: World) -> None:
        large = "x" * (turns._TURN_BYTES_MAX - 2_000)
        sizes = ["1", "2", large, large + large, "3", "4"]
        sent = [world.batch(str(n), filler=filler) for n, filler in enumerate(sizes)]
        joined: list[int] = []
        take = world.turns._take

        def watched(jobs: list[turns.Job]) -> object:
            joined.append(len(jobs))
            return take(jobs)

        world.turns._take = watched  # type: ignore[assignment,method-assign]
        answers = await world.answers(*sent)
        assert [verdicts(one) for one in answers] == [(1, 0)] * 6
        assert joined == [3, 1, 2]
        assert _names(world) == sizes

    _run(tmp_path, play)


@pytest.mark.parametrize("fails", [False, True])
def test_who_is_cancelled_takes_nobody_along(tmp_path: Path, fails: bool) -> None:
    """The others are answered, the rows are on disk or are not, and every event is counted."""

    async def play(world: World) -> None:
        world.disk.hold()
        tasks = [asyncio.ensure_future(world.answer(world.batch(name))) for name in "abc"]
        await world.settle()
        tasks[1].cancel()
        await world.settle()
        if fails:
            world.disk.log.error = DiskFull("full")
        world.disk.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        assert [verdicts(results[0]), verdicts(results[2])] == [503 if fails else (1, 0)] * 2
        counts = {"received": 3, "refused": 3} if fails else {"received": 3, "stored": 3}
        assert world.book_of() == counts

    _run(tmp_path, play)
