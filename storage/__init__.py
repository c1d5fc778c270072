"""The storage engine: lines in, Parquet and queries out. Knows nothing of HTTP or protocols."""

from storage import (
    aside,
    asidereader,
    byhand,
    census,
    erasure,
    export,
    find,
    inspect,
    latest,
    layout,
    panelviews,
    recovery,
    rollcall,
    stock,
    tail,
    views,
)
from storage.commit import Commit, Receipt
from storage.deadline import Deadline, TookTooLong
from storage.erasure import Erased, Person, Who
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
from storage.partwork import Joined
from storage.query import Lake, QueryError
from storage.removals import Removed, removed_rows
from storage.retention import Expired, Retention
from storage.scans import ScansError, read_scans
from storage.schema import COLUMNS, Column, Row, encode
from storage.settings import Settings
from storage.smallfiles import SmallFiles
from storage.store import Store
from storage.summaries import SummaryViews
from storage.upkeep import give_way
from storage.wal import Sealed

__all__ = [
    "COLUMNS",
    "Closed",
    "ColdKeys",
    "Column",
    "Commit",
    "Corruption",
    "Deadline",
    "DiskFull",
    "Erased",
    "Expired",
    "Files",
    "Joined",
    "KeyIndex",
    "Lake",
    "Locked",
    "Person",
    "QueryError",
    "QueueFull",
    "Receipt",
    "Removed",
    "Retention",
    "Row",
    "ScansError",
    "Sealed",
    "Settings",
    "SmallFiles",
    "StorageError",
    "Store",
    "SummaryViews",
    "SyncFailed",
    "TookTooLong",
    "Unavailable",
    "Who",
    "aside",
    "asidereader",
    "byhand",
    "census",
    "day_of",
    "encode",
    "erasure",
    "export",
    "find",
    "give_way",
    "inspect",
    "latest",
    "layout",
    "make_key",
    "make_scope",
    "panelviews",
    "read_scans",
    "recovery",
    "removed_rows",
    "rollcall",
    "stock",
    "tail",
    "views",
]
