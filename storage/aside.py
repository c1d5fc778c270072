"""Refused events kept aside: the Parquet files of `data/quarantine`, written, joined and rewritten.

A file is `part-<first>-<last>-<generation>.parquet` and never changes. Each write gets the next
number; joining makes one file of consecutive ones; what is taken out of a file makes its next
generation. A file is dead when another one holds its numbers: a wider one, or a later generation.
So a crash between giving a file its name and removing what it replaces leaves dead files only,
which nobody reads and the next start removes.

One process writes, the one that holds the directory's lock; its methods may be called from any
thread. Others read beside it (`asidereader`). Knows no protocol and no rule of what may be kept.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from storage import asidenames, layout, parquet
from storage.asidenames import AsidePart
from storage.asidesearch import Search
from storage.errors import StorageError
from storage.files import Files

_log: Final = logging.getLogger("collector.storage")
# What a kept event counts beside its bytes: its other columns, bounded by whoever keeps it.
OVERHEAD_BYTES: Final = 1_024
# Of one event; its text in base64 must fit into a line that DuckDB reads.
RAW_BYTES_MAX: Final = 16 * 1024 * 1024
# This many files below the size are joined, so that there are never many.
_JOINED_AT: Final = 16
_SMALL_BYTES: Final = 8 * 1024 * 1024

# Name, DuckDB type, what it is read as from a line, and how the column is made of that.
COLUMNS: Final = (
    ("id", "UUID", "UUID", "id"),
    ("time", "TIMESTAMPTZ", "BIGINT", "make_timestamptz(time)"),
    ("site_id", "VARCHAR", "VARCHAR", "site_id"),
    ("protocol", "VARCHAR", "VARCHAR", "protocol"),
    ("source", "VARCHAR", "VARCHAR", "source"),
    ("endpoint", "VARCHAR", "VARCHAR", "endpoint"),
    ("reason", "VARCHAR", "VARCHAR", "reason"),
    ("message", "VARCHAR", "VARCHAR", "message"),
    ("violations", "JSON", "JSON", "violations"),
    ("content_type", "VARCHAR", "VARCHAR", "content_type"),
    ("key_id", "VARCHAR", "VARCHAR", "key_id"),
    ("origin", "VARCHAR", "VARCHAR", "origin"),
    ("headers", "JSON", "JSON", "headers"),
    ("event_id", "VARCHAR", "VARCHAR", "event_id"),
    ("envelope", "VARCHAR", "VARCHAR", "envelope"),
    ("raw", "BLOB", "VARCHAR", "from_base64(raw)"),
)


# No methods: see storage/query.py, at `Listing`.
class Kept(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One refused event. `time`: of receipt, microseconds. `raw`: its bytes.

    `envelope`: where it was an item of a batch, what of the rest of the body an item needs to be
    understood, as JSON. `violations`: each broken rule, `headers`: by lower-case name; as JSON.
    `event_id`: the client's own id, if it could be found. Texts must be valid Unicode.
    """

    id: str
    time: int
    site_id: str
    protocol: str
    source: str
    endpoint: str
    reason: str
    message: str
    violations: msgspec.Raw | None = None
    content_type: str | None = None
    key_id: str | None = None
    origin: str | None = None
    headers: msgspec.Raw | None = None
    event_id: str | None = None
    envelope: str | None = None
    raw: bytes


class Reason(msgspec.Struct, frozen=True):
    """Why an event stays: what `Kept` says of it from now on."""

    id: str
    reason: str
    message: str
    violations: str | None = None


_encoder: Final = msgspec.json.Encoder()


def size_of(kept: Kept) -> int:
    """What `kept` counts against the bound of its site, in bytes."""
    return len(kept.raw) + len((kept.envelope or "").encode()) + OVERHEAD_BYTES


_SIZE_SQL: Final = f"octet_length(raw) + strlen(coalesce(envelope, '')) + {OVERHEAD_BYTES}"


class Aside:
    """The quarantine folder of one data directory, open for writing.

    Raises `StorageError` or OSError from every method; what failed may be tried again.
    """

    def __init__(self, directory: Path, files: Files) -> None:
        self._folder = directory / layout.QUARANTINE
        self._temporary = directory / layout.TEMPORARY
        self._files = files
        self._lock = threading.Lock()
        self._next = 1

    def open(self) -> dict[str, int]:
        """Remove dead files; the bytes that each site has kept (`size_of`).

        A file that is no Parquet any more is kept under another name, and told.
        """
        with self._lock:
            self._files.make_folder(self._folder)
            found = asidenames.listed(self._folder)
            live = asidenames.live(found)
            self._remove(set(found) - set(live))
            self._next = max([0, *(part.last for part in found)]) + 1
            try:
                return self._sizes(live)
            except StorageError:
                return self._sizes([part for part in live if not self._is_damaged(part)])

    def sizes(self) -> dict[str, int]:
        """The bytes that each site has kept."""
        with self._lock:
            return self._sizes(self._live())

    def add(self, events: Sequence[Kept]) -> None:
        """Keep `events`; on success they are on disk. Many calls make many files: see `join`."""
        with self._lock:
            part = AsidePart(self._next, self._next, 0)
            lines = self._temporary / f"{part.name}.ndjson"
            try:
                descriptor = self._create(lines)
                try:
                    self._files.write(descriptor, _encoder.encode_lines(events), 0)
                finally:
                    self._files.close(descriptor)
                self._copy(_from_lines(lines), part, rows=len(events))
            finally:
                self._discard(lines)
            self._next += 1

    def join(self) -> None:
        """Make one file of the small ones at the end, when there are many."""
        with self._lock:
            live = self._live()
            small: list[AsidePart] = []
            for part in reversed(live):
                if (self._folder / part.name).stat().st_size >= _SMALL_BYTES:
                    break
                small.insert(0, part)
            if len(small) >= _JOINED_AT:
                wide = AsidePart(small[0].first, small[-1].last, 0)
                self._copy(f"SELECT * FROM {self._source(small)}", wide)  # noqa: S608
                self._remove(small)

    def ids(self) -> set[str]:
        """The ids of all events that are kept."""
        with self._lock:
            live = self._live()
            if not live:
                return set()
            sql = f"SELECT id::VARCHAR FROM {self._source(live)}"  # noqa: S608
            return {row[0] for row in self._run(sql)}

    def settle(self, gone: Iterable[str], stay: Iterable[Reason] = ()) -> int:
        """Take events out by their ids, give others a new reason; how many were taken out."""
        taken = sorted(set(gone))
        reasons = {reason.id: reason for reason in stay}
        if not taken and not reasons:
            return 0
        with self._lock:
            return sum(self._settle(part, taken, reasons) for part in self._live())

    def expire(self, before_us: int, of_site: Mapping[str, int] | None = None) -> int:
        """Take out what was received before; how many events. `of_site`: where another time holds.

        Times in microseconds.
        """
        others = of_site or {}
        border = "coalesce(list_extract(?::BIGINT[], list_position(?::VARCHAR[], site_id)), ?)"
        values: list[object] = [list(others.values()), list(others), before_us]
        with self._lock:
            return sum(
                self._rewrite(part, f"time >= make_timestamptz({border})", values)
                for part in self._live()
            )

    def erase(self, site: str, values: Sequence[str], *, dry_run: bool = False) -> dict[str, int]:
        """Take out the events of `site` that hold any of the texts; how many, by file name.

        Looked for in the bytes as sent and as JSON means them, in the id, in what was kept of the
        rest of the body and of the headers, as `asidesearch` says. A file that is no part and may
        hold them is removed whole, and counts as one. `dry_run`: only count.
        """
        search = Search(values)
        counts: dict[str, int] = {}
        if not search:
            return counts
        with self._lock:
            if not dry_run:
                # What a failed removal left of an earlier try holds what is to go.
                found = asidenames.listed(self._folder)
                self._remove(set(found) - set(asidenames.live(found)))
            self._erase_remains(site, search, counts, dry_run=dry_run)
            for part in self._live():
                rows = self._run(
                    "SELECT id::VARCHAR, raw, event_id, envelope, headers::VARCHAR "  # noqa: S608
                    f"FROM {self._source([part])} WHERE site_id = ?",
                    [site],
                )
                ids = [row[0] for row in rows if search.finds(row[1:])]
                if ids:
                    counts[part.name] = len(ids)
                    if not dry_run:
                        self._rewrite(part, "id::VARCHAR NOT IN (SELECT unnest(?))", [ids])
        return counts

    def _erase_remains(
        self, site: str, search: Search, counts: dict[str, int], *, dry_run: bool
    ) -> None:
        gone = [
            path
            for path in asidenames.remains(self._folder)
            if search.finds_in_remains(self._files.read(path), site)
        ]
        counts.update((path.name, 1) for path in gone)
        if gone and not dry_run:
            for path in gone:
                self._files.remove(path)
            self._files.sync_folder(self._folder)

    # --- one file

    def _is_damaged(self, part: AsidePart) -> bool:
        """Whether a file cannot be read; such a one gets another name, and is left alone."""
        try:
            self._run(f"SELECT count(raw) FROM {self._source([part])}")  # noqa: S608
        except StorageError as error:
            name = f"{asidenames.DAMAGED}{part.name}"
            _log.warning("%s; it is kept as %s", error, name)
            self._files.publish(self._folder / part.name, self._folder / name)
            return True
        return False

    def _settle(self, part: AsidePart, gone: Sequence[str], stay: dict[str, Reason]) -> int:
        listed = self._source([part])
        rows = self._run(
            f"SELECT id::VARCHAR FROM {listed} WHERE id::VARCHAR IN (SELECT unnest(?))",  # noqa: S608
            [[*gone, *stay]],
        )
        here = {row[0] for row in rows}
        if not here:
            return 0
        changed = [stay[one] for one in sorted(here & stay.keys())]
        chosen = "* EXCLUDE (place)"
        if changed:
            places = "list_position(?, kept.id::VARCHAR)"
            chosen = (
                "* EXCLUDE (place) REPLACE (coalesce(list_extract(?, place), reason) AS reason, "
                "coalesce(list_extract(?, place), message) AS message, "
                "CASE WHEN place IS NULL THEN violations "
                "ELSE list_extract(?, place)::JSON END AS violations)"
            )
            sql = (
                f"SELECT {chosen} FROM (SELECT *, {places} AS place FROM {listed} AS kept) "  # noqa: S608
                "WHERE id::VARCHAR NOT IN (SELECT unnest(?::VARCHAR[]))"
            )
            values = [
                [one.reason for one in changed],
                [one.message for one in changed],
                [one.violations for one in changed],
                [one.id for one in changed],
                list(gone),
            ]
        else:
            sql = f"SELECT * FROM {listed} WHERE id::VARCHAR NOT IN (SELECT unnest(?::VARCHAR[]))"  # noqa: S608
            values = [list(gone)]
        self._replace(part, sql, values)
        return len(here & set(gone))

    def _rewrite(self, part: AsidePart, condition: str, values: list[object]) -> int:
        """Leave only what meets `condition`; how many events went."""
        listed = self._source([part])
        sql = f"SELECT count(*), count(*) FILTER (WHERE {condition}) FROM {listed}"  # noqa: S608
        rows, left = self._run(sql, values)[0]
        if left < rows:
            self._replace(part, f"SELECT * FROM {listed} WHERE {condition}", values)  # noqa: S608
        return int(rows - left)

    def _replace(self, part: AsidePart, sql: str, values: list[object]) -> None:
        self._copy(sql, AsidePart(part.first, part.last, part.generation + 1), values)
        self._remove([part])

    def _copy(
        self,
        sql: str,
        part: AsidePart,
        values: list[object] | None = None,
        *,
        rows: int | None = None,
    ) -> None:
        """Publish the rows of `sql`, which are `rows` if that is known, as `part`.

        One without rows is made too: it says that its numbers are gone, until no dead file is left.
        """
        temporary = self._temporary / part.name
        # DuckDB would make it readable by everybody; it fills one that is there as it is.
        self._files.close(self._create(temporary))
        try:
            copied = self._run(
                f"COPY ({sql}) TO {parquet.quote(temporary)} "
                "(FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)",
                values,
            )[0][0]
            if rows is not None and copied != rows:
                raise StorageError(f"{self._folder}: {copied} of {rows} events were converted")
            self._files.publish(temporary, self._folder / part.name)
        finally:
            self._discard(temporary)

    # --- all files

    def _live(self) -> list[AsidePart]:
        return asidenames.live(asidenames.listed(self._folder))

    def _source(self, parts: Sequence[AsidePart]) -> str:
        return asidenames.source([self._folder / part.name for part in parts])

    def _sizes(self, live: Sequence[AsidePart]) -> dict[str, int]:
        if not live:
            return {}
        sizes: Counter[str] = Counter()
        sql = f"SELECT site_id, sum({_SIZE_SQL})::BIGINT FROM {self._source(live)} GROUP BY ALL"  # noqa: S608
        for site, size in self._run(sql):
            sizes[site] += size
        return dict(sizes)

    def _remove(self, parts: Iterable[AsidePart]) -> None:
        """Remove dead files, so that their removal lasts: what covers them may go later."""
        listed = list(parts)
        for part in listed:
            self._files.remove(self._folder / part.name)
        if listed:
            self._files.sync_folder(self._folder)

    def _discard(self, temporary: Path) -> None:
        """Remove a file under construction; one that stays is removed at the next start."""
        try:
            self._files.remove(temporary)
        except OSError as error:
            _log.warning("%s could not be removed: %s", temporary, error.strerror)

    def _create(self, path: Path) -> int:
        self._files.remove(path)
        return self._files.create(path)

    def _run(self, sql: str, values: list[object] | None = None) -> list[tuple[Any, ...]]:
        try:
            with parquet.connect(threads=1) as connection:
                return connection.execute(sql, values).fetchall()
        except duckdb.Error as error:
            raise StorageError(f"{self._folder}: {error}") from error


def _from_lines(path: Path) -> str:
    kinds = ", ".join(f"{name}: '{line}'" for name, _, line, _ in COLUMNS)
    chosen = ", ".join(f"{expression} AS {name}" for name, _, _, expression in COLUMNS)
    return (
        f"SELECT {chosen} FROM read_json({parquet.pattern(path)}, "  # noqa: S608
        f"format = 'newline_delimited', columns = {{{kinds}}}, "
        f"maximum_object_size = {parquet.LINE_BYTES_MAX})"
    )
