"""What became of one event: its rows and where they stand, or its place in the quarantine.

Only reads. An id may be an event id, an idempotency key, the key of the duplicate check (32 hex
digits), or the id of an event in quarantine.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from storage import Files, aside, asidereader, find

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


def look_up(
    directory: Path, files: Files, text: str, *, every_date: bool, progress: Progress
) -> Receipt:
    """Find out what became of `text`. Raises `StorageError` or OSError.

    The log first, then dates: the one that the id itself tells and its neighbours, or newest first.
    Where something was found, a repeat of it can only be a day away, and the search ends there
    unless `every_date`.
    """
    one = find.sought(text)
    rows = find.in_log(directory, files, one)
    searched = 0
    found_on: set[date] = set()
    for day in progress(_in_order(find.dates(directory), find.maybe_day(one))):
        if found_on and not every_date and all(abs(day - at) > _ONE_DAY for at in found_on):
            break
        searched += 1
        here = find.in_parts(directory, day, one)
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
