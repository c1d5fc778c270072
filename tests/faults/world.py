"""A store on a faulty disk, and the book of what its clients were told.

What must hold, at any time and after whatever happened:

- a row that was acknowledged is readable, once; one that was not may be, but whole, and once;
- no other row is; one that an erasure reported as removed stays away, also in what is kept aside;
- rows that were removed on purpose are counted as such, each once;
- no summary says anything of a part that is not there, nor of a person who was erased;
- every file that a plain glob finds can be read by DuckDB, and shows no row twice;
- a row's key is known if the row is there, and not if it is not;
- the store goes on, or says that only a new start can; a new start takes rows.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from storage import (
    Closed,
    Person,
    StorageError,
    Unavailable,
    byhand,
    datefolders,
    keyindex,
    keymerge,
    layout,
    parquet,
    removed_rows,
)
from storage.compactor import Compactor
from storage.errors import CompactionFailed
from storage.files import Files
from storage.flusher import Flusher, duckdb
from storage.keyindex import WINDOW_US
from storage.summaries import folder_of
from storage.wal import Sealed
from tests.support import inline
from tests.support.durable import State
from tests.support.files import FaultyFiles, materialise, no_fault
from tests.support.store import Harness, hash_of, visitors_in

_TURNS = 12
_POLLS = 100
FIRST_NEW = 1_000


class Book(NamedTuple):
    """What clients were told: rows that must, may and must not be there; by number.

    `expired` must not be there, either; `stored`: all that were ever acknowledged.
    """

    must: frozenset[int]
    may: frozenset[int]
    erased: frozenset[int]
    expired: frozenset[int]
    stored: frozenset[int]


class World:
    """One data directory below `folder`, from one start to the next."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object],
        loop: asyncio.AbstractEventLoop,
        *,
        exchanges: bool = True,
    ) -> None:
        self.harness = Harness(folder / "data", loop=loop, **settings)
        self.files: FaultyFiles = self.harness.files
        self.files.counts_threads = True
        self.files.exchanges = exchanges
        # Where folders cannot be exchanged a glob may see rows twice until the next start.
        self.doubles_for_a_moment = not exchanges
        self.must: set[int] = set()
        self.may: set[int] = set()
        self.erased: set[int] = set()
        self.expired: set[int] = set()
        self.stored: set[int] = set()
        self.times: dict[int, int] = {}
        # Rows that were sent together have one sender: by number, the number of the first.
        self.senders: dict[int, int] = {}
        self._next = FIRST_NEW

    # --- what was told

    @property
    def book(self) -> Book:
        """As of now."""
        told = (self.must, self.may, self.erased, self.expired, self.stored)
        return Book(*map(frozenset, told))

    def take(self, state: State, other: "World", book: Book) -> None:
        """Begin with what is on a disk, and with what another world's clients were told."""
        materialise(state, self.harness.directory)
        self.files.adopt()
        self.go_back_to(book)
        self.times = dict(other.times)
        self.senders = dict(other.senders)
        self.doubles_for_a_moment = other.doubles_for_a_moment
        self.harness.now_us, self._next = other.harness.now_us, other._next

    def go_back_to(self, book: Book) -> None:
        """What was told after that moment was never told."""
        self.must, self.may, self.erased, self.expired, self.stored = map(set, book)

    # --- what is done

    def open(self, *, is_held: bool = False) -> None:
        """Start; with `is_held` the log is left as it is for now. Raises what the store raises."""
        self.harness.fatal.clear()
        inline.InlineFlushThread.is_held = is_held
        try:
            self.harness.open()
        finally:
            inline.InlineFlushThread.is_held = False
        if is_held:
            self.hold_flushes(is_held=True)

    def attempt(self, job: Callable[[], object]) -> bool:
        """Whether it could be done. Only the errors that a failing disk may cause are expected."""
        try:
            job()
        except (StorageError, OSError):
            return False
        return True

    def send(self, *numbers: int) -> bool:
        """A client sends rows: whether it was told that all are there, now or from before."""
        store, harness = self.harness.store, self.harness
        assert store is not None
        keys = [key_of(number) for number in numbers]
        try:
            with self.files.quiet():
                seen = store.keys.seen(keys, harness.now_us, waits=True)
        except Unavailable:
            return False
        assert isinstance(seen, list)
        known = {number for number, is_seen in zip(numbers, seen, strict=True) if is_seen}
        assert known <= self.must | self.may, "called a repeat of nothing"
        self.must |= known
        self.may -= known
        new = [number for number in numbers if number not in known]
        if not new:
            return True
        self.may.update(new)
        self.times.update(dict.fromkeys(new, harness.now_us))
        self.senders.update(dict.fromkeys(new, new[0]))
        if not harness.submit(*new, visitor_id=visitor(new[0])):
            return False
        self.must.update(new)
        self.stored.update(new)
        self.may.difference_update(new)
        return True

    def advance(self, seconds: float) -> None:
        """Time passes, and what is due is done, once more where it failed."""
        self.attempt(lambda: self.harness.advance(seconds))
        self.settle()

    def settle(self) -> None:
        """Let work that was begun come to its end; what fails for good is left."""
        for turn in range(_TURNS):
            self.harness.loop.run_until_complete(asyncio.sleep(0))
            if turn > _TURNS // 2 and self._is_flushing:
                self.harness.loop.run_until_complete(asyncio.sleep(0.003))

    @property
    def _is_flushing(self) -> bool:
        store = self.harness.store
        if store is None or not store._waiting:
            return False
        flusher = store._flush_thread
        return not (isinstance(flusher, inline.InlineFlushThread) and flusher.is_held)

    def hold_flushes(self, *, is_held: bool) -> None:
        """Segments stay in the log, as they do while flushing does not keep up."""
        store = self.harness.store
        if store is not None:
            flusher = store._flush_thread
            assert isinstance(flusher, inline.InlineFlushThread)
            flusher.hold(is_held=is_held)
            self.settle()

    def join(self) -> bool:
        """Join all parts that can be."""
        store = self.harness.store
        assert store is not None
        return self.attempt(lambda: self._wait_for(byhand.compact(store)))

    def erase(self, number: int) -> bool:
        """Remove the visitor who sent a row; whether that was reported as done."""
        store = self.harness.store
        assert store is not None
        sender = self.senders[number]
        meant = {n for n in self.must | self.may if self.senders[n] == sender}
        self.may |= meant
        self.must -= meant
        person = Person("demo", "visitor", visitor(sender))
        order = byhand.erase(store, person, self.harness.now_us, dry_run=False)
        if not self.attempt(lambda: self._wait_for(order)):
            return False
        self.may -= meant
        self.erased |= meant
        return True

    def expire(self, *numbers: int, is_certain: bool = True) -> bool:
        """Apply retention, by which these rows go, or may go."""
        store = self.harness.store
        assert store is not None
        self.may.update(numbers)
        self.must.difference_update(numbers)
        order = byhand.expire(store, self.harness.now_us, dry_run=False)
        if not self.attempt(lambda: self._wait_for(order)):
            return False
        if is_certain:
            self.may.difference_update(numbers)
            self.expired.update(numbers)
        return True

    def _wait_for(self, order: Coroutine[object, object, object]) -> None:
        """See an order through; given up when nothing comes of it, however fast the machine is."""

        async def wait() -> None:
            task = asyncio.ensure_future(order)
            for _ in range(_POLLS):
                if task.done():
                    break
                await asyncio.sleep(0.001)
            else:
                task.cancel()
                raise Closed("it waits for something that does not happen")
            task.result()

        self.harness.loop.run_until_complete(wait())

    def close(self) -> None:
        """Stop in good order."""
        self.harness.close()

    # --- what must hold

    def check(self) -> None:
        """Everything above, of the store as it is."""
        harness, store = self.harness, self.harness.store
        with self.files.quiet():
            self.check_glob()
            readable = harness.readable()
            there = set(readable)
            assert len(readable) == len(there), f"twice: {sorted(readable)}"
            assert self.must <= there, f"lost: {sorted(self.must - there)}"
            extra = there - self.must - self.may
            assert not extra, f"from nowhere, or erased: {sorted(extra)}"
            self._check_remains()
            self._check_removed()
            self._check_summaries()
            if store is not None and not harness.fatal:
                asked = sorted((self.must | self.may) - self.erased)
                keys = [key_of(number) for number in [*asked, self._next]]
                seen = store.keys.seen(keys, harness.now_us, waits=True)
                since_us = harness.now_us - WINDOW_US
                expected = [n in there and self.times[n] > since_us for n in asked]
                # An erased row's key may be known or not.
                wrong = [
                    (number, is_seen)
                    for number, is_seen, known in zip(asked, seen, expected, strict=False)
                    if is_seen is not known and not (is_seen and number in self.may)
                ]
                assert not wrong, f"keys: {wrong}"
                assert seen[-1] is False, "a row that nobody sent is known"  # type: ignore[index]

    def counts_as_told(self) -> None:
        """What a start finds is called a repeat from then on, which is a promise like any other."""
        with self.files.quiet():
            there = set(self.harness.readable())
        # An order that did not say so has removed them.
        self.expired |= (self.may & self.stored) - there
        self.must |= there & self.may
        self.stored |= there & self.may
        # What is not there now must not come any more.
        self.may.clear()

    def check_glob(self) -> None:
        """A plain glob opens every file, and shows no row twice."""
        rows = self.harness.glob()
        if not self.doubles_for_a_moment:
            assert len(rows) == len(set(rows)), f"twice in the glob: {sorted(rows)}"

    def _check_remains(self) -> None:
        for path in (self.harness.directory / layout.WAL).glob("torn-*"):
            data = path.read_bytes()
            for sender in {self.senders[number] for number in self.erased}:
                assert visitor(sender).encode() not in data, f"{path.name} has {sender}"

    def _check_removed(self) -> None:
        directory = self.harness.directory
        if self.stored and directory.is_dir():
            counted = sum(one.of.rows for one in removed_rows(directory, Files()))
            gone = self.erased | self.expired
            # A row that was never acknowledged may have been there, and may have been removed.
            assert len(gone & self.stored) <= counted, f"{counted} counted, {sorted(gone)} removed"
            assert counted <= len(gone | self.may), f"{counted} counted, {sorted(gone)} removed"

    def _check_summaries(self) -> None:
        folder = folder_of(self.harness.directory)
        if not folder.is_dir():
            return
        there = set(layout.list_parts(self.harness.directory / layout.EVENTS))
        orphans = set(layout.list_parts(folder)) - there
        assert not orphans, f"summaries without a part: {sorted(orphans)}"
        erased = {hash_of(visitor(self.senders[number])) for number in self.erased}
        for path in sorted(folder.rglob("*.parquet")) if erased else ():
            known = visitors_in(path.read_bytes(), path) & erased
            assert not known, f"{path.name} knows who was erased"

    def goes_on(self) -> None:
        """A new row is taken, unless the store has said that only a new start can."""
        self.hold_flushes(is_held=False)
        self.advance(2)
        number, self._next = self._next, self._next + 1
        is_sent = self.send(number)
        assert is_sent or self.harness.fatal, "neither goes on nor says why"

    def ends_well(self) -> None:
        """A stop in good order leaves every row in parts, and nothing unfinished."""
        self.close()
        with self.files.quiet():
            there = self.harness.glob()
            assert len(there) == len(set(there)), f"twice after a stop: {sorted(there)}"
            assert self.must <= set(there), f"lost by a stop: {sorted(self.must - set(there))}"
            assert set(there) <= self.must | self.may, "from nowhere, after a stop"
            assert layout.list_segments(self.harness.directory / layout.WAL) == []

    def end(self) -> None:
        """Leave nothing open."""
        self.files.fail = self.files.watch = no_fault
        if self.harness.store is not None:
            self.harness.kill()


def key_of(number: int) -> bytes:
    """The key of a row."""
    return number.to_bytes(16, "big")


def visitor(number: int) -> str:
    """Who sent it."""
    return f"visitor-{number:04d}"


@contextlib.contextmanager
def small_world() -> Iterator[pytest.MonkeyPatch]:
    """Work is done inline, keys are few to a run, and DuckDB writes to the faulty disk, too."""
    with pytest.MonkeyPatch.context() as patch:
        inline.use(patch)
        patch.setattr(keyindex, "GENERATION_KEYS", 2)
        patch.setattr(keymerge, "RUNS_YOUNG", 2)
        patch.setattr(datefolders, "GRACE_S", 0.0)
        _let_duckdb_fail(patch)
        with _one_database(patch):
            yield patch


@contextlib.contextmanager
def _one_database(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sessions of one database in the place of many: to make one takes longer than all else here.

    Nothing is remembered of files, whose names are used again.
    """
    with parquet.connect(threads=1) as database:
        database.execute("SET enable_external_file_cache = false")

        def connect(*, threads: int, memory_limit_mb: int = 512) -> duckdb.DuckDBPyConnection:
            del threads, memory_limit_mb
            session = database.cursor()
            session.execute("SET TimeZone = 'UTC'")
            return session

        patch.setattr(parquet, "connect", connect)
        yield


def _let_duckdb_fail(patch: pytest.MonkeyPatch) -> None:
    """What DuckDB writes can fail, and leave half a file: it asks the disk of the world before."""
    convert, run = Flusher._convert, Compactor._run

    def convert_segment(self: Flusher, sealed: Sealed, temporary: Path) -> None:
        _ask(self._files, temporary)
        convert(self, sealed, temporary)

    def run_sql(self: Compactor, sql: str) -> list[tuple[object, ...]]:
        written = _COPY.search(sql)
        try:
            if written:
                _ask(self._files, Path(written[1]))
        except duckdb.Error as error:
            raise CompactionFailed(str(error)) from error
        return run(self, sql)

    patch.setattr(Flusher, "_convert", convert_segment)
    patch.setattr(Compactor, "_run", run_sql)


_COPY = re.compile(r"TO '([^']+)' \(FORMAT", re.IGNORECASE)


def _ask(files: Files, path: Path) -> None:
    assert isinstance(files, FaultyFiles)
    try:
        files.operate("convert", path)
    except OSError as error:
        path.write_bytes(b"PAR1 and no more")
        raise duckdb.IOException(str(error)) from error
