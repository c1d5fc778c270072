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
# DuckDB is one shared library, in this module.
_DUCKDB: Final = "_duckdb"
_DECAY_MS: Final = b"arenas.dirty_decay_ms"
# The number that stands for every arena.
_PURGE: Final = b"arena.4096.purge"


def give_back() -> None:
    """Return what is free to the system: some milliseconds, without the interpreter's lock."""
    if _TRIM is not None:
        _TRIM(0)
    _control(_PURGE)


def keep_little() -> None:
    """Have DuckDB return each page as soon as nobody needs it, from now on, in this process.

    Its pages are then asked for anew: converting takes about a twentieth more processor time.
    Where DuckDB has no allocator of its own nothing changes.
    """
    at_once = ctypes.c_ssize_t(0)
    _control(_DECAY_MS, at_once)
    arenas = ctypes.c_uint(0)
    size = ctypes.c_size_t(ctypes.sizeof(arenas))
    _control(b"arenas.narenas", None, ctypes.byref(arenas), ctypes.byref(size))
    for arena in range(arenas.value):
        # One that is not used yet is refused, and begins with what all are told.
        _control(b"arena.%d.dirty_decay_ms" % arena, at_once)


def _control(name: bytes, new: ctypes.c_ssize_t | None = None, *old: object) -> None:
    """Tell or ask DuckDB's allocator; a version of DuckDB that lacks it, or `name`, does nothing.

    `old`: where to put what was asked for, and its size; nowhere by default.
    """
    library = getattr(sys.modules.get(_DUCKDB), "__file__", None)
    if library is None:
        return
    control = getattr(ctypes.CDLL(library), "duckdb_je_mallctl", None)
    if control is None:
        return
    wanted = (None, 0) if new is None else (ctypes.byref(new), ctypes.c_size_t(ctypes.sizeof(new)))
    control(name, *(old or (None, None)), *wanted)
