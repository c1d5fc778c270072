"""Connections that cost a server something and give it nothing: idle ones, and ones that drip.

One process, raw sockets, no answers expected. `python -m bench.crowd` reads a `Crowd` from its
standard input, opens its connections, writes one line when all stand, keeps them up for its time
(what the server closes is opened again), and writes a `Crowded`.
"""

import asyncio
import contextlib
import sys
from collections import Counter
from typing import Final, Literal

import msgspec
import uvloop

from bench.flood import raise_file_limit
from bench.http1 import request_head

Manner = Literal["idle", "slow head", "slow body"]

_CONNECTING_MAX: Final = 128
_DRIP_S: Final = 1.0
# A body that never gets there: a byte a second.
_BODY_BYTES: Final = 100_000


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """So many connections of each manner for so many seconds."""

    port: int
    seconds: float
    manners: dict[Manner, int]
    address: str = "127.0.0.1"


class Crowded(msgspec.Struct, frozen=True, kw_only=True):
    """How many stood at the end, how often one was opened, and how often opening one failed.

    `closed`: connections that the server ended, by manner.
    """

    standing: int
    opened: int
    failed: int
    closed: dict[str, int]


class _Crowd:
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._turns = asyncio.Semaphore(_CONNECTING_MAX)
        self._standing = self._opened = self._failed = 0
        self._closed: Counter[str] = Counter()

    async def run(self) -> Crowded:
        manners = [manner for manner, count in self._crowd.manners.items() for _ in range(count)]
        tasks = [asyncio.ensure_future(self._keep(manner)) for manner in manners]
        while self._standing < len(manners) and not self._failed:  # noqa: ASYNC110 (a benchmark)
            await asyncio.sleep(0.05)
        sys.stdout.write(f"{self._standing}\n")
        sys.stdout.flush()
        await asyncio.sleep(self._crowd.seconds)
        standing = self._standing
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return Crowded(
            standing=standing, opened=self._opened, failed=self._failed, closed=dict(self._closed)
        )

    async def _keep(self, manner: Manner) -> None:
        """Keep one connection of that manner up."""
        while True:
            try:
                async with self._turns:
                    reader, writer = await asyncio.open_connection(
                        self._crowd.address, self._crowd.port, limit=1_024
                    )
            except OSError:
                self._failed += 1
                await asyncio.sleep(_DRIP_S)
                continue
            self._opened += 1
            self._standing += 1
            dripping = asyncio.ensure_future(_drip(writer, manner))
            try:
                with contextlib.suppress(OSError):
                    await reader.read()
                self._closed[manner] += 1
            finally:
                self._standing -= 1
                dripping.cancel()
                writer.transport.abort()


async def _drip(writer: asyncio.StreamWriter, manner: Manner) -> None:
    """Send a byte a second of a head or of a body, or nothing."""
    if manner == "idle":
        return
    head = request_head("POST", "/ct", [("Host", "x"), ("Origin", "http://localhost")], _BODY_BYTES)
    if manner == "slow body":
        writer.write(head)
        head = b" " * _BODY_BYTES
    for at in range(len(head)):
        await asyncio.sleep(_DRIP_S)
        writer.write(head[at : at + 1])


async def stand(crowd: Crowd) -> Crowded:
    """Keep the connections up from this process."""
    return await _Crowd(crowd).run()


def main() -> None:
    """Read what to keep up, keep it up, write what came of it; one line on failure."""
    crowd = msgspec.json.decode(sys.stdin.buffer.read(), type=Crowd)
    try:
        raise_file_limit(sum(crowd.manners.values()))
        report = uvloop.run(stand(crowd))
    except (OSError, msgspec.DecodeError) as error:
        sys.exit(f"crowd: {error}")
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


if __name__ == "__main__":
    main()
