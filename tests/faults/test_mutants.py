"""The sweeps can fail: without one safeguard, rows are lost or doubled, and that is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from storage import layout, opening, recovery
from storage.errors import DiskFull
from storage.files import Files
from storage.flusher import Flusher
from storage.layout import Part
from storage.summaries import Summaries
from storage.wal import Sealed, Wal
from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import QUICK, Sweep, Violation
from tests.faults.world import small_world

_FOUND = r"lost|twice|Corruption|Parquet|keys|IOException|summaries without a part|knows who"
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
Patch = pytest.MonkeyPatch


def _nothing(*_anything: object) -> None:
    """Leave it out."""


def _without_sync_of(*names: str) -> Callable[[Patch], None]:
    """The names in folders called so are not forced to disk."""
    sync_folder = Files.sync_folder

    def some(self: Files, path: Path) -> None:
        if path.name not in names and path.name.partition("=")[0] not in names:
            sync_folder(self, path)

    return lambda patch: patch.setattr(Files, "sync_folder", some)


def _log_is_not_synced(patch: Patch) -> None:
    patch.setattr(Wal, "_sync", _nothing)


def _failed_sync_is_like_a_failed_write(patch: Patch) -> None:
    sync = Wal._sync

    def go_on(self: Wal, current: object) -> None:
        try:
            sync(self, current)  # type: ignore[arg-type]
        except Exception as error:
            raise DiskFull("tried again") from error

    patch.setattr(Wal, "_sync", go_on)


def _cut_is_not_synced(patch: Patch) -> None:
    def cut(self: Wal, current: object, _cause: OSError) -> None:
        self._files.truncate(current.descriptor, current.size)  # type: ignore[attr-defined]

    patch.setattr(Wal, "_roll_back", cut)


def _part_is_not_forced(patch: Patch) -> None:
    patch.setattr(Files, "force", _nothing)


def _segment_goes_before_its_part_comes(patch: Patch) -> None:
    def flush(self: Flusher, sealed: Sealed) -> Part:
        part = Part(sealed.date, sealed.number, sealed.number)
        temporary = self._folders.temporary / part.file_name
        self._convert(sealed, temporary)
        self._files.remove(sealed.path)
        self._folders.add(temporary, part)
        return part

    patch.setattr(Flusher, "flush", flush)


def _part_has_its_name_before_it_is_whole(patch: Patch) -> None:
    def publish(self: Files, temporary: Path, final: Path) -> None:
        self.make_folder(final.parent)
        self.rename(temporary, final)
        self.make_name_last(final)
        self.force(final)

    patch.setattr(Files, "publish", publish)


def _names_are_not_forced_by_a_start(patch: Patch) -> None:
    patch.setattr(recovery, "make_names_last", _nothing)


def _last_group_is_believed(patch: Patch) -> None:
    patch.setattr(opening, "_write_again", _nothing)


def _exchange_is_not_forced(patch: Patch) -> None:
    patch.setattr(Files, "exchange", lambda self, path, other: self.rename_exchange(path, other))


def _dead_parts_come_back_to_life(patch: Patch) -> None:
    patch.setattr(layout, "live_parts", sorted)


def _summaries_stay(patch: Patch) -> None:
    patch.setattr(Summaries, "drop", _nothing)


@pytest.mark.parametrize(
    ("mutant", "scenario", "crashes"),
    [
        (_log_is_not_synced, "append", True),
        (_failed_sync_is_like_a_failed_write, "append", False),
        (_cut_is_not_synced, "behind", False),
        (_without_sync_of("wal"), "append", True),
        (_without_sync_of("date", "events"), "flush", True),
        (_part_is_not_forced, "flush", True),
        (_part_has_its_name_before_it_is_whole, "flush", True),
        (_segment_goes_before_its_part_comes, "flush", True),
        (_names_are_not_forced_by_a_start, "flush", False),
        (_last_group_is_believed, "append", False),
        (_exchange_is_not_forced, "join", True),
        (_dead_parts_come_back_to_life, "join without exchange", True),
        (_summaries_stay, "erase with summaries", False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).strip("_"),
)
def test_a_missing_safeguard_is_found(
    mutant: Callable[[Patch], None], scenario: str, crashes: bool
) -> None:
    """Each taken away by itself: something is lost, doubled, or keeps the store from starting."""
    with small_world() as patch:
        sweep = Sweep(_BY_NAME[scenario], QUICK)
        mutant(patch)
        try:
            with pytest.raises(Violation, match=_FOUND):
                (sweep.crash_everywhere if crashes else sweep.fail_each)()
        finally:
            sweep.close()
