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
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
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

    async def run(self) -> None:
        """Look for orders until `stop`; one under way is left for the next start."""
        await asyncio.to_thread(self._forget_answers)
        while not self._stop.is_set():
            for name in self._waiting():
                await self._serve(name)
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

    def _waiting(self) -> list[str]:
        """Ids of the orders found, in the order in which they were given (UUIDv7)."""
        names = (entry.name for entry in os.scandir(self._folder))
        return sorted(name.removesuffix(_ORDER) for name in names if name.endswith(_ORDER))

    async def _serve(self, name: str) -> None:
        path = self._folder / f"{name}{_ORDER}"
        try:
            order = _orders.decode(await asyncio.to_thread(self._files.read, path))
        except FileNotFoundError:
            return  # withdrawn
        except (msgspec.DecodeError, OSError) as error:
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
            if self._stop.is_set() and not task.done():
                task.cancel()
                return
            if latest:
                progress = latest[-1]
                latest.clear()
                await self._write(name + _PROGRESS, _encoder.encode(progress))
        answer = _answer_of(task, order)
        if not self._stop.is_set():
            _log.info("done by order: %s", order.command)
            await self._answer(name, answer)

    async def _answer(self, name: str, answer: Answer) -> None:
        await self._write(name + _ANSWER, _encoder.encode(answer))
        for ending in (_ORDER, _PROGRESS):
            await asyncio.to_thread(self._files.remove, self._folder / f"{name}{ending}")

    async def _write(self, name: str, data: bytes) -> None:
        try:
            await asyncio.to_thread(self._files.replace, self._folder / name, data)
        except OSError as error:
            _log.warning("orders/%s could not be written: %s", name, error.strerror)

    def _forget_answers(self) -> None:
        """Remove answers that nobody took away before this start."""
        for path in self._folder.glob(f"*{_ANSWER}"):
            self._files.remove(path)


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
    if not _is_held(directory, files):
        try:
            return alone()
        except Locked:
            pass  # somebody was quicker, and can be asked
    folder = directory / layout.ORDERS
    name = uuid7(now_us)
    order = Order(command, arguments, now_us)
    files.make_folder(folder)
    files.replace(folder / f"{name}{_ORDER}", _encoder.encode(order))
    try:
        return _wait_for(folder / name, directory, files, watch, wait)
    finally:
        for ending in (_ORDER, _PROGRESS, _ANSWER):
            files.remove(folder / f"{name}{ending}")


def _wait_for(
    stem: Path, directory: Path, files: Files, watch: Tell, wait: Callable[[float], bool]
) -> Any:
    answer_path, progress_path = (stem.with_name(stem.name + e) for e in (_ANSWER, _PROGRESS))
    alone_s = 0.0
    while True:
        if answer_path.exists():
            answer = _answers.decode(files.read(answer_path))
            if answer.error:
                raise OrderFailed(answer.error)
            return answer.value
        if progress_path.exists():
            try:
                progress = _progresses.decode(files.read(progress_path))
            except FileNotFoundError:
                continue  # replaced by the answer
            watch(progress.done, progress.total, progress.word)
        if wait(_POLL_S):
            raise OrderFailed("given up; what was under way in the collector comes to its end")
        alone_s = 0.0 if _is_held(directory, files) else alone_s + _POLL_S
        if alone_s > _PATIENCE_S:
            raise OrderFailed("the collector ended before it was done; give the command again")


def _is_held(directory: Path, files: Files) -> bool:
    try:
        files.close(files.lock(directory / layout.LOCK))
    except Locked:
        return True
    return False
