"""What the browser tests read back: the rows of a collector's Parquet files, by plain DuckDB."""

import json
from collections import Counter
from typing import Any

from tests.browser.browsing import Tab
from tests.support.process import CollectorProcess

_ROWS = """
    SELECT *,
        epoch_us(event_time) AS event_us,
        CAST(context->>'original_time' AS BIGINT) AS tracked_ms
    FROM events ORDER BY event_time, received_time
"""


def published(collector: CollectorProcess) -> list[dict[str, Any]]:
    """All rows in the glob, in order of their time; `metadata` and `context` decoded.

    `tracked_ms`: the time at which the SDK says it tracked the event, None in other protocols.
    """
    rows = collector.published(_ROWS)
    for row in rows:
        for name in ("metadata", "context"):
            row[name] = None if row[name] is None else json.loads(row[name])
    return rows


def wait_for_rows(collector: CollectorProcess, tab: Tab, count: int) -> list[dict[str, Any]]:
    """Return the rows as soon as there are `count`, while the collector runs and the page lives."""
    rows: list[dict[str, Any]] = []

    def have_come() -> bool:
        rows[:] = published(collector)
        return len(rows) >= count

    tab.wait_until(have_come, timeout_s=30, what=f"{count} rows are in the files")
    return rows


def events_of(rows: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """How often each event is among `rows`; an event is told by its type and its time (ms)."""
    return Counter((row["event_type"], row["tracked_ms"]) for row in rows)


def events_tracked(tab: Tab) -> Counter[tuple[str, int]]:
    """The same of what the SDK tracked in `tab`."""
    return Counter((event["type"], event["time"]) for event in tab.tracked())


def of_type(rows: list[dict[str, Any]], event_type: str) -> dict[str, Any]:
    """The one row of that type."""
    found = [row for row in rows if row["event_type"] == event_type]
    assert len(found) == 1, f"{len(found)} rows of {event_type}"
    return found[0]
