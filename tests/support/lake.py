"""A data directory made by hand: segments and parts with exactly the rows a test wants."""

from datetime import date
from pathlib import Path

import duckdb

from storage import Files, Row, encode, layout, parquet, segment
from storage.layout import Part
from tests.support.rows import TODAY, make_row


class DataDirectory:
    """Writes what a collector would have written; publishes the way it does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wal = path / layout.WAL
        self.events = path / layout.EVENTS
        self._files = Files()
        for folder in (self.wal, self.events, path / layout.TEMPORARY):
            folder.mkdir(parents=True, exist_ok=True)

    def segment(self, number: int) -> Path:
        """Where segment `number` is."""
        return self.wal / layout.segment_name(number)

    def append(self, number: int, *rows: Row | int, day: date = TODAY) -> Path:
        """Append one group to segment `number`, which is begun if need be."""
        path = self.segment(number)
        with path.open("ab") as file:
            body = encode(made(rows))
            if file.tell() == 0:
                body = segment.encode_header(number, day) + body
            file.write(body + segment.encode_commit(body, len(rows)))
        return path

    def append_bytes(self, number: int, data: bytes) -> None:
        """Append what is no group."""
        with self.segment(number).open("ab") as file:
            file.write(data)

    def publish(self, first: int, last: int, *rows: Row | int, day: date = TODAY) -> Path:
        """Publish a part with `rows`."""
        lines = self.path / "lines.ndjson"
        lines.write_bytes(encode(made(rows)))
        path = self._publish(parquet.select_sql([lines]), Part(day, first, last))
        lines.unlink()
        return path

    def flush(self, number: int, day: date = TODAY, *, remove: bool = True) -> Path:
        """Make segment `number` a part."""
        path = self._publish(parquet.select_sql([self.segment(number)]), Part(day, number, number))
        if remove:
            self.segment(number).unlink()
        return path

    def join(self, first: int, last: int, day: date = TODAY) -> Path:
        """Join the parts from `first` to `last` into one, sorted as parts are when joined."""
        whole = Part(day, first, last)
        narrow = [part for part in layout.list_parts(self.events) if whole.covers(part)]
        names = ", ".join(parquet.quote(self.events / part.name) for part in narrow)
        path = self._publish(
            f"FROM read_parquet([{names}], hive_partitioning = false) "
            "ORDER BY site_id, event_time, event_id DESC",
            whole,
        )
        for part in narrow:
            (self.events / part.name).unlink()
        return path

    def _publish(self, query: str, part: Part) -> Path:
        temporary = self.path / layout.TEMPORARY / "part"
        connection = duckdb.connect()
        try:
            connection.execute(f"COPY ({query}) TO {parquet.quote(temporary)} (FORMAT parquet)")
        finally:
            connection.close()
        self._files.publish(temporary, self.events / part.name)
        return self.events / part.name


def made(rows: tuple[Row | int, ...]) -> list[Row]:
    """Rows, each number as a row with that number."""
    return [make_row(row, received_time=0) if isinstance(row, int) else row for row in rows]
