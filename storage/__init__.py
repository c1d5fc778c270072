"""The storage engine: lines in, Parquet and queries out. Knows nothing of HTTP or protocols."""

from storage import asidereader, census, find, inspect, layout, recovery, tail
from storage.aside import RAW_BYTES_MAX, Aside, Kept, Reason, size_of
from storage.commit import Commit, Receipt
from storage.errors import (
    Closed,
    Corruption,
    DiskFull,
    Locked,
    QueueFull,
    StorageError,
    SyncFailed,
    Unavailable,
)
from storage.files import Files
from storage.keyindex import ColdKeys, KeyIndex, make_key, make_scope
from storage.layout import day_of
from storage.query import Lake, QueryError
from storage.schema import COLUMNS, Column, Row, encode
from storage.smallfiles import SmallFiles
from storage.store import Settings, Store
from storage.wal import Sealed

__all__ = [
    "COLUMNS",
    "RAW_BYTES_MAX",
    "Aside",
    "Closed",
    "ColdKeys",
    "Column",
    "Commit",
    "Corruption",
    "DiskFull",
    "Files",
    "Kept",
    "KeyIndex",
    "Lake",
    "Locked",
    "QueryError",
    "QueueFull",
    "Reason",
    "Receipt",
    "Row",
    "Sealed",
    "Settings",
    "SmallFiles",
    "StorageError",
    "Store",
    "SyncFailed",
    "Unavailable",
    "asidereader",
    "census",
    "day_of",
    "encode",
    "find",
    "inspect",
    "layout",
    "make_key",
    "make_scope",
    "recovery",
    "size_of",
    "tail",
]
