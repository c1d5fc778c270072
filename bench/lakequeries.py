"""The questions that are asked of a data directory, and how long an answer takes.

Each answer is timed in a session of its own, so that nothing which DuckDB remembers from the one
before makes it look faster; opening the session is a figure of its own. `cold`: the system was told
to forget the files before, as far as it obeys.
"""
# ruff: noqa: S608  every piece of this SQL is our own text

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from storage import Files, Lake, layout, parquet, views

Rows = list[tuple[Any, ...]]
Run = Callable[[str], Rows]
_ALL_PARTS: Final = "date=*/*.parquet"


class Question(msgspec.Struct, frozen=True):
    """One query; `columns` and views are those that analysts have."""

    name: str
    sql: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the questions are about: a site, one of its visitors, one of its events, a day."""

    site: str
    visitor: str
    event: str
    day: date
    first: date
    last: date


def questions(subject: Subject) -> list[Question]:
    """What is asked about one site."""
    site = f"site_id = '{subject.site}'"
    one_day = f"{site} AND date = DATE '{subject.day}'"
    month = f"{site} AND date BETWEEN DATE '{subject.first}' AND DATE '{subject.last}'"
    week = f"{site} AND date > DATE '{subject.last}' - 7"
    next_day = subject.day + timedelta(days=1)
    per_day = "count(*), count(DISTINCT visitor_id), count(DISTINCT session_id)"
    return [
        Question("day_count", f"SELECT count(*) FROM valid_events WHERE {one_day}"),
        Question("day_visitors", f"SELECT {per_day} FROM page_views WHERE {one_day}"),
        Question("day_pages", _top_pages(one_day)),
        Question("week_pages", _top_pages(week)),
        Question(
            "month_overview",
            f"SELECT date, {per_day} FROM page_views WHERE {month} GROUP BY date ORDER BY date",
        ),
        Question(
            "month_visitor",
            "SELECT event_time, event_type, page_url, metadata FROM events "
            f"WHERE {month} AND visitor_id = '{subject.visitor}' ORDER BY event_time",
        ),
        Question(
            "day_by_event_time",
            f"SELECT {per_day} FROM page_views WHERE {site} AND event_time >= "
            f"TIMESTAMPTZ '{subject.day} 00:00:00Z' AND event_time < "
            f"TIMESTAMPTZ '{next_day} 00:00:00Z'",
        ),
        Question("event_in_site", f"FROM events WHERE {site} AND event_id = '{subject.event}'"),
    ]


def questions_of_all(subject: Subject) -> list[Question]:
    """What is asked about all sites at once."""
    return [
        Question(
            "all_sites_day",
            "SELECT site_id, count(*), count(DISTINCT visitor_id) FROM page_views "
            f"WHERE date = DATE '{subject.day}' GROUP BY site_id",
        ),
        Question("event_anywhere", f"FROM events WHERE event_id = '{subject.event}'"),
    ]


def _top_pages(condition: str) -> str:
    return (
        "SELECT page_url, count(*) AS views, count(DISTINCT visitor_id) FROM page_views "
        f"WHERE {condition} GROUP BY page_url ORDER BY views DESC, page_url LIMIT 10"
    )


@contextmanager
def lake_session(directory: Path) -> Iterator[Run]:
    """A session as `collector query` has it: listed parts and the log's tail."""
    with Lake(directory, Files()) as lake:
        yield lambda sql: lake.run(sql).rows()


@contextmanager
def glob_session(directory: Path) -> Iterator[Run]:
    """A session as anybody has it who reads `views.sql`: a plain glob."""
    connection = parquet.connect(threads=len(os.sched_getaffinity(0)), memory_limit_mb=2048)
    try:
        connection.execute(views.views_sql(directory / layout.EVENTS))
        yield lambda sql: connection.execute(sql).fetchall()
    finally:
        connection.close()


Session = Callable[[Path], Any]


class Answer(msgspec.Struct, frozen=True):
    """How long an answer took: milliseconds of the clock, and of all processors together.

    The latter hardly shows what neighbours do, so layouts are compared by it.
    """

    wall_ms: float
    cpu_ms: float


def answer(session: Session, directory: Path, sql: str, *, runs: int, cold: bool = False) -> Answer:
    """Medians over `runs`, from the question to its last row."""
    wall_ms, cpu_ms = [], []
    for _ in range(runs):
        if cold:
            forget(directory)
        with session(directory) as run:
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            run(sql)
            wall_ms.append((time.perf_counter() - began_s) * 1000)
            cpu_ms.append((time.process_time() - began_cpu_s) * 1000)
    return Answer(statistics.median(wall_ms), statistics.median(cpu_ms))


def open_ms(session: Session, directory: Path, *, runs: int) -> float:
    """Median of the milliseconds until a session can be asked."""
    taken = []
    for _ in range(runs):
        began_s = time.perf_counter()
        with session(directory):
            taken.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(taken)


def forget(directory: Path) -> None:
    """Have the system drop what it holds of the parts in memory."""
    for path in (directory / layout.EVENTS).glob(_ALL_PARTS):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def choose_subject(directory: Path, site: str, days: list[date]) -> Subject:
    """A visitor with several events, and one of these, of `site` in the middle of `days`."""
    day = days[len(days) // 2]
    with glob_session(directory) as run:
        [(visitor, event)] = run(
            "SELECT visitor_id, any_value(event_id) FROM valid_events "
            f"WHERE site_id = '{site}' AND date = DATE '{day}' AND visitor_id IS NOT NULL "
            "GROUP BY visitor_id ORDER BY count(*) DESC, visitor_id LIMIT 1"
        )
    return Subject(
        site=site, visitor=visitor, event=str(event), day=day, first=days[0], last=days[-1]
    )


def size_of(directory: Path) -> tuple[int, int]:
    """Files and bytes of all parts."""
    sizes = [path.stat().st_size for path in (directory / layout.EVENTS).glob(_ALL_PARTS)]
    return len(sizes), sum(sizes)
