"""Rules that change while requests are under way."""

import asyncio
from pathlib import Path

import msgspec

from collector.config import Config, Site
from collector.keys import DEMO_KEY
from tests.support.app import Answer, Collector, run, running, with_limits, with_site
from tests.support.scanova import server_event


async def _send(collector: Collector) -> Answer:
    return await collector.request(
        "POST",
        "/server-events",
        headers={"X-API-Key": DEMO_KEY, "Content-Type": "application/json"},
        body=server_event(),
    )


def _adopt(collector: Collector, now: Config) -> None:
    collector.service._adopt(collector.config, now)
    collector.config = now


def test_a_request_under_way_ends_by_the_rules_that_let_it_in(tmp_path: Path) -> None:
    """Its key is revoked, its site gone while its body is read: it is accepted; the next is not."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            read = collector.edge._bodies.read
            is_read, goes_on = asyncio.Event(), asyncio.Event()

            async def slowly(*arguments: object) -> object:
                is_read.set()
                await goes_on.wait()
                return await read(*arguments)  # type: ignore[arg-type]

            collector.edge._bodies.read = slowly  # type: ignore[method-assign, assignment]
            under_way = asyncio.ensure_future(_send(collector))
            await is_read.wait()
            old = collector.config
            other = (Site(id="other"),)
            _adopt(collector, msgspec.structs.replace(old, keys=(), sites=other))
            goes_on.set()
            assert (await under_way).status == 200
            assert (await _send(collector)).status == 403
            _adopt(collector, old)
            assert (await _send(collector)).status == 200
            assert [row["site_id"] for row in collector.rows()] == ["demo"] * 2

    run(play())


def test_every_rule_that_is_taken_at_once_is_asked_of_then_on(tmp_path: Path) -> None:
    """Sites, their remarks and how long they are kept; limits; what admins may try."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            old, service = collector.config, collector.service
            now = with_limits(
                with_site(old, active=False, retention_days=3, fraud_rules=()),
                admin_failed_auth_per_minute=1,
            )
            _adopt(collector, now)
            assert (await _send(collector)).status >= 400
            assert service._quarantine.site_days == {"demo": 3}
            assert service._store.part_keeper._retention.of("demo") == 3
            assert service._facts._marker._fraud_rules["demo"] == frozenset()
            service._inside.failures.failed("192.0.2.1", 0)
            assert service._inside.failures.wait_s("192.0.2.1", 0) > 1
            _adopt(collector, with_limits(old, server_requests_per_minute=1))
            assert [(await _send(collector)).status for _ in range(2)] == [200, 429]
            _adopt(
                collector, with_limits(with_site(old, goals={"x"}), server_requests_per_minute=1)
            )
            assert (await _send(collector)).status == 429, "no fresh budget"

    run(play())
