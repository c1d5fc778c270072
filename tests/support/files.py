"""A disk that fails on demand and forgets what was not forced to it, on top of a real folder.

The real folder is what the process sees; DuckDB and readers open it. `durable` keeps beside it what
may be on disk. Only the calls of `storage/system.py` are replaced, so whatever is made of them runs
here as it does in production. Fault model, of what a loss of power leaves:

- **Bytes** not forced to disk survive sector by sector (512 bytes), or page by page (4,096), each
  by itself, in any state it went through: loss, reordering and tearing. A size may be ahead of the
  bytes: zeros. What was forced survives. (ext4, xfs and btrfs write sectors whole, and promise no
  order between two syncs.)
- **A failed sync**: the bytes may be gone or not, and the system takes them for written: the next
  sync succeeds without them. Written over, even by the same, they are to be written again (Linux
  since 4.13). Until a loss of power the process sees what it wrote.
- **Names**: each operation (create, link, rename, exchange, unlink, mkdir, rmdir) survives or not,
  by itself, until its folder was forced to disk; a rename, until that of its new name was; an
  exchange, until both were. A rename or exchange is atomic. Operations on one name keep their
  order. (More than journals do, which keep the order of all, and forget no name of a forced file.)
- A failed sync of a folder leaves its names in doubt, and a later one that succeeds makes them last
  (they are in the journal; a journal that fails ends in a read-only file system).
- **What DuckDB writes** to a temporary name, and whatever else comes into being without a call of
  this disk, is a new file with bytes that were not forced to disk, until somebody does that.

Faults of a call: an error before anything was done; of a write, after a part of its bytes; a short
write (`Short`), which takes a part and says so; an error behind a rename that was done (`After`).
Slow calls: `watch` is told of each before it happens, and may do whatever happens meanwhile.
"""

import errno
import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from storage.files import Files
from tests.support.durable import DurableTree, FileNode, FolderNode, Node, State

# What can go wrong with each call; `None`: a short write.
ERRORS: dict[str, tuple[int | None, ...]] = {
    "create": (errno.ENOSPC, errno.EDQUOT, errno.EIO),
    "truncate": (errno.EIO,),
    "write": (errno.ENOSPC, errno.EDQUOT, errno.EIO, None),
    "sync": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "sync_folder": (errno.EIO,),
    "rename": (errno.EIO, errno.ENOSPC),
    "exchange": (errno.EIO, errno.ENOSPC, errno.EINVAL),
    "link": (errno.EIO, errno.ENOSPC, errno.EPERM),
    "unlink": (errno.EIO, errno.ENOSPC),
    "mkdir": (errno.ENOSPC, errno.EDQUOT, errno.EIO),
    "rmdir": (errno.EIO,),
    "read": (errno.EIO,),
    "space": (errno.EIO,),
    "convert": (errno.ENOSPC, errno.EIO),
}


class Short(NamedTuple):
    """A write takes this share of its bytes, and says so."""

    share: float = 0.5


class After(NamedTuple):
    """The call is done, and then says that it failed."""

    error: OSError


class Operation(NamedTuple):
    """A call that is about to happen: its number, its name (see `ERRORS`), and on what."""

    number: int
    call: str
    path: Path
    other: Path | None = None

    def is_in(self, folder: str) -> bool:
        """Whether the path, or the new name, lies in a folder of that name."""
        return folder in (self.other or self.path).parts


Fault = BaseException | Short | After | None


def no_fault(_operation: Operation) -> Fault:
    """All is well."""
    return None


class FaultyFiles(Files):
    """`fail` says which call fails, `crash` loses what was not forced to disk.

    `root`: the folder that the disk holds. Without one, calls fail on demand, and nothing is lost.
    """

    def __init__(self, seed: int = 0, root: Path | None = None) -> None:
        self.operations = 0
        self.fail: Callable[[Operation], Fault] = no_fault
        self.watch: Callable[[Operation], object] = no_fault
        self.free: int | None = None
        # Whether this kind of disk can exchange folders.
        self.exchanges = True
        # What other threads do is not counted, unless they are known to take turns.
        self.counts_threads = False
        self._is_quiet = False
        self._random = random.Random(seed)
        self._mutex = threading.RLock()
        self._open: dict[int, tuple[Path, Node | None]] = {}
        self._written: set[int] = set()
        self.root = root
        self.tree = DurableTree()
        self._adopt_all()

    # --- the calls

    def operate(self, call: str, path: Path, other: Path | None = None) -> Short | After | None:
        """Count a call, tell whoever watches, and fail if it is to."""
        if self._is_quiet or not (self._is_ours(path) or (other and self._is_ours(other))):
            return None
        with self._mutex:
            if self.counts_threads or threading.current_thread() is threading.main_thread():
                self.operations += 1
            operation = Operation(self.operations, call, path, other)
        self.watch(operation)
        fault = self.fail(operation)
        if isinstance(fault, BaseException):
            raise fault
        return fault

    def open(self, path: Path, flags: int) -> int:
        """See System."""
        is_new = bool(flags & os.O_CREAT) and not path.exists()
        if is_new:
            self.operate("create", path)
        elif flags & os.O_TRUNC:
            self.operate("truncate", path)
        with self._mutex:
            node = None if is_new else self._maybe_node(path)
            descriptor = super().open(path, flags)
            if is_new and self._is_tracked(path):
                node = FileNode()
                self._change(path, node)
            elif flags & os.O_TRUNC and isinstance(node, FileNode):
                node.truncate(self.operations, 0)
            self._open[descriptor] = (path, node)
            if flags & (os.O_WRONLY | os.O_RDWR):
                self._written.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        """See System."""
        self._written.discard(descriptor)
        if self._open.pop(descriptor, None) is not None:
            super().close(descriptor)  # else the end of the process has closed it

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """See System; a failing write may leave a part of its bytes."""
        path, node = self._open[descriptor]
        try:
            fault = self.operate("write", path)
        except OSError:
            part = self._random.randrange(len(data))
            if part:
                self._pwrite(descriptor, node, data[:part], offset)
            raise
        if isinstance(fault, Short):
            data = data[: max(1, int(len(data) * fault.share))]
        return self._pwrite(descriptor, node, data, offset)

    def _pwrite(self, descriptor: int, node: Node | None, data: memoryview, offset: int) -> int:
        with self._mutex:
            written = super().pwrite(descriptor, data, offset)
            if isinstance(node, FileNode):
                node.write(self.operations, offset, bytes(data[:written]))
        return written

    def ftruncate(self, descriptor: int, size: int) -> None:
        """See System."""
        path, node = self._open[descriptor]
        self.operate("truncate", path)
        with self._mutex:
            super().ftruncate(descriptor, size)
            if isinstance(node, FileNode):
                node.truncate(self.operations, size)

    def fdatasync(self, descriptor: int) -> None:
        """See System; a failing sync may have lost what it should have kept."""
        self.fsync(descriptor)

    def fsync(self, descriptor: int) -> None:
        """See System; as `fdatasync`. Of a folder: its names."""
        path, node = self._open[descriptor]
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self.operate("sync_folder", path)
            with self._mutex:
                if isinstance(node, FolderNode):
                    self._look_into(path, node)
                    self.tree.sync(node)
            return
        with self._mutex:
            if isinstance(node, FileNode):
                # Whatever its name is by now.
                self._compare(Path(f"/proc/self/fd/{descriptor}"), node)
        try:
            self.operate("sync", path)
        except OSError:
            if isinstance(node, FileNode):
                node.fail_sync()
            raise
        with self._mutex:
            if isinstance(node, FileNode):
                node.sync()

    def preadv(self, descriptor: int, buffer: memoryview, offset: int, flags: int = 0) -> int:
        """See System."""
        if descriptor in self._open:
            self.operate("read", self._open[descriptor][0])
        return super().preadv(descriptor, buffer, offset, flags)

    def read_bytes(self, path: Path) -> bytes:
        """See System."""
        self.operate("read", path)
        return super().read_bytes(path)

    def rename(self, path: Path, other: Path) -> None:
        """See System; atomic, lasting when the folder of the new name is forced to disk."""
        fault = self.operate("rename", path, other)
        with self._mutex:
            node = self._maybe_node(path)
            super().rename(path, other)
            if node is not None:
                source, target = self._folder_of(path), self._folder_of(other)
                changes = ((source, path.name, None), (target, other.name, node))
                self.tree.change(*changes, needs=[target])
        if isinstance(fault, After):
            raise fault.error

    def rename_exchange(self, path: Path, other: Path) -> None:
        """See System; atomic, lasting when both folders are forced to disk."""
        fault = self.operate("exchange", path, other)
        if not self.exchanges:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with self._mutex:
            node, partner = self._maybe_node(path), self._maybe_node(other)
            super().rename_exchange(path, other)
            if node is not None and partner is not None:
                folder, its = self._folder_of(path), self._folder_of(other)
                changes = ((folder, path.name, partner), (its, other.name, node))
                self.tree.change(*changes, needs=[folder, its])
        if isinstance(fault, After):
            raise fault.error

    def link(self, path: Path, other: Path) -> None:
        """See System."""
        self.operate("link", path, other)
        with self._mutex:
            node = self._maybe_node(path)
            super().link(path, other)
            if node is not None:
                self._change(other, node)

    def unlink(self, path: Path) -> None:
        """See System; not counted where nothing is."""
        if not os.path.lexists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self.operate("unlink", path)
        with self._mutex:
            node = self._maybe_node(path)
            super().unlink(path)
            if node is not None:
                self._change(path, None)

    def mkdir(self, path: Path, mode: int) -> None:
        """See System."""
        self.operate("mkdir", path)
        with self._mutex:
            super().mkdir(path, mode)
            if self._is_tracked(path):
                self._change(path, FolderNode())

    def rmdir(self, path: Path) -> None:
        """See System."""
        self.operate("rmdir", path)
        with self._mutex:
            node = self._maybe_node(path)
            super().rmdir(path)
            if node is not None:
                self._change(path, None)

    def free_bytes(self, folder: Path) -> int:
        """See System; `free` overrides it."""
        self.operate("space", folder)
        return super().free_bytes(folder) if self.free is None else self.free

    # --- the end

    def close_all(self) -> None:
        """The process ends: what it wrote to is closed, its bytes stay where they are."""
        for descriptor in list(self._written):
            self.close(descriptor)

    def states(self, limit: int) -> Iterator[State]:
        """What a loss of power at this moment may leave: see `DurableTree.states`."""
        with self._mutex:
            self._look_everywhere()
            return self.tree.states(limit, self._random)

    def crash(self, state: State | None = None) -> None:
        """Lose power: what is on disk then is `state`, or one at random."""
        assert self.root is not None, "the disk of no folder loses nothing"
        self.close_all()
        self._look_everywhere()
        state = self.tree.any(self._random) if state is None else state
        shutil.rmtree(self.root, ignore_errors=True)
        materialise(state, self.root)
        self._adopt_all()

    def adopt(self) -> None:
        """What a test made by hand lasts; so does whatever else is there at this moment."""
        with self._mutex:
            self._adopt_all()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What happens meanwhile is not counted, and does not fail."""
        before, self._is_quiet = self._is_quiet, True
        try:
            yield
        finally:
            self._is_quiet = before

    def adopt_one(self, path: Path) -> None:
        """One file that a test made by hand lasts, and the folders it is in."""
        assert self.root is not None, "a disk of no folder"
        at, folder = self.root.parent, self.tree.top
        for name in path.relative_to(at).parts:
            at /= name
            node = folder.names.get(name)
            if node is None:
                node = FolderNode() if at.is_dir() else FileNode(at.read_bytes())
            folder.names[name] = folder.durable[name] = node
            if isinstance(node, FolderNode):
                folder = node

    # --- what is where

    def _is_ours(self, path: Path) -> bool:
        return self.root is None or self._is_tracked(path) or path == self.root.parent

    def _is_tracked(self, path: Path) -> bool:
        return self.root is not None and path.is_relative_to(self.root)

    def _maybe_node(self, path: Path) -> Node | None:
        """What is at `path`; somebody else may have made it."""
        if self.root is None:
            return None
        if path == self.root.parent:
            return self.tree.top
        if not self._is_tracked(path) or not os.path.lexists(path):
            return None
        folder = self._folder_of(path)
        if path.name not in folder.names:
            self._look_into(path.parent, folder)
        return folder.names.get(path.name)

    def _folder_of(self, path: Path) -> FolderNode:
        node = self._maybe_node(path.parent)
        assert isinstance(node, FolderNode), f"{path} is in no folder of this disk"
        return node

    def _change(self, path: Path, node: Node | None) -> None:
        folder = self._folder_of(path)
        self.tree.change((folder, path.name, node), needs=[folder])

    def _adopt_all(self) -> None:
        """Take everything that is there as lasting."""
        self.tree = DurableTree()
        if self.root is not None and self.root.is_dir():
            _adopt(self.root, self.tree.top)
            by_descriptor = list(self._open.items())
            for descriptor, (path, _) in by_descriptor:
                self._open[descriptor] = (path, self._maybe_node(path))

    def _look_everywhere(self) -> None:
        if self.root is not None:
            self._look_into(self.root.parent, self.tree.top, only=self.root.name, is_deep=True)

    def _look_into(
        self, path: Path, folder: FolderNode, only: str | None = None, *, is_deep: bool = False
    ) -> None:
        """Notice what was made, changed or removed without a call of this disk."""
        if path == (self.root and self.root.parent):
            only = self.root.name if self.root else None
        there = {e.name: e for e in os.scandir(path) if only in {None, e.name}}
        for name in sorted(folder.names.keys() - there.keys()):
            self.tree.change((folder, name, None), needs=[folder])
        for name, entry in sorted(there.items()):
            is_folder = entry.is_dir(follow_symlinks=False)
            node = folder.names.get(name)
            if node is None or isinstance(node, FolderNode) is not is_folder:
                node = FolderNode() if is_folder else FileNode()
                self.tree.change((folder, name, node), needs=[folder])
            if isinstance(node, FileNode):
                self._compare(path / name, node)
            elif is_deep:
                self._look_into(path / name, node, is_deep=True)

    def _compare(self, path: Path, node: FileNode) -> None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp != node.stamp:
            node.become(self.operations, path.read_bytes())
            node.stamp = stamp


def _adopt(path: Path, parent: FolderNode) -> None:
    node: Node = FolderNode() if path.is_dir() else FileNode(path.read_bytes())
    parent.names[path.name] = parent.durable[path.name] = node
    if isinstance(node, FolderNode):
        for inner in sorted(path.iterdir()):
            _adopt(inner, node)


def materialise(state: State, root: Path) -> None:
    """Make what a state says, in the place of `root`, which must not be there.

    Paths in it begin with the name of the folder that it was taken from.
    """
    for path, data in state.items():
        at = root.joinpath(*Path(path).parts[1:])
        if data is None:
            at.mkdir()
        else:
            at.write_bytes(data)


def failing(
    error: Callable[[], Fault],
    *calls: str,
    folder: str = "",
    where: Callable[[Operation], bool] = lambda _operation: True,
    skip: int = 0,
    times: int = 1 << 40,
) -> Callable[[Operation], Fault]:
    """For `FaultyFiles.fail`: calls of these names fail, but for the first ones.

    `folder`: only what lies in a folder of that name, or is given a name there.
    """
    left = iter(range(skip + times))

    def fail(operation: Operation) -> Fault:
        if operation.call not in calls or not where(operation):
            return None
        if folder and not operation.is_in(folder):
            return None
        number = next(left, None)
        return error() if number is not None and number >= skip else None

    return fail


def of_date(operation: Operation) -> bool:
    """Whether a call is about the folder of a date itself."""
    return operation.path.name.startswith("date=")


def of_events(operation: Operation) -> bool:
    """Whether a call is about the folder of all dates: an exchange forces it to disk."""
    return operation.path.name == "events"


def no_space() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, "No space left on device")


def io_error() -> OSError:
    """What a failing disk says."""
    return OSError(errno.EIO, "Input/output error")
