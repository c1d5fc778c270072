"""A second process that reads the published files all the time, as any analyst may.

Run as a script: `glob_reader.py EVENTS_FOLDER STOP_FILE [joins]`. Loops until STOP_FILE exists,
then prints one JSON object: how many queries, the last count, and every complaint. Complaints are:
any error, a row counted twice, fewer rows than before. Only "no files yet" is excused, before the
first file; with `joins` also a file that is gone between listing and opening: counted as
`asked_again`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_SQL = (
    "SELECT count(*), count(DISTINCT event_id), count(DISTINCT dedup_key) FROM read_parquet('{}')"
)


_GONE = ("No such file or directory", "Cannot open file", "could not open")


@contextmanager
def reading(events: Path, stop: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """This script at work on its own. It does not outlive the test, also when that fails."""
    command = [sys.executable, __file__, str(events), str(stop), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        try:
            yield reader
        finally:
            reader.kill()


def main(events: Path, stop: Path, *, joins: bool) -> None:
    """Read until told to stop."""
    connection = duckdb.connect(config={"threads": 1})
    sql = _SQL.format(events / "**" / "*.parquet")
    queries, last, asked_again, complaints = 0, 0, 0, []
    while not stop.exists():
        try:
            rows, ids, keys = connection.execute(sql).fetchall()[0]
        except duckdb.Error as error:
            if joins and any(text in str(error) for text in _GONE):
                asked_again += 1
            elif last or "No files found" not in str(error):
                complaints.append(f"{type(error).__name__}: {error}")
            continue
        queries += 1
        if not rows == ids == keys:
            complaints.append(f"{rows} rows, {ids} event ids, {keys} keys")
        if rows < last:
            complaints.append(f"{rows} rows after {last}")
        last = rows
    report = {"queries": queries, "last": last, "asked_again": asked_again}
    print(json.dumps({**report, "complaints": complaints[:10]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), joins="joins" in sys.argv[3:])
