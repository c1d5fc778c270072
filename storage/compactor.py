"""Parts written anew by DuckDB: joined and sorted, or without some of their rows.

Reads parts, writes only to temporary paths, and proves what it wrote before it says so: as many
rows as there must be, and the same ones. Putting the new files in place is `datefolders`. One
connection, used from one thread; `interrupt` may be called from any.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

from storage import parquet, partlayout, partsort
from storage.errors import CompactionFailed, Interrupted, StorageError
from storage.files import Files
from storage.layout import Part
from storage.removals import Rows
from storage.schema import COLUMNS

# Sorting spills to disk beyond it, and is slow then: rows are sorted in pieces that need less
# (`partsort`), unless they are very wide.
MEMORY_MB: Final = 256
_HOUR_US: Final = 3600 * 1_000_000
_COLUMNS: Final = ", ".join(column.name for column in COLUMNS)
# What tells rows apart, repeats of one event included, and is quick to read.
_IDENTITY: Final = "event_id, received_time, is_duplicate"


class Compactor:
    """Writes parts below `events` anew; sorts with the help of the folder `spill`."""

    def __init__(self, events: Path, spill: Path, files: Files) -> None:
        self._events = events
        self._spill = spill
        self._files = files
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_interrupted = False

    def join(self, parts: Sequence[Part], output: Path) -> int:
        """Write the rows of `parts`, sorted, to `output`; returns how many.

        Raises `CompactionFailed` or `Interrupted`, with nothing left behind.
        """
        paths = [self._events / part.name for part in parts]
        # A part of one segment is as it was flushed, in order of arrival.
        sources = [
            partsort.Source(path, part.first != part.last)
            for path, part in zip(paths, parts, strict=True)
        ]
        before = self._proof(_IDENTITY, partsort.read(paths))
        try:
            partsort.sort(sources, output, self._run, self._files)
        except (StorageError, OSError):
            self._files.remove(output)
            raise
        after = self._proof(_IDENTITY, partsort.read([output]))
        self._check(before, after, output)
        return before[0]

    def without(self, part: Path, condition: str, removed: int, output: Path) -> None:
        """Write the rows of `part` that do not meet `condition` to `output`; `removed` do.

        They keep their order, and every value of each is compared. Raises as `join` does.
        """
        source = partsort.read([part])
        rest = f"{source} WHERE ({condition}) IS NOT TRUE"
        before = self._proof(_COLUMNS, rest)
        total, _ = self._proof("1", source)
        if before[0] + removed != total:
            raise CompactionFailed(f"{part}: {removed} of {total} rows cannot leave {before[0]}")
        self.write(f"SELECT {_COLUMNS} FROM {rest}", output)  # noqa: S608
        self._check(before, self._proof(_COLUMNS, partsort.read([output])), output)

    def count(self, parts: Sequence[Part], condition: str) -> dict[Part, list[Rows]]:
        """The rows of `parts` that meet `condition`: by part, site, protocol, hour and repeat.

        Parts without such rows are left out. Raises as `join` does.
        """
        if not parts:
            return {}
        paths = {str(self._events / part.name): part for part in parts}
        found = self._run(
            f"SELECT filename, site_id, protocol, epoch_us(received_time) // {_HOUR_US} AS hour, "  # noqa: S608
            f"is_duplicate, count(*) FROM {partsort.read([Path(path) for path in paths])} "
            f"WHERE {condition} GROUP BY ALL ORDER BY ALL"
        )
        rows: dict[Part, list[Rows]] = {}
        for name, site, protocol, hour, is_duplicate, number in found:
            one = Rows(site or "", protocol or "", hour * _HOUR_US, is_duplicate, number)
            rows.setdefault(paths[name], []).append(one)
        return rows

    def rows(self, parts: Sequence[Path]) -> int:
        """How many rows `parts` have. Raises as `join` does."""
        return self._proof("1", partsort.read(parts))[0] if parts else 0

    def values(self, parts: Sequence[Part], column: str, condition: str) -> list[str]:
        """The distinct texts in `column` of rows that meet `condition`. Raises as `join` does."""
        if not parts:
            return []
        source = partsort.read([self._events / part.name for part in parts])
        found = self._run(
            f"SELECT DISTINCT {column} FROM {source} "  # noqa: S608
            f"WHERE ({condition}) AND {column} IS NOT NULL ORDER BY 1"
        )
        return [row[0] for row in found]

    def write(self, query: str, output: Path) -> None:
        """Write the rows of `query` to `output`. Raises as `join` does."""
        target = parquet.quote(output)
        try:
            self._run(f"COPY ({query}) TO {target} ({partlayout.COPY_OPTIONS})")
        except StorageError:
            self._files.remove(output)
            raise

    def interrupt(self) -> None:
        """Have the work under way, and any that comes, end with `Interrupted`."""
        self._is_interrupted = True
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(duckdb.ConnectionException):  # closed at this moment
                connection.interrupt()

    def close(self) -> None:
        """Give the memory back; the next call takes it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _proof(self, columns: str, source: str) -> tuple[int, int]:
        """How many rows, and a sum over them that does not depend on their order."""
        found = self._run(
            f"SELECT count(*), coalesce(sum(hash({columns})::HUGEINT), 0) FROM {source}"  # noqa: S608
        )
        return int(found[0][0]), int(found[0][1])

    def _check(self, before: tuple[int, int], after: tuple[int, int], output: Path) -> None:
        if before != after:
            self._files.remove(output)
            raise CompactionFailed(
                f"{output}: {before[0]} rows were to be written, {after[0]} were, or others"
            )

    def _run(self, sql: str) -> list[tuple]:  # type: ignore[type-arg]  # of whatever was asked for
        if self._is_interrupted:
            raise Interrupted
        if self._connection is None:
            self._connection = parquet.connect(threads=1, memory_limit_mb=MEMORY_MB)
            self._connection.execute(f"SET temp_directory = {parquet.quote(self._spill)}")
            self._connection.execute(partsort.SETTING)
        try:
            return self._connection.execute(sql).fetchall()
        except duckdb.InterruptException as error:
            raise Interrupted from error
        except duckdb.Error as error:
            raise CompactionFailed(str(error)) from error
