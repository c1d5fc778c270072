"""One process of the load generator: raw sockets, keep-alive, one request in flight on each.

Closed loop: a connection sends as soon as it was answered, so the rate is what the server can do.
Open loop (`Plan.rate`): requests are due at fixed times, whether or not a connection is free, and a
latency runs from the time a request was due, so that waiting counts. Bounded in time always. It
also measures itself: processor time, and how late it was.

`python -m bench.generator` reads a `Plan` from its standard input and writes a `Report`.
"""

import asyncio
import gc
import ssl
import sys
import time
from collections import deque
from typing import Any, Final, cast

import msgspec
import uvloop

from bench.http1 import Answer, ProtocolError, maybe_answer
from bench.plan import CONNECTIONS_MAX, SECONDS_MAX, Plan, Report
from bench.source import Source

__all__ = ["CONNECTIONS_MAX", "SECONDS_MAX", "Plan", "Report", "carry_out"]

_LAST_ANSWERS_S: Final = 15.0
_FAILURES_MAX: Final = 20
_CONNECT_S: Final = 20.0
# Enough that a distant server does not take long, few enough not to look like a flood.
_CONNECTING_MAX: Final = 16
_LAG_S: Final = 0.01
_SUCCESS: Final = frozenset({200, 204})


class _Counts(msgspec.Struct, rename="camel"):
    accepted_count: int
    deduped_count: int
    rejected_count: int


_counts: Final = msgspec.json.Decoder(_Counts)


class _Connection(asyncio.Protocol):
    """One socket; at most one request in flight."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._received = b""
        self.transport: asyncio.Transport
        self.due_s = 0.0
        self.is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for the first request."""
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self._load.is_free(self, time.perf_counter())

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or all of it."""
        received = self._received + data if self._received else data
        try:
            answer = maybe_answer(received)
        except ProtocolError as error:
            self._load.abort(f"the server's answer cannot be read: {error}")
            return
        if answer is None:
            self._received = received
            return
        if answer.size != len(received) or not self.is_waiting:
            self._load.abort("the server answers more than it was asked")
            return
        self._received = b""
        self.is_waiting = False
        self._load.answered(self, answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's
        """The server, or the end of the run, closed it."""
        self._load.lost(self)

    def send(self, request: bytes, due_s: float) -> None:
        """Send; `due_s` is when the latency begins."""
        self.due_s = due_s
        self.is_waiting = True
        self.transport.write(request)


class _Load:
    """Everything that happens during one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._source = Source(plan)
        self._tls = ssl.create_default_context(cafile=plan.ca_file or None) if plan.tls else None
        self._loop = asyncio.get_running_loop()
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._in_flight = self._sent = self._reconnects = 0
        self._reconnecting: set[asyncio.Task[None]] = set()
        # Nothing is sent before all connections stand.
        self._is_open = False
        self._begin_s = self._end_s = float("inf")
        self._over = asyncio.Event()
        self._problem = ""
        self._latencies_s: list[float] = []
        self._lags_s: list[float] = []
        self.report = Report(
            window_s=plan.seconds, requests=0, events=0, latencies_us=[], cpu_s=0.0, statuses={}
        )

    async def run(self) -> Report:
        """Carry the plan out. Raises OSError or RuntimeError when the server cannot be used."""
        plan = self._plan
        self._loop.set_exception_handler(self._failed)
        await self._connect_all()
        self._begin_s = time.perf_counter() + plan.warm_up_s
        self._end_s = self._begin_s + plan.seconds
        self._is_open = True
        helpers = [self._stamp(), self._pace() if plan.rate else self._watch()]
        helping = [self._loop.create_task(helper) for helper in helpers]
        if not plan.rate:
            for _ in range(len(self._idle)):
                self.is_free(self._idle.popleft(), time.perf_counter())
        await self._sleep_until(self._begin_s)
        cpu_s = time.process_time()
        await self._sleep_until(self._end_s)
        self.report.cpu_s = time.process_time() - cpu_s
        self.report.window_s = time.perf_counter() - self._begin_s
        for task in helping:
            task.cancel()
        if self._in_flight and not self._problem:
            try:
                await asyncio.wait_for(self._over.wait(), _LAST_ANSWERS_S)
            except TimeoutError:
                self.abort(f"{self._in_flight} requests were never answered")
        if not self._problem and not self._latencies_s:
            self._problem = "nothing was answered in the measured time"
        if self._problem:
            raise RuntimeError(self._problem)
        self.report.latencies_us = [round(s * 1e6) for s in self._latencies_s]
        self.report.lags_us = [round(s * 1e6) for s in self._lags_s]
        return self.report

    def abort(self, problem: str) -> None:
        """End as soon as possible with `problem`."""
        self._problem = self._problem or problem
        self._end_s = 0.0
        self._over.set()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.abort(f"{context['message']}: {context.get('exception')!r}")

    def is_free(self, connection: _Connection, now_s: float) -> None:
        """Give the connection its next request, if one is due."""
        if now_s >= self._end_s or self._is_spent():
            return
        if not self._is_open:
            self._idle.append(connection)
        elif not self._plan.rate:
            self._send(connection, now_s)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def answered(self, connection: _Connection, answer: Answer) -> None:
        """Count an answer."""
        now_s = time.perf_counter()
        self._in_flight -= 1
        taken = self._count(answer)
        if self._begin_s <= now_s < self._end_s:
            self.report.requests += 1
            self.report.events += taken
            self._latencies_s.append(now_s - connection.due_s)
        if answer.closes:
            connection.transport.close()
        elif now_s < self._end_s:
            self.is_free(connection, now_s)
        if self._in_flight == 0 and now_s >= self._end_s:
            self._over.set()

    def lost(self, connection: _Connection) -> None:
        """A connection ended: open another, unless that happens too often."""
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.is_waiting:
            self._in_flight -= 1
            self.report.failures += 1
        self._reconnects += 1
        # Some servers close after a number of requests: that is no failure.
        if self.report.failures > _FAILURES_MAX or self._reconnects > self._sent + _FAILURES_MAX:
            self.abort("the server keeps closing connections")
        if time.perf_counter() < self._end_s:
            task = self._loop.create_task(self._reconnect())
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)
        elif self._in_flight == 0:
            self._over.set()

    def _count(self, answer: Answer) -> int:
        """Add the answer to the totals; returns how many events it acknowledged."""
        report, status = self.report, answer.status
        report.statuses[status] = report.statuses.get(status, 0) + 1
        if status not in _SUCCESS:
            report.rejected += self._plan.size
            return 0
        if self._plan.traffic != "zenovay":
            report.accepted += 1
            return 1
        counts = _counts.decode(answer.body)
        report.accepted += counts.accepted_count
        report.duplicate += counts.deduped_count
        report.rejected += counts.rejected_count
        return counts.accepted_count + counts.deduped_count

    def _is_spent(self) -> bool:
        return 0 < self._plan.requests_max <= self._sent

    def _send(self, connection: _Connection, due_s: float) -> None:
        self._in_flight += 1
        self._sent += 1
        connection.send(self._source.next(), due_s)

    async def _connect_all(self) -> None:
        turns = asyncio.Semaphore(_CONNECTING_MAX)

        async def connect() -> None:
            async with turns:
                await self._connect()

        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.gather(*(connect() for _ in range(self._plan.connections)))
        except TimeoutError:
            raise RuntimeError(f"no connection within {_CONNECT_S:.0f} s") from None

    async def _connect(self) -> None:
        await self._loop.create_connection(
            lambda: _Connection(self), self._plan.address, self._plan.port, ssl=self._tls
        )

    async def _reconnect(self) -> None:
        try:
            await self._connect()
        except OSError as error:
            self.abort(f"the server takes no connection any more: {error.strerror}")

    async def _stamp(self) -> None:
        while True:
            await asyncio.sleep(1 / Source.STAMPS_PER_S)
            self._source.stamp()

    async def _pace(self) -> None:
        """Open loop: hand every request out when it is due, or let it wait for a connection."""
        interval_s = 1 / self._plan.rate
        due_s = time.perf_counter()
        while not self._is_spent():
            now_s = time.perf_counter()
            is_measured = self._begin_s <= now_s < self._end_s
            while due_s <= now_s:
                if is_measured:
                    self._lags_s.append(now_s - due_s)
                if self._idle:
                    self._send(self._idle.popleft(), due_s)
                else:
                    self._due.append(due_s)
                due_s += interval_s
            # Timers tick in milliseconds; asking for less would spin.
            await asyncio.sleep(max(0.001, due_s - now_s))

    async def _watch(self) -> None:
        """Closed loop: nothing is due, so find out how late a timer is."""
        while True:
            due_s = time.perf_counter() + _LAG_S
            await asyncio.sleep(_LAG_S)
            now_s = time.perf_counter()
            if self._begin_s <= now_s < self._end_s:
                self._lags_s.append(max(0.0, now_s - due_s))

    async def _sleep_until(self, moment_s: float) -> None:
        while not self._problem and not (self._is_spent() and self._in_flight == 0):
            rest_s = moment_s - time.perf_counter()
            if rest_s <= 0:
                return
            await asyncio.sleep(min(rest_s, 0.05))


async def carry_out(plan: Plan) -> Report:
    """Run `plan` in this process, on a loop of its own."""
    return await _Load(plan).run()


def main() -> None:
    """Read a plan, carry it out, write the report; exit code 1 and one line on failure."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    # No pause of ours may be taken for one of the server's; a minute makes little garbage.
    gc.disable()
    try:
        report = uvloop.run(carry_out(plan))
    except (OSError, RuntimeError, msgspec.DecodeError) as error:
        sys.exit(f"load generator: {error}")
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
