"""How the rows of parts are laid out: order, row groups, compression, size.

Chosen by measurement, see docs/decisions/0011-layout-of-joined-parts.md; `bench/layouts.py` prints
the figures. Values only. Readers depend on none of this: they are faster with it.
"""

from typing import Final

# A part is joined further until it has so many bytes.
PART_BYTES_MAX: Final = 256 * 1024 * 1024
# DuckDB rounds up to whole vectors of 2,048 rows.
ROW_GROUP_ROWS: Final = 20 * 2048
SORT_COLUMNS: Final = ("site_id", "event_type", "event_time")
COMPRESSION: Final = "zstd"
COMPRESSION_LEVEL: Final = 3
ORDER_BY: Final = ", ".join(SORT_COLUMNS)
COPY_OPTIONS: Final = (
    f"FORMAT parquet, COMPRESSION {COMPRESSION}, COMPRESSION_LEVEL {COMPRESSION_LEVEL}, "
    f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
)

# Fresh parts have the order of arrival, and are written anew when they are joined: what counts is
# how fast, in how little memory. Level 1 takes a tenth less; without order, level 3 does not make
# them smaller. Rows of a group are held until it is full, at more than a kilobyte each.
_FRESH_COMPRESSION_LEVEL: Final = 1
_FRESH_ROW_GROUP_ROWS: Final = 10 * 2048
FRESH_COPY_OPTIONS: Final = (
    f"FORMAT parquet, COMPRESSION {COMPRESSION}, COMPRESSION_LEVEL {_FRESH_COMPRESSION_LEVEL}, "
    f"ROW_GROUP_SIZE {_FRESH_ROW_GROUP_ROWS}"
)

# What is sorted on its way to a joined part is read again soon, a little of it at a time.
_RUN_ROW_GROUP_ROWS: Final = 8 * 2048
RUN_COPY_OPTIONS: Final = (
    f"FORMAT parquet, COMPRESSION uncompressed, ROW_GROUP_SIZE {_RUN_ROW_GROUP_ROWS}"
)
