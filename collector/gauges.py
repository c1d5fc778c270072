"""The metrics that are looked up when somebody asks for them. docs/METRICS.md lists them."""

from collections.abc import Callable

from collector.bookkeeper import BookKeeper
from collector.quarantine import Quarantine
from storage import Store


def gauges(
    store: Store, quarantine: Quarantine, books: BookKeeper
) -> dict[str, Callable[[], float]]:
    """Present values by name; a name that ends in `_total` only ever grows."""
    return {
        "collector_queue_bytes": lambda: store.queue_bytes,
        "collector_wal_bytes": lambda: store.wal_bytes,
        "collector_unflushed_rows": lambda: store.unflushed_rows,
        "collector_parts": lambda: store.parts,
        "collector_keys": lambda: len(store.keys),
        "collector_keys_forgotten_total": lambda: store.keys.forgotten,
        "collector_key_runs": lambda: store.keys.runs,
        "collector_key_filter_bytes": lambda: store.keys.memory_bytes,
        "collector_key_disk_bytes": lambda: store.keys.disk_bytes,
        "collector_key_rebuilds_total": lambda: store.key_rebuilds,
        "collector_flush_failures_total": lambda: store.flush_failures,
        "collector_joins_total": lambda: store.part_keeper.joins,
        "collector_join_failures_total": lambda: store.part_keeper.failures,
        "collector_rows_expired_total": lambda: store.part_keeper.rows_expired,
        "collector_disk_free_bytes": lambda: store.health.free_bytes,
        "collector_quarantine_bytes": lambda: quarantine.bytes_kept,
        "collector_quarantine_kept_total": lambda: quarantine.kept,
        "collector_quarantine_withheld_total": lambda: quarantine.withheld,
        "collector_quarantine_full_total": lambda: quarantine.full,
        "collector_quarantine_failures_total": lambda: quarantine.failures,
        "collector_audit_failures_total": lambda: books.failures,
    }
