"""How many rows per second a sealed segment turns into a published part.

The storage alone, in this process: no HTTP, no log being written beside it. Starting DuckDB is left
out by flushing a small segment first.
"""

import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb

from bench.figures import Figure, median_figure
from bench.fleet import LoadFailed
from bench.options import Options
from bench.rows import encoded_groups
from storage import Files, layout
from storage.datefolders import DateFolders
from storage.flusher import Flusher
from storage.wal import Sealed, Wal

_REPEATS: Final = 3
_FIRST_ROWS: Final = 1_000


def flush(options: Options, repeats: int = _REPEATS) -> list[Figure]:
    """Rows per second of a flush, the middle one of `repeats`. Raises `LoadFailed`."""
    directory = Path(tempfile.mkdtemp(prefix="collector-bench-", dir=options.directory))
    files = Files()
    try:
        for name in layout.FOLDERS:
            files.make_folder(directory / name)
        segments = [_segment(directory, number, options) for number in range(1, repeats + 2)]
        flusher = Flusher(DateFolders(directory, files, time.monotonic), files)
        flusher.flush(segments[0])
        seconds = []
        for sealed in segments[1:]:
            began_s = time.perf_counter()
            flusher.flush(sealed)
            seconds.append(time.perf_counter() - began_s)
        flusher.close()
        _check(directory, sum(sealed.rows for sealed in segments))
        parquet = sum(path.stat().st_size for path in directory.glob("events/*/*.parquet"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    log = segments[-1].bytes
    return [
        median_figure(
            "flush_rows_per_s",
            [options.flush_rows / spent_s for spent_s in seconds],
            "rows/s",
            f"segment of {options.flush_rows:,} rows, synced and published",
        ),
        Figure("flush_log_bytes_per_row", log / options.flush_rows, "bytes"),
        Figure(
            "flush_parquet_bytes_per_row",
            parquet / sum(sealed.rows for sealed in segments),
            "bytes",
        ),
    ]


def _segment(directory: Path, number: int, options: Options) -> Sealed:
    """Write a segment as the collector does; the first one is small."""
    wal = Wal(
        directory / layout.WAL,
        Files(),
        next_number=number,
        latest_date=datetime.now(UTC).date(),
        segment_bytes_max=1 << 40,
        durability="os",
    )
    rows = _FIRST_ROWS if number == 1 else options.flush_rows
    today = datetime.now(UTC).date()
    for lines, count in encoded_groups(rows, options.seed + number):
        wal.commit(today, lines, count)
    wal.seal()
    assert len(wal.sealed) == 1, "one segment, whatever its size"
    return wal.sealed[0]


def _check(directory: Path, rows: int) -> None:
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT event_id) FROM read_parquet(?)",
            [f"{directory}/events/**/*.parquet"],
        ).fetchall()
    if found != [(rows, rows)]:
        raise LoadFailed(f"{rows} rows were flushed, Parquet holds {found[0][0]}")
