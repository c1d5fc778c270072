"""What the engine must be told. Every default is that of the collector's own setting."""

from pathlib import Path
from typing import Literal

import msgspec

from storage.retention import Retention
from storage.summaries import BYTES_MIN


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine must know; see docs/CONFIG.md, section storage."""

    directory: Path
    durability: Literal["sync", "os"] = "sync"
    publish_interval_ms: int = 5_000
    segment_bytes_max: int = 67_108_864
    queue_bytes_max: int = 67_108_864
    disk_free_bytes_min: int = 0
    keys_max: int = 1_000_000_000
    join_parts_min: int = 100
    # Smaller parts have no summary: see `summaries`.
    summary_bytes_min: int = BYTES_MIN
    retention: Retention = Retention()
    # Whether joining and retention are done by themselves, and not only when asked for.
    tends_parts: bool = True
