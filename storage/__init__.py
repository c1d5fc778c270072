"""The storage engine: lines in, Parquet and queries out. Knows nothing of HTTP or protocols."""

from storage import inspect, layout, recovery, tail
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
from storage.scans import ScansError, read_scans
from storage.schema import COLUMNS, Column, Row, encode
from storage.store import Settings, Store

__all__ = [
    "COLUMNS",
    "Closed",
    "ColdKeys",
    "Column",
    "Commit",
    "Corruption",
    "DiskFull",
    "Files",
    "KeyIndex",
    "Lake",
    "Locked",
    "QueryError",
    "QueueFull",
    "Receipt",
    "Row",
    "ScansError",
    "Settings",
    "StorageError",
    "Store",
    "SyncFailed",
    "Unavailable",
    "day_of",
    "encode",
    "inspect",
    "layout",
    "make_key",
    "make_scope",
    "read_scans",
    "recovery",
    "tail",
]
