"""Requests as the server hands them to the collector, without a server: prepared, then answered.

Owns how the collector's edge is called in one process; every measurement of its own code, by time
or by instructions, goes through here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Final

import msgspec

from bench.corpus import Account, Traffic, templates
from bench.fleet import LoadFailed, fresh_run
from bench.target import config_text
from bench.template import Ids
from collector import config_file
from collector.config import Config
from collector.edge import Answer, Edge, Scope
from collector.http import Body

# Of the public internet: its country is looked up.
_CLIENT: Final = "93.184.215.14:50000"

Answers = Callable[[Scope, Body], Awaitable[Answer]]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a request, in the shape of RSGI."""

    method: str
    path: str
    headers: dict[str, str]
    query_string: str = ""
    client: str = _CLIENT


class Content:
    """A body that is there already, in the shape of RSGI: awaiting it costs next to nothing."""

    __slots__ = ("_content", "_is_read")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._is_read = False

    def __call__(self) -> "Content":
        """All of it."""
        return self

    def __await__(self) -> Generator[None, None, bytes]:
        return self._content
        yield

    def cancel(self) -> None:
        """It is never waited for."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> "Content":
        if self._is_read:
            raise StopAsyncIteration
        self._is_read = True
        return self


Prepared = tuple[Head, bytes]


def configured(account: Account, directory: Path) -> Config:
    """A collector in `directory` that lets `account` in and writes rows to its log only."""
    # Longer than a measurement: turning rows into Parquet is measured elsewhere.
    text = config_text(account, port=8000, publish_interval_ms=3_600_000, segment_bytes_max=1 << 40)
    config = config_file.parse(text.encode(), file="bench", path=directory / "config.toml")
    # There is no such file to be looked at again.
    return msgspec.structs.replace(config, path=None)


def prepare(
    traffic: Traffic,
    size: int,
    account: Account,
    count: int,
    seed: int,
    *,
    now_ms: int | None = None,
    run: str | None = None,
) -> list[Prepared]:
    """So many requests, each with an id of its own; the same `now_ms` and `run`: the same bytes."""
    if now_ms is None:
        now_ms = time.time_ns() // 1_000_000
    cut = [template.stamped(now_ms) for template in templates(traffic, size, account, seed)]
    ids = Ids(run or fresh_run())
    return [_split(ids.next().join(cut[index % len(cut)])) for index in range(count)]


def _split(request: bytes) -> Prepared:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    method, path, _ = line.split(" ")
    pairs = [one.split(": ", 1) for one in lines]
    return Head(method=method, path=path, headers={n.lower(): v for n, v in pairs}), body


async def accepted(edge: Edge, requests: list[Prepared], in_flight: int) -> None:
    """Have `edge` answer all of them. Raises `LoadFailed` on any refusal."""
    statuses = await answer_all(edge.answer, requests, in_flight)
    if statuses.keys() - {200, 204}:
        raise LoadFailed(f"not everything was acknowledged: answers by status {statuses}")


async def answer_all(answer: Answers, requests: list[Prepared], in_flight: int) -> dict[int, int]:
    """Have `answer` answer all, `in_flight` at a time; how many answers had which status."""
    waiting = iter(requests)
    statuses: dict[int, int] = {}

    async def work() -> None:
        for head, body in waiting:
            status, _, _ = await answer(head, Content(body))
            statuses[status] = statuses.get(status, 0) + 1
            # As between two requests of a connection: others get their turn.
            await asyncio.sleep(0)

    await asyncio.gather(*(asyncio.ensure_future(work()) for _ in range(in_flight)))
    return statuses
