"""A file that somebody else keeps up to date: read at start, read again when it has changed.

Works for a file that is replaced by a rename, and for one that is written in place: it is read only
when it held still between two looks, and what was read counts only if it held still meanwhile. A
new file that is of no use changes nothing: what was read before stays in force, and the log says so
once. One that the system does not let us read is tried again, for it need not change until it can
be. Must not know what is in the file; is looked at from one thread at a time.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Inode, size, and when its bytes and when its permissions changed, in nanoseconds.
_Mark = tuple[int, int, int, int]
# After so many looks what failed for another reason than the file itself is tried again.
_RETRY_LOOKS: Final = 10

_log: Final = logging.getLogger("collector")


class Unusable(Exception):
    """The file is not what it should be; the message says why, without its name."""


class Watched(Generic[T]):
    """What `load` makes of the file at `path`; `load` raises `Unusable` or OSError.

    `value` may be read from any thread at any time: None until a load succeeded, then never again.
    `failures` counts what was told of files of no use; `reason` tells why the file as it is now is
    of no use, "" if it is. `is_quiet`: what was read is told by somebody else. `names_files`: it
    may be of no use because of a file that it names, so it is tried again.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[Path], T],
        what: str,
        *,
        is_quiet: bool = False,
        names_files: bool = False,
    ) -> None:
        self._path = path
        self._load = load
        self._what = what
        self._is_quiet = is_quiet
        self._names_files = names_files
        self._read: _Mark | None = None  # of the file that was read last, whatever came of it
        self._met: _Mark | None = None  # at the last look
        self._is_missing = False
        self._told: tuple[_Mark, str] | None = None  # why which file is of no use
        self._retry_in = 0  # looks
        self.value: T | None = None
        self.failures = 0
        self.reason = ""

    def start(self) -> None:
        """Read the file now, without waiting for it to hold still."""
        self._met = self._mark()
        self._read_if_new()

    def read_again(self) -> None:
        """Read the file now, changed or not, without waiting for it to hold still."""
        self._read = None
        self._is_missing = False
        self._told = None
        self.start()

    def look(self) -> None:
        """Read the file again if it changed and holds still now; once a second is enough."""
        before, self._met = self._met, self._mark()
        if self._met != before:
            return
        if self._retry_in:
            self._retry_in -= 1
            if not self._retry_in:
                self._read = None
        self._read_if_new()

    def _mark(self) -> _Mark | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 a path object would be made each time
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read_if_new(self) -> None:
        mark = self._met
        if mark is None:
            self._read = None  # who comes back is looked at, whoever it is
            if not self._is_missing:
                self._is_missing = True
                self._fail("it is gone or cannot be reached")
            return
        self._is_missing = False
        if mark == self._read:
            return
        self._retry_in = 0
        try:
            value = self._load(self._path)
        except (Unusable, OSError) as error:
            if self._mark() == mark:
                self._read = mark
                if self._names_files or isinstance(error, OSError):
                    self._retry_in = _RETRY_LOOKS
                reason = error.strerror if isinstance(error, OSError) else None
                self._refuse(mark, reason or str(error))
            return
        if self._mark() == mark:
            self._read, self.value, self.reason = mark, value, ""
            self._told = None
            if not self._is_quiet:
                _log.info("%s: %s was read", self._path, self._what)

    def _refuse(self, mark: _Mark, reason: str) -> None:
        if self._told != (mark, reason):
            self._fail(reason)
            self._told = mark, reason

    def _fail(self, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        self._told = None
        kept = (
            "what was read before stays in force"
            if self.value is not None
            else "it is done without"
        )
        _log.warning("%s: %s cannot be used: %s; %s", self._path, self._what, reason, kept)
