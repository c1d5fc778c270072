"""The only door to the disk: write, sync, publish, replace, remove, lock.

Nothing else in the project opens a file for writing, forces bytes to disk, renames or deletes
(DuckDB writes only to temporary names handed out here). Each method says what its success promises,
and is made of the calls of `system` alone: a test puts a faulty disk in their place, and so meets
every step of what is done here. Errors are OSError unless said otherwise.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from storage import layout
from storage.errors import Locked
from storage.scratch import Scratch
from storage.system import System

_FOLDER_MODE: Final = 0o777  # less what the umask of the process takes away
_PRIVATE_MODE: Final = 0o750
# How a system says that it cannot swap two names, or link here: do it in another way.
CANNOT: Final = frozenset(
    {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM, errno.EMLINK}
)
_COPY_BYTES: Final = 1024 * 1024


class Files(System, Scratch):
    """What is done to files, on the disk of `System`."""

    # --- folders

    def make_folder(self, path: Path) -> None:
        """Make `path` and what is missing above it, if it is not there yet; lasting on success.

        One of `layout.PRIVATE` is closed to everybody but its user and group. One that is there
        may have been made by a try that failed before it was lasting: that is up to the caller.
        """
        if path.is_dir():
            return
        self.make_folder(path.parent)
        with suppress(FileExistsError):
            self.mkdir(path, _PRIVATE_MODE if path.name in layout.PRIVATE else _FOLDER_MODE)
        self.sync_folder(path.parent)

    def sync_folder(self, path: Path) -> None:
        """Force the names in `path` to disk."""
        self._fsync(path, os.O_RDONLY | os.O_DIRECTORY)

    def remove_folder(self, path: Path) -> None:
        """Remove `path` and what is in it, if it is there; a crash may bring it back."""
        if path.is_symlink() or not path.is_dir():
            self.remove(path)
            return
        with os.scandir(path) as entries:
            # Of a link its target is not ours.
            found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
        for name, is_folder in found:
            (self.remove_folder if is_folder else self.remove)(path / name)
        self.rmdir(path)

    def exchange(self, path: Path, other: Path) -> None:
        """Swap two folders in one step; lasting on success.

        Raises OSError with an `errno` in `CANNOT`, and nothing done, where the kernel or the file
        system does not know how.
        """
        self.rename_exchange(path, other)
        self.sync_folder(path.parent)
        self.sync_folder(other.parent)

    def move_folder(self, path: Path, other: Path) -> None:
        """Give a folder another name, which must be free; lasting on success."""
        self.rename(path, other)
        self.sync_folder(other.parent)
        self.sync_folder(path.parent)

    # --- one file

    def lock(self, path: Path) -> int:
        """Take the exclusive lock at `path` for as long as the returned descriptor is open.

        Raises `Locked` when another process has it. The lock ends with the process, however it
        ends.
        """
        return self._locked(path, os.O_RDWR | os.O_CREAT)

    def lock_folder(self, path: Path) -> int:
        """The same of a folder, in which nothing is made for it: for those who ask for it."""
        return self._locked(path, os.O_RDONLY | os.O_DIRECTORY)

    def _locked(self, path: Path, flags: int) -> int:
        descriptor = self.open(path, flags)
        try:
            self.flock(descriptor)
        except OSError as error:
            self.close(descriptor)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise Locked(path) from None
            raise
        return descriptor

    def create(self, path: Path) -> int:
        """Create `path`, which must not exist, for writing; lasting once its folder is synced."""
        return self.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """Hand all of `data` to the system at `offset`; it may not be on disk yet."""
        view = memoryview(data)
        while view:
            written = self.pwrite(descriptor, view, offset)
            view = view[written:]
            offset += written

    def sync(self, descriptor: int) -> None:
        """Force what was written to disk; on success it survives a loss of power.

        After a failure nobody knows what is on disk: the caller must not go on.
        """
        self.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes; lasting after the next sync."""
        self.ftruncate(descriptor, size)

    def force(self, path: Path) -> None:
        """Force what `path` holds to disk; on success it survives a loss of power."""
        self._fsync(path, os.O_RDONLY)

    def publish(self, temporary: Path, final: Path) -> None:
        """Give a finished file its name: force it to disk, rename, force the folder.

        On success `final` is whole and lasting; before, it does not exist.
        """
        self.force(temporary)
        if not final.parent.is_dir():
            self.make_folder(final.parent)
        self.rename(temporary, final)
        self.make_name_last(final)

    def make_name_last(self, path: Path) -> None:
        """Force the name of `path` to disk, and that of its folder.

        The folder may be new, or have been made by a try that failed before it was lasting.
        """
        self.sync_folder(path.parent)
        self.sync_folder(path.parent.parent)

    def replace(self, path: Path, data: bytes) -> None:
        """Make `data` the content of `path`: readers and a crash see the old or the new, whole."""
        temporary = path.with_name(path.name + ".tmp")
        descriptor = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self.write(descriptor, data, 0)
            self.fsync(descriptor)
        except OSError as error:
            self.remove(temporary)
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            self.close(descriptor)
        self.rename(temporary, path)
        self.sync_folder(path.parent)

    def rewrite(self, path: Path, data: bytes) -> None:
        """The same for a file of somebody else's, which keeps its owner, group and permissions.

        It has them before a byte is written. A link is followed.
        """
        path = path.resolve()
        known = self.stat(path)
        temporary = path.with_name(path.name + ".tmp")
        self.remove(temporary)
        descriptor = self.create(temporary)
        try:
            try:
                self.fchown(descriptor, known.st_uid, known.st_gid)
                self.fchmod(descriptor, stat.S_IMODE(known.st_mode))
                self.write(descriptor, data, 0)
                self.fsync(descriptor)
            finally:
                self.close(descriptor)
            self.rename(temporary, path)
        except OSError as error:
            with suppress(OSError):
                self.remove(temporary)
            raise OSError(error.errno, error.strerror, str(path)) from error
        self.sync_folder(path.parent)

    def cut(self, path: Path, size: int, keep_in: Path) -> None:
        """Cut `path` to `size` bytes after copying what lies behind to `keep_in`; lasting."""
        descriptor = self.open(path, os.O_RDWR)
        try:
            self.replace(keep_in, self.read_at(descriptor, self.size(descriptor) - size, size))
            self.ftruncate(descriptor, size)
            self.fsync(descriptor)
        finally:
            self.close(descriptor)

    def write_again(self, path: Path, data: bytes, offset: int) -> None:
        """Write bytes that `path` has already over themselves, and force them to disk."""
        descriptor = self.open(path, os.O_WRONLY)
        try:
            self.write(descriptor, data, offset)
            self.fsync(descriptor)
        finally:
            self.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove `path` if it is there; not forced to disk: a crash may bring it back."""
        with suppress(FileNotFoundError):
            self.unlink(path)

    def copy(self, source: Path, target: Path) -> None:
        """Copy the bytes of `source` to `target`, which must not be there; not forced to disk."""
        read, written = self.open_for_reading(source), -1
        try:
            written = self.create(target)
            offset = 0
            while data := self.read_at(read, _COPY_BYTES, offset):
                self.write(written, data, offset)
                offset += len(data)
        finally:
            self.close(read)
            if written >= 0:
                self.close(written)

    def keep_time(self, source: Path, target: Path) -> None:
        """Give a copy the time of its source, by which the next copy knows it again."""
        self.utime(target, source.stat().st_mtime_ns)

    def hand_over(self, temporary: Path, final: Path) -> None:
        """Give what somebody asked for its name: a finished file, or a folder of such.

        An older file, or an empty folder, of that name is replaced. On success it is whole and
        lasting; before, nothing of it is there.
        """
        whole = [*temporary.iterdir(), temporary] if temporary.is_dir() else [temporary]
        for path in whole:
            self.force(path)
        self.rename(temporary, final)
        self.sync_folder(final.parent)

    def _fsync(self, path: Path, flags: int) -> None:
        descriptor = self.open(path, flags)
        try:
            self.fsync(descriptor)
        finally:
            self.close(descriptor)

    # --- reading

    def read(self, path: Path) -> bytes:
        """All bytes of `path`."""
        return self.read_bytes(path)

    def open_for_reading(self, path: Path) -> int:
        """A descriptor to read `path` with, whatever becomes of its name; for `close`."""
        return self.open(path, os.O_RDONLY)

    def size(self, descriptor: int) -> int:
        """How many bytes the file has."""
        return self.fstat_size(descriptor)

    def read_into(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with what lies at `offset`; returns how many bytes there were."""
        filled = 0
        while filled < len(buffer):
            count = self.preadv(descriptor, buffer[filled:], offset + filled)
            if not count:
                break
            filled += count
        return filled

    def read_at(self, descriptor: int, size: int, offset: int) -> bytes:
        """`size` bytes at `offset`, fewer at the end of the file; may wait for the disk."""
        buffer = bytearray(size)
        return bytes(buffer[: self.read_into(descriptor, memoryview(buffer), offset)])

    def read_cached(self, descriptor: int, size: int, offset: int) -> bytes | None:
        """`size` bytes at `offset` if the system has them in memory, else None.

        Where the system cannot tell (a kernel or file system without `RWF_NOWAIT`) it waits.
        """
        buffer = bytearray(size)
        try:
            count = self.preadv(descriptor, memoryview(buffer), offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return self.read_at(descriptor, size, offset)
        return bytes(buffer) if count == size else None

    # --- the disk as a whole

    def probe(self, folder: Path) -> None:
        """Find out whether `folder` takes new bytes: write and sync a small file, remove it."""
        path = folder / "probe"
        try:
            self.replace(path, bytes(4096))
        finally:
            self.remove(path.with_name("probe.tmp"))
            self.remove(path)
