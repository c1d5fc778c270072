"""How joined parts are laid out; docs/decisions/0011 has the measurements behind it."""

from typing import Final

ROW_GROUP_ROWS: Final = 122_880
PART_BYTES_MAX: Final = 256 * 1024 * 1024
SORT_COLUMNS: Final = ("site_id", "event_time")
COPY_OPTIONS: Final = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
