"""The only door to the disk: write, sync, publish, replace, remove, lock.

Nothing else in the project opens a file for writing, forces bytes to disk, renames or deletes
(DuckDB writes only to temporary names handed out here). Tests put a faulty disk in its place, so
each method is one operation that can fail, and says what its success promises. Errors are OSError
unless said otherwise.
"""

import ctypes
import errno
import fcntl
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from storage import layout
from storage.errors import Locked

_MODE = 0o640
_FOLDER_MODE = 0o777  # less what the umask of the process takes away
_PRIVATE_MODE = 0o750
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
# For C libraries that do not know `renameat2` (musl); numbers of the system call.
_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276}
# How a system says that it cannot swap two names, or link here: do it in another way.
CANNOT: Final = frozenset(
    {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM, errno.EMLINK}
)
_COPY_BYTES = 1024 * 1024
_SCRATCH: Final = "collector-"
_SCRATCH_NAME: Final = re.compile(rf"{_SCRATCH}([1-9]\d*)-.*")
# Private folders of this process that are in use: what a signal handler has to remove.
_in_use: Final[set[Path]] = set()


class Files:
    """The real disk."""

    def make_folder(self, path: Path) -> None:
        """Make `path` and what is missing above it, if it is not there yet; lasting on success.

        One of `layout.PRIVATE` is closed to everybody but its user and group.
        """
        if path.is_dir():
            return
        self.make_folder(path.parent)
        mode = _PRIVATE_MODE if path.name in layout.PRIVATE else _FOLDER_MODE
        path.mkdir(mode=mode, exist_ok=True)
        self.sync_folder(path.parent)

    def lock(self, path: Path) -> int:
        """Take the exclusive lock at `path` for as long as the returned descriptor is open.

        Raises `Locked` when another process has it. The lock ends with the process, however it
        ends.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise Locked(path) from None
            raise
        return descriptor

    def create(self, path: Path) -> int:
        """Create `path`, which must not exist, for writing; lasting once its folder is synced."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> None:
        """Hand all of `data` to the system at `offset`; it may not be on disk yet."""
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view = view[written:]
            offset += written

    def sync(self, descriptor: int) -> None:
        """Force what was written to disk; on success it survives a loss of power.

        After a failure nobody knows what is on disk: the caller must not go on.
        """
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes; lasting after the next sync."""
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        """Close the descriptor; promises nothing about the disk."""
        os.close(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Force the names in `path` to disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def force(self, path: Path) -> None:
        """Force what `path` holds to disk; on success it survives a loss of power."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def publish(self, temporary: Path, final: Path) -> None:
        """Give a finished file its name: force it to disk, rename, force the folder.

        On success `final` is whole and lasting; before, it does not exist.
        """
        Files.force(self, temporary)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(final)
        self.sync_folder(final.parent)
        # Its folder may be new, or have been made by a try that failed before it was lasting.
        self.sync_folder(final.parent.parent)

    def link(self, path: Path, other: Path) -> None:
        """Give a file a second name; lasting once its folder is synced."""
        os.link(path, other)

    def exchange(self, path: Path, other: Path) -> None:
        """Swap two folders in one step; lasting on success.

        Raises OSError with an `errno` in `CANNOT`, and nothing done, where the kernel or the file
        system does not know how.
        """
        _exchange(os.fsencode(path), os.fsencode(other))
        self.sync_folder(path.parent)
        self.sync_folder(other.parent)

    def move_folder(self, path: Path, other: Path) -> None:
        """Give a folder another name, which must be free; lasting on success."""
        path.rename(other)
        self.sync_folder(other.parent)
        self.sync_folder(path.parent)

    def replace(self, path: Path, data: bytes) -> None:
        """Make `data` the content of `path`: readers and a crash see the old or the new, whole."""
        temporary = path.with_name(path.name + ".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        try:
            self.write(descriptor, data, 0)
            os.fsync(descriptor)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            os.close(descriptor)
        temporary.replace(path)
        self.sync_folder(path.parent)

    def cut(self, path: Path, size: int, keep_in: Path) -> None:
        """Cut `path` to `size` bytes after copying what lies behind to `keep_in`; lasting."""
        with path.open("rb") as source:
            source.seek(size)
            self.replace(keep_in, source.read())
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_again(self, path: Path, data: bytes, offset: int) -> None:
        """Write bytes that `path` has already over themselves, and force them to disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            Files.write(self, descriptor, data, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove `path` if it is there; not forced to disk: a crash may bring it back."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove `path` and what is in it, if it is there; a crash may bring it back."""
        if path.is_dir():
            shutil.rmtree(path)

    def read(self, path: Path) -> bytes:
        """All bytes of `path`."""
        return path.read_bytes()

    def open_for_reading(self, path: Path) -> int:
        """A descriptor to read `path` with, whatever becomes of its name; for `close`."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def size(self, descriptor: int) -> int:
        """How many bytes the file has."""
        return os.fstat(descriptor).st_size

    def read_into(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with what lies at `offset`; returns how many bytes there were."""
        filled = 0
        while filled < len(buffer):
            count = os.preadv(descriptor, [buffer[filled:]], offset + filled)
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
            count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return self.read_at(descriptor, size, offset)
        return bytes(buffer) if count == size else None

    def copy(self, source: Path, target: Path) -> None:
        """Copy the bytes of `source` to `target`, which must not be there; not forced to disk."""
        with source.open("rb") as read, target.open("xb") as written:
            shutil.copyfileobj(read, written, _COPY_BYTES)

    def probe(self, folder: Path) -> None:
        """Find out whether `folder` takes new bytes: write and sync a small file, remove it."""
        path = folder / "probe"
        try:
            self.replace(path, bytes(4096))
        finally:
            path.with_name("probe.tmp").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def free_bytes(self, folder: Path) -> int:
        """Bytes that an unprivileged user may still write below `folder`."""
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private folder in the system's temporary folder, removed at the end.

        After kill -9 it stays, until `clear_scratch` of the next use.
        """
        self.clear_scratch()
        path = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
        with _in_use_until_removed(path):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # Process ids are not enough: a container that shares the folder has its own.
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield path
            finally:
                os.close(lock)

    def clear_scratch(self) -> None:
        """Remove what processes that are gone left of `scratch`; they may hold what people sent.

        Only folders of the same user are touched, and none of a living process. What cannot be
        removed stays.
        """
        with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
            for entry in entries:
                found = _SCRATCH_NAME.fullmatch(entry.name)
                if found and not _is_running(int(found[1])):
                    _remove_if_left(Path(entry.path))

    @staticmethod
    def remove_private() -> None:
        """Remove the folders of `scratch` and `beside` that are in use: the process is to end."""
        for path in list(_in_use):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def beside(self, path: Path) -> Iterator[Path]:
        """A private folder on the file system of `path`, for what will have that name; removed.

        After a kill it stays, with a name that starts with a dot and ends in `.partial`.
        """
        try:
            name = tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        folder = Path(name)
        with _in_use_until_removed(folder):
            yield folder

    def hand_over(self, temporary: Path, final: Path) -> None:
        """Give what somebody asked for its name: a finished file, or a folder of such.

        An older file, or an empty folder, of that name is replaced. On success it is whole and
        lasting; before, nothing of it is there.
        """
        whole = [*temporary.iterdir(), temporary] if temporary.is_dir() else [temporary]
        for path in whole:
            Files.force(self, path)
        temporary.replace(final)
        self.sync_folder(final.parent)


@contextmanager
def _in_use_until_removed(path: Path) -> Iterator[None]:
    _in_use.add(path)
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        _in_use.discard(path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # somebody else's, or nobody can tell
    return True


def _remove_if_left(path: Path) -> None:
    """Remove a folder of ours that nobody has locked; whatever else it is stays."""
    try:
        # Of a link nothing is opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # locked: in use
    finally:
        os.close(descriptor)


def _exchange(path: bytes, other: bytes) -> None:
    """`renameat2` with RENAME_EXCHANGE; OSError with ENOSYS where there is no such call."""
    library = ctypes.CDLL(None, use_errno=True)
    swap = getattr(library, "renameat2", None)
    arguments = (_AT_FDCWD, path, _AT_FDCWD, other, _RENAME_EXCHANGE)
    if swap is not None:
        result = swap(*arguments)
    elif platform.system() == "Linux" and platform.machine() in _RENAMEAT2:
        result = library.syscall(_RENAMEAT2[platform.machine()], *arguments)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
