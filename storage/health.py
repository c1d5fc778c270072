"""Whether the disk takes rows: enough room, and after a failed write, a probe that works.

States: taking, short of room, write failed, sync failed. The first three change into one another as
the disk does; the last one never ends within a process.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from storage.errors import DiskFull, StorageError, SyncFailed
from storage.files import Files

_log: Final = logging.getLogger("collector.storage")
_PROBE_INTERVAL_S: Final = 1.0


class DiskHealth:
    """The state of one data directory's disk."""

    def __init__(
        self,
        directory: Path,
        scratch: Path,
        files: Files,
        *,
        free_bytes_min: int,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._scratch = scratch
        self._files = files
        self._free_bytes_min = free_bytes_min
        self._monotonic_s = monotonic_s
        self._write_failed = False
        self._probed_s = float("-inf")
        self.free_bytes = 0
        self.refusal: StorageError | None = None

    def write_failed(self, error: StorageError) -> None:
        """Refuse rows because of `error` until `check` finds the disk well; for good if it was a
        sync that failed.
        """
        if isinstance(error, SyncFailed):
            _log.critical("%s; this process ends, the next start decides what is true", error)
        elif not self._write_failed:
            _log.error("the log cannot be written, events are refused: %s", error)
        self._write_failed = True
        self.refusal = error

    @property
    def is_over(self) -> bool:
        """A sync failed: what the log holds is for the next start to judge, nobody may touch it."""
        return isinstance(self.refusal, SyncFailed)

    def check(self) -> None:
        """Look at the disk; cheap enough for every tick."""
        if self.is_over:
            return
        self.free_bytes = self._files.free_bytes(self._directory)
        if self.free_bytes < self._free_bytes_min:
            if self.refusal is None:
                _log.error("%d bytes left, %d wanted", self.free_bytes, self._free_bytes_min)
            self.refusal = DiskFull(f"less than {self._free_bytes_min} bytes of disk are left")
            return
        if self._write_failed and not self._probe():
            return
        if self.refusal is not None:
            _log.warning("the disk takes rows again")
        self._write_failed = False
        self.refusal = None

    def _probe(self) -> bool:
        now_s = self._monotonic_s()
        if now_s - self._probed_s < _PROBE_INTERVAL_S:
            return False
        self._probed_s = now_s
        try:
            self._files.probe(self._scratch)
        except OSError:
            return False
        return True
