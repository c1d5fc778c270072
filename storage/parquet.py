"""Segments to Parquet, and keys out of Parquet, by DuckDB.

One connection, used from one thread. Writes only to the temporary path it is given; publishing is
`files.publish`. Settings are of the subset that DuckDB 1.5 and 2.0 share.
"""

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb

from storage import partlayout
from storage.errors import StorageError
from storage.keyrun import Keys
from storage.schema import COLUMNS

# A line holds one row; the largest comes from one event that fills a request body.
LINE_BYTES_MAX = 32 * 1024 * 1024
# Of DuckDB: its hashes are the same within one.
VERSION = duckdb.__version__
# DuckDB reads a file through a buffer of twice the longest line allowed; it takes no smaller one.
_LINE_BYTES_MIN = 16 * 1024 * 1024
# Of Parquet, at about 70 bytes a row; a row gives 24 bytes of keys.
_BYTES_AT_ONCE = 64 * 1024 * 1024
_FILES_AT_ONCE = 500


def connect(*, threads: int, memory_limit_mb: int = 512) -> duckdb.DuckDBPyConnection:
    """A private in-memory connection that never reaches for the network or the home folder."""
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "threads": threads,
            "memory_limit": f"{memory_limit_mb}MB",
            "preserve_insertion_order": True,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    # Else it is written to the log, where Python was started with a command instead of a file.
    connection.execute("SET enable_progress_bar = false")
    return connection


def quote(text: str | Path) -> str:
    """`text` as an SQL string."""
    return "'" + str(text).replace("'", "''") + "'"


def without_end(statement: str) -> str:
    """`statement` without its semicolon and what follows: a comment at most."""
    text = statement.encode()
    for position, _kind in duckdb.tokenize(statement):  # positions count bytes
        if text[position : position + 1] == b";":
            return text[:position].decode()
    return statement


def pattern(path: Path, tail: str = "") -> str:
    """An SQL string that DuckDB reads as exactly `path`, plus `tail`, which may be a pattern.

    Whatever DuckDB is to read is named so: it takes a plain name with `*`, `?` or `[` in it for a
    pattern, and would read files of other folders. What it writes is named by `quote`.
    """
    return quote(glob.escape(str(path)) + tail)


def listed(paths: Iterable[Path]) -> str:
    """An SQL list of files for DuckDB to read: exactly `paths`."""
    return f"[{', '.join(pattern(path) for path in paths)}]"


def lines_sql(paths: Sequence[Path], line_bytes_max: int = LINE_BYTES_MAX) -> str:
    """A table expression: the rows in segments `paths`, as they stand in the lines.

    A line longer than `line_bytes_max` is an error.
    """
    columns = ", ".join(f"{column.name}: '{column.line_type}'" for column in COLUMNS)
    return (
        f"read_json({listed(paths)}, format = 'newline_delimited', columns = {{{columns}}}, "
        f"maximum_object_size = {line_bytes_max}) "
    )


def select_sql(paths: Sequence[Path], line_bytes_max: int = LINE_BYTES_MAX) -> str:
    """A query: the rows in segments `paths` as rows of the events table; see `lines_sql`."""
    chosen = ", ".join(f"{column.expression} AS {column.name}" for column in COLUMNS)
    # Header and commit lines have no event id.
    lines = lines_sql(paths, line_bytes_max)
    return f"SELECT {chosen} FROM {lines} WHERE event_id IS NOT NULL"  # noqa: S608


class ParquetWriter:
    """Turns segments into Parquet files."""

    def __init__(self, *, threads: int = 1) -> None:
        self._connection = connect(threads=threads)

    def write(self, segment: Path, temporary: Path, line_bytes_max: int = LINE_BYTES_MAX) -> int:
        """Write the rows of `segment` to `temporary`; returns how many. Raises `duckdb.Error`.

        `line_bytes_max`: as many bytes as the longest line, or more; the nearer, the faster.
        """
        line_bytes_max = min(max(line_bytes_max, _LINE_BYTES_MIN), LINE_BYTES_MAX)
        counted = self._connection.execute(
            f"COPY ({select_sql([segment], line_bytes_max)}) TO {quote(temporary)} "
            f"({partlayout.FRESH_COPY_OPTIONS})"
        ).fetchall()
        return int(counted[0][0])

    def close(self) -> None:
        """Give the memory back."""
        self._connection.close()


def is_readable(path: Path) -> bool:
    """Whether every value of the Parquet file can be read."""
    try:
        with connect(threads=1) as connection:
            connection.execute(
                f"SELECT sum(hash(COLUMNS(*))) FROM read_parquet({listed([path])}, "  # noqa: S608
                "hive_partitioning = false)"
            ).fetchall()
    except duckdb.Error:
        return False
    return True


def recent_keys(parts: Sequence[Path], since_us: int) -> Iterator[Keys]:
    """Keys of rows accepted after `since_us`, in pieces; Raises `StorageError`.

    Repeats that were stored again are left out: they do not open a window of their own.
    """
    if not parts:
        return  # a start without any need not wait for DuckDB
    try:
        with connect(threads=2) as connection:
            for group in _groups(parts):
                columns = connection.execute(
                    "SELECT ('0x' || dedup_key[1:16])::UBIGINT AS high, "  # noqa: S608
                    "('0x' || dedup_key[17:])::UBIGINT AS low, epoch_us(received_time) AS times "
                    f"FROM read_parquet({listed(group)}, hive_partitioning = false) "
                    "WHERE is_duplicate = 0 AND dedup_key IS NOT NULL "
                    f"AND received_time > make_timestamptz({since_us})"
                ).fetchnumpy()
                yield Keys(columns["high"], columns["low"], columns["times"])
    except (duckdb.Error, OSError) as error:
        raise StorageError(
            f"the keys of rows cannot be read: {error}. A file that is no Parquet any more must be "
            "moved out of the events folder; its events are then no longer recognised"
        ) from error


def _groups(parts: Sequence[Path]) -> Iterator[list[Path]]:
    """Files to be read at once: few enough for their keys to fit into memory."""
    group: list[Path] = []
    size = 0
    for path in parts:
        group.append(path)
        size += path.stat().st_size
        if size >= _BYTES_AT_ONCE or len(group) >= _FILES_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group
