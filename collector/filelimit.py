"""How many files this process may have open, and what of that is left for connections.

A server that runs out of files cannot take a connection and cannot open a log file either: it
would try to accept in a circle, and fail to write what it acknowledged. So there are never more
connections than files for them.
"""

import resource
from typing import Final

# Log, parts, keys, quarantine, libraries, the server's own; joining opens parts by the hundred.
_OWN_FILES: Final = 512
_SMALLEST_SHARE: Final = 4


def raise_to_most() -> int:
    """Let this process, and those it starts, open as many files as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return _UNLIMITED if hard == resource.RLIM_INFINITY else hard


def connections(files: int, wanted: int) -> int:
    """How many connections there may be with so many `files`: at most `wanted`, at least one."""
    # Where there are few, most are still for connections: with none of them nobody is served.
    own = min(_OWN_FILES, files // _SMALLEST_SHARE)
    return max(1, min(wanted, files - own))


_UNLIMITED: Final = 1 << 30
