"""Segments become parts: convert, count, publish, drop, in this order, oldest first.

A crash between any two steps loses nothing: an unpublished file is a temporary one, and a segment
that is still there beside its part is removed by recovery.
"""

from pathlib import Path

import duckdb

from storage.datefolders import DateFolders
from storage.errors import FlushFailed
from storage.files import Files
from storage.layout import Part
from storage.parquet import ParquetWriter
from storage.wal import Sealed


class Flusher:
    """Flushes one segment at a time. Used from one thread."""

    def __init__(self, folders: DateFolders, files: Files) -> None:
        self._folders = folders
        self._files = files
        self._writer: ParquetWriter | None = None

    def flush(self, sealed: Sealed) -> Part:
        """Publish `sealed` as a part and remove the segment.

        Raises `FlushFailed` with the segment still in place; the same call may be repeated.
        """
        part = Part(sealed.date, sealed.number, sealed.number)
        temporary = self._folders.temporary / part.file_name
        try:
            self._files.remove(temporary)
            if self._folders.path(part).exists():
                # An earlier try got as far as the name; make sure that it lasts.
                self._folders.make_last(part)
            else:
                self._convert(sealed, temporary)
                self._folders.add(temporary, part)
            self._files.remove(sealed.path)
        except (OSError, duckdb.Error) as error:
            raise FlushFailed(f"{sealed.path}: {error}") from error
        return part

    def close(self) -> None:
        """Give back what converting needs; another flush would take it again."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _convert(self, sealed: Sealed, temporary: Path) -> None:
        if self._writer is None:
            self._writer = ParquetWriter()
        rows = self._writer.write(sealed.path, temporary, sealed.group_bytes_max)
        if rows != sealed.rows:
            raise FlushFailed(f"{sealed.path}: holds {sealed.rows} rows, {rows} were converted")
