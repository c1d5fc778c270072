"""A self-hosted event collector: three public wire protocols in, durable Parquet out."""
