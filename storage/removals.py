"""Rows that were removed on purpose, counted: what retention and erasure took, per part.

One file per date, `removed/<date>.json`, without anything that tells of a person: part names,
sites, protocols, hours, numbers. Written before the rows go. So an entry counts only if its part is
gone: after a crash in between the part is still there with all its rows, and it says nothing.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final, Literal

import msgspec

from storage import layout
from storage.errors import UNDECODABLE, StorageError
from storage.files import Files
from storage.layout import Part

Reason = Literal["erased", "expired"]


class Rows(msgspec.Struct, frozen=True):
    """Some rows: `hour_us`, the start of the hour (UTC) of their receipt, in microseconds."""

    site: str
    protocol: str
    hour_us: int
    is_duplicate: int
    rows: int


class Removed(msgspec.Struct, frozen=True):
    """Rows that were removed, and why."""

    of: Rows
    reason: Reason


class _Entry(msgspec.Struct):
    reason: Reason
    rows: list[Rows]


_decoder: Final = msgspec.json.Decoder(dict[str, _Entry])
_encoder: Final = msgspec.json.Encoder()


def remember(
    directory: Path, files: Files, day: date, reason: Reason, rows: Mapping[Part, list[Rows]]
) -> None:
    """Note what is about to be removed from parts of `day`; lasting on success.

    Raises OSError, or `StorageError` when the file there cannot be read.
    """
    path = _path(directory, day)
    entries = _saying(_read(path, files), directory, day)
    for part, counts in rows.items():
        entries[part.file_name] = _Entry(reason, counts)
    files.make_folder(path.parent)
    files.replace(path, _encoder.encode(entries))


def forget(directory: Path, files: Files, day: date) -> None:
    """Take back notes of rows of `day` that were not removed after all; lasting on success.

    To be done before a part goes for another reason: its note would begin to count. Raises as
    `remember`.
    """
    path = _path(directory, day)
    entries = _read(path, files)
    saying = _saying(entries, directory, day)
    if len(saying) < len(entries):
        files.replace(path, _encoder.encode(saying))


def removed_rows(directory: Path, files: Files) -> list[Removed]:
    """All rows that were removed on purpose. Raises OSError or `StorageError`."""
    folder = directory / layout.REMOVED
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        entries = _saying(_read(path, files), directory, date.fromisoformat(path.stem))
        found += [Removed(rows, entry.reason) for entry in entries.values() for rows in entry.rows]
    return found


def _path(directory: Path, day: date) -> Path:
    return directory / layout.REMOVED / f"{day.isoformat()}.json"


def _saying(entries: dict[str, _Entry], directory: Path, day: date) -> dict[str, _Entry]:
    """The notes that count: those whose part is gone."""
    folder = directory / layout.EVENTS / layout.partition_name(day)
    return {name: entry for name, entry in entries.items() if not (folder / name).exists()}


def _read(path: Path, files: Files) -> dict[str, _Entry]:
    try:
        return _decoder.decode(files.read(path))
    except FileNotFoundError:
        return {}
    except UNDECODABLE as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
