"""The audit and receipts over a collector in this process."""

import asyncio
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from collector import audit, auditor, receipt
from collector import service as service_module
from collector.audit import Found, Removed
from collector.book import DayFile, Entry, hour_name, hour_of, read_day
from collector.config import Site
from storage import Files, layout
from storage.layout import Part
from storage.parquet import ParquetWriter
from tests.support.app import ORIGIN, Collector, example, run, running
from tests.support.quarantine import SCANOVA_BROWSER, ZENOVAY, kept
from tests.support.rows import make_row, make_segment


def _lines(directory: Path) -> list[audit.Line]:
    return auditor.examine(directory, Files(), wait=lambda _: None)


async def _click(collector: Collector, site: str = "demo", **members: Any) -> int:
    body = {"site_id": site, "event_type": "click", **members}
    return (await collector.request("POST", "/ct", body=body, headers=ORIGIN)).status


def test_two_hundred_sites_are_told_apart(tmp_path: Path) -> None:
    """Each of 200 sites has its own line, with its own numbers, beside a running collector too."""
    names = [f"site-{number:03}" for number in range(200)]
    sites = tuple(Site(id=name, allowed_domains=("localhost",)) for name in names)
    config = msgspec.structs.replace(example(tmp_path), sites=sites, keys=())

    async def play() -> None:
        async with running(tmp_path, config) as collector:
            for number, name in enumerate(names):
                for _ in range(number % 3 + 1):
                    assert await _click(collector, name) == 200
            collector.service._store._wal.seal()
            await collector.service._books_kept._work()
            await _click(collector, names[0])
            lines = _lines(config.storage.directory)
            assert [line.difference for line in lines] == [0] * 200
            assert lines[0].not_counted + lines[0].stored in {1, 2}
        lines = _lines(config.storage.directory)
        assert [line.site for line in lines] == names
        expected = [number % 3 + 1 for number in range(200)]
        expected[0] += 1
        assert [line.rows for line in lines] == expected
        assert all(line.received == line.stored == line.rows for line in lines)

    run(play())


def test_an_idle_collector_writes_neither_counts_nor_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the audit and of the quarantine change only when there is something new."""
    monkeypatch.setattr(service_module, "_KEEP_S", 0.01)

    async def play() -> None:
        async with running(tmp_path) as collector:
            await _click(collector, visitor_id=1)
            await kept(collector)
            await asyncio.sleep(0.1)
            folders = [tmp_path / "data" / name for name in ("audit", "quarantine")]
            before = {p: p.stat().st_mtime_ns for f in folders for p in f.iterdir()}
            assert len(before) == 2
            await asyncio.sleep(0.2)
            assert {p: p.stat().st_mtime_ns for f in folders for p in f.iterdir()} == before

    run(play())


@contextmanager
def _zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def test_hours_are_those_of_utc_whatever_the_zone() -> None:
    """Names of hours do not know daylight saving, half-hour zones or leap days."""
    for zone in ("America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"):
        with _zone(zone):
            for day in (date(2026, 3, 8), date(2026, 11, 1), date(2028, 2, 29), date(2026, 12, 31)):
                start = datetime(day.year, day.month, day.day, tzinfo=UTC)
                names = []
                for hour in range(25):
                    time_us = int((start + timedelta(hours=hour)).timestamp()) * 1_000_000
                    names.append(hour_name(time_us))
                    assert hour_of(names[-1]) == time_us
                assert len(set(names)) == 25
                assert names[23] == f"{day.isoformat()}T23:00:00Z"
    for wrong in ("2026-11-26T14:00:00", "2026-11-26T14:30:00Z", "today", ""):
        with pytest.raises(ValueError, match=r".+"):
            hour_of(wrong)


def test_rows_that_leave_on_purpose_are_no_difference() -> None:
    """stored = rows + erased + expired; what makes up for another fault is told all the same."""
    hour_us = hour_of("2026-11-26T14:00:00Z")
    entry = Entry("a", "croct", received=7, stored=5, repeats=1, duplicates=1)
    day = DayFile(format=1, date="2026-11-26", through=3, hours={"2026-11-26T14:00:00Z": [entry]})
    found = [Found("a", "croct", hour_us, 3), Found("a", "croct", hour_us, 9, is_counted=False)]
    gone = [
        Removed("a", "croct", hour_us, 2, "erased"),
        Removed("a", "croct", hour_us, 1, "expired"),
    ]
    [line] = audit.reconcile([day], found, gone)
    assert (line.erased, line.expired, line.rows, line.not_counted) == (2, 1, 3, 9)
    assert line.difference == 0
    [line] = audit.reconcile([day], found, gone[:1])
    assert line.difference == 1
    entry.received = 6
    [line] = audit.reconcile([day], found, gone[:1])
    assert line.difference == 2
    assert audit.total([line, line]).difference == 4
    assert [x.time for x in audit.by_day([line])] == ["2026-11-26T14:00Z"]
    entry.received = 7
    assert [x.time for x in audit.by_day(audit.reconcile([day], found, gone))] == ["2026-11-26"]


def test_a_fault_of_ours_is_counted_once_its_events_were_read(tmp_path: Path) -> None:
    """A bug behind the decoding leaves 500, and the audit balances."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            turns = collector.edge._pipeline._turns
            turns._dedup = None  # type: ignore[assignment]
            assert await _click(collector) == 500
        [line] = _lines(tmp_path / "data")
        assert (line.received, line.rejected, line.difference) == (1, 1, 0)
        [path] = (tmp_path / "data" / "audit").iterdir()
        [[entry]] = read_day(path.read_bytes()).hours.values()
        assert entry.rejected == {"internal_error": 1}

    run(play())


# --- receipts


def _look_up(directory: Path, text: str, *, every_date: bool = False) -> receipt.Receipt:
    return receipt.look_up(directory, Files(), text, every_date=every_date, progress=iter)


def test_a_receipt_names_the_file_and_the_row(tmp_path: Path) -> None:
    """In the log the line, in a file the row's number; by each of the ids an event has."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            ids = [str(uuid.UUID(int=n)) for n in range(1, 4)]
            for one in (*ids, ids[1]):
                assert await _click(collector, event_id=one) == 200
            event = {
                "type": "event",
                "ts": time.time_ns() // 1_000_000,
                "props": {"name": "n"},
                "idempotencyKey": ids[0].upper(),
            }
            body = {"trackingCode": "ZV_demo", "events": [event]}
            await collector.request("POST", "/api/v1/events", body=body, headers=ZENOVAY)
            found = _look_up(tmp_path / "data", ids[1])
            assert found.verdict == "accepted"
            assert [row.is_duplicate for row in found.rows] == [0, 1]
            for row in found.rows:
                line = (tmp_path / "data" / row.file).read_bytes().split(b"\n")[row.row - 1]
                assert msgspec.json.decode(line)["event_id"] == ids[1]
            by_key = _look_up(tmp_path / "data", found.rows[0].dedup_key or "")
            assert by_key.rows == found.rows
            assert _look_up(tmp_path / "data", ids[1].replace("-", "")).rows == found.rows
            # As a text it is another event's key: both are told.
            both = _look_up(tmp_path / "data", ids[0].upper())
            assert {row.protocol for row in both.rows} == {"scanova", "zenovay"}
        found = _look_up(tmp_path / "data", ids[1])
        assert [row.is_duplicate for row in found.rows] == [0, 1]
        for row in found.rows:
            path = tmp_path / "data" / row.file
            sql = (
                "SELECT event_id::VARCHAR, is_duplicate "  # noqa: S608 (our own path)
                f"FROM read_parquet('{path}', file_row_number = true) "
                f"WHERE file_row_number = {row.row}"
            )
            assert duckdb.sql(sql).fetchall() == [(ids[1], row.is_duplicate)]

    run(play())


def test_a_refused_event_has_a_receipt_while_it_is_kept(tmp_path: Path) -> None:
    """By its own id and by that of the quarantine; an unknown one has none."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            one = str(uuid.UUID(int=5))
            body = {"site_id": "demo", "event_type": "click", "event_id": one, "visitor_id": 1}
            await collector.request("POST", "/ct", body=body, headers=SCANOVA_BROWSER)
            [entry] = await kept(collector)
            for text in (one, entry.id, one.upper().lower()):
                found = _look_up(tmp_path / "data", text)
                assert (found.verdict, [k.id for k in found.quarantine]) == ("refused", [entry.id])
                assert found.quarantine[0].reason == "invalid_field"
            for text in ("", "nothing", str(uuid.UUID(int=6)), "0" * 32, "'", "\x00", "\ud800"):
                assert _look_up(tmp_path / "data", text).verdict == "unknown"

    run(play())


def _part(directory: Path, day: date, number: int, *event_ids: str) -> None:
    """A part of `day` with rows of these ids."""
    events = directory / layout.EVENTS
    path = events / Part(day, number, number).name
    path.parent.mkdir(parents=True, exist_ok=True)
    segment = directory / "s.ndjson"
    plain = make_segment(number, [number], day=day)
    one = make_row(number).event_id.encode()
    segment.write_bytes(plain.replace(one, event_ids[0].encode()))
    writer = ParquetWriter()
    writer.write(segment, path)
    writer.close()
    segment.unlink()


def test_dates_that_cannot_hold_it_are_not_searched(tmp_path: Path) -> None:
    """An id that tells its time is looked for there first; a find ends the search a day later."""
    days = [date(2026, 11, 1) + timedelta(days=n) for n in range(20)]
    made_ms = int(datetime(2026, 11, 5, 12, tzinfo=UTC).timestamp() * 1000)
    tells = str(uuid.UUID(int=(made_ms << 80) + (7 << 76) + (2 << 62)))
    silent = str(uuid.UUID(int=99))
    for number, day in enumerate(days, 1):
        one = tells if day.day == 5 else (silent if day.day in {4, 18} else str(uuid.uuid4()))
        _part(tmp_path, day, number, one)
    found = _look_up(tmp_path, tells)
    assert (found.verdict, found.searched) == ("accepted", 3)
    assert found.rows[0].file.startswith("events/date=2026-11-05/")
    found = _look_up(tmp_path, silent)
    assert (len(found.rows), found.searched) == (1, 4)
    assert len(_look_up(tmp_path, silent, every_date=True).rows) == 2
    assert _look_up(tmp_path, str(uuid.uuid4())).searched == 20
