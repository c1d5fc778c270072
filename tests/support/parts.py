"""Work on the parts of a data directory that was made by hand, with a clock that is set by hand."""

from datetime import date, timedelta
from pathlib import Path

import duckdb

from storage import Row, layout
from storage.datefolders import DateFolders
from storage.layout import Part
from storage.partwork import PartWork
from tests.support.files import FaultyFiles
from tests.support.lake import DataDirectory
from tests.support.rows import make_row

NO_LIMIT = 10**11


class Parts:
    """A directory, and everything that works on its parts."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.directory = DataDirectory(path)
        self.files = FaultyFiles(seed, path)
        self.now_s = 1_000.0
        self.folders = DateFolders(path, self.files, lambda: self.now_s)
        self.work = PartWork(path, self.files, self.folders)

    def publish(self, day: date, number: int, *rows: Row | int) -> Part:
        """Publish rows as the part of one segment."""
        self.directory.publish(number, number, *rows, day=day)
        self.files.adopt()
        return Part(day, number, number)

    def rows(self, day: date, first: int, *sites: str) -> list[Row]:
        """One row per site, received in the hours of `day`, numbered from `first`."""
        start_us = (day - date(1970, 1, 1)) // timedelta(microseconds=1)
        return [
            make_row(
                first + n,
                site_id=site,
                received_time=start_us + n * 3_600_000_000,
                event_time=start_us + 1_000 * (100 - n),
                visitor_id=f"visitor-{first + n}",
            )
            for n, site in enumerate(sites)
        ]

    def names(self) -> list[str]:
        """Paths of all files below the events folder."""
        events = self.folders.events
        return sorted(str(p.relative_to(events)) for p in events.rglob("*") if p.is_file())

    def temporaries(self) -> list[str]:
        """What is in the folder for files under construction."""
        return sorted(path.name for path in self.folders.temporary.iterdir())

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """The answer of a plain DuckDB to `sql` over {events}, a plain glob."""
        source = f"read_parquet('{self.folders.events}/**/*.parquet', hive_partitioning = true)"
        return duckdb.sql(sql.format(events=source)).fetchall()

    def numbers(self) -> list[int]:
        """The numbers of all rows that a plain glob sees."""
        if not self.names():
            return []
        return sorted(int(str(row[0]), 16) for row in self.query("SELECT dedup_key FROM {events}"))

    def listed(self, day: date) -> list[Part]:
        """Live parts of one date."""
        return layout.list_date(self.folders.events, day)
