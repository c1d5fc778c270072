"""A disk that fills up: a few megabytes of memory, mounted where only a private collector sees it.

Needs user and mount namespaces (`unshare`, `nsenter` of util-linux). Where the system does not let
us have them, the same is tried with `storage.disk_free_bytes_min` just below what is free.
"""

import errno
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from collector.prove.place import DATA
from storage import Files

_SIZE_BYTES: Final = 48 * 1024 * 1024
_PIECE: Final = bytes(256 * 1024)
_BALLAST: Final = "ballast-"
_MOUNTED: Final = b"mounted\n"
# Stays until this process ends, or closes its end of the pipe.
_HOLD: Final = f'mount -t tmpfs -o size={_SIZE_BYTES} proof "$1" && echo mounted && exec cat'


class SmallDisk:
    """`inside`: the disk as the collector sees it; `outside`: as this process does; `data`: the
    folder of the collector's data, likewise. Below `folder`, which is made.

    A context manager. `prefix` stands before the collector's command, `free_bytes_min` belongs into
    its configuration, `kind` tells which of the two ways it is.
    """

    def __init__(self, folder: Path, files: Files) -> None:
        self.inside = folder / "disk"
        self.outside = self.inside
        self.prefix: Sequence[str] = ()
        self.free_bytes_min = 0
        self.kind = ""
        self._files = files
        self._ballast: list[Path] = []
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._files.make_folder(self.inside)
        self._holder = self._maybe_mounted()
        if self._holder is not None:
            target = str(self._holder.pid)
            self.prefix = ("nsenter", "--preserve-credentials", "-U", "-m", "-t", target, "--")
            self.outside = Path(f"/proc/{target}/root{self.inside}")
            self.kind = f"tmpfs of {_SIZE_BYTES // 1024 // 1024} MiB, until ENOSPC"
        else:
            free = self._files.free_bytes(self.inside)
            self.free_bytes_min = max(free - _SIZE_BYTES // 2, 0)
            self.kind = "disk_free_bytes_min just below what is free (no private mount here)"
        return self

    def __exit__(self, *_error: object) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.outside / DATA

    def keep(self) -> None:
        """Copy the data to where it stays when the disk is gone."""
        if self._holder is not None:
            self._copy(self.data, self.inside / DATA)

    def _copy(self, source: Path, target: Path) -> None:
        self._files.make_folder(target)
        for path in source.iterdir():
            if path.is_dir():
                self._copy(path, target / path.name)
            else:
                self._files.copy(path, target / path.name)

    def fill(self, room_bytes: int) -> None:
        """Take all space but `room_bytes`, above what the collector wants to be left.

        May be called again: rows that were turned into files have made room.
        """
        path = self.outside / f"{_BALLAST}{len(self._ballast)}"
        self._ballast.append(path)
        size = 0
        descriptor = self._files.create(path)
        try:
            while self._files.free_bytes(self.outside) - self.free_bytes_min > room_bytes:
                self._files.write(descriptor, _PIECE, size)
                size += len(_PIECE)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            self._files.close(descriptor)

    def empty(self) -> None:
        """Give the space back."""
        while self._ballast:
            self._files.remove(self._ballast.pop())

    def _maybe_mounted(self) -> "subprocess.Popen[bytes] | None":
        """The process that holds the mount, None where there can be none."""
        command = ["unshare", "-U", "-r", "-m", "sh", "-c", _HOLD, "sh", str(self.inside)]
        try:
            holder = subprocess.Popen(  # noqa: S603  our own command
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError:
            return None
        assert holder.stdout is not None, "a pipe"
        if holder.stdout.readline() == _MOUNTED and self._can_enter(holder.pid):
            return holder
        holder.kill()
        holder.communicate()
        return None

    def _can_enter(self, holder: int) -> bool:
        """Whether a command can be run there, and its files be written from here."""
        command = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(holder), "--", "true"]
        outside = Path(f"/proc/{holder}/root{self.inside}")
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=10)  # noqa: S603
            self._files.probe(outside)
        except (OSError, subprocess.SubprocessError):
            return False
        return True
