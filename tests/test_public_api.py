"""What others rely on: the surface of the engine, the columns of a row, the command.

A change here is a change for whoever uses it, and belongs into the change log.
"""

import inspect
import tomllib
from types import ModuleType

import storage
from tests.house.source import ROOT

SURFACE = {
    "values": {"COLUMNS"},
    "types": {"Who"},
    "modules": {
        "aside",
        "backup",
        "asidereader",
        "byhand",
        "census",
        "erasure",
        "export",
        "find",
        "inspect",
        "latest",
        "layout",
        "panelviews",
        "recovery",
        "rollcall",
        "stock",
        "tail",
        "views",
    },
    "functions": {
        "day_of",
        "encode",
        "give_way",
        "make_key",
        "make_scope",
        "read_scans",
        "removed_rows",
    },
    "errors": {
        "Closed",
        "Corruption",
        "DiskFull",
        "Locked",
        "QueryError",
        "QueueFull",
        "ScansError",
        "StorageError",
        "SyncFailed",
        "TookTooLong",
        "Unavailable",
    },
    "classes": {
        "ColdKeys",
        "Column",
        "Commit",
        "Deadline",
        "Erased",
        "Expired",
        "Files",
        "Joined",
        "KeyIndex",
        "Lake",
        "Person",
        "Receipt",
        "Removed",
        "Retention",
        "Row",
        "Sealed",
        "Settings",
        "SmallFiles",
        "Store",
        "SummaryViews",
    },
}

COLUMNS = [
    "event_id UUID",
    "event_time TIMESTAMPTZ",
    "received_time TIMESTAMPTZ",
    "site_id VARCHAR",
    "protocol VARCHAR",
    "source VARCHAR",
    "event_type VARCHAR",
    "event_name VARCHAR",
    "visitor_id VARCHAR",
    "session_id VARCHAR",
    "scan_session_id VARCHAR",
    "user_id VARCHAR",
    "qr_code_id VARCHAR",
    "page_url VARCHAR",
    "page_title VARCHAR",
    "referrer VARCHAR",
    "device_type VARCHAR",
    "browser_family VARCHAR",
    "os_family VARCHAR",
    "user_agent VARCHAR",
    "language VARCHAR",
    "screen_width INTEGER",
    "screen_height INTEGER",
    "country_code VARCHAR",
    "city VARCHAR",
    "ip_hash VARCHAR",
    "conversion_value DOUBLE",
    "conversion_currency VARCHAR",
    "email_hash VARCHAR",
    "phone_hash VARCHAR",
    "external_id VARCHAR",
    "consent VARCHAR",
    "metadata JSON",
    "context JSON",
    "idempotency_key VARCHAR",
    "dedup_key VARCHAR",
    "key_id VARCHAR",
    "flags VARCHAR[]",
    "is_duplicate UTINYINT",
    "is_fraud UTINYINT",
]


def _kind(name: str) -> str:
    value = getattr(storage, name)
    if isinstance(value, ModuleType):
        return "modules"
    if hasattr(value, "__origin__"):
        return "types"
    if inspect.isclass(value):
        return "errors" if issubclass(value, Exception) else "classes"
    return "functions" if callable(value) else "values"


def test_surface_of_storage() -> None:
    """Exactly these names, each of its kind, in alphabetical order."""
    assert storage.__all__ == sorted(storage.__all__)
    assert set(storage.__all__) == {name for names in SURFACE.values() for name in names}
    assert {name: _kind(name) for name in storage.__all__} == {
        name: kind for kind, names in SURFACE.items() for name in names
    }


def test_every_error_of_storage_is_a_storage_error() -> None:
    """Who catches `StorageError` has caught all of them."""
    for name in SURFACE["errors"]:
        assert issubclass(getattr(storage, name), storage.StorageError), name


def test_columns() -> None:
    """Names, types and order of the columns: queries of people rely on them."""
    assert [f"{column.name} {column.type}" for column in storage.COLUMNS] == COLUMNS


def test_the_command() -> None:
    """The package installs one command, `collector`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"collector": "collector.cli:main"}
