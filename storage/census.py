"""How many rows there are, by date, site, protocol and hour of receipt: what an audit is held to.

Only reads, takes no lock. Each row is counted once, although files are flushed and joined
meanwhile, for the reasons that `query` gives; if a listed file is gone, all is looked at again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from storage import layout, parquet, query, recovery
from storage.deadline import Deadline
from storage.errors import StorageError
from storage.files import Files
from storage.keyrecovery import RowLine, lines_in
from storage.layout import Part

_HOUR_US: Final = 3_600_000_000
_TRIES: Final = 9
_THREADS: Final = 2
_FILES_AT_ONCE: Final = 2_000


# No methods in structs here: see storage/query.py, at `Listing`.
class FoundRows(msgspec.Struct, frozen=True):
    """Rows of one partition `date`. `hour_us`: start of the hour of receipt, microseconds."""

    date: date
    site: str
    protocol: str
    hour_us: int
    is_duplicate: bool
    rows: int


class Census(msgspec.Struct, frozen=True):
    """Rows on disk, on either side of a border between segments.

    `before`: in segments up to the border of their date; `behind`: in later ones, of which
    `newest` tells the last per date, and `highest` the last of all, with rows or without.
    `straddling` parts hold segments of both sides; their rows are in neither.
    """

    before: tuple[FoundRows, ...]
    behind: tuple[FoundRows, ...]
    newest: dict[date, int]
    highest: int
    straddling: tuple[Part, ...]


_Place = tuple[date, str, str, int, bool]
# Rows of one segment: by site, protocol, number of the hour, and whether it is a repeat.
Places = Counter[tuple[str, str, int, int]]


class Logged(msgspec.Struct, frozen=True):
    """The rows of one segment, counted by whoever read it before."""

    date: date
    places: Places


def places_of(rows: Iterable[RowLine]) -> Places:
    """How many of `rows` there are of each kind."""
    return Counter(
        (row.site_id, row.protocol, row.received_time // _HOUR_US, row.is_duplicate) for row in rows
    )


def take(
    directory: Path,
    files: Files,
    border: Callable[[date], int],
    *,
    behind_only: bool = False,
    since: date = date.min,
    logged: Mapping[int, Logged] = {},
    deadline: Deadline | None = None,
) -> Census:
    """Count the rows of `directory`; `border` gives the last segment that counts as before.

    `behind_only`: leave out rows before it. `since`: leave out partitions of earlier dates.
    `logged`: segments that need not be read again, by number. `deadline`: when to give up, with
    `TookTooLong`.

    Raises `StorageError` (`QueryError` when the files never hold still or cannot be read).
    """
    for _ in range(_TRIES):
        listing = query.look(directory)
        try:
            chosen = query.Listing(
                listing.segments,
                tuple(part for part in listing.parts if part.date >= since),
                listing.newest,
            )
            logs = {
                number: logged.get(number) or _logged(directory, files, number)
                for number in chosen.segments
            }
            counter = _Counter(directory / layout.EVENTS, deadline)
            return _count(counter, chosen, border, logs, behind_only=behind_only, since=since)
        except FileNotFoundError:
            continue
        except duckdb.Error as error:
            events = directory / layout.EVENTS
            if all((events / part.name).exists() for part in listing.parts):
                raise StorageError(f"rows cannot be counted: {error}") from None
    raise query.QueryError(f"{directory}: files kept changing while rows were counted; ask again")


def _count(
    counter: "_Counter",
    listing: query.Listing,
    border: Callable[[date], int],
    logs: Mapping[int, Logged | None],
    *,
    behind_only: bool,
    since: date,
) -> Census:
    sides: tuple[list[Part], list[Part], list[Part]] = ([], [], [])
    newest: dict[date, int] = {}
    for part in listing.parts:
        limit = border(part.date)
        side = 0 if part.last <= limit else (1 if part.first > limit else 2)
        sides[side].append(part)
        newest[part.date] = max(newest.get(part.date, 0), part.last)
    before: Counter[_Place] = Counter()
    behind: Counter[_Place] = Counter()
    for number, rows in logs.items():
        if rows is None or rows.date < since:
            continue
        day = rows.date
        if layout.is_covered(number, day, listing.parts):
            continue
        newest[day] = max(newest.get(day, 0), number)
        found = before if number <= border(day) else behind
        for (site, protocol, hour, is_duplicate), count in rows.places.items():
            found[day, site, protocol, hour * _HOUR_US, is_duplicate != 0] += count
    if not behind_only:
        counter.count(sides[0], before)
    counter.count(sides[1], behind)
    return Census(_listed(before), _listed(behind), newest, listing.newest, tuple(sides[2]))


def _logged(directory: Path, files: Files, number: int) -> Logged | None:
    """The rows of a segment; None when it has no valid group. Raises `UnreadableRows`."""
    data = files.read(directory / layout.WAL / layout.segment_name(number))
    state, scan = recovery.judge_bytes(number, data)
    if state.date is None:
        return None
    return Logged(state.date, places_of(lines_in(data, scan.groups)))


class _Counter:
    """Counts the rows of parts below `events`."""

    def __init__(self, events: Path, deadline: Deadline | None) -> None:
        self._events = events
        self._deadline = deadline

    def count(self, parts: Sequence[Part], found: Counter[_Place]) -> None:
        """Add the rows of `parts` to what was found. Raises duckdb.Error, `TookTooLong`."""
        if not parts:
            return
        deadline = self._deadline
        with (
            parquet.connect(threads=_THREADS) as connection,
            nullcontext() if deadline is None else deadline.over(connection),
        ):
            for start in range(0, len(parts), _FILES_AT_ONCE):
                group = [self._events / part.name for part in parts[start : start + _FILES_AT_ONCE]]
                rows = connection.execute(
                    "SELECT date, site_id, protocol, "  # noqa: S608  our own paths, quoted
                    f"epoch_us(received_time) // {_HOUR_US} AS hour, is_duplicate <> 0, count(*) "
                    f"FROM read_parquet({parquet.listed(group)}, hive_partitioning = true, "
                    "hive_types = {'date': DATE}) GROUP BY ALL"
                ).fetchall()
                for day, site, protocol, hour, is_duplicate, count in rows:
                    found[day, site, protocol, hour * _HOUR_US, is_duplicate] += count


def _listed(found: Counter[_Place]) -> tuple[FoundRows, ...]:
    return tuple(FoundRows(*place, rows) for place, rows in sorted(found.items()))
