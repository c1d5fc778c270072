"""A file system on which something happens meanwhile."""

from collections.abc import Callable
from pathlib import Path

from storage import Files


class Meddling(Files):
    """Has `happen` called before each call by which a file of the data directory is had."""

    def __init__(self, happen: Callable[[], None]) -> None:
        self._happen = happen

    def read_bytes(self, path: Path) -> bytes:
        """See System."""
        self._happen()
        return super().read_bytes(path)

    def link(self, path: Path, other: Path) -> None:
        """See System."""
        self._happen()
        super().link(path, other)
