"""What can go wrong in storage; every error says where, what, and what to do next."""

from pathlib import Path
from typing import Final

import msgspec

# All that decoding JSON raises, whatever the bytes are. One of them forgotten was a bug many times.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class StorageError(Exception):
    """Any failure of the storage engine."""


class Locked(StorageError):
    """Another process holds the data directory."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.parent} is in use by another collector (it holds {path}); "
            "stop that one first, or give this one a storage.directory of its own"
        )
        self.path = path


class Corruption(StorageError):
    """Bytes on disk are not what was written; nothing was changed."""

    def __init__(self, path: Path, offset: int, reason: str, hint: str) -> None:
        super().__init__(f"{path}: damaged at byte {offset}: {reason}. {hint}")
        self.path = path
        self.offset = offset
        self.reason = reason
        self.hint = hint


class Unavailable(StorageError):
    """Rows cannot be taken now and were not written; the same call may succeed later."""


class QueueFull(Unavailable):
    """More bytes wait to be written than `queue_bytes_max` allows."""


class DiskFull(Unavailable):
    """The log could not be written: no space, quota, or an I/O error; it was rolled back."""


class Closed(Unavailable):
    """The store is stopping."""


class SyncFailed(StorageError):
    """A sync failed: what the disk holds is unknown, and only a restart with recovery can tell.

    On Linux the pages of a failed sync may be dropped and the next sync may report success, so
    that going on would acknowledge rows that are not there.
    """


class FlushFailed(StorageError):
    """A segment could not become a part; the segment stays and is tried again."""


class CompactionFailed(StorageError):
    """Parts could not be written anew; they are as they were."""


class Interrupted(StorageError):
    """Work on parts was given up half-way; they are as they were."""

    def __init__(self) -> None:
        super().__init__("given up, because the collector is stopping")
