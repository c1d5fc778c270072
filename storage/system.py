"""The system calls that change the disk, force it or read it: one method each, and nothing more.

`files` composes them; nothing else in the project calls the system for this. A test puts a disk of
its own in their place, so no step of what is composed is left out. Errors are OSError.
"""

import ctypes
import errno
import fcntl
import os
import platform
from pathlib import Path
from typing import Final

_MODE: Final = 0o640
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
# For C libraries that do not know `renameat2` (musl); numbers of the system call.
_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276}


class System:
    """The system of this machine. Names are those of the calls."""

    def open(self, path: Path, flags: int) -> int:
        """A descriptor of `path`, which is made where `flags` (`os.O_...`) say so."""
        return os.open(path, flags | os.O_CLOEXEC, _MODE)

    def stat(self, path: Path) -> os.stat_result:
        """What the system knows of the file."""
        return os.stat(path)  # noqa: PTH116 (the call itself)

    def fchmod(self, descriptor: int, mode: int) -> None:
        """Give the file other permissions."""
        os.fchmod(descriptor, mode)

    def fchown(self, descriptor: int, user: int, group: int) -> None:
        """Give the file to somebody else; PermissionError where that is not allowed."""
        os.fchown(descriptor, user, group)

    def close(self, descriptor: int) -> None:
        """Close the descriptor; promises nothing about the disk."""
        os.close(descriptor)

    def flock(self, descriptor: int) -> None:
        """Lock the file for this process alone; BlockingIOError when another one has it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def fstat_size(self, descriptor: int) -> int:
        """How many bytes the file has."""
        return os.fstat(descriptor).st_size

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Hand `data` to the system at `offset`; how many bytes it took, maybe not all."""
        return os.pwrite(descriptor, data, offset)

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes, or lengthen it by zeros."""
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        """Force the bytes of a file, and its size, to disk."""
        os.fdatasync(descriptor)

    def fsync(self, descriptor: int) -> None:
        """Force a file, or the names in a folder, to disk."""
        os.fsync(descriptor)

    def preadv(self, descriptor: int, buffer: memoryview, offset: int, flags: int = 0) -> int:
        """Fill `buffer` with what lies at `offset`; how many bytes there were, maybe not all."""
        return os.preadv(descriptor, [buffer], offset, flags)

    def read_bytes(self, path: Path) -> bytes:
        """All bytes of `path`."""
        return path.read_bytes()

    def rename(self, path: Path, other: Path) -> None:
        """Give `path` the name `other`, in one step, in the place of what has that name."""
        path.rename(other)

    def rename_exchange(self, path: Path, other: Path) -> None:
        """Swap two names in one step; ENOSYS where there is no such call."""
        _exchange(os.fsencode(path), os.fsencode(other))

    def link(self, path: Path, other: Path) -> None:
        """Give a file a second name."""
        os.link(path, other)

    def utime(self, path: Path, time_ns: int) -> None:
        """Set when a file was read and changed last, in nanoseconds since the epoch."""
        os.utime(path, ns=(time_ns, time_ns))

    def unlink(self, path: Path) -> None:
        """Take a name from a file; FileNotFoundError when there is none."""
        path.unlink()

    def mkdir(self, path: Path, mode: int) -> None:
        """Make a folder; FileExistsError when there is something."""
        path.mkdir(mode=mode)

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def free_bytes(self, folder: Path) -> int:
        """Bytes that an unprivileged user may still write below `folder` (`statvfs`)."""
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize


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
