"""Replay: events in quarantine become rows when the rules have changed, once."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector import auditor
from collector.orders import OrderFailed
from storage import Files
from tests.support.app import Collector, example, run, running, with_site
from tests.support.quarantine import (
    CROCT,
    SCANOVA_BROWSER,
    SCANOVA_SERVER,
    ZENOVAY,
    kept,
    replay,
)

AFTER = {"goals": frozenset({"signup", "new"})}


def _goal(key: str | None = None, **members: Any) -> dict[str, Any]:
    event = {
        "type": "goal",
        "ts": time.time_ns() // 1_000_000,
        "visitorId": "v",
        "sessionId": "s",
        "props": {"name": "new"},
        **members,
    }
    return event if key is None else {**event, "idempotencyKey": key}


async def _goals(collector: Collector, *events: Any) -> dict[str, Any]:
    context = {"userAgent": "a/1", "clientIp": "198.51.100.7"}
    body = {"trackingCode": "ZV_demo", "events": events, "serverContext": context}
    answer = await collector.request("POST", "/api/v1/events", body=body, headers=ZENOVAY)
    verdict: dict[str, Any] = answer.json
    return verdict


def _differences(directory: Path) -> int:
    lines = auditor.examine(directory, Files(), wait=lambda _: None)
    return sum(abs(line.difference) for line in lines)


def test_a_goal_that_was_added_turns_refusals_into_rows(tmp_path: Path) -> None:
    """What was refused as an unknown goal is stored; a second replay changes nothing."""
    config = example(tmp_path)

    async def play() -> None:
        async with running(tmp_path, config) as collector:
            verdict = await _goals(collector, _goal("k1"), _goal(), _goal("k2"), _goal("k2"))
            assert verdict["rejectedCount"] == 4
            entries = await kept(collector)
            report = await replay(collector)
            assert (report["seen"], report["accepted"]) == (4, 0)
            assert report["stays"] == {"unknown_goal": 4}
        async with running(tmp_path, with_site(config, **AFTER)) as collector:
            before_us = time.time_ns() // 1000
            report = await replay(collector, dry_run=True)
            # Two of them are the same: a dry run does not look for repeats, and says so.
            assert (report["would_pass"], report["accepted"], report["duplicate"]) == (4, 0, 0)
            assert len(await kept(collector)) == 4
            assert collector.rows() == []
            report = await replay(collector, reasons=["unknown_goal"])
            assert (report["accepted"], report["duplicate"], report["stays"]) == (3, 1, {})
            rows = collector.rows("SELECT * FROM events ORDER BY idempotency_key NULLS LAST")
            assert [row["idempotency_key"] for row in rows] == ["k1", "k2", None]
            assert {tuple(row["flags"]) for row in rows} == {("replayed",)}
            assert {row["key_id"] for row in rows} == {"backend"}
            assert {row["user_agent"] for row in rows} == {"a/1"}
            # The address was masked, and a mask is nobody's address.
            assert {row["ip_hash"] for row in rows} == {"unknown"}
            assert all(row["received_time"].timestamp() * 1e6 >= before_us for row in rows)
            origin = msgspec.json.decode(rows[2]["context"])["quarantine"]
            assert origin == {"id": entries[1].id, "received_time": entries[1].time // 1000}
            assert str(rows[2]["event_id"]) == entries[1].id
            assert await kept(collector) == []
            report = await replay(collector)
            assert (report["seen"], len(collector.rows())) == (0, 3)
            assert (await _goals(collector, _goal("k1")))["dedupedCount"] == 1
        assert _differences(config.storage.directory) == 0

    run(play())


def test_interrupted_before_it_leaves_the_quarantine_it_is_stored_once(tmp_path: Path) -> None:
    """A crash between storing and removing makes the next replay a duplicate, ids or not."""
    config = with_site(example(tmp_path))

    async def play() -> None:
        async with running(tmp_path, config) as collector:
            await _goals(collector, _goal("k1"), _goal())
            await kept(collector)
        async with running(tmp_path, with_site(config, **AFTER)) as collector:
            aside = collector.service._aside
            settle, aside.settle = aside.settle, lambda _gone, _stay=(): 0  # type: ignore[method-assign]
            assert (await replay(collector))["accepted"] == 2
            aside.settle = settle  # type: ignore[method-assign]
            assert len(await kept(collector)) == 2
        async with running(tmp_path, with_site(config, **AFTER)) as collector:
            report = await replay(collector)
            assert (report["accepted"], report["duplicate"]) == (0, 2)
            assert (len(collector.rows()), await kept(collector)) == (2, [])
        assert _differences(config.storage.directory) == 0

    run(play())


def test_one_that_came_meanwhile_is_a_duplicate(tmp_path: Path) -> None:
    """The sender mended the event and sent it again: the replay stores nothing, marked or not."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            one = "f9ac7db6-f900-4d8e-8918-c846834195a8"
            bad = {"site_id": "demo", "event_type": "click", "event_id": one, "consent": "granted"}
            headers = SCANOVA_BROWSER
            for body in ({**bad, "visitor_id": "no"}, bad):
                await collector.request("POST", "/ct", body=body, headers=headers)
            [entry] = await kept(collector)
            aside = collector.service._aside
            good = msgspec.structs.replace(entry, raw=json.dumps(bad).encode())
            aside.settle([entry.id])
            aside.add([good])
            report = await replay(collector, ids=[entry.id.upper()])
            assert (report["accepted"], report["duplicate"]) == (0, 1)
            assert len(collector.rows()) == 1

    run(play())


def test_events_of_every_protocol_come_back_as_they_were(tmp_path: Path) -> None:
    """A kept event that has become valid gives the row that it would have given then."""
    now_ms = time.time_ns() // 1_000_000
    beacon = {
        "context": {"url": "https://example.com/", "tabId": "7ad26d4f-3181-4ef8-b6ca-b8f59499dd43"},
        "payload": {"type": "eventOccurred", "name": "n"},
        "originalTime": now_ms - 5,
        "departureTime": now_ms,
    }
    session = "7ad26d4f-3181-4ef8-b6ca-b8f59499dd43"
    cases: list[tuple[str, dict[str, str], dict[str, Any], dict[str, Any]]] = [
        ("/ct", SCANOVA_BROWSER, {"visitor_id": "x"}, {"site_id": "demo", "event_type": "click"}),
        (
            "/server-events",
            SCANOVA_SERVER,
            {"visitor_id": "x"},
            {"site_id": "demo", "event_name": "lead", "scan_session_id": session},
        ),
        ("/client/web/track", CROCT, {"originalTime": "x"}, beacon),
    ]

    async def play() -> None:
        async with running(tmp_path) as collector:
            times = []
            for path, headers, wrong, body in cases:
                sent = {**headers, "User-Agent": "agent/1", "Accept-Language": "de-AT"}
                bad = {**body, **wrong}
                answer = await collector.request("POST", path, body=bad, headers=sent)
                assert answer.status >= 400
                entry = (await kept(collector))[-1]
                times.append(entry.time)
                aside = collector.service._aside
                aside.settle([entry.id])
                aside.add([msgspec.structs.replace(entry, raw=json.dumps(body).encode())])
            report = await replay(collector)
            assert report["accepted"] == 3
            order = "SELECT * FROM events ORDER BY protocol DESC, source"
            browser, server, beaconed = collector.rows(order)
            assert (browser["user_agent"], browser["language"]) == ("agent/1", "de-AT")
            assert (browser["source"], server["source"]) == ("browser", "server")
            assert (server["user_agent"], server["key_id"]) == (None, "backend")
            # Without a time of its own an event happened when it was received first.
            assert round(browser["event_time"].timestamp() * 1e6) == times[0]
            assert beaconed["visitor_id"] == CROCT["X-Client-Id"]
            assert beaconed["page_url"] == "https://example.com/"
            context = msgspec.json.decode(beaconed["context"])
            assert context["received_time"] == times[2] // 1000
            assert context["tab_id"] == session
            assert {row["ip_hash"] for row in (browser, server, beaconed)} == {"unknown"}
            # The same beacon sent by the page itself is known now.
            answer = await collector.request("POST", cases[2][0], body=beacon, headers=CROCT)
            assert (answer.status, len(collector.rows())) == (204, 3)

    run(play())


def test_what_may_not_come_back_stays_or_goes(tmp_path: Path) -> None:
    """A site that is gone or off keeps its events; what is refused for privacy now is removed."""
    config = example(tmp_path)

    async def play() -> None:
        async with running(tmp_path, config) as collector:
            await _goals(collector, _goal("k1"))
            body = {"site_id": "demo", "event_type": "click", "visitor_id": "x"}
            await collector.request("POST", "/ct", body=body, headers=SCANOVA_BROWSER)
            entries = await kept(collector)
            assert len(entries) == 2
            aside = collector.service._aside
            worse = json.dumps({**body, "visitor_id": None, "metadata": {"a": "me@example.com"}})
            aside.settle([entries[1].id])
            aside.add([msgspec.structs.replace(entries[1], raw=worse.encode())])
        for members, reason in (
            ({"active": False}, "inactive_site"),
            ({"id": "x"}, "unknown_site"),
        ):
            changed = with_site(config, **members)
            changed = msgspec.structs.replace(changed, keys=())
            async with running(tmp_path, changed) as collector:
                report = await replay(collector)
                assert report["stays"] == {reason: 2}
                assert {one.reason for one in await kept(collector)} == {
                    "unknown_goal",
                    "invalid_field",
                }
        async with running(tmp_path, config) as collector:
            report = await replay(collector)
            assert (report["removed"], report["stays"]) == (1, {"unknown_goal": 1})
            assert [one.id for one in await kept(collector)] == [entries[0].id]

    run(play())


def test_the_reason_of_now_is_written(tmp_path: Path) -> None:
    """An event that is refused for another reason today says so from then on."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            await _goals(collector, _goal("k1"), _goal("k2"))
            first, second = await kept(collector)
            aside = collector.service._aside
            other = json.dumps(_goal(None, ts=1)).encode()
            aside.settle([first.id])
            aside.add([msgspec.structs.replace(first, raw=other)])
            report = await replay(collector, sites=["demo"], protocols=["zenovay"])
            assert report["stays"] == {"invalid_ts": 1, "unknown_goal": 1}
            found = {one.id: one.reason for one in await kept(collector)}
            assert found == {first.id: "invalid_ts", second.id: "unknown_goal"}
            report = await replay(collector, ids=[first.id, "nonsense"])
            assert (report["seen"], report["missing"]) == (1, ("nonsense",))
            with pytest.raises(OrderFailed, match="not a choice of events"):
                await replay(collector, nonsense=1)
            with pytest.raises(OrderFailed, match="not a choice of events"):
                await replay(collector, ids=7)

    run(play())


def test_a_disk_that_takes_nothing_leaves_all_in_quarantine(tmp_path: Path) -> None:
    """An event leaves the quarantine only with its receipt."""
    config = with_site(example(tmp_path), **AFTER)

    async def play() -> None:
        async with running(tmp_path, example(tmp_path)) as collector:
            await _goals(collector, _goal("k1"))
            await kept(collector)
        async with running(tmp_path, config) as collector:
            collector.service._store._commit._queue_bytes_max = -1
            collector.service._store._commit._groups.append(None)  # type: ignore[arg-type]
            report = await replay(collector)
            collector.service._store._commit._groups.pop()
            collector.service._store._commit._queue_bytes_max = 1 << 26
            assert report["stays"] == {"queue_full": 1}
            [entry] = await kept(collector)
            assert entry.reason == "unknown_goal"
            assert (await replay(collector))["accepted"] == 1
        assert _differences(config.storage.directory) == 0

    run(play())
