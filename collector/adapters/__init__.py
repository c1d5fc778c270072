"""The adapters, one module per wire protocol, and the one table of their endpoints."""
