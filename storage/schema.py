"""The events table: one row, its columns, and how a row becomes a line.

Owns the names and types of every column; nothing else may list them. `COLUMNS` is in the order of
the published files. A row is encoded exactly once, here; the same bytes go into the log and, read
by DuckDB, into Parquet. Must not do I/O.
"""

from collections.abc import Sequence
from typing import Final

import msgspec


class Row(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One row of the events table; `None`, `0` and empty members are left out of the line.

    Times are whole microseconds since the epoch, UTC. `metadata` and `context` hold JSON text or
    plain values; a `Raw` must contain no line feed, because the log is one line per row.
    The meaning of each member is told by `COLUMNS`. gc=False: a row never takes part in a cycle.
    """

    event_id: str
    event_time: int = 0
    received_time: int = 0
    site_id: str = ""
    protocol: str = ""
    source: str = ""
    event_type: str | None = None
    event_name: str | None = None
    visitor_id: str | None = None
    session_id: str | None = None
    scan_session_id: str | None = None
    user_id: str | None = None
    qr_code_id: str | None = None
    page_url: str | None = None
    page_title: str | None = None
    referrer: str | None = None
    device_type: str | None = None
    browser_family: str | None = None
    os_family: str | None = None
    user_agent: str | None = None
    language: str | None = None
    screen_width: int | None = None
    screen_height: int | None = None
    country_code: str | None = None
    city: str | None = None
    ip_hash: str | None = None
    conversion_value: float | None = None
    conversion_currency: str | None = None
    email_hash: str | None = None
    phone_hash: str | None = None
    external_id: str | None = None
    consent: str | None = None
    metadata: msgspec.Raw | dict[str, object] | None = None
    context: msgspec.Raw | dict[str, object] | None = None
    idempotency_key: str | None = None
    dedup_key: str | None = None
    key_id: str | None = None
    flags: tuple[str, ...] = ()
    is_duplicate: int = 0
    is_fraud: int = 0


class Column(msgspec.Struct, frozen=True):
    """One column: its name, its DuckDB type in Parquet, the type of its JSON in the log."""

    name: str
    type: str
    line_type: str
    meaning: str

    @property
    def expression(self) -> str:
        """SQL that turns the member of a line into the column."""
        if self.type == "TIMESTAMPTZ":
            return f"make_timestamptz({self.name})"
        if self.type == "UTINYINT":
            return f"coalesce({self.name}, 0)::UTINYINT"
        if self.type == "VARCHAR[]":
            return f"coalesce({self.name}, []::VARCHAR[])"
        return self.name


def _column(name: str, duckdb_type: str, meaning: str) -> Column:
    # Times are integers in a line: no parser can read them in two ways, and none is slow at it.
    line_type = "BIGINT" if duckdb_type == "TIMESTAMPTZ" else duckdb_type
    return Column(name=name, type=duckdb_type, line_type=line_type, meaning=meaning)


COLUMNS: Final[tuple[Column, ...]] = (
    _column("event_id", "UUID", "the client's event id, else a UUIDv7 made on arrival"),
    _column("event_time", "TIMESTAMPTZ", "when it happened, by the client, corrected where known"),
    _column("received_time", "TIMESTAMPTZ", "when its request had arrived whole"),
    _column("site_id", "VARCHAR", "our site"),
    _column("protocol", "VARCHAR", "`scanova`, `croct` or `zenovay`"),
    _column("source", "VARCHAR", "`browser` or `server`"),
    _column("event_type", "VARCHAR", "Scanova `event_type`, Croct `payload.type`, Zenovay `type`"),
    _column("event_name", "VARCHAR", "Scanova `event_name`, Zenovay `props.name`, Croct name/goal"),
    _column("visitor_id", "VARCHAR", "the browser or device, as the protocol names it"),
    _column("session_id", "VARCHAR", "Scanova's web session, Zenovay's session"),
    _column("scan_session_id", "VARCHAR", "the QR scan that led here"),
    _column("user_id", "VARCHAR", "external id, token subject or customer id, where known"),
    _column("qr_code_id", "VARCHAR", "the QR code of the scan session, where known"),
    _column("page_url", "VARCHAR", "page on which it happened"),
    _column("page_title", "VARCHAR", "title of that page"),
    _column("referrer", "VARCHAR", "page that led to it"),
    _column("device_type", "VARCHAR", "class of device, from the user agent"),
    _column("browser_family", "VARCHAR", "browser, from the user agent"),
    _column("os_family", "VARCHAR", "operating system, from the user agent"),
    _column("user_agent", "VARCHAR", "user agent, as sent"),
    _column("language", "VARCHAR", "first language preferred"),
    _column("screen_width", "INTEGER", "pixels"),
    _column("screen_height", "INTEGER", "pixels"),
    _column("country_code", "VARCHAR", "ISO 3166-1 alpha-2, from the address"),
    _column("city", "VARCHAR", "from the address"),
    _column("ip_hash", "VARCHAR", "SHA-256 of the day's salt and the address, hex, or `unknown`"),
    _column("conversion_value", "DOUBLE", "amount"),
    _column("conversion_currency", "VARCHAR", "ISO 4217"),
    _column("email_hash", "VARCHAR", "SHA-256 made by the sender, 64 lower-case hex digits"),
    _column("phone_hash", "VARCHAR", "SHA-256 made by the sender, 64 lower-case hex digits"),
    _column("external_id", "VARCHAR", "the sender's own id of the user"),
    _column("consent", "VARCHAR", "as sent"),
    _column("metadata", "JSON", "metadata, properties, props or payload, minus what privacy took"),
    _column("context", "JSON", "the rest worth keeping: tab, time zone, library, client's times"),
    _column("idempotency_key", "VARCHAR", "as sent (Zenovay)"),
    _column("dedup_key", "VARCHAR", "what makes two events the same: 32 hex digits, NULL if none"),
    _column("key_id", "VARCHAR", "name of the API key that sent it"),
    _column("flags", "VARCHAR[]", "our remarks: `late`, `future`, `clock_corrected`, `gpc`, ..."),
    _column("is_duplicate", "UTINYINT", "1: a repeat of an event stored before"),
    _column("is_fraud", "UTINYINT", "1: a configured rule marked it"),
)

_encoder: Final = msgspec.json.Encoder()


def encode(rows: Sequence[Row]) -> bytes:
    """Encode `rows` as lines, each ended by a line feed; the only place where rows become bytes."""
    return _encoder.encode_lines(rows)
