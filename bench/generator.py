"""One process of the load generator: raw sockets, keep-alive, one request in flight on each.

Closed loop: a connection sends as soon as it was answered, so the rate is what the server can do.
Open loop (`Plan.rate`): requests are due at fixed times, whether or not a connection is free, and a
latency runs from the time a request was due, so that waiting counts. Bounded in time always.

`python -m bench.generator` reads a `Plan` from its standard input and writes a `Report`.
"""

import asyncio
import gc
import random
import sys
import time
from collections import deque
from typing import Any, Final, cast

import msgspec
import uvloop

from bench.corpus import Account, Traffic, templates
from bench.http1 import Answer, ProtocolError, maybe_answer
from bench.template import Ids, Template

SECONDS_MAX: Final = 60.0
CONNECTIONS_MAX: Final = 1_024
_LAST_ANSWERS_S: Final = 15.0
_FAILURES_MAX: Final = 20
_STAMP_S: Final = 1.0
# Requests that may be sent again; a repeat comes at least this many requests after the first.
_REPEATABLE: Final = 64


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. `size`: events per request. `rate`: requests per second, 0: closed loop.

    `duplicates` is the share of requests that repeat an earlier one. `run` (8 hex digits) makes the
    ids of this run its own. `requests_max` 0: bounded by time only.
    """

    address: str
    port: int
    traffic: Traffic
    account: Account
    run: str
    size: int = 1
    connections: int = 64
    warm_up_s: float = 0.5
    seconds: float = 10.0
    rate: float = 0.0
    duplicates: float = 0.0
    requests_max: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= SECONDS_MAX or not 0 <= self.warm_up_s <= SECONDS_MAX:
            raise ValueError(f"a measurement lasts at most {SECONDS_MAX:.0f} s")
        if not 0 < self.connections <= CONNECTIONS_MAX:
            raise ValueError(f"1 to {CONNECTIONS_MAX} connections")
        if not 0 <= self.duplicates < 1 or self.rate < 0 or self.size < 1:
            raise ValueError("duplicates is a share, rate and size are counts")


class Report(msgspec.Struct, kw_only=True):
    """What came of a plan. `window_s`, `requests`, `events`, `latencies_us` and `cpu_s` are of the
    measured time only; the other counts are of everything that was sent, warm-up included.

    `events` were answered with success in the window. `cpu_s` is what this process itself used.
    `statuses` counts answers; `failures` are connections that broke.
    """

    window_s: float
    requests: int
    events: int
    latencies_us: list[int]
    cpu_s: float
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    statuses: dict[int, int] = {}
    failures: int = 0

    @property
    def cpu_share(self) -> float:
        """Share of one core that the generator used; near 1 it was the bottleneck itself."""
        return self.cpu_s / self.window_s


class _Counts(msgspec.Struct, rename="camel"):
    accepted_count: int
    deduped_count: int
    rejected_count: int


_counts: Final = msgspec.json.Decoder(_Counts)


class _Source:
    """The requests, one after the other."""

    def __init__(self, plan: Plan) -> None:
        self._templates: list[Template] = templates(
            plan.traffic, plan.size, plan.account, plan.seed
        )
        random.Random(plan.run).shuffle(self._templates)
        self._ids = Ids(plan.run)
        self._every = round(1 / plan.duplicates) if plan.duplicates else 0
        self._sent: deque[bytes] = deque(maxlen=_REPEATABLE)
        self._count = 0
        self.stamp()

    def stamp(self) -> None:
        """Put the present time into all templates."""
        now_ms = time.time_ns() // 1_000_000
        self._cut = [template.stamped(now_ms) for template in self._templates]

    def next(self) -> bytes:
        """The next request, whole."""
        self._count += 1
        if not self._every:
            return self._ids.next().join(self._cut[self._count % len(self._cut)])
        if self._count % self._every == 0 and len(self._sent) == _REPEATABLE:
            return self._sent[0]
        request = self._ids.next().join(self._cut[self._count % len(self._cut)])
        self._sent.append(request)
        return request


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
        self._load.is_free(self)

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or all of it."""
        received = self._received + data if self._received else data
        try:
            answer = maybe_answer(received)
            if answer is None:
                self._received = received
                return
        except ProtocolError as error:
            self._load.abort(f"the server's answer cannot be read: {error}")
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
        self._source = _Source(plan)
        self._loop = asyncio.get_running_loop()
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._open = 0
        self._in_flight = 0
        self._sent = 0
        self._begin_s = self._end_s = float("inf")
        self._over = asyncio.Event()
        self._problem = ""
        self._latencies_s: list[float] = []
        self.report = Report(
            window_s=plan.seconds, requests=0, events=0, latencies_us=[], cpu_s=0.0, statuses={}
        )

    async def run(self) -> Report:
        """Carry the plan out. Raises OSError or RuntimeError when the server cannot be used."""
        plan = self._plan
        self._loop.set_exception_handler(self._failed)
        self._begin_s = time.perf_counter() + plan.warm_up_s
        self._end_s = self._begin_s + plan.seconds
        for _ in range(plan.connections):
            await self._connect()
        stamping = self._loop.create_task(self._stamp())
        pacing = self._loop.create_task(self._pace()) if plan.rate else None
        await self._sleep_until(self._begin_s)
        cpu_s = time.process_time()
        await self._sleep_until(self._end_s)
        self.report.cpu_s = time.process_time() - cpu_s
        self.report.window_s = time.perf_counter() - self._begin_s
        stamping.cancel()
        if pacing is not None:
            pacing.cancel()
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
        return self.report

    def abort(self, problem: str) -> None:
        """End as soon as possible with `problem`."""
        self._problem = self._problem or problem
        self._end_s = 0.0
        self._over.set()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.abort(f"{context['message']}: {context.get('exception')!r}")

    def is_free(self, connection: _Connection) -> None:
        """Give the connection its next request, if one is due."""
        now_s = time.perf_counter()
        if now_s >= self._end_s or self._is_spent():
            return
        if not self._plan.rate:
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
            self.is_free(connection)
        if self._in_flight == 0 and now_s >= self._end_s:
            self._over.set()

    def lost(self, connection: _Connection) -> None:
        """A connection ended: open another, unless that happens too often."""
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.is_waiting:
            self._in_flight -= 1
            self.report.failures += 1
            if self.report.failures > _FAILURES_MAX:
                self.abort("the server keeps closing connections in the middle of a request")
        if time.perf_counter() < self._end_s:
            self._reconnecting = self._loop.create_task(self._reconnect())
        elif self._in_flight == 0:
            self._over.set()

    def _count(self, answer: Answer) -> int:
        """Add the answer to the totals; returns how many events it acknowledged."""
        report = self.report
        report.statuses[answer.status] = report.statuses.get(answer.status, 0) + 1
        if answer.status not in {200, 204}:
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

    async def _connect(self) -> None:
        await self._loop.create_connection(
            lambda: _Connection(self), self._plan.address, self._plan.port
        )

    async def _reconnect(self) -> None:
        try:
            await self._connect()
        except OSError as error:
            self.abort(f"the server takes no connection any more: {error.strerror}")

    async def _stamp(self) -> None:
        while True:
            await asyncio.sleep(_STAMP_S)
            self._source.stamp()

    async def _pace(self) -> None:
        """Open loop: hand every request out when it is due, or let it wait for a connection."""
        interval_s = 1 / self._plan.rate
        due_s = time.perf_counter()
        while not self._is_spent():
            now_s = time.perf_counter()
            while due_s <= now_s:
                if self._idle:
                    self._send(self._idle.popleft(), due_s)
                else:
                    self._due.append(due_s)
                due_s += interval_s
            # Timers tick in milliseconds; asking for less would spin.
            await asyncio.sleep(max(0.001, due_s - now_s))

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
