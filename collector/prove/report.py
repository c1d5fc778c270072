"""What a proof has found: the account that is kept, and how it is told."""

from collections.abc import Iterator
from typing import Final

import msgspec

from collector.prove.comparing import Compared

# Of events that are not as they must be, so many are named.
NAMED_MAX: Final = 100
_FAULTS_MAX: Final = 20
_MEANING: Final = (
    "This is about kill -9, failed and cut writes, and a full disk. What a loss of power leaves is "
    "another\nmatter: what a killed process had written stays in the system's cache. "
    "docs/DURABILITY.md: how to try that."
)


class Report(msgspec.Struct, kw_only=True):
    """Counts of events unless said otherwise; members of the object that `--json` prints.

    `unacknowledged_stored`: no answer came, and they are there, which is allowed. `strange_rows`:
    of events that were never sent. `repeated`: events that were sent once more after their answer
    had come, or been lost. `answered_later`: requests that got 503. `bytes_sent`: bodies;
    `bytes_written`: by the collector to disk, as the kernel counts them, at least; `bytes_stored`:
    of Parquet at the end. `recovery_s`: from the start of a process to ready, after kills.
    `faults`: anything else that must not be, in words. `ids_*`: of the first events only.
    """

    directory: str
    file_system: str
    device: str
    mount_options: str
    durability: str
    seed: int
    full_disk: str = "not done"
    rounds: dict[str, int] = {}
    is_interrupted: bool = False
    seconds: float = 0.0
    sent: int = 0
    acknowledged: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    strange_rows: int = 0
    unacknowledged_stored: int = 0
    repeated: int = 0
    answered_later: int = 0
    unreadable_files: int = 0
    audits: int = 0
    restarts: int = 0
    recovery_p50_s: float = 0.0
    recovery_max_s: float = 0.0
    files: int = 0
    bytes_sent: int = 0
    bytes_written: int = 0
    bytes_stored: int = 0
    faults: list[str] = []
    ids_lost: list[str] = []
    ids_doubled: list[str] = []
    unreadable: list[str] = []
    kept: str = ""

    @property
    def is_passed(self) -> bool:
        """Whether all is as it must be."""
        wrong = self.lost + self.doubled + self.strange_rows + self.unreadable_files
        return not wrong and not self.faults

    def fault(self, text: str) -> None:
        """Note what must not be."""
        if len(self.faults) < _FAULTS_MAX:
            self.faults.append(text)

    def recovered(self, times_s: list[float]) -> None:
        """Note how long all starts after kills took."""
        self.restarts = len(times_s)
        if times_s:
            *_, longest_s = in_order = sorted(times_s)
            self.recovery_p50_s = round(in_order[len(in_order) // 2], 3)
            self.recovery_max_s = round(longest_s, 3)


class Account(msgspec.Struct, kw_only=True):
    """What is known of one data directory; that of a report is the sum of them."""

    sent: int = 0
    acknowledged: int = 0
    compared: Compared | None = None
    unreadable: list[str] = []
    files: int = 0
    bytes: int = 0


_SUMS: Final = (
    *("sent", "acknowledged", "found", "lost", "doubled", "strange_rows"),
    *("unacknowledged_stored", "unreadable_files", "files", "bytes_stored"),
)


def add(report: Report, account: Account) -> None:
    """Add the counts of `account` to `report`."""
    compared = account.compared
    values = {
        "sent": account.sent,
        "acknowledged": account.acknowledged,
        "unreadable_files": len(account.unreadable),
        "files": account.files,
        "bytes_stored": account.bytes,
    }
    if compared is not None:
        values |= {
            "found": compared.found,
            "lost": len(compared.lost),
            "doubled": len(compared.doubled),
            "strange_rows": compared.strange,
            "unacknowledged_stored": compared.unacknowledged,
        }
    for name in _SUMS:
        setattr(report, name, getattr(report, name) + values.get(name, 0))
    report.unreadable += account.unreadable[:NAMED_MAX]


def as_text(report: Report) -> str:
    """The report as lines for people: a table, what is wrong, what it means."""
    width = max(len(name) for name, _ in _rows(report))
    lines = [f"{name:<{width}}  {value}" for name, value in _rows(report)]
    lines += [f"fault: {text}" for text in report.faults]
    lines += [f"unreadable: {text}" for text in report.unreadable]
    for name, ids in (("lost", report.ids_lost), ("doubled", report.ids_doubled)):
        lines += [f"{name}: {one}" for one in ids]
    return "\n".join([*lines, "", *_verdict(report)])


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    disk = " ".join(filter(None, (report.file_system, "on", report.device)))
    yield "directory", report.directory
    yield "disk", f"{disk} ({report.mount_options})"
    yield "durability", report.durability
    yield "full disk", report.full_disk
    rounds = sum(report.rounds.values())
    yield "rounds", f"{rounds:,} in {report.seconds:,.0f} s, seed {report.seed}"
    for kind, count in report.rounds.items():
        yield f"  {kind}", f"{count:,}"
    yield "events sent", f"{report.sent:,}"
    yield "acknowledged", f"{report.acknowledged:,}"
    yield "found", f"{report.found:,}"
    yield "lost", f"{report.lost:,}"
    yield "doubled", f"{report.doubled:,}"
    yield "rows nobody sent", f"{report.strange_rows:,}"
    yield "stored without an answer", f"{report.unacknowledged_stored:,} (allowed)"
    yield "sent once more", f"{report.repeated:,}"
    yield "requests told 503", f"{report.answered_later:,}"
    yield "unreadable files", f"{report.unreadable_files:,} of {report.files:,}"
    yield "audits without difference", f"{report.audits:,}"
    times = f"p50 {report.recovery_p50_s:.2f} s, max {report.recovery_max_s:.2f} s"
    yield "recovery", f"{times} of {report.restarts:,} restarts"
    written = f"{report.bytes_sent:,} sent, {report.bytes_written:,} written"
    yield "bytes", f"{written}, {report.bytes_stored:,} in Parquet"


def _verdict(report: Report) -> Iterator[str]:
    if report.is_interrupted:
        yield "Interrupted: this is what was known by then."
    if report.is_passed:
        yield "Passed: every acknowledged event was found, each once, and every file can be read."
    else:
        yield "FAILED: see above."
    if report.kept:
        yield f"Kept for you to look at, and to remove: {report.kept}"
    yield _MEANING
