"""Giving memory back to the system.

DuckDB takes a hundred megabytes for a moment, again and again. Two allocators would keep what is
freed for the next time, so that a process stays as large as all of its peaks together: the C
library, for each thread apart, and DuckDB's own one (jemalloc), which gives back what was long not
used, but only while somebody asks it for more.
"""

import ctypes
import sys
from typing import Final

# Of glibc; other C libraries have no such thing, and do not keep as much.
_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
# The module that is DuckDB's shared library, and the function there that its allocator is told by.
_DUCKDB: Final = "_duckdb"
_CONTROL: Final = "duckdb_je_mallctl"
# 4096 stands for every arena.
_PURGE: Final = b"arena.4096.purge"


def give_back() -> None:
    """Return what is free to the system: some milliseconds, without the interpreter's lock."""
    if _TRIM is not None:
        _TRIM(0)
    library = getattr(sys.modules.get(_DUCKDB), "__file__", None)
    if library is not None:
        # It is loaded already, so this finds it. Built without jemalloc it has no such function.
        control = getattr(ctypes.CDLL(library), _CONTROL, None)
        if control is not None:
            control(_PURGE, None, None, None, ctypes.c_size_t(0))
