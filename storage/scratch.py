"""Private folders outside the data directory: copies that go with the process that made them.

In the system's temporary folder, or beside a file that a command was asked to write. Nothing in
them is worth a sync, and nothing is forced to disk here.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_SCRATCH: Final = "collector-"
_SCRATCH_NAME: Final = re.compile(rf"{_SCRATCH}([1-9]\d*)-.*")
# Private folders of this process that are in use: what a signal handler has to remove.
_in_use: Final[set[Path]] = set()


class Scratch:
    """Makes them, and removes them."""

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private folder in the system's temporary folder, removed at the end.

        After kill -9 it stays, until `clear_scratch` of the next use.
        """
        self.clear_scratch()
        path = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
        with _in_use_until_removed(path):
            yield path

    def clear_scratch(self) -> None:
        """Remove what processes that are gone left of `scratch`; they may hold what people sent.

        Only folders of the same user are touched, and none of a living process. What cannot be
        removed stays.
        """
        _clear(Path(tempfile.gettempdir()), _SCRATCH_NAME)

    @staticmethod
    def remove_private() -> None:
        """Remove the folders of `scratch` and `beside` that are in use: the process is to end."""
        for path in list(_in_use):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def beside(self, path: Path) -> Iterator[Path]:
        """A private folder on the file system of `path`, for what will have that name; removed.

        After a kill it stays, with a name that starts with a dot and ends in `.partial`, until the
        next use for the same `path`.
        """
        # What chance adds to a name has no hyphen, so that of no longer `path` is taken for ours.
        left = re.compile(rf"\.{re.escape(path.name)}-([1-9]\d*)-[^-]*\.partial")
        _clear(path.parent, left)
        prefix = f".{path.name}-{os.getpid()}-"
        try:
            name = tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=path.parent)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        folder = Path(name)
        with _in_use_until_removed(folder):
            yield folder


@contextmanager
def _in_use_until_removed(path: Path) -> Iterator[None]:
    _in_use.add(path)
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Process ids are not enough: a container that shares the folder has its own. Where
            # folders cannot be locked (some network file systems) they have to be.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        _in_use.discard(path)


def _clear(folder: Path, name: re.Pattern[str]) -> None:
    """Remove what processes that are gone left in `folder`; group 1 of `name` is the process."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = name.fullmatch(entry.name)
            if found and not _is_running(int(found[1])):
                _remove_if_left(Path(entry.path))


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
