"""Giving memory back to the system.

DuckDB takes hundreds of megabytes for a moment, on several threads. The C library keeps what is
freed for the next time, each thread's apart, so that a process stays as large as all of its peaks
together.
"""

import ctypes
from typing import Final

# Of glibc; other C libraries have no such thing, and do not keep as much.
_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Return what is free to the system: some milliseconds, without the interpreter's lock."""
    if _TRIM is not None:
        _TRIM(0)
