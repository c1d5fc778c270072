"""Orders: carried out by whoever has the directory open, answered, withdrawn, resumed."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector import orders
from collector.orders import Arguments, OrderDesk, OrderFailed, Tell
from storage import Files, Locked, QueryError, layout

_NOW_US = 1_795_000_000_000_000


async def _double(arguments: Arguments, tell: Tell) -> Any:
    tell(1, 2, "doubling")
    return {"twice": 2 * arguments["n"]}


async def _refuse(_arguments: Arguments, _tell: Tell) -> Any:
    raise QueryError("not today")


async def _break(_arguments: Arguments, _tell: Tell) -> Any:
    raise ZeroDivisionError


_LONG_S = 30.0


class Running:
    """A directory that is held, and a desk that is run by hand."""

    def __init__(self, directory: Path, **handlers: Any) -> None:
        self.directory = directory
        self.folder = directory / layout.ORDERS
        self.folder.mkdir(parents=True, exist_ok=True)
        self.handlers = handlers or {"double": _double, "refuse": _refuse, "break": _break}
        self.lock = Files().lock(directory / layout.LOCK)
        self.files = Files()
        self.seen: list[tuple[int, int, str]] = []

    def work(self, seconds: float = 0.05, *, until: Callable[[], bool] = lambda: True) -> None:
        """Let the desk do what it finds, for so long, and on until `until` holds."""

        async def run() -> None:
            desk = OrderDesk(self.folder, self.files, self.handlers)
            task = asyncio.ensure_future(desk.run())
            await asyncio.sleep(seconds)
            async with asyncio.timeout(_LONG_S):
                while not until():  # noqa: ASYNC110 (files wake nobody)
                    await asyncio.sleep(0.01)
            desk.stop()
            await task

        asyncio.run(run())

    def give(
        self, command: str, arguments: Arguments, wait: Callable[[float], bool] | None = None
    ) -> Any:
        """Give an order; the desk works while it waits."""

        def work(_seconds: float) -> bool:
            self.work()
            return False

        return orders.give(
            self.directory,
            command,
            arguments,
            alone=lambda: pytest.fail("somebody holds the directory"),
            watch=lambda *seen: self.seen.append(seen),
            wait=wait or work,
            now_us=_NOW_US,
        )


@pytest.fixture
def running(tmp_path: Path) -> Any:
    """A collector that holds the directory."""
    made = Running(tmp_path)
    yield made
    os.close(made.lock)


def test_an_order_is_carried_out_and_answered(running: Running) -> None:
    """The value comes back; no file is left."""
    assert running.give("double", {"n": 21}) == {"twice": 42}
    assert list(running.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [("refuse", "not today"), ("unheard", "does not know how to unheard"), ("break", "Zero")],
)
def test_a_refusal_is_told(running: Running, command: str, said: str) -> None:
    """Whatever went wrong, who asked is told, and the next order is served."""
    with pytest.raises(OrderFailed, match=said):
        running.give(command, {})
    assert running.give("double", {"n": 1}) == {"twice": 2}
    assert list(running.folder.iterdir()) == []


def test_progress_is_shown(running: Running) -> None:
    """What the handler tells reaches who waits."""

    async def slow(_arguments: Arguments, tell: Tell) -> Any:
        tell(1, 3, "reading")
        await asyncio.sleep(0.7)
        return "done"

    running.handlers = {"slow": slow}
    works = threading.Thread(target=running.work, args=(2.0,))

    def wait(seconds: float) -> bool:
        if not works.ident:
            works.start()
        time.sleep(seconds)
        return False

    assert running.give("slow", {}, wait=wait) == "done"
    works.join()
    assert (1, 3, "reading") in running.seen


def test_an_order_that_was_withdrawn_is_given_up(running: Running) -> None:
    """It keeps nobody waiting who comes after it."""
    ended = []

    async def endless(_arguments: Arguments, _tell: Tell) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    running.handlers = {"endless": endless, "double": _double}
    desk = threading.Thread(target=running.work, args=(3.0,))
    looks = iter([False] * 8 + [True])

    def wait(_seconds: float) -> bool:
        if not desk.ident:
            desk.start()
        time.sleep(0.1)
        return next(looks)

    with pytest.raises(OrderFailed, match="given up"):
        running.give("endless", {}, wait=wait)
    assert running.give("double", {"n": 4}, wait=lambda s: bool(time.sleep(s))) == {"twice": 8}
    desk.join()
    assert ended == [True]
    assert list(running.folder.iterdir()) == []


def test_an_answer_waits_for_the_disk(running: Running) -> None:
    """No room for the answer: the order stays, is not done twice, and is answered later."""
    done = []

    async def once(_arguments: Arguments, _tell: Tell) -> Any:
        done.append(1)
        return len(done)

    class Full(Files):
        left = 2

        def replace(self, path: Path, data: bytes) -> None:
            if path.name.endswith(".answer.json") and Full.left:
                Full.left -= 1
                raise OSError(28, "No space left on device")
            super().replace(path, data)

    running.handlers, running.files = {"once": once}, Full()
    desk = threading.Thread(target=running.work, args=(3.0,))

    def wait(seconds: float) -> bool:
        if not desk.ident:
            desk.start()
        time.sleep(seconds)
        return False

    assert running.give("once", {}, wait=wait) == 1
    desk.join()


@pytest.mark.parametrize("damage", ["gone", "folder"])
def test_the_desk_lives_on(running: Running, damage: str) -> None:
    """Its folder is removed, or something odd lies in it: orders are served all the same."""
    if damage == "gone":
        running.folder.rmdir()
    else:
        (running.folder / "zz.order.json").mkdir()
    running.work()
    assert running.give("double", {"n": 1}) == {"twice": 2}


def test_an_answer_nobody_takes_away_goes(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked was killed: what was answered may name a person, and does not stay."""
    monkeypatch.setattr(orders, "_ANSWER_KEPT_S", 0.1)
    order = {"command": "double", "arguments": {"n": 1}, "given_us": 1}
    (running.folder / "5.order.json").write_bytes(msgspec.json.encode(order))
    running.work(1.3)
    assert list(running.folder.iterdir()) == []


def test_an_order_outlives_a_crash(running: Running) -> None:
    """Stopped while it is under way, the order stays, and the next start carries it out."""
    begun = []

    async def slow(_arguments: Arguments, _tell: Tell) -> Any:
        begun.append(1)
        await asyncio.sleep(0.2 if len(begun) > 1 else 60)
        return "done"

    running.handlers = {"slow": slow}
    works = iter([0.1, 0.1, 0.5, 0.5, 0.5])

    def wait(_seconds: float) -> bool:
        running.work(next(works))
        return False

    assert running.give("slow", {}, wait=wait) == "done"
    assert len(begun) >= 2


def test_ctrl_c_withdraws_the_order(running: Running) -> None:
    """Nobody carries out what nobody waits for."""
    with pytest.raises(OrderFailed, match="given up"):
        running.give("double", {"n": 1}, wait=lambda _seconds: True)
    assert list(running.folder.iterdir()) == []


def test_without_a_collector_it_is_done_here(tmp_path: Path) -> None:
    """Nobody holds the directory: no file is written."""
    value = orders.give(
        tmp_path,
        "double",
        {},
        alone=lambda: "here",
        watch=lambda *_: None,
        wait=lambda _s: pytest.fail("nobody to wait for"),
        now_us=_NOW_US,
    )
    assert value == "here"
    assert not (tmp_path / layout.ORDERS).exists()


def test_somebody_was_quicker(tmp_path: Path) -> None:
    """A collector that starts at the same moment is asked."""
    made: list[Running] = []

    def alone() -> Any:
        made.append(Running(tmp_path))
        raise Locked(tmp_path / layout.LOCK)

    def wait(_seconds: float) -> bool:
        made[0].work()
        return False

    value = orders.give(
        tmp_path, "double", {"n": 2}, alone=alone, watch=lambda *_: None, wait=wait, now_us=_NOW_US
    )
    os.close(made[0].lock)
    assert value == {"twice": 4}


def test_a_collector_that_ended_is_noticed(tmp_path: Path) -> None:
    """Nobody answers any more: the order is withdrawn, and done here."""
    made = Running(tmp_path)

    def wait(_seconds: float) -> bool:
        if made.lock >= 0:
            os.close(made.lock)
            made.lock = -1
        return False

    value = orders.give(
        tmp_path,
        "double",
        {},
        alone=lambda: "here",
        watch=lambda *_: None,
        wait=wait,
        now_us=_NOW_US,
    )
    assert value == "here"
    assert list(made.folder.iterdir()) == []


@pytest.mark.parametrize("data", [b"{", b'{"command":"\xff"}', b'{"a":' + b"[" * 5_000])
def test_what_is_no_order_is_answered(running: Running, data: bytes) -> None:
    """A broken file is taken away and told of; it does not keep others waiting."""
    (running.folder / "0.order.json").write_bytes(data)

    def work(_seconds: float) -> bool:
        # By one desk: the next one would forget the answer that nobody takes.
        running.work(until=lambda: not list(running.folder.glob("*.order.json")))
        return False

    assert running.give("double", {"n": 3}, work) == {"twice": 6}
    (left,) = running.folder.iterdir()
    assert left.name == "0.answer.json"
    assert b"cannot be read" in left.read_bytes()


def test_answers_nobody_took_go_at_the_next_start(running: Running) -> None:
    """They may hold names of people."""
    (running.folder / "1.answer.json").write_bytes(msgspec.json.encode({"value": 1}))
    running.work()
    assert list(running.folder.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """A typing error in the configuration makes no data directory."""
    with pytest.raises(OrderFailed, match="no such data directory"):
        Running.give(
            type("Nowhere", (), {"directory": tmp_path / "no", "seen": []})(), "double", {}
        )
    assert not (tmp_path / "no").exists()
