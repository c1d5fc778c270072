"""Reads the table that says which QR code each scan session began with.

A CSV file with a header line or a Parquet file, made by whoever runs the QR codes. Runs beside the
event loop: it may take seconds.
"""

from pathlib import Path
from typing import Final

import duckdb

from storage import parquet
from storage.errors import StorageError

SESSIONS_MAX: Final = 2_000_000  # about 200 bytes of memory each
_COLUMNS: Final = ("scan_session_id", "qr_code_id")
_PARQUET_MAGIC: Final = b"PAR1"
_MEMORY_MB: Final = 512
_ROWS_AT_ONCE: Final = 10_000


class ScansError(StorageError):
    """The file cannot be used; the message says why, without its name."""


def read_scans(path: Path) -> dict[str, str]:
    """QR code by scan session (lower case) in the file at `path`. Raises `ScansError` or OSError.

    Rows without one of the two are skipped; of several rows of a session the last counts. Names of
    columns may be written in any case, and other columns are ignored.
    """
    with path.open("rb") as file:
        is_parquet = file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    name = parquet.pattern(path)
    table = f"read_parquet({name})" if is_parquet else f"read_csv({name}, {_CSV})"
    try:
        with parquet.connect(threads=1, memory_limit_mb=_MEMORY_MB) as connection:
            return _read(connection, table)
    except duckdb.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise ScansError(f"it is neither CSV nor Parquet that can be read: {reason}") from None


_CSV: Final = "header = true, all_varchar = true, null_padding = false"


def _read(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()  # noqa: S608
    found = {str(row[0]).lower() for row in described}
    missing = [column for column in _COLUMNS if column not in found]
    if missing:
        raise ScansError(
            f"the column {' and the column '.join(missing)} must be there; "
            f"its columns are {', '.join(sorted(found)[:20])}"
        )
    session, code = _COLUMNS
    # A UUID or a number in Parquet becomes its text.
    result = connection.execute(
        f"SELECT * FROM (SELECT lower(trim({session}::VARCHAR)) AS session, "  # noqa: S608
        f"trim({code}::VARCHAR) AS code FROM {table}) WHERE session <> '' AND code <> ''"
    )
    codes: dict[str, str] = {}
    known: dict[str, str] = {}  # many sessions share a code: one text for all of them
    while rows := result.fetchmany(_ROWS_AT_ONCE):
        for one, its_code in rows:
            codes[one] = known.setdefault(its_code, its_code)
        if len(codes) > SESSIONS_MAX:
            raise ScansError(f"it has more than {SESSIONS_MAX} sessions")
    return codes
