"""The proof: round after round of load, disturbance, restart and comparison."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from collector.prove import disturbing, filling, place
from collector.prove.child import NotReady
from collector.prove.disturbing import KINDS
from collector.prove.place import Durability, Place
from collector.prove.report import Report, add
from collector.prove.smalldisk import SmallDisk
from collector.prove.trial import Trial
from storage import Files, StorageError

FULL_DISK: Final = "full disk"
_FULL_DISK_SHARE: Final = 2
# All files are read again, and an audit is made, so often, and at the end.
_ANEW_ROUNDS: Final = 50

Tell = Callable[[int, Report], object]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`below`: where the private folder is made. `load_s`: load before a round's disturbance, at
    most; `batched_max`: events sent in batches per round, at most.
    """

    below: Path
    rounds: int
    seed: int
    load_s: float
    batched_max: int
    durability: Durability
    keeps: bool


class Proof:
    """One run. `now_us`: names the folder; `monotonic_s` measures; `tell` hears of each round."""

    def __init__(
        self, options: Options, *, now_us: int, monotonic_s: Callable[[], float], tell: Tell
    ) -> None:
        self._options = options
        self._files = Files()
        self._monotonic_s = monotonic_s
        self._began_s = monotonic_s()
        self._tell = tell
        self._chance = random.Random(options.seed)  # noqa: S311  what is done when, no secret
        self._ends_soon = False
        self.folder = place.make_folder(options.below, now_us, self._files)
        disk = place.disk_of(self.folder)
        self.report = Report(
            directory=str(self.folder),
            file_system=disk.file_system,
            device=disk.device,
            mount_options=disk.options,
            durability=options.durability,
            seed=options.seed,
        )
        self._bytes_written = 0

    def run(self) -> Report:
        """Do all rounds; ends early at the first fault, and when told to, with what is known then.

        The folder is removed, unless it is to be kept or something is wrong. Raises OSError.
        """
        home = self._furnish(self.folder / "main")
        with Trial(home, home.directory, self.report, self._chance) as trial:
            try:
                self._go(trial)
            except KeyboardInterrupt:
                self.report.is_interrupted = True
                trial.end_load()
                trial.collector.kill()
                trial.check(anew=True)
            except (NotReady, StorageError) as error:
                self.report.fault(str(error))
                trial.end_load()
                trial.collector.kill()
                with contextlib.suppress(StorageError):
                    trial.check(anew=True)
            trial.collector.kill()
            self.report = self._so_far(trial)
            trial.name_wrong()
        if self.report.is_passed and not self._options.keeps:
            self._files.remove_folder(self.folder)
        else:
            self.report.kept = str(self.folder)
        return self.report

    def end_soon(self) -> bool:
        """End after the round that goes on; False when that was said before.

        Safe in a signal's handler, where raising would break whatever happens to go on.
        """
        was_said, self._ends_soon = self._ends_soon, True
        return not was_said

    def _go(self, trial: Trial) -> None:
        trial.collector.start()
        trial.collector.wait_ready()
        for number, kind in enumerate(self._kinds(), start=1):
            if kind == FULL_DISK:
                self._fill_a_disk(number)
            else:
                self._disturb(trial, kind, KINDS[kind][0])
                if number % _ANEW_ROUNDS == 0:
                    trial.check(anew=True)
                    trial.audit()
            self.report.rounds[kind] = self.report.rounds.get(kind, 0) + 1
            self._tell(number, self._so_far(trial))
            if not trial.is_sound or not self.report.is_passed:
                return
            if self._ends_soon:
                raise KeyboardInterrupt
        trial.collector.terminate()
        code = trial.collector.wait_stopped()
        if code != 0:
            self.report.fault(f"the last stop ended with {code}\n{trial.collector.log_tail()}")
        trial.check(anew=True)
        trial.audit()

    def _disturb(self, trial: Trial, kind: str, disturb: disturbing.Disturb) -> None:
        """One round on the main data directory."""
        trial.load.start(self._options.batched_max)
        disturb(trial, self._options.load_s)
        trial.end_load()
        was_killed = not trial.collector.is_running or kind == "kill the worker"
        if was_killed:
            trial.restart()
        trial.check()
        trial.send_again()

    def _kinds(self) -> Iterator[str]:
        """Which kind of round is next: each once in any order, then as often as it is to be."""
        weights = {name: weight for name, (_, weight) in KINDS.items()}
        weights[FULL_DISK] = _FULL_DISK_SHARE
        once = list(weights)
        self._chance.shuffle(once)
        for number in range(self._options.rounds):
            if number < len(once):
                yield once[number]
            else:
                [kind] = self._chance.choices(list(weights), list(weights.values()))
                yield kind

    def _fill_a_disk(self, number: int) -> None:
        """One round on a small disk of its own."""
        folder = self.folder / f"full-{number}"
        with SmallDisk(folder, self._files) as disk:
            self.report.full_disk = disk.kind
            home = self._furnish(folder, disk)
            with Trial(home, disk.data, self.report, self._chance, prefix=disk.prefix) as trial:
                try:
                    filling.fill(trial, disk, self._options.batched_max)
                finally:
                    add(self.report, trial.account)
                    self._bytes_written += trial.collector.bytes_written
                    if not self.report.is_passed:
                        trial.name_wrong()
                        trial.end_load()
                        trial.collector.kill()
                        disk.keep()
        if self.report.is_passed:
            self._files.remove_folder(folder)

    def _furnish(self, folder: Path, disk: SmallDisk | None = None) -> Place:
        return place.furnish(
            folder,
            self._files,
            port=place.free_port(),
            durability=self._options.durability,
            directory=disk.inside / place.DATA if disk else None,
            free_bytes_min=disk.free_bytes_min if disk else 0,
        )

    def _so_far(self, trial: Trial) -> Report:
        """The report with what is known of the main data directory."""
        copies = {name: [*getattr(self.report, name)] for name in ("faults", "unreadable")}
        report = msgspec.structs.replace(self.report, **copies)
        add(report, trial.account)
        report.recovered(trial.recoveries_s)
        report.seconds = round(self._monotonic_s() - self._began_s, 1)
        report.bytes_written = self._bytes_written + trial.collector.bytes_written
        return report
