"""Overview, real time, API keys, lake: what a running collector shows of what it was sent."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from collector.config import Key
from collector.dashboard.apikeys import reached
from tests.support import app
from tests.support.app import Collector
from tests.support.dialects import DIALECTS
from tests.support.panelpages import Shown

LOCAL: Final = {"Host": "localhost:8000"}
HERE: Final = "127.0.0.1"
NASTY: Final = "<script>hacked=1</script>\"'><img src=x>"


async def page(collector: Collector, path: str) -> Shown:
    """A page, asked until none of its panels is being counted any more."""
    # By the clock: other tests want the processors, too.
    end_s = time.monotonic() + 90
    while time.monotonic() < end_s:
        answer = await collector.request("GET", path, headers=LOCAL, address=HERE)
        assert answer.status == 200
        text = answer.body.decode()
        if 'class="pending"' not in text:
            return Shown(text)
    pytest.fail(f"{path} is not answered")


async def send(collector: Collector, *names: str) -> None:
    """An event of each protocol under each of these names."""
    for dialect in DIALECTS:
        for name in names:
            sent = dialect.event(name)
            answer = await collector.request(
                "POST", sent.path, headers=sent.headers, body=msgspec.json.encode(sent.body)
            )
            assert answer.status < 300


def number(text: str) -> int:
    """A number as pages write it."""
    return int(text.replace("\u202f", ""))


def test_the_overview_adds_up(tmp_path: Path) -> None:
    """Counts, the chart, the audit and the rows say the same; repeats are told apart."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            await send(collector, "a", "b", "a")
            await collector.service._store.flushed()
            await collector.service._books.save()
            stored = len(collector.rows())
            found = await page(collector, "/dashboard")
            rows = found.rows("Events since the start, by")
            counts: dict[str, int] = {}
            for _, _, outcome, _, events in rows:
                counts[outcome] = counts.get(outcome, 0) + number(events)
            received = 3 * len(DIALECTS)
            assert sum(counts.values()) == received
            assert counts["duplicate"] > 0
            collector.service._inside._sampled.wake()
            await asyncio.sleep(0.01)
            found = await page(collector, "/dashboard")
            minutes = found.rows("Events received in each")
            assert len(minutes) == 60
            assert sum(number(cell) for row in minutes for cell in row[1:]) == received
            lines = found.rows("Today, by site and protocol")
            assert sum(number(row[2]) for row in lines) == received
            assert sum(number(row[3]) for row in lines) == stored
            assert {row[-1] for row in lines} == {"0"}
            assert "difference 0: nothing is lost." in found.text
            assert f"{received} = {stored} + " in found.text

    app.run(play())


def test_real_time_is_of_the_last_half_hour(tmp_path: Path) -> None:
    """Valid rows by site and minute, and the newest of all."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            await send(collector, "a", "b")
            found = await page(collector, "/dashboard/live?site=demo")
            rows = collector.rows(
                "SELECT count(*) AS events, count(DISTINCT visitor_id) AS visitors, "
                "(SELECT count(*) FROM page_views) AS views FROM valid_events"
            )
            [line] = found.rows("By site")
            assert line == [
                "demo",
                *(str(rows[0][name]) for name in ("visitors", "visitors", "views", "events")),
            ]
            minutes = found.rows("Events in each of the last 30 minutes")
            assert (len(minutes), sum(number(row[1]) for row in minutes)) == (30, rows[0]["events"])
            for site in ("%00", "x" * 999):
                other = await page(collector, f"/dashboard/live?site={site}")
                assert other.rows("By site") == []

    app.run(play())


def test_a_key_shows_what_was_sent_with_it(tmp_path: Path) -> None:
    """Valid rows of the key within its sites, its usage; no digest of it, and text stays text."""

    async def play() -> None:
        config = app.example(tmp_path)
        [key] = config.keys
        other = msgspec.structs.replace(key, name=NASTY, sha256="0" * 64)
        config = msgspec.structs.replace(config, keys=(key, other))
        async with app.running(tmp_path, config) as collector:
            await send(collector, "a", "b", "a")
            every = await page(collector, "/dashboard/keys")
            assert [row[0] for row in every.rows("API keys")] == [key.name, NASTY]
            found = await page(collector, f"/dashboard/keys?key={key.name}")
            where = f"key_id = '{key.name}'"
            [sums] = collector.rows(f"SELECT count(*) AS n FROM valid_events WHERE {where}")  # noqa: S608
            types = found.rows("Top event types")
            assert sum(number(row[3]) for row in types) == sums["n"] > 0
            assert sum(number(row[2]) for row in types) == sums["n"]
            assert len(found.rows("The 20 most recent")) == min(20, sums["n"])
            rows = found.rows("Zenovay's limits")
            assert number(rows[1][1]) == 3, "requests of Zenovay's, whatever became of them"
            for one in (every, found):
                assert key.sha256 not in one.text
                assert "img" not in one.elements
            assert (await page(collector, "/dashboard/keys?key=%3Cb%3E")).text.count("no key") == 1

    app.run(play())


def test_what_a_key_reaches(tmp_path: Path) -> None:
    """One site, or all of its team; a key without a team reaches nothing by it."""
    config = app.example(tmp_path)
    [site] = config.sites
    sites = [
        msgspec.structs.replace(site, id=name, team=team)
        for name, team in (("a", "t"), ("b", "t"), ("c", ""))
    ]
    config = msgspec.structs.replace(config, sites=tuple(sites))

    def reach(**members: Any) -> list[str]:
        return reached(Key(name="k", sha256="0" * 64, **members), config)

    assert reach(scope="full_access", team="t") == ["a", "b"]
    assert reach(scope="full_access", team="") == []
    assert reach(scope="site_access", site="c", team="t") == ["c"]
    assert reach(scope="site_access", site="x") == []


def test_the_lake_is_what_is_on_the_disk(tmp_path: Path) -> None:
    """Files, rows and the log: before and after a flush."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            await send(collector, "a", "b")
            count = len(collector.rows())
            found = await page(collector, "/dashboard/lake")
            [line] = found.rows("Files by date")
            assert (line[1], number(line[3])) == ("0", count)
            [log] = [row for row in found.rows("Files of the data") if row[0] == "log"]
            assert log[3] == f"{count} rows that are in no file yet"
            await collector.service._store.flushed()
            inside = collector.service._inside
            await inside.forget()
            inside._stock.forget()
            found = await page(collector, "/dashboard/lake")
            [line] = found.rows("Files by date")
            parts = list(tmp_path.rglob("part-*.parquet"))
            assert (int(line[1]), number(line[3])) == (len(parts), count)
            assert re.fullmatch(r"[\d.]+ KiB", line[2])

    app.run(play())


def test_who_was_erased_is_on_no_page(tmp_path: Path) -> None:
    """What pages keep is let go of: answers and the newest events."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            await send(collector, "a")
            for path in ("/dashboard", "/dashboard/live"):
                await page(collector, path)
            inside = collector.service._inside
            assert inside._newest._told
            assert inside.questions.panels._known
            await inside.forget()
            assert not inside._newest._told
            assert not inside.questions.panels._known

    app.run(play())


def test_looking_again_is_the_same_question(tmp_path: Path) -> None:
    """However often real time is looked at, and by however many, its answers are shared."""

    async def play() -> None:
        async with app.running(tmp_path) as collector:
            await page(collector, "/dashboard/live")
            panels = collector.service._inside.questions.panels
            known = set(panels._known)
            await asyncio.sleep(0.01)
            await page(collector, "/dashboard/live")
            assert set(panels._known) == known
            assert len(known) == 3

    app.run(play())
