"""Queries over every acknowledged row at one moment: the parts, plus the log that no part covers.

Takes no lock and writes nothing below the data directory, so that it works beside a running
collector. Why each row is seen exactly once:

1. Segments are listed before parts. A row is in a segment until its part is published, so a row
   acknowledged before the listing is in a listed segment or in a part that was there afterwards.
2. Parts are listed twice. A folder whose files change while it is read may show neither the old
   nor the new ones; such a change shows in the second listing, and then everything is listed anew.
3. Segments that a listed part covers are left out, and so are parts that a wider one covers.
4. Of a segment only the valid prefix counts, and it is copied: the session reads what it judged.
5. A listed file that is gone when it is needed (flushed, joined, expired) means: list anew.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import duckdb
import msgspec

from storage import layout, parquet, partlayout, recovery, views
from storage.deadline import Deadline
from storage.errors import Corruption, StorageError
from storage.files import Files
from storage.layout import Part
from storage.recovery import SegmentState
from storage.results import Result, ResultColumn, Values, maybe_converter

# How long to wait before each further look at files that keep changing: 2.5 s in all.
_PAUSES_S: Final = tuple(0.005 * 2**n for n in range(9))
_MEMORY_MB: Final = 2048
# DuckDB hands rows over in vectors of this many.
_ROWS_PER_CHUNK: Final = 2048
_PROGRESS_S: Final = 0.2

Progress = Callable[[float], None]
# A query for every row of these parts, and of the log that no part covers.
RowsSql = Callable[[Sequence[Part]], str]


class QueryError(StorageError):
    """A query that cannot be answered; the message is for whoever asked."""


class MoreViews(Protocol):
    """Views on top of the published ones, which may be made of further files."""

    def views(
        self, parts: Sequence[Part], logged: Collection[date], rows: RowsSql, /
    ) -> Sequence[views.View]:
        """The views, given the live parts, and the dates of rows in the log. Raises OSError."""

    def has_changed(self) -> bool:
        """Whether `views` would be made of other files now, as far as that is seen at a glance."""

    def is_stale(self) -> bool:
        """Asked when a query failed: whether files of the latest `views` are gone or no good."""


class _Moved(Exception):
    """A listed file is gone: look again."""


# No methods, here and in other modules that reach duckdb: the class of a struct outlives the
# interpreter's clean-up, a method would keep its module and so DuckDB's types alive with it, and
# DuckDB then prints a page of complaints when the process ends.
class Listing(msgspec.Struct, frozen=True):
    """Files that hold every acknowledged row once, but for segments that a part covers.

    `newest` is the highest number of all, 0 when there is nothing.
    """

    segments: tuple[int, ...]
    parts: tuple[Part, ...]
    newest: int


def look(directory: Path) -> Listing:
    """List the data directory. Raises `QueryError` when it is not there or never holds still."""
    if not directory.is_dir():
        raise QueryError(
            f"{directory}: no such data directory; `collector serve` makes it, "
            "storage.directory in the configuration says where"
        )
    for pause_s in _PAUSES_S:
        listing = _maybe_listing(directory)
        if listing is not None:
            return listing
        _wait(pause_s)
    raise _restless(directory)


def _maybe_listing(directory: Path) -> Listing | None:
    """A listing that can be trusted, None when files changed in a way that could hide one."""
    segments = tuple(layout.list_segments(directory / layout.WAL))
    events = directory / layout.EVENTS
    try:
        parts = frozenset(layout.list_parts(events))
        after = frozenset(layout.list_parts(events))
    except FileNotFoundError:  # a folder went while it was being read
        return None
    newest = max([0, *segments, *(part.last for part in parts)])
    for part in after - parts:
        is_flushed = part.first == part.last and part.first in segments
        if not is_flushed and part.first <= newest:
            return None
    return Listing(segments, tuple(layout.live_parts(parts)), newest)


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def _restless(directory: Path) -> QueryError:
    return QueryError(f"{directory}: files kept changing while they were read; ask again")


class Lake:
    """A DuckDB session over a data directory, as it was when the session began.

    A context manager. `run` has one result at a time. Raises `QueryError`, and `Corruption` when a
    segment is damaged; a torn tail is no damage, its rows were never acknowledged.
    """

    def __init__(
        self,
        directory: Path,
        files: Files,
        *,
        memory_mb: int = _MEMORY_MB,
        threads: int | None = None,
        more: MoreViews | None = None,
        log_bytes_max: int | None = None,
    ) -> None:
        """`threads` of DuckDB; None: as many as there are processors.

        `log_bytes_max`: a log with more that is in no part yet is left out; see `leaves_out_log`.
        """
        self._directory = directory.absolute()
        self._files = files
        self._memory_mb = memory_mb
        self._threads = threads or len(os.sched_getaffinity(0))
        self._more = more
        self._log_bytes_max = log_bytes_max
        self._sizes: dict[int, int] = {}
        self._copies: list[Path] = []
        self.leaves_out_log = False
        self.listing = Listing((), (), 0)
        self.segments: tuple[SegmentState, ...] = ()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._scratch = stack.enter_context(self._files.scratch())
            self._connection = parquet.connect(
                threads=self._threads, memory_limit_mb=self._memory_mb
            )
            stack.callback(self._connection.close)
            spill = parquet.quote(self._scratch / "spill")
            self._connection.execute(f"SET temp_directory = {spill}")
            self._look_again()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def refresh(self) -> None:
        """Take the directory as it is now, if it is another. Raises as the class says."""
        try:
            is_same = (
                _maybe_listing(self._directory) == self.listing
                and self._sizes_of(self.listing.segments) == self._sizes
                and not (self._more is not None and self._more.has_changed())
            )
        except (_Moved, OSError):
            is_same = False
        if not is_same:
            self._look_again()

    def run(self, sql: str) -> Result:
        """Run `sql`; of several statements the last one gives the result."""
        *before, last = self._statements(sql)
        for statement in before:
            for _ in self._start(statement).chunks():
                pass
        return self._start(last)

    def ask(
        self,
        query: str,
        values: Mapping[str, object],
        *,
        deadline: Deadline,
        progress: Progress | None = None,
    ) -> Result:
        """Run one query of our own, with `values` for its `$names`. Raises `TookTooLong`, too.

        `progress`: see `copy`.
        """
        with deadline.over(self._connection), self._told(progress):
            return self._start(query, values)

    def write_parquet(self, sql: str, output: Path) -> None:
        """Run `sql`, a query, and write its rows to the file `output`, replacing it."""
        *before, last = self._statements(sql)
        for statement in before:
            self._start(statement).rows()
        query = parquet.without_end(last)
        self._start(f"COPY (\n{query}\n) TO {parquet.quote(output)} ({partlayout.COPY_OPTIONS})")

    def copy(self, query: str, output: Path, options: str, progress: Progress | None = None) -> int:
        """Write the rows of `query` to the file `output`, replacing it; returns how many.

        `options` are those of DuckDB's COPY. Begins anew, over newer files, when files have gone
        meanwhile: what is there in the end are the rows of one moment. `progress` is called from
        another thread with the share done, from 0 to 1; it may fall back when all begins anew.
        """
        with self._told(progress):
            copied = self._start(f"COPY (\n{query}\n) TO {parquet.quote(output)} ({options})")
            return int(copied.rows()[0][0])

    @contextmanager
    def _told(self, progress: Progress | None) -> Iterator[None]:
        """Have `progress` called while a statement runs."""
        if progress is None:
            yield
            return
        self._connection.execute("SET enable_progress_bar = true")
        self._connection.execute("SET enable_progress_bar_print = false")
        done = threading.Event()

        def tell() -> None:
            while not done.wait(_PROGRESS_S):
                percent = self._connection.query_progress()
                if percent >= 0:  # below: not known yet
                    progress(percent / 100)

        thread = threading.Thread(target=tell, name="progress")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _statements(self, sql: str) -> list[str]:
        try:
            statements = [found.query for found in self._connection.extract_statements(sql)]
        except duckdb.Error as error:
            raise QueryError(str(error)) from None
        if not statements:
            raise QueryError("there is no SQL statement to run")
        return statements

    def _start(self, statement: str, values: Mapping[str, object] | None = None) -> Result:
        """Run one statement up to its first rows, over newer files when files have gone."""
        for pause_s in _PAUSES_S:
            try:
                self._connection.execute(statement, values)
                columns = tuple(
                    ResultColumn(name=entry[0], type=str(entry[1]))
                    for entry in self._connection.description or ()
                )
                converters = [maybe_converter(e[1]) for e in self._connection.description or ()]
                first = self._connection.fetchmany(_ROWS_PER_CHUNK)
            except duckdb.InterruptException:
                raise
            except duckdb.Error as error:
                if not self._is_stale():
                    raise QueryError(str(error)) from None
                _wait(pause_s)
                self._look_again()
            else:
                return Result(columns, converters, first, self._fetch)
        raise _restless(self._directory)

    def _fetch(self) -> list[Values]:
        try:
            return self._connection.fetchmany(_ROWS_PER_CHUNK)
        except duckdb.Error as error:
            # Rows have been handed out, so that it is too late to begin anew.
            reason = "files were joined while their rows were read; ask again"
            raise QueryError(reason if self._is_stale() else str(error)) from None

    def _is_stale(self) -> bool:
        events = self._directory / layout.EVENTS
        if any(not (events / part.name).exists() for part in self.listing.parts):
            return True
        return self._more is not None and self._more.is_stale()

    def _look_again(self) -> None:
        """Take the directory as it is now."""
        for pause_s in _PAUSES_S:
            try:
                self._take(look(self._directory))
            except _Moved:
                _wait(pause_s)
            except duckdb.Error as error:
                if not self._is_stale():
                    raise QueryError(str(error)) from None
                _wait(pause_s)
            except OSError as error:
                raise QueryError(f"{error.filename}: {error.strerror}") from None
            else:
                return
        raise _restless(self._directory)

    def _take(self, listing: Listing) -> None:
        """Make the views show the rows of `listing`. Raises `_Moved` when a segment is gone."""
        self.listing = listing
        for copy in self._copies:
            self._files.remove(copy)
        self._copies = []
        self._sizes = self._sizes_of(listing.segments)
        self.segments, logs = (), {}
        self.leaves_out_log = self._is_too_long(listing)
        if not self.leaves_out_log:
            logs = self._take_log(listing)
        self._define_views(logs)

    def _sizes_of(self, segments: Sequence[int]) -> dict[int, int]:
        wal = self._directory / layout.WAL
        try:
            return {n: (wal / layout.segment_name(n)).stat().st_size for n in segments}
        except FileNotFoundError:
            raise _Moved from None

    def _is_too_long(self, listing: Listing) -> bool:
        if self._log_bytes_max is None or sum(self._sizes.values()) <= self._log_bytes_max:
            return False
        # A segment that is done has a part of just its number for a moment, before it goes.
        done = {part.first for part in listing.parts if part.first == part.last}
        left = sum(size for number, size in self._sizes.items() if number not in done)
        return left > self._log_bytes_max

    def _take_log(self, listing: Listing) -> dict[date, list[Path]]:
        """Copies of the segments that no part covers, by date. Raises `_Moved`, `Corruption`."""
        logs: dict[date, list[Path]] = {}
        states: list[SegmentState] = []
        for number in listing.segments:
            state, data = self._read_segment(number)
            states.append(state)
            # No date: no valid group.
            if state.date and not layout.is_covered(number, state.date, listing.parts):
                copy = self._copy(number, data[: state.valid_bytes])
                logs.setdefault(state.date, []).append(copy)
        # The rules of a start apply: what it would refuse to go on with is not read either.
        for action in recovery.plan(states, listing.parts):
            if isinstance(action, recovery.Stop):
                path = self._directory / layout.WAL / layout.segment_name(action.number)
                raise Corruption(path, action.offset, action.reason, recovery.HINT)
        self.segments = tuple(states)
        return logs

    def _read_segment(self, number: int) -> tuple[SegmentState, bytes]:
        try:
            data = self._files.read(self._directory / layout.WAL / layout.segment_name(number))
        except FileNotFoundError:
            raise _Moved from None
        return recovery.judge_bytes(number, data)[0], data

    def _copy(self, number: int, data: bytes) -> Path:
        path = self._scratch / layout.segment_name(number)
        descriptor = self._files.create(path)
        try:
            self._files.write(descriptor, data, 0)
        finally:
            self._files.close(descriptor)
        self._copies.append(path)
        return path

    def _define_views(self, logs: dict[date, list[Path]]) -> None:
        logged = [
            f"SELECT *, DATE '{day}' AS date FROM ({parquet.select_sql(paths)})"  # noqa: S608
            for day, paths in sorted(logs.items())
        ]

        def rows_of(parts: Sequence[Part]) -> str:
            events = self._directory / layout.EVENTS
            names = parquet.listed(events / part.name for part in parts)
            stored = [views.parquet_sql(names)] if parts else []
            return "\nUNION ALL\n".join([*stored, *logged]) or views.empty_sql()

        parts = self.listing.parts
        more = self._more.views(parts, logs, rows_of) if self._more is not None else ()
        for view in (views.events_view(rows_of(parts)), *views.VIEWS, *more):
            self._connection.execute(views.statement(view))
