"""Commands that must be carried out where the data directory is open for writing.

Beside a running collector a command leaves an order in `data/orders/` and waits for the answer; the
collector looks there twice a second. Where none is running, the command opens the directory itself,
without listening. Whoever may write into the data directory may give orders: nothing is reachable
from the network.

    <id>.order.json      what is asked; stays until it is done, also over a crash of the collector
    <id>.progress.json   how far it is
    <id>.answer.json     what came out; whoever asked takes it away
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from collector.ids import uuid7
from storage import Files, Locked, StorageError, layout

_log: Final = logging.getLogger("collector")
_LOOK_S: Final = 0.5
_POLL_S: Final = 0.1
# A worker that is started anew, or a reload, lets go of the directory for less than this.
_PATIENCE_S: Final = 10.0
# An answer is taken away at once by whoever waits for it; one who was killed does not.
_ANSWER_KEPT_S: Final = 30.0
_ORDER: Final = ".order.json"
_PROGRESS: Final = ".progress.json"
_ANSWER: Final = ".answer.json"

# What is done, of how much, and a word on it.
Tell = Callable[[int, int, str], None]
Arguments = dict[str, Any]
Handler = Callable[[Arguments, Tell], Awaitable[Any]]


class OrderFailed(StorageError):
    """An order was refused or could not be carried out; the message is for whoever gave it."""


class Order(msgspec.Struct, frozen=True):
    """What is asked for, and when (Unix time in microseconds)."""

    command: str
    arguments: Arguments
    given_us: int


class Progress(msgspec.Struct, frozen=True):
    """How far an order is."""

    done: int
    total: int
    word: str


class Answer(msgspec.Struct, frozen=True):
    """What came of an order: a value for JSON, or why there is none."""

    value: Any = None
    error: str = ""


class UnderWay(msgspec.Struct, frozen=True):
    """An order that is not done, and how far it is; None: it has not begun, or does not say."""

    order: Order
    progress: Progress | None


_orders: Final = msgspec.json.Decoder(Order)
_progresses: Final = msgspec.json.Decoder(Progress)
_answers: Final = msgspec.json.Decoder(Answer)
_encoder: Final = msgspec.json.Encoder()


class OrderDesk:
    """Carries out orders, one after the other. Lives on the event loop of the collector."""

    def __init__(self, folder: Path, files: Files, handlers: Mapping[str, Handler]) -> None:
        self._folder = folder
        self._files = files
        self._handlers = handlers
        self._stop = asyncio.Event()
        # Answers that the disk did not take yet; their orders stay, and are not done again.
        self._unanswered: dict[str, Answer] = {}
        # Answers that nobody has taken away yet, and until when they wait for that.
        self._answered: dict[Path, float] = {}

    async def run(self) -> None:
        """Look for orders until `stop`; one under way is left for the next start."""
        is_first = True
        while not self._stop.is_set():
            try:
                await self._look(is_first=is_first)
                is_first = False
            except OSError as error:
                _log.warning("orders cannot be looked for: %s", error)
            await _first_of(self._stop.wait(), _LOOK_S)

    def stop(self) -> None:
        """Have `run` end soon."""
        self._stop.set()

    async def carry_out(self, command: str, arguments: Arguments, tell: Tell) -> Any:
        """The value that `command` gives. Raises `OrderFailed`."""
        handler = self._handlers.get(command)
        if handler is None:
            raise OrderFailed(f"the running collector does not know how to {command}")
        try:
            return await handler(arguments, tell)
        except (StorageError, OSError) as error:
            raise OrderFailed(str(error)) from error

    async def _look(self, *, is_first: bool) -> None:
        if not self._folder.is_dir():
            await asyncio.to_thread(self._files.make_folder, self._folder)
        if is_first:
            # Nobody waits for what was answered before this start; it may hold names of people.
            await asyncio.to_thread(self._forget, list(self._folder.glob(f"*{_ANSWER}")))
        now_s = asyncio.get_running_loop().time()
        late = [path for path, until_s in self._answered.items() if until_s < now_s]
        if late:
            await asyncio.to_thread(self._forget, late)
        for name in self._waiting():
            if self._stop.is_set():
                return
            if name in self._unanswered:
                await self._answer(name, self._unanswered[name])
            else:
                await self._serve(name)

    def _forget(self, answers: Sequence[Path]) -> None:
        for path in answers:
            self._files.remove(path)
            self._answered.pop(path, None)

    def _waiting(self) -> list[str]:
        """Ids of the orders found, in the order in which they were given (UUIDv7)."""
        entries = [entry for entry in os.scandir(self._folder) if entry.is_file()]
        return sorted(e.name.removesuffix(_ORDER) for e in entries if e.name.endswith(_ORDER))

    async def _serve(self, name: str) -> None:
        path = self._folder / f"{name}{_ORDER}"
        try:
            order = _orders.decode(await asyncio.to_thread(self._files.read, path))
        except FileNotFoundError:
            return  # withdrawn
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
            await self._answer(name, Answer(error=f"the order cannot be read: {error}"))
            return
        latest: list[Progress] = []
        task = asyncio.ensure_future(
            self.carry_out(
                order.command,
                order.arguments,
                lambda done, total, word: latest.append(Progress(done, total, word)),
            )
        )
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_S)
            if not task.done() and (self._stop.is_set() or not path.exists()):
                # What is given up half-way is done again: by the next start, or by nobody.
                task.cancel()
                await asyncio.wait({task})
            elif latest:
                progress = latest[-1]
                latest.clear()
                await self._write(name + _PROGRESS, _encoder.encode(progress))
        if not task.cancelled():
            _log.info("done by order: %s", order.command)
            await self._answer(name, _answer_of(task, order))

    async def _answer(self, name: str, answer: Answer) -> None:
        order = self._folder / f"{name}{_ORDER}"
        if order.exists():  # else nobody waits for it any more
            if not await self._write(name + _ANSWER, _encoder.encode(answer)):
                self._unanswered[name] = answer
                return
            until_s = asyncio.get_running_loop().time() + _ANSWER_KEPT_S
            self._answered[self._folder / f"{name}{_ANSWER}"] = until_s
        self._unanswered.pop(name, None)
        for path in (order, self._folder / f"{name}{_PROGRESS}"):
            await asyncio.to_thread(self._files.remove, path)

    async def _write(self, name: str, data: bytes) -> bool:
        try:
            await asyncio.to_thread(self._files.replace, self._folder / name, data)
        except OSError as error:
            _log.warning("orders/%s could not be written: %s", name, error.strerror)
            return False
        return True


def _answer_of(task: "asyncio.Future[Any]", order: Order) -> Answer:
    failure = task.exception()
    if failure is None:
        return Answer(value=task.result())
    if not isinstance(failure, OrderFailed):
        _log.error("an order to %s failed", order.command, exc_info=failure)
    return Answer(error=str(failure) or repr(failure))


async def _first_of(event: Awaitable[object], seconds: float) -> None:
    task = asyncio.ensure_future(event)
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()


def give(
    directory: Path,
    command: str,
    arguments: Arguments,
    *,
    alone: Callable[[], Any],
    watch: Tell,
    wait: Callable[[float], bool],
    now_us: int,
) -> Any:
    """Have `command` carried out on the data directory, by whoever can; returns its value.

    `alone()` does it in this process and raises `Locked` if another one holds the directory.
    `wait(seconds)` returns True to give up. Raises `OrderFailed`, `StorageError` or OSError.
    """
    if not directory.is_dir():
        raise OrderFailed(f"{directory}: no such data directory; storage.directory says where")
    files = Files()
    while True:
        if not _is_held(directory, files):
            try:
                return alone()
            except Locked:
                pass  # somebody was quicker, and can be asked
        answer = _ask(directory, files, Order(command, arguments, now_us), watch, wait)
        if answer is not None:
            if answer.error:
                raise OrderFailed(answer.error)
            return answer.value


def _ask(
    directory: Path, files: Files, order: Order, watch: Tell, wait: Callable[[float], bool]
) -> Answer | None:
    """What the running collector answers; None when it has ended, and the order is withdrawn."""
    folder = directory / layout.ORDERS
    name = uuid7(order.given_us)
    files.make_folder(folder)
    files.replace(folder / f"{name}{_ORDER}", _encoder.encode(order))
    try:
        return _wait_for(folder / name, directory, files, watch, wait)
    finally:
        for ending in (_ORDER, _PROGRESS, _ANSWER):
            files.remove(folder / f"{name}{ending}")


def _wait_for(
    stem: Path, directory: Path, files: Files, watch: Tell, wait: Callable[[float], bool]
) -> Answer | None:
    order, progress, answer = (
        stem.with_name(stem.name + ending) for ending in (_ORDER, _PROGRESS, _ANSWER)
    )
    alone_s = 0.0
    while True:
        # Looked at first: the answer is there before the order goes.
        is_taken = not order.exists()
        if answer.exists():
            return _answers.decode(files.read(answer))
        if is_taken:
            raise OrderFailed("the order went without an answer; give the command again")
        with contextlib.suppress(FileNotFoundError):
            watch(*msgspec.structs.astuple(_progresses.decode(files.read(progress))))
        if wait(_POLL_S):
            raise OrderFailed("given up; nothing is left half done")
        alone_s = 0.0 if _is_held(directory, files) else alone_s + _POLL_S
        if alone_s > _PATIENCE_S:
            return None


def _is_held(directory: Path, files: Files) -> bool:
    try:
        files.close(files.lock(directory / layout.LOCK))
    except Locked:
        return True
    return False


def under_way(folder: Path) -> list[UnderWay]:
    """The orders in `folder` that are not done, the oldest first. Raises OSError."""
    found = []
    for path in sorted(folder.glob(f"*{_ORDER}")):
        # Each may be gone meanwhile; one that is no order is told by whoever carries it out.
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            order = _orders.decode(path.read_bytes())
            found.append(UnderWay(order, _progress(path)))
    return sorted(found, key=lambda one: one.order.given_us)


def _progress(order: Path) -> Progress | None:
    path = order.with_name(f"{order.name.removesuffix(_ORDER)}{_PROGRESS}")
    try:
        return _progresses.decode(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
