"""Reading what was kept aside, beside whoever writes it: newest first, without a lock."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from storage import aside, asidenames, layout, parquet
from storage.aside import Kept
from storage.errors import StorageError

# Files may be joined between their listing and their reading; then they are listed anew.
_TRIES: Final = 20
_BY_TYPE: Final = {name: kind for name, kind, _, _ in aside.COLUMNS}
_SUMMARY: Final = (
    *("id", "time", "site_id", "protocol", "endpoint", "reason", "message", "event_id"),
    *("key_id", "origin"),
)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; empty members ask for nothing. `since_us`: received then or later."""

    ids: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()
    since_us: int = 0


class AsideColumn(msgspec.Struct, frozen=True):
    """Name and DuckDB type of a column."""

    name: str
    type: str


class AsideList:
    """Events without their bytes, as `collector.render` writes them."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.columns = tuple(
            AsideColumn(name, _BY_TYPE.get(name, "BIGINT")) for name in (*_SUMMARY, "bytes")
        )
        self._rows = rows

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows; read once."""
        rows, self._rows = self._rows, []
        if rows:
            yield rows


def summary(directory: Path, wanted: Filter, limit: int) -> AsideList:
    """The newest `limit` events, and the size of each in bytes. Raises `StorageError`."""
    chosen = ", ".join(_SUMMARY)
    return AsideList(_select(directory, f"{chosen}, octet_length(raw) AS bytes", wanted, limit))


def ids(directory: Path, wanted: Filter) -> list[str]:
    """Ids of all events, oldest first. Raises `StorageError`."""
    return [row[0] for row in reversed(_select(directory, "id::VARCHAR", wanted, None))]


def read(directory: Path, wanted: Filter, limit: int | None = None) -> list[Kept]:
    """Events with their bytes, newest first. Raises `StorageError`."""
    names = ", ".join(
        f"{name}::VARCHAR" if name in {"id", "violations", "headers"} else name
        for name, _, _, _ in aside.COLUMNS
    ).replace("time,", "epoch_us(time),", 1)
    return [_kept(row) for row in _select(directory, names, wanted, limit)]


def is_id(text: str) -> bool:
    """Whether `text` could be the id of a kept event."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _kept(row: tuple[Any, ...]) -> Kept:
    members = dict(zip((name for name, _, _, _ in aside.COLUMNS), row, strict=True))
    for name in ("violations", "headers"):
        if members[name] is not None:
            members[name] = msgspec.Raw(members[name].encode())
    return Kept(**members)


def _select(
    directory: Path, chosen: str, wanted: Filter, limit: int | None
) -> list[tuple[Any, ...]]:
    folder = directory / layout.QUARANTINE
    where, values = _conditions(wanted)
    tail = "" if limit is None else f" LIMIT {int(limit)}"
    for _ in range(_TRIES):
        parts = asidenames.live(asidenames.listed(folder))
        if not parts:
            return []
        paths = [folder / part.name for part in parts]
        sql = (
            f"SELECT {chosen} FROM {asidenames.source(paths, numbered=True)} AS kept WHERE {where} "  # noqa: S608
            # Events of one request in the order in which they stood there.
            f"ORDER BY kept.time DESC, filename DESC, file_row_number DESC{tail}"
        )
        try:
            with parquet.connect(threads=1) as connection:
                return connection.execute(sql, values).fetchall()
        except duckdb.Error as error:
            if all(path.exists() for path in paths):
                raise StorageError(f"{folder}: {error}") from error
    raise StorageError(f"{folder}: files kept changing while they were read; ask again")


def _conditions(wanted: Filter) -> tuple[str, list[object]]:
    conditions = ["true"]
    values: list[object] = []
    for column, texts in (
        ("id::VARCHAR", wanted.ids),
        ("site_id", wanted.sites),
        ("reason", wanted.reasons),
        ("protocol", wanted.protocols),
        ("event_id", wanted.event_ids),
    ):
        if texts:
            conditions.append(f"{column} IN (SELECT unnest(?))")
            values.append(list(texts))
    if wanted.since_us:
        conditions.append("time >= make_timestamptz(?)")
        values.append(wanted.since_us)
    return " AND ".join(conditions), values
