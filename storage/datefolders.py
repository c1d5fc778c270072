"""The folders `events/date=...`: how their set of files changes in one step.

Whoever lists such a folder with a plain glob sees either the files before a change or those after
it, never a mixture that would show a row twice or not at all:

1. A new part of one segment is added by a rename; nothing else changes then.
2. What replaces other parts is put into a new folder beside hard links to all that stays, and that
   folder changes places with the old one by `renameat2(RENAME_EXCHANGE)`.
3. What was replaced is kept, out of sight, for `GRACE_S`: a reader may have the old folder open
   and be half through its names.
4. Where folders cannot be exchanged, the new part is published first and the old ones removed then.
   A reader in between sees rows twice; names tell, and a crash in between is mended at the start.

Adding and exchanging exclude each other by a lock, so that no part is added to a folder on its way
out. Used from several threads.
"""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import date
from itertools import count
from pathlib import Path
from typing import Final

from storage import layout
from storage.files import CANNOT, Files
from storage.layout import Part

# Far longer than anybody takes to list a folder.
GRACE_S: Final = 5.0


class DateFolders:
    """All folders of dates of one data directory."""

    def __init__(self, directory: Path, files: Files, monotonic_s: Callable[[], float]) -> None:
        self.events = directory / layout.EVENTS
        self.temporary = directory / layout.TEMPORARY
        self._files = files
        self._monotonic_s = monotonic_s
        self._numbers = count(1)
        self._mutex = threading.Lock()
        self._old: list[tuple[Path, float]] = []
        # Exchanged or not, nobody knows what a crash would leave.
        self._unsure: list[Path] = []

    def path(self, part: Part) -> Path:
        """Where `part` is."""
        return self.events / part.name

    def scratch(self, name: str) -> Path:
        """A free path for a file or folder under construction, outside every glob."""
        return self.temporary / f"{next(self._numbers)}-{name}"

    def add(self, temporary: Path, part: Part) -> None:
        """Publish a part whose rows are in no other part. Raises OSError."""
        with self._mutex:
            self._files.publish(temporary, self.path(part))

    def make_last(self, part: Part) -> None:
        """Force the name of a published part to disk, and that of its folder."""
        with self._mutex:
            self._files.make_name_last(self.path(part))

    def replace(self, day: date, gone: Sequence[Part], new: Sequence[tuple[Path, Part]]) -> None:
        """Put finished files in the place of the parts `gone`; lasting on success.

        `new`: where each file is, and what it is to be; its former name may stay. Raises OSError;
        the folder is then as it was, or as it was to be.
        """
        for temporary, _ in new:
            self._files.force(temporary)
        with self._mutex:
            fresh = self.scratch(layout.partition_name(day))
            try:
                self._fill(fresh, day, gone, new)
            except OSError as error:
                self._files.remove_folder(fresh)
                if error.errno not in CANNOT:
                    raise
                self._replace_one_by_one(gone, new)
                return
            try:
                self._files.exchange(fresh, self.events / layout.partition_name(day))
            except OSError as error:
                if error.errno not in CANNOT:
                    # It may have happened, and not be lasting: neither folder may go yet.
                    self._unsure.append(fresh)
                    raise
                self._files.remove_folder(fresh)
                self._replace_one_by_one(gone, new)
                return
            self._old.append((fresh, self._monotonic_s() + GRACE_S))

    def retire(self, day: date, parts: Sequence[Part]) -> bool:
        """Take away a whole date, if its folder has nothing but `parts`; lasting on success.

        Returns whether it did. Raises OSError.
        """
        folder = self.events / layout.partition_name(day)
        known = {part.file_name for part in parts}
        with self._mutex:
            # A part may have been added meanwhile, and somebody's own files may be there.
            if any(path.name not in known for path in folder.iterdir()):
                return False
            old = self.scratch(layout.partition_name(day))
            try:
                self._files.move_folder(folder, old)
            except OSError:
                if old.is_dir():
                    self._unsure.append(old)
                raise
            self._old.append((old, self._monotonic_s() + GRACE_S))
        return True

    def remove_dead(self, day: date) -> None:
        """Remove parts of `day` that others cover, which an interrupted replacement left behind.

        Raises OSError.
        """
        with self._mutex:
            dead = layout.dead_parts(self.events, day)
            if dead:
                # The name of what covers them may never have been forced to disk.
                self._files.sync_folder(self.events / layout.partition_name(day))
            self._remove(dead)

    def clear(self) -> float:
        """Remove what was replaced long enough ago; seconds until the rest is due, 0 if none is.

        Raises OSError as long as a folder cannot be removed, or is not known to be out of use.
        """
        while self._unsure:
            self._files.sync_folder(self.events)
            self._files.sync_folder(self.temporary)
            self._old.append((self._unsure[0], self._monotonic_s() + GRACE_S))
            del self._unsure[0]
        while self._old:
            folder, due_s = self._old[0]
            left_s = due_s - self._monotonic_s()
            if left_s > 0:
                return left_s
            self._files.remove_folder(folder)
            del self._old[0]
        return 0.0

    def _fill(
        self, fresh: Path, day: date, gone: Sequence[Part], new: Sequence[tuple[Path, Part]]
    ) -> None:
        replaced = {part.file_name for part in gone}
        self._files.make_folder(fresh)
        for entry in sorted(os.scandir(self.events / layout.partition_name(day)), key=_name):
            if entry.name not in replaced:
                # A folder, which is none of ours, cannot be linked: EPERM, see `replace`.
                self._files.link(Path(entry.path), fresh / entry.name)
        for temporary, part in new:
            self._files.link(temporary, fresh / part.file_name)
        self._files.sync_folder(fresh)

    def _replace_one_by_one(self, gone: Sequence[Part], new: Sequence[tuple[Path, Part]]) -> None:
        for temporary, part in new:
            self._files.publish(temporary, self.path(part))
        self._remove(gone)

    def _remove(self, parts: Sequence[Part]) -> None:
        """Remove parts of one date; lasting, for what is in them may have been erased."""
        for part in parts:
            self._files.remove(self.path(part))
        if parts:
            self._files.sync_folder(self.path(parts[0]).parent)


def _name(entry: "os.DirEntry[str]") -> str:
    return entry.name
