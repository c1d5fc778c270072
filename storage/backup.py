"""A copy of a data directory that a collector can start on, made while another one works in it.

Takes no lock, asks nobody, changes nothing in the data directory. Why the copy holds each row that
was acknowledged before it began, each once, and why its books fit to its rows:

1. What things move out of is copied before what they move into: the quarantine before the log, for
   what is replayed; the log before the files, for what is flushed. Numbers in the names tell what
   is there twice, as they do after a crash.
2. Counts of rows are copied before the rows: a start counts those behind the last segment that a
   count knows. Notes of removed rows are copied after them: a note whose part is there says
   nothing.
3. If meanwhile files were joined, or rows removed, all is looked at again: files that are copied
   stay, so the next look takes less time. Files that were only added are for the next copy.
4. Of the newest segment the valid prefix is copied; the others are whole. The order of numbers
   decides which one is the newest, so that no other one can seem to be torn.
5. It is made under another name, forced to disk, and changes places with the one before it.

Left out is what is made again: `keys/`, `summaries/`, `tmp/`, `views.sql`, the lock; and orders,
which were given to another collector. Published files never change: they get a second name where
that can be.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from storage import asidenames, layout, query, recovery
from storage.asidenames import AsidePart
from storage.errors import UNDECODABLE, StorageError
from storage.files import CANNOT, Files
from storage.layout import Part

# Says that a folder is a whole backup, and may be replaced by a newer one.
MARK: Final = "backup.json"
FORMAT: Final = 1
_PAUSES_S: Final = (0.0, *(0.05 * 2**n for n in range(8)))
_TORN: Final = "torn-*"

# Called with the files that are there, of so many.
Tell = Callable[[int, int], None]


class BackupError(StorageError):
    """A backup that cannot be made; the message is for whoever asked."""


class Report(msgspec.Struct, kw_only=True):
    """What a backup holds. Also the content of its mark.

    `parts` published files with `part_bytes`: `linked`, second names of the same bytes; `kept`,
    taken from the backup before; `copied`. `segments` of the log, with `log_rows`. `newest`: the
    highest number of a segment or part. `looks`: how often files had to be looked at.
    """

    format: int = FORMAT
    parts: int = 0
    part_bytes: int = 0
    linked: int = 0
    kept: int = 0
    copied: int = 0
    segments: int = 0
    log_rows: int = 0
    newest: int = 0
    looks: int = 0


class _Moved(Exception):
    """A listed file is gone: look again."""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Report)


def make(
    directory: Path,
    target: Path,
    files: Files,
    *,
    secret_state: str,
    wait: Callable[[float], object],
    tell: Tell = lambda _done, _total: None,
) -> Report:
    """Make `target` a backup of the data directory `directory`, replacing an earlier one.

    State whose name starts with `secret_state` is left out. `wait` is called with seconds. Raises
    `BackupError`, other `StorageError` and OSError; then `target` is what it was.
    """
    directory, target = directory.resolve(), target.resolve()
    earlier = _maybe_earlier(directory, target, files)
    with files.beside(target) as folder:
        copy = _Copy(directory, folder / target.name, earlier, files, secret_state, tell)
        for look, pause_s in enumerate(_PAUSES_S, start=1):
            wait(pause_s)
            try:
                copy.look()
            except _Moved:
                continue
            copy.report.looks = look
            copy.finish()
            _hand_over(folder / target.name, target, files, is_new=not target.exists())
            return copy.report
    raise BackupError(f"{directory}: files kept changing while they were copied; try again")


def _maybe_earlier(directory: Path, target: Path, files: Files) -> Path | None:
    """The earlier backup that is to be replaced, None when there is none.

    Raises `BackupError` when `target` is something that must not be replaced.
    """
    if not (directory / layout.WAL).is_dir():
        raise BackupError(f"{directory}: is no data directory that a collector has worked in")
    if target.is_relative_to(directory) or directory.is_relative_to(target):
        raise BackupError(f"{target}: a backup can neither lie in the data directory nor hold it")
    if not target.exists():
        return None
    if not target.is_dir():
        raise BackupError(f"{target}: is no folder")
    if target.is_mount():
        # What is mounted cannot change places: told before everything has been copied.
        raise BackupError(f"{target}: a file system is mounted there; name a folder in it")
    if (target / layout.LOCK).exists():
        raise BackupError(f"{target}: a collector has worked there; it is not replaced")
    if next(target.iterdir(), None) is None:
        return None
    try:
        _decoder.decode(files.read(target / MARK))
    except (FileNotFoundError, *UNDECODABLE):
        raise BackupError(f"{target}: is neither empty nor a backup; it is not replaced") from None
    return target


def _hand_over(whole: Path, target: Path, files: Files, *, is_new: bool) -> None:
    """Give a finished backup its name; what had it goes with the folder that `whole` was in."""
    files.sync_folder(whole)
    if is_new:
        files.move_folder(whole, target)
        return
    try:
        files.exchange(whole, target)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        files.move_folder(target, whole.with_name(f"{whole.name}.before"))
        files.move_folder(whole, target)


class _Copy:
    """A backup under construction in the folder `fresh`."""

    def __init__(
        self,
        directory: Path,
        fresh: Path,
        earlier: Path | None,
        files: Files,
        secret_state: str,
        tell: Tell,
    ) -> None:
        self._directory = directory
        self._fresh = fresh
        self._earlier = earlier
        self._files = files
        self._secret_state = secret_state
        self._tell = tell
        self._days: dict[int, date] = {}
        self._parts: tuple[Part, ...] = ()
        self._how: dict[Part, str] = {}
        self.report = Report()
        files.make_folder(fresh)

    def look(self) -> None:
        """Copy everything as it is now. Raises `_Moved` when that did not hold still."""
        self._discard()
        before = query.look(self._directory)
        aside = self._aside()
        self._small_files(layout.AUDIT)
        self._small_files(layout.STATE)
        self._quarantine(aside)
        self._log()
        listing = query.look(self._directory)
        self._events(listing.parts)
        self._small_files(layout.REMOVED)
        after = query.look(self._directory)
        added = set(after.parts) - set(before.parts)
        is_still = (
            {*before.parts, *listing.parts} <= set(after.parts)
            and all(part.first == part.last and not part.revision for part in added)
            and set(aside) <= set(self._aside())
        )
        if not is_still:
            raise _Moved
        self._parts = listing.parts
        self.report.newest = after.newest

    def finish(self) -> None:
        """Remove what is there twice, force what was written to disk, and say that it is whole."""
        events, wal = self._fresh / layout.EVENTS, self._fresh / layout.WAL
        for part in set(layout.list_parts(events)) - set(self._parts):
            self._files.remove(events / part.name)
        for number, day in self._days.items():
            if layout.is_covered(number, day, self._parts):
                self._files.remove(wal / layout.segment_name(number))
        self.report.segments = len(layout.list_segments(wal))
        self.report.log_rows = self._log_rows(wal)
        self.report.parts = len(self._parts)
        for part in self._parts:
            self.report.part_bytes += (events / part.name).stat().st_size
            name = self._how[part]
            setattr(self.report, name, getattr(self.report, name) + 1)
        for folder in sorted(events.iterdir()):
            if next(folder.iterdir(), None) is None:
                self._files.remove_folder(folder)
            else:
                self._files.sync_folder(folder)
        for folder in sorted(self._fresh.iterdir()):
            self._files.sync_folder(folder)
        self._files.replace(self._fresh / MARK, _encoder.encode(self.report))

    def _discard(self) -> None:
        """Remove what an earlier look copied, but for published files: they are what they were."""
        self._days.clear()
        for name in (layout.AUDIT, layout.STATE, layout.QUARANTINE, layout.WAL, layout.REMOVED):
            self._files.remove_folder(self._fresh / name)
            self._files.make_folder(self._fresh / name)
        self._files.make_folder(self._fresh / layout.EVENTS)

    # --- small files

    def _small_files(self, folder: str) -> None:
        """Copy files that are replaced whole; one that goes meanwhile was not to stay."""
        source = self._directory / folder
        for path in sorted(source.iterdir()) if source.is_dir() else ():
            is_secret = folder == layout.STATE and path.name.startswith(self._secret_state)
            if path.suffix != ".tmp" and path.is_file() and not is_secret:
                self._maybe_copy(path, self._fresh / folder / path.name)

    def _aside(self) -> list[AsidePart]:
        return asidenames.live(asidenames.listed(self._directory / layout.QUARANTINE))

    def _quarantine(self, parts: Iterable[AsidePart]) -> None:
        source, target = (root / layout.QUARANTINE for root in (self._directory, self._fresh))
        for path in asidenames.remains(source):
            if path.suffix != ".tmp":
                self._maybe_copy(path, target / path.name)
        for part in parts:
            self._bring(source / part.name, target / part.name)

    # --- the log

    def _log(self) -> None:
        source, target = (root / layout.WAL for root in (self._directory, self._fresh))
        for path in sorted(source.glob(_TORN)):
            self._maybe_copy(path, target / path.name)
        numbers = layout.list_segments(source)
        for number in numbers:
            name = layout.segment_name(number)
            try:
                data = self._files.read(source / name)
            except FileNotFoundError:
                continue  # it is in a part now, and parts are listed after this
            state, _ = recovery.judge_bytes(number, data)
            if number == numbers[-1] and not state.goes_on:
                # What lies behind it is being written. Damage is left to whoever starts on it.
                data = data[: state.valid_bytes]
            if data:
                self._write(target / name, data)
            if state.date is not None:
                self._days[number] = state.date

    def _log_rows(self, wal: Path) -> int:
        rows = 0
        for number in layout.list_segments(wal):
            data = self._files.read(wal / layout.segment_name(number))
            rows += recovery.judge_bytes(number, data)[0].rows
        return rows

    # --- published files

    def _events(self, parts: Sequence[Part]) -> None:
        events = self._fresh / layout.EVENTS
        for done, part in enumerate(parts):
            self._tell(done, len(parts))
            path = events / part.name
            if part not in self._how:
                self._files.make_folder(path.parent)
                self._how[part] = self._bring(
                    self._directory / layout.EVENTS / part.name,
                    path,
                    self._earlier and self._earlier / layout.EVENTS / part.name,
                )
        self._tell(len(parts), len(parts))

    def _bring(self, source: Path, target: Path, earlier: Path | None = None) -> str:
        """Have a file that never changes at `target` too: linked, kept or copied.

        Raises `_Moved` when it is gone.
        """
        try:
            if self._is_linked(source, target):
                return "linked"
            is_kept = earlier is not None and self._is_same(source, earlier)
            if earlier is not None and is_kept and self._is_linked(earlier, target):
                return "kept"
            self._files.copy(source, target)
            self._files.keep_time(source, target)
        except FileNotFoundError:
            self._files.remove(target)
            raise _Moved from None
        self._files.force(target)
        return "copied"

    def _is_linked(self, source: Path, target: Path) -> bool:
        """Give a file a second name; False where that cannot be."""
        try:
            self._files.link(source, target)
        except OSError as error:
            if error.errno not in CANNOT:
                raise
            return False
        return True

    @staticmethod
    def _is_same(source: Path, earlier: Path) -> bool:
        """Whether a file of the earlier backup is a copy of `source`.

        The name alone does not tell: a new data directory begins to count at 1.
        """
        if not earlier.is_file():
            return False
        one, other = source.stat(), earlier.stat()
        return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)

    def _maybe_copy(self, source: Path, target: Path) -> None:
        """Copy a small file, if it is still there."""
        try:
            data = self._files.read(source)
        except FileNotFoundError:
            return
        self._write(target, data)

    def _write(self, path: Path, data: bytes) -> None:
        descriptor = self._files.create(path)
        try:
            self._files.write(descriptor, data, 0)
            self._files.sync(descriptor)
        finally:
            self._files.close(descriptor)
