"""One process that offers more than a server takes: many connections, and no patience.

Requests are due at fixed times. One that is due goes out at once if a connection is free, that is,
has the answer to its last one; else it is counted as not sent and forgotten, as a user who gives up
is. So a latency runs from sending, what waits in the kernel or in the server included, and `due`,
`sent` and `connections` together tell what was really offered. An answer that refuses is obeyed in
nothing: the connection is free again at once. In a closed loop (`Flood.rate` 0) every connection
sends as soon as it was answered.

`python -m bench.flood` reads a `Flood` from its standard input and writes a `Flooded`.
"""

import asyncio
import contextlib
import gc
import resource
import sys
import time
from collections import deque
from typing import Final, cast

import msgspec
import uvloop

from bench.corpus import Account, Traffic
from bench.http1 import Answer, ProtocolError, maybe_answer
from bench.plan import Plan
from bench.source import Source

_LAST_ANSWERS_S: Final = 20.0
_CONNECTING_MAX: Final = 64
_SUCCESS: Final = frozenset({200, 204})
_RETRIABLE: Final = frozenset({429, 503})
_RETRY_AFTER: Final = b"\r\nretry-after: "
_BATCHED: Final = b'"acceptedCount":'
# Files of this process beside its sockets.
_OTHER_FILES: Final = 64


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """What to offer where. `rate`: requests per second; 0: as fast as answers come.

    `has_timeline`: every answer is reported with its time, for a light load that looks on.
    `has_latencies` False: none is kept, for a load of hours.
    """

    port: int
    traffic: Traffic
    account: Account
    run: str
    address: str = "127.0.0.1"
    size: int = 1
    connections: int = 64
    rate: float = 0.0
    seconds: float = 10.0
    seed: int = 1
    has_timeline: bool = False
    has_latencies: bool = True


class Flooded(msgspec.Struct, kw_only=True):
    """What came of it. Requests: `due`, of these `sent`; answers by status.

    `ended_s`: when it stopped offering (Unix seconds). `latencies_us`: of accepted requests, from
    sending; `refused_us`: of the others. `accepted` counts events, repeats included.
    `broken`: connections that ended with a request under way; `untold`: refusals with status 429 or
    503 that do not say when to come back. `late_p99_ms`: how late this process was itself.
    `timeline`: when answered (Unix seconds), after how many microseconds, with which status.
    """

    window_s: float
    ended_s: float = 0.0
    due: int = 0
    sent: int = 0
    accepted: int = 0
    statuses: dict[int, int] = {}
    latencies_us: list[int] = []
    refused_us: list[int] = []
    broken: int = 0
    unanswered: int = 0
    untold: int = 0
    cpu_s: float = 0.0
    late_p99_ms: float = 0.0
    timeline: list[tuple[float, int, int]] = []


class _Counts(msgspec.Struct, rename="camel"):
    accepted_count: int
    deduped_count: int


_counts: Final = msgspec.json.Decoder(_Counts)


class _Connection(asyncio.Protocol):
    """One socket; at most one request under way."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._received = b""
        self.transport: asyncio.Transport
        self.sent_s = 0.0
        self.is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Free."""
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self._load.is_free(self)

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or all of it."""
        received = self._received + data if self._received else data
        try:
            answer = maybe_answer(received)
        except ProtocolError:
            self.transport.abort()
            return
        if answer is None:
            self._received = received
            return
        self._received = b""
        self.is_waiting = False
        self._load.answered(self, answer, received)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's
        """Whoever ended it."""
        self._load.lost(self)


class _Load:
    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        plan = Plan(
            address=flood.address,
            port=flood.port,
            traffic=flood.traffic,
            account=flood.account,
            run=flood.run,
            size=flood.size,
            seed=flood.seed,
        )
        self._source = Source(plan)
        self._loop = asyncio.get_running_loop()
        self._idle: deque[_Connection] = deque()
        self._in_flight = 0
        self._is_open = False
        self._connecting = 0
        self._over = asyncio.Event()
        self._lates_s: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.report = Flooded(window_s=flood.seconds)

    async def run(self) -> Flooded:
        """Offer it, wait for the last answers."""
        flood, report = self._flood, self.report
        turns = asyncio.Semaphore(_CONNECTING_MAX)

        async def connect() -> None:
            async with turns:
                await self._connect()

        await asyncio.gather(*(connect() for _ in range(flood.connections)))
        cpu_s, began_s = time.process_time(), time.perf_counter()
        self._end_s = began_s + flood.seconds
        self._is_open = True
        stamping = self._loop.create_task(self._stamp())
        if flood.rate:
            await self._pace(began_s)
        else:
            await self._storm()
        report.window_s = time.perf_counter() - began_s
        report.ended_s = time.time()
        report.cpu_s = time.process_time() - cpu_s
        self._is_open = False
        stamping.cancel()
        if self._in_flight:
            try:
                await asyncio.wait_for(self._over.wait(), _LAST_ANSWERS_S)
            except TimeoutError:
                report.unanswered = self._in_flight
        lates = sorted(self._lates_s)
        report.late_p99_ms = lates[len(lates) * 99 // 100] * 1e3 if lates else 0.0
        return report

    async def _pace(self, began_s: float) -> None:
        rate, report = self._flood.rate, self.report
        while (now_s := time.perf_counter()) < self._end_s:
            owed = int((now_s - began_s) * rate) - report.due
            if owed > 0:
                if self._flood.has_latencies:
                    self._lates_s.append(owed / rate)
                report.due += owed
                idle = self._idle
                for _ in range(min(owed, len(idle))):
                    self._send(idle.popleft(), now_s)
            await asyncio.sleep(0.001)

    async def _storm(self) -> None:
        now_s = time.perf_counter()
        while self._idle:
            self._send(self._idle.popleft(), now_s)
        while (now_s := time.perf_counter()) < self._end_s:
            await asyncio.sleep(0.01)
            self._lates_s.append(time.perf_counter() - now_s - 0.01)
        self.report.due = self.report.sent

    def is_free(self, connection: _Connection) -> None:
        """It may send."""
        if self._is_open and not self._flood.rate and time.perf_counter() < self._end_s:
            self._send(connection, time.perf_counter())
        else:
            self._idle.append(connection)

    def answered(self, connection: _Connection, answer: Answer, received: bytes) -> None:
        """Count an answer."""
        now_s = time.perf_counter()
        report, status = self.report, answer.status
        self._in_flight -= 1
        latency_us = round((now_s - connection.sent_s) * 1e6)
        report.statuses[status] = report.statuses.get(status, 0) + 1
        if status in _SUCCESS:
            report.accepted += self._events(answer)
            if self._flood.has_latencies:
                report.latencies_us.append(latency_us)
        else:
            if self._flood.has_latencies:
                report.refused_us.append(latency_us)
            if status in _RETRIABLE and _RETRY_AFTER not in received.lower():
                report.untold += 1
        if self._flood.has_timeline:
            report.timeline.append((time.time(), latency_us, status))
        if answer.closes:
            connection.transport.close()
        else:
            self.is_free(connection)
        if not self._in_flight and not self._is_open:
            self._over.set()

    def lost(self, connection: _Connection) -> None:
        """Open another in its place."""
        if connection.is_waiting:
            connection.is_waiting = False
            self._in_flight -= 1
            self.report.broken += 1
        else:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
        if self._is_open and time.perf_counter() < self._end_s:
            task = self._loop.create_task(self._reconnect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not self._in_flight:
            self._over.set()

    def _events(self, answer: Answer) -> int:
        if self._flood.traffic != "zenovay":
            return 1
        counts = _counts.decode(answer.body)
        return counts.accepted_count + counts.deduped_count

    def _send(self, connection: _Connection, now_s: float) -> None:
        self._in_flight += 1
        self.report.sent += 1
        connection.sent_s = now_s
        connection.is_waiting = True
        connection.transport.write(self._source.next())

    async def _connect(self) -> None:
        flood = self._flood
        await self._loop.create_connection(lambda: _Connection(self), flood.address, flood.port)

    async def _reconnect(self) -> None:
        while self._is_open:
            try:
                await self._connect()
            except OSError:
                await asyncio.sleep(0.1)
            else:
                return

    async def _stamp(self) -> None:
        while True:
            await asyncio.sleep(1 / Source.STAMPS_PER_S)
            self._source.stamp()


async def offer(flood: Flood) -> Flooded:
    """Offer it from this process."""
    return await _Load(flood).run()


def raise_file_limit(needed: int) -> None:
    """Let this process open so many files. Raises OSError when it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed + _OTHER_FILES:
        if hard != resource.RLIM_INFINITY and hard < needed + _OTHER_FILES:
            raise OSError(f"{needed} connections need more files than the {hard} that are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed + _OTHER_FILES, hard))


def main() -> None:
    """Read what to offer, offer it, write what came of it; exit code 1 and one line on failure."""
    flood = msgspec.json.decode(sys.stdin.buffer.read(), type=Flood)
    gc.disable()
    try:
        raise_file_limit(flood.connections)
        report = uvloop.run(offer(flood))
    except (OSError, msgspec.DecodeError) as error:
        sys.exit(f"flood: {error}")
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
