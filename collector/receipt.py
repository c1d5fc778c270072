"""What became of one event: its rows and where they stand, or its place in the quarantine.

Only reads. An id may be an event id, an idempotency key, the key of the duplicate check (32 hex
digits), or the id of an event in quarantine.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from storage import Deadline, Files, aside, asidereader, find

Verdict = Literal["accepted", "duplicate", "refused", "unknown"]
# Wraps the dates that are about to be searched, to show how it goes on.
Progress = Callable[[Sequence[date]], Iterator[date]]

_ONE_DAY = timedelta(days=1)


class Receipt(msgspec.Struct, kw_only=True):
    """`accepted`: there is a row that is no repeat. `duplicate`: only marked repeats were found.

    `refused`: it waits in quarantine. `unknown`: never seen, or refused and not kept, or erased or
    expired. `rows` in order of receipt, `quarantine` newest first. `searched`: dates looked into.
    """

    id: str
    verdict: Verdict
    rows: list[find.FoundRow]
    quarantine: list[aside.Kept]
    searched: int


class ToldRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A row as it is told to people and programs: `find.FoundRow` with times in ISO 8601, UTC."""

    event_id: str
    event_time: str
    received_time: str
    site_id: str
    protocol: str
    source: str
    event_type: str | None = None
    event_name: str | None = None
    idempotency_key: str | None = None
    dedup_key: str | None = None
    key_id: str | None = None
    flags: tuple[str, ...] = ()
    is_duplicate: int = 0
    is_fraud: int = 0
    file: str
    row: int


class ToldKept(msgspec.Struct):
    """An event in quarantine as it is told, without its bytes."""

    id: str
    time: str
    site_id: str
    protocol: str
    endpoint: str
    reason: str
    message: str
    event_id: str | None


class Told(msgspec.Struct):
    """A receipt as it is told."""

    id: str
    verdict: Verdict
    rows: list[ToldRow]
    quarantine: list[ToldKept]


def told(found: Receipt) -> Told:
    """What is told of a receipt."""
    rows = [
        msgspec.convert(
            {
                **msgspec.to_builtins(row),
                "event_time": time_text(row.event_time),
                "received_time": time_text(row.received_time),
                "file": row.file,
                "row": row.row,
            },
            ToldRow,
        )
        for row in found.rows
    ]
    kept = [
        ToldKept(
            id=one.id,
            time=time_text(one.time),
            site_id=one.site_id,
            protocol=one.protocol,
            endpoint=one.endpoint,
            reason=one.reason,
            message=one.message,
            event_id=one.event_id,
        )
        for one in found.quarantine
    ]
    return Told(found.id, found.verdict, rows, kept)


def time_text(time_us: int) -> str:
    """Microseconds since the epoch in ISO 8601, UTC."""
    return (
        f"{datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"
    )


def look_up(
    directory: Path,
    files: Files,
    text: str,
    *,
    every_date: bool,
    progress: Progress,
    deadline: Deadline | None = None,
) -> Receipt:
    """Find out what became of `text`. Raises `StorageError` or OSError.

    The log first, then dates: the one that the id itself tells and its neighbours, or newest first.
    Where something was found, a repeat of it can only be a day away, and the search ends there
    unless `every_date`. `deadline`: when to give up, with `TookTooLong`.
    """
    one = find.sought(text)
    rows = find.in_log(directory, files, one)
    searched = 0
    found_on: set[date] = set()
    for day in progress(_in_order(find.dates(directory), find.maybe_day(one))):
        if found_on and not every_date and all(abs(day - at) > _ONE_DAY for at in found_on):
            break
        searched += 1
        here = find.in_parts(directory, day, one, deadline)
        if here:
            found_on.add(day)
            rows += here
    kept = _in_quarantine(directory, one)
    # A row may have moved from the log to a part while it was looked for.
    distinct = {
        (row.event_id, row.received_time, row.is_duplicate, row.dedup_key): row for row in rows
    }
    rows = sorted(distinct.values(), key=lambda row: row.received_time)
    verdict: Verdict = "unknown"
    if rows:
        verdict = "duplicate" if all(row.is_duplicate for row in rows) else "accepted"
    elif kept:
        verdict = "refused"
    return Receipt(id=text, verdict=verdict, rows=rows, quarantine=kept, searched=searched)


def _in_order(days: Sequence[date], hint: date | None) -> list[date]:
    """`days`, those first that are near `hint`."""
    if hint is None:
        return list(days)
    return sorted(days, key=lambda day: (abs(day - hint) > _ONE_DAY, -day.toordinal()))


def _in_quarantine(directory: Path, one: find.Sought) -> list[aside.Kept]:
    spellings = {one.text, *([one.event_id] if one.event_id else [])}
    wanted = [asidereader.Filter(event_ids=tuple(sorted(spellings)))]
    if one.event_id is not None:
        wanted.append(asidereader.Filter(ids=(one.event_id,)))
    found = {kept.id: kept for each in wanted for kept in asidereader.read(directory, each)}
    return [found[name] for name in sorted(found, reverse=True)]
