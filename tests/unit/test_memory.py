"""Giving memory back."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from storage import memory, parquet


def _resident_kb() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def test_what_was_freed_goes_back_to_the_system() -> None:
    """Blocks below the size that is mapped by itself stay in the heap, until it is asked."""
    if memory._TRIM is None:
        pytest.skip("this C library keeps nothing")
    blocks = [bytearray(100_000) for _ in range(1_000)]
    kept = blocks[-1]  # at the end of the heap, so that it cannot shrink by itself
    full_kb = _resident_kb()
    del blocks
    memory.give_back()
    assert full_kb - _resident_kb() > 50_000
    assert len(kept) == 100_000


def test_what_duckdb_freed_goes_back_too() -> None:
    """DuckDB's own allocator would keep what a query took, for the next one."""
    with parquet.connect(threads=1) as connection:
        connection.execute("SELECT 1").fetchall()
        memory.give_back()
        before_kb = _resident_kb()
        connection.execute("CREATE TABLE held AS SELECT repeat('x', 1000) FROM range(100000)")
        assert _resident_kb() - before_kb > 50_000
        connection.execute("DROP TABLE held")
        memory.give_back()
        assert _resident_kb() - before_kb < 20_000


def test_no_progress_bar_is_drawn() -> None:
    """Standard output is a log; DuckDB takes a Python without a file for a person's terminal."""
    code = (
        "from storage import parquet; c = parquet.connect(threads=1); "
        "print(c.execute(\"SELECT current_setting('enable_progress_bar')\").fetchall())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[(False,)]"
