"""The promises of the collector, as tests."""
