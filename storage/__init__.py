"""The storage engine: lines in, Parquet and queries out. Knows nothing of HTTP or protocols."""

from storage.schema import COLUMNS, Column, Row, encode

__all__ = ["COLUMNS", "Column", "Row", "encode"]
