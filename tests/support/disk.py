"""A disk that fails on demand and forgets what was not synced, on top of a real folder.

Fault model. At a crash (loss of power):

- Bytes written since a file's last sync survive as any prefix, possibly followed by one torn
  block of zeros; synced bytes always survive.
- A name created, renamed or removed since its folder's last sync may or may not have happened,
  each by itself.
- A `replace`, `publish`, `exchange` or `move_folder` that returned has happened.
- Before an `exchange` or `move_folder` returns, it has happened or not.

An operation told to fail does so before it changes anything, except a write, which may have written
part of its bytes, and a sync, after which the unsynced bytes are as after a crash.
"""

import errno
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

from storage.files import Files

_BLOCK = 512


class SimulatedCrash(BaseException):
    """The process is gone; nothing below catches it."""


class FaultyFiles(Files):
    """Counts operations; `fail(n)` may raise in the n-th one, `crash` drops what was not synced."""

    def __init__(self, seed: int = 0) -> None:
        self.operations = 0
        self.fail: Callable[[int, str], OSError | BaseException | None] = lambda _n, _name: None
        self.free: int | None = None
        # Whether this kind of disk can exchange folders.
        self.exchanges = True
        self._random = random.Random(seed)
        self._paths: dict[int, Path] = {}
        self._synced: dict[Path, int] = {}
        self._created: set[Path] = set()
        self._removed: dict[Path, bytes] = {}

    def _operate(self, name: str) -> None:
        if threading.current_thread() is threading.main_thread():
            # What the flusher's thread does is not counted: it comes at times of its own.
            self.operations += 1
        error = self.fail(self.operations, name)
        if error is not None:
            raise error

    def create(self, path: Path) -> int:
        """See Files."""
        self._operate("create")
        descriptor = super().create(path)
        self._paths[descriptor] = path
        self._synced[path] = 0
        self._created.add(path)
        self._removed.pop(path, None)
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """See Files; a failing write leaves a part of its bytes."""
        try:
            self._operate("write")
        except OSError:
            super().write(descriptor, data[: self._random.randrange(len(data))], offset)
            raise
        super().write(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        """See Files; a failing sync loses what it should have kept."""
        path = self._paths[descriptor]
        try:
            self._operate("sync")
        except OSError:
            self._tear(path)
            raise
        self._synced[path] = os.fstat(descriptor).st_size

    def truncate(self, descriptor: int, size: int) -> None:
        """See Files."""
        self._operate("truncate")
        super().truncate(descriptor, size)
        path = self._paths[descriptor]
        self._synced[path] = min(self._synced[path], size)

    def close(self, descriptor: int) -> None:
        """See Files."""
        self._paths.pop(descriptor, None)
        super().close(descriptor)

    def sync_folder(self, path: Path) -> None:
        """See Files."""
        self._operate("sync_folder")
        self._created = {one for one in self._created if one.parent != path}
        self._removed = {p: data for p, data in self._removed.items() if p.parent != path}

    def publish(self, temporary: Path, final: Path) -> None:
        """See Files; it may fail before or after the rename."""
        self._operate("publish")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(final)
        self._created.add(final)
        self._operate("publish_sync")
        self._created.discard(final)

    def force(self, path: Path) -> None:  # noqa: ARG002 (the real one opens it)
        """See Files. What DuckDB wrote is not followed: it is whole."""
        self._operate("force")

    def link(self, path: Path, other: Path) -> None:
        """See Files."""
        self._operate("link")
        super().link(path, other)
        self._created.add(other)

    def exchange(self, path: Path, other: Path) -> None:
        """See Files; it may fail before or after it was done."""
        self._operate("exchange")
        if not self.exchanges:
            raise OSError(errno.EINVAL, "Invalid argument")
        super().exchange(path, other)
        self._operate("exchange_sync")

    def move_folder(self, path: Path, other: Path) -> None:
        """See Files; it may fail before or after it was done."""
        self._operate("move_folder")
        super().move_folder(path, other)
        self._operate("move_folder_sync")

    def replace(self, path: Path, data: bytes) -> None:
        """See Files."""
        self._operate("replace")
        path.write_bytes(data)

    def write_again(self, path: Path, data: bytes, offset: int) -> None:
        """See Files."""
        self._operate("write_again")
        assert path.read_bytes()[offset : offset + len(data)] == data, "the same bytes"
        super().write_again(path, data, offset)
        self._synced[path] = path.stat().st_size

    def cut(self, path: Path, size: int, keep_in: Path) -> None:
        """See Files."""
        self._operate("cut")
        data = path.read_bytes()
        keep_in.write_bytes(data[size:])
        path.write_bytes(data[:size])

    def remove(self, path: Path) -> None:
        """See Files."""
        self._operate("remove")
        if path.exists():
            self._removed[path] = path.read_bytes()
            path.unlink()

    def probe(self, folder: Path) -> None:  # noqa: ARG002 (the real one writes there)
        """See Files."""
        self._operate("probe")

    def free_bytes(self, folder: Path) -> int:
        """See Files; `free` overrides it."""
        return super().free_bytes(folder) if self.free is None else self.free

    def close_all(self) -> None:
        """The process ends: its descriptors are closed, what it wrote stays where it is."""
        for descriptor in list(self._paths):
            self.close(descriptor)

    def crash(self) -> None:
        """Lose power: decide what became of everything that was not synced."""
        self.close_all()
        for path in list(self._synced):
            if path.exists():
                self._tear(path)
        for path in sorted(self._created):
            if path.exists() and self._random.random() < 0.5:
                path.unlink()
        for path, data in self._removed.items():
            if not path.exists() and self._random.random() < 0.5:
                path.write_bytes(data)
        self._synced = {}
        self._created, self._removed = set(), {}

    def _tear(self, path: Path) -> None:
        synced, size = self._synced[path], path.stat().st_size
        if size <= synced:
            return
        kept = self._random.randint(synced, size)
        with path.open("r+b") as file:
            file.truncate(kept)
            if kept < size and self._random.random() < 0.3:
                file.truncate(min(size, kept + _BLOCK))


def no_space() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")


def io_error() -> OSError:
    """What a failing disk says."""
    return OSError(errno.EIO, "Input/output error")
