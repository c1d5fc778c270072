"""An overloaded collector: refusals in every dialect, and what they must not cost.

No load is made: the work that is under way is counted up by hand, so that it is too much.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from collector.config import Overload
from tests.support.app import Collector, example, gzipped, running
from tests.support.asking import speaker
from tests.support.dialects import DIALECTS, Dialect

pytestmark = pytest.mark.usefixtures("each_front")
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
every_endpoint = pytest.mark.parametrize(
    "endpoint", [one for one in ENDPOINTS if isinstance(one, Endpoint)], ids=lambda e: e.path
)
_AT_ONCE = Overload(refusal_wait_ms_max=0)
_TOO_MUCH = 1_000_000


def _run(
    tmp_path: Path,
    play: Callable[[Collector], Awaitable[None]],
    overload: Overload = _AT_ONCE,
) -> None:
    async def main() -> None:
        async with running(tmp_path, example(tmp_path, overload=overload)) as collector:
            await play(collector)

    asyncio.run(asyncio.wait_for(main(), 30))


async def _send(collector: Collector, dialect: Dialect, identity: str = "a") -> Any:
    sent = dialect.event(identity)
    return await collector.request("POST", sent.path, headers=sent.headers, body=sent.body)


async def _metric(collector: Collector, begin: str) -> int:
    lines = (await collector.request("GET", "/metrics")).body.decode().splitlines()
    return sum(int(one.rpartition(" ")[2]) for one in lines if one.startswith(begin))


@every_endpoint
def test_refused_in_the_dialect(endpoint: Endpoint, tmp_path: Path) -> None:
    """503 with Retry-After, readable by scripts, whatever the body is: it is not looked at."""
    dialect = speaker(endpoint)

    async def play(collector: Collector) -> None:
        collector.service._admission.last.load = _TOO_MUCH
        for body in (b"", b"{", b"\x00" * 100_000):
            answer = await collector.request(
                endpoint.method, endpoint.path, headers={"Origin": "http://localhost"}, body=body
            )
            assert answer.status == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 10
            assert answer.headers["access-control-allow-origin"] == "http://localhost"
            assert "Retry-After" in answer.headers["access-control-expose-headers"]
            assert dialect.code_of(503, answer.body)
        name = f'collector_requests_total{{endpoint="{endpoint.name}",status="503"}}'
        assert await _metric(collector, name) == 3
        refused = f'site="unknown",protocol="{endpoint.protocol}",outcome="rejected"'
        assert (
            await _metric(collector, f'collector_events_total{{{refused},reason="overloaded"}}')
            == 3
        )
        assert await _metric(collector, "collector_shed_total") == 3

    _run(tmp_path, play)


@every_dialect
def test_a_refused_event_may_come_again(dialect: Dialect, tmp_path: Path) -> None:
    """It never uses up its key: when there is less to do it is taken, once."""

    async def play(collector: Collector) -> None:
        admission = collector.service._admission
        admission.last.load = _TOO_MUCH
        assert (await _send(collector, dialect)).status == 503
        admission.last.load = 0
        answer = await _send(collector, dialect)
        assert dialect.is_success(answer.status, answer.body)
        assert admission.load == 0
        accepted = f'site="demo",protocol="{dialect.name.split()[0]}",outcome="accepted"'
        assert await _metric(collector, f"collector_events_total{{{accepted}") == 1

    _run(tmp_path, play)


def test_a_refusal_costs_no_allowance(tmp_path: Path) -> None:
    """Of neither the minute nor the month of a key: both are as before."""
    zenovay = next(one for one in DIALECTS if one.name.startswith("zenovay"))

    async def play(collector: Collector) -> None:
        first = await _send(collector, zenovay, "a")
        collector.service._admission.last.load = _TOO_MUCH
        for number in range(20):
            assert (await _send(collector, zenovay, f"no {number}")).status == 503
        collector.service._admission.last.load = 0
        second = await _send(collector, zenovay, "b")
        for name in ("x-ratelimit-remaining", "x-usage-monthly"):
            left = int(first.headers[name]) - int(second.headers[name])
            assert abs(left) <= 1, name

    _run(tmp_path, play)


def test_back_ends_go_on_while_browsers_are_shed(tmp_path: Path) -> None:
    """What browsers alone have filled still has room for a back end."""

    async def play(collector: Collector) -> None:
        admission = collector.service._admission
        admission.first.load = round(admission._limit.units * 10)
        by_source: dict[str, set[int]] = {"browser": set(), "server": set()}
        for endpoint in ENDPOINTS:
            if isinstance(endpoint, Endpoint):
                sent = speaker(endpoint).event("x")
                answer = await collector.request(
                    "POST", endpoint.path, headers=sent.headers, body=b"{}"
                )
                by_source[endpoint.source].add(answer.status)
        assert by_source["browser"] == {503}
        assert 503 not in by_source["server"]

    _run(tmp_path, play)


def test_own_pages_and_preflights_answer(tmp_path: Path) -> None:
    """Health, readiness, metrics, and what asks whether it may ask; nobody is held for them."""

    async def play(collector: Collector) -> None:
        collector.service._admission.last.load = _TOO_MUCH
        held = [asyncio.ensure_future(_send(collector, DIALECTS[0], str(n))) for n in range(50)]
        await asyncio.sleep(0.01)
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await collector.request("GET", path)).status == 200
        assert (await collector.request("OPTIONS", "/ct")).status == 204
        assert not all(one.done() for one in held)
        assert {one.status for one in await asyncio.gather(*held)} == {503}

    _run(tmp_path, play, Overload(refusal_wait_ms_max=300))


def test_a_stop_does_not_wait_for_those_held(tmp_path: Path) -> None:
    """They are answered at once when the collector stops."""

    async def play(collector: Collector) -> None:
        collector.service._admission.last.load = _TOO_MUCH
        held = [asyncio.ensure_future(_send(collector, DIALECTS[0], str(n))) for n in range(50)]
        await asyncio.sleep(0.01)
        assert collector.service._pace.held > 0
        await collector.edge.drain(0)
        assert collector.service._pace.held == 0
        assert {one.status for one in await asyncio.gather(*held)} == {503}

    _run(tmp_path, play, Overload(refusal_wait_ms_max=60_000))


@every_dialect
def test_a_bomb_is_not_inflated_when_there_is_too_much(dialect: Dialect, tmp_path: Path) -> None:
    """503, and counted; it may come again."""

    async def play(collector: Collector) -> None:
        admission = collector.service._admission
        sent = dialect.event("a")

        async def send() -> Any:
            headers = dict(sent.headers) | {"Content-Encoding": "gzip"}
            body = gzipped(msgspec.json.encode(sent.body))
            return await collector.request("POST", sent.path, headers=headers, body=body)

        task = asyncio.ensure_future(send())
        await asyncio.sleep(0)
        admission.last.load += _TOO_MUCH
        assert (await task).status == 503
        admission.last.load -= _TOO_MUCH
        assert admission.load == 0
        answer = await send()
        assert dialect.is_success(answer.status, answer.body)

    _run(tmp_path, play)
