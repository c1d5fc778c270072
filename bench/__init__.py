"""Measures the collector: load generator, measurements, history. See bench/README.md."""
