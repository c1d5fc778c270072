"""Requests that are taken together against the same requests taken one by one."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.adapters.contract import Response
from storage import DiskFull
from tests.support.turning import Row, Sent, World

_NAMES = "abcde"
_FAULTS = ("none", "none", "none", "decode", "row")


class Ask(msgspec.Struct, frozen=True):
    """One request: `names` of its events; "!" before one: it is refused."""

    names: tuple[str, ...]
    is_single: bool
    fault: str


class Round(msgspec.Struct, frozen=True):
    """Requests that are ready at the same time, and what the world does meanwhile.

    `outcome`: of what they submit. `cold`: of so many keys the index has to read first. `is_held`:
    what they submit waits until the next round has joined.
    """

    asks: tuple[Ask, ...]
    outcome: str = "stored"
    cold: int = 0
    is_held: bool = False


_name = st.sampled_from(_NAMES)
_asks = st.one_of(
    st.builds(
        Ask,
        st.lists(st.one_of(_name, _name, _name.map("!".__add__)), min_size=1, max_size=4).map(
            tuple
        ),
        st.just(False),
        st.sampled_from(_FAULTS),
    ),
    st.builds(Ask, st.tuples(_name), st.just(True), st.sampled_from(_FAULTS)),
)
_some = st.lists(_asks, min_size=1, max_size=6).map(tuple)
_outcomes = st.sampled_from(["stored", "stored", "stored", "disk full", "queue full"])
_plain_rounds = st.lists(st.builds(Round, _some, _outcomes), min_size=1, max_size=4)
_rounds = st.lists(
    st.builds(Round, _some, _outcomes, st.integers(0, 3), st.booleans()), min_size=1, max_size=5
)


def _sent(world: World, ask: Ask) -> Sent:
    sent = world.single(*ask.names) if ask.is_single else world.batch(*ask.names)
    if ask.fault == "none":
        return sent
    decode = sent.endpoint.decode

    def fail(request: Any) -> Any:
        batch = decode(request)
        if ask.fault == "decode":
            raise RuntimeError("a bug")
        for item in getattr(batch, "items", ()):
            if hasattr(item, "row"):
                item.row.page_title = "\ud800"
        return batch

    sent.endpoint = msgspec.structs.replace(sent.endpoint, decode=fail)
    return sent


def _told(answer: Response | BaseException) -> Any:
    """What the sender is told, without what is another one each time."""
    if not isinstance(answer, Response):
        return type(answer).__name__
    return answer.status, msgspec.json.decode(answer.body)


def _meant(row: Row) -> tuple[object, ...]:
    """What a row says, without ids that are made."""
    return row["protocol"], row["dedup_key"], row.get("is_duplicate", 0)


def _set_up(world: World, outcome: str) -> None:
    world.disk.is_full = outcome == "queue full"
    world.disk.log.error = DiskFull("full") if outcome == "disk full" else None


@settings(max_examples=100, deadline=None)
@given(_plain_rounds)
def test_together_is_as_one_by_one(rounds: list[Round]) -> None:
    """The same verdicts, the same rows, the same counts; in the same order.

    But for one thing: where the disk takes nothing, who is only told of repeats may be refused.
    """

    async def main() -> None:
        together, alone = World(Path("unused")), World(Path("unused"))
        for one in rounds:
            _set_up(together, one.outcome)
            _set_up(alone, one.outcome)
            answers = await together.answers(*(_sent(together, ask) for ask in one.asks))
            expected = [(await alone.answers(_sent(alone, ask)))[0] for ask in one.asks]
            for answer, other in zip(answers, expected, strict=True):
                is_refused = isinstance(answer, Response) and answer.status == 503
                assert _told(answer) == _told(other) or (one.outcome != "stored" and is_refused)
            assert [_meant(row) for row in together.rows] == [_meant(row) for row in alone.rows]
        together.assert_at_rest()
        if all(one.outcome == "stored" for one in rounds):
            assert together.book_of() == alone.book_of()

    asyncio.run(asyncio.wait_for(main(), 30))


@settings(max_examples=120, deadline=None)
@given(_rounds)
def test_nothing_is_told_that_is_not_so(rounds: list[Round]) -> None:
    """Whatever waits and fails: what is acknowledged is on disk once, what is not can come again.

    No request is answered with a fault that is another's, and every event is counted.
    """

    async def main() -> None:
        world = World(Path("unused"))
        acknowledged: set[tuple[bool, str]] = set()
        taken = {"batch": 0, "single": 0}
        counted = 0
        waiting: list[tuple[Round, asyncio.Task[Any]]] = []
        for one in [*rounds, Round(asks=())]:
            _set_up(world, one.outcome)
            known = sorted(world.disk.keys.active.table)
            world.disk.keys.cold = set(known[: one.cold])
            sent = [_sent(world, ask) for ask in one.asks]
            if one.is_held:
                world.disk.hold()
            waiting.append((one, asyncio.ensure_future(world.answers(*sent))))
            await world.settle()
            if one.is_held:
                continue
            world.disk.release()
            for other, task in waiting:
                may_fail = any(each.outcome != "stored" for each, _ in waiting)
                for ask, answer in zip(other.asks, await task, strict=True):
                    counted += 0 if ask.fault == "decode" else len(ask.names)
                    status = answer.status if isinstance(answer, Response) else 500
                    has_row = any(name[0] != "!" for name in ask.names)
                    is_faulty = ask.fault == "decode" or (ask.fault == "row" and has_row)
                    assert status == 200 or (status == 503 and may_fail) or is_faulty
                    if status != 200:
                        continue
                    good = {(ask.is_single, name) for name in ask.names if name[0] != "!"}
                    acknowledged |= good
                    body = msgspec.json.decode(answer.body)
                    taken["single" if ask.is_single else "batch"] += body.get("acceptedCount", 0)
            waiting.clear()
            new = [row for row in world.rows if not row.get("is_duplicate")]
            keys = {(row["protocol"], row["dedup_key"]) for row in new}
            assert len(keys) == len(new), "each event once"
            assert len(keys) == len(acknowledged), "what is on disk was told, and the other way"
            assert taken["batch"] == sum(row["protocol"] == "zenovay" for row in new)
            world.assert_at_rest()
        assert world.book_of()["received"] == counted

    asyncio.run(asyncio.wait_for(main(), 30))
