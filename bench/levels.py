"""One load of too much and what came of it: figures, how long recovery took, a line. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bench.figures import Figure, percentile
from bench.fleet import LoadFailed
from bench.flood import Flooded

# Beyond it an answer is later than normal; so much is noise of the machine.
_NORMAL_FACTOR: Final = 3.0
_NORMAL_MS_MIN: Final = 50.0
_NEARLY_ALL: Final = 0.95
_STEP_S: Final = 0.1


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One load and what came of it. Rates a second; `good`: events acknowledged."""

    name: str
    due: float
    sent: float
    good: float
    best: float
    statuses: dict[int, int]
    p50_ms: float
    p99_ms: float
    max_mb: float
    recovery_s: float
    report: Flooded

    @property
    def other(self) -> int:
        """Answers that are neither a success nor a refusal that may be tried again, or none."""
        known = sum(self.statuses.get(status, 0) for status in (200, 204, 429, 503))
        report = self.report
        return sum(self.statuses.values()) - known + report.broken + report.unanswered

    @property
    def share(self) -> float:
        """Of what was answered, how much was accepted."""
        taken = self.statuses.get(200, 0) + self.statuses.get(204, 0)
        return taken / max(1, sum(self.statuses.values()))


def level_of(
    name: str, flooded: Flooded, *, best: float, max_mb: float, recovery_s: float
) -> Level:
    """Put what came of a load into words; `best`: events a second that a closed loop reached."""
    latencies_us = sorted(flooded.latencies_us) or [0]
    return Level(
        name=name,
        due=flooded.due / flooded.window_s,
        sent=flooded.sent / flooded.window_s,
        good=flooded.accepted / flooded.window_s,
        best=best,
        statuses=flooded.statuses,
        p50_ms=percentile(latencies_us, 0.50) / 1e3,
        p99_ms=percentile(latencies_us, 0.99) / 1e3,
        max_mb=max_mb,
        recovery_s=recovery_s,
        report=flooded,
    )


def recovery_s(timeline: Sequence[tuple[float, int, int]], began_s: float, over_s: float) -> float:
    """Seconds after `over_s` (Unix) until answers are as they were before `began_s`.

    They are when of those that were sent within a second nearly all were answered with success and
    in normal time; where that never happened, as long as was looked. Raises `LoadFailed` without
    any before.
    """
    before = sorted(us for at_s, us, status in timeline if at_s < began_s and status < 300)
    if not before:
        raise LoadFailed("the light load was not answered before the overload began")
    normal_us = max(_NORMAL_FACTOR * percentile(before, 0.99), _NORMAL_MS_MIN * 1e3)
    sent = [
        (at_s - us / 1e6 - over_s, us <= normal_us and status < 300)
        for at_s, us, status in timeline
    ]
    after = [one for one in sent if one[0] >= 0]
    last_s = max((at_s for at_s, _ in after), default=0.0)
    for step in range(int(last_s / _STEP_S) + 1):
        began = step * _STEP_S
        second = [is_normal for at_s, is_normal in after if began <= at_s < began + 1.0]
        if second and sum(second) >= _NEARLY_ALL * len(second):
            return began
    return last_s


def figures_of(levels: Sequence[Level]) -> list[Figure]:
    """What goes into the history."""
    figures = []
    for one in levels:
        name = f"overload_{one.name}"
        figures += [
            Figure(f"{name}_due_per_s", one.due, "requests/s"),
            Figure(f"{name}_sent_per_s", one.sent, "requests/s"),
            Figure(f"{name}_good_per_s", one.good, "events/s"),
            Figure(f"{name}_of_closed", one.good / one.best, ""),
            Figure(f"{name}_accepted_share", one.share, ""),
            Figure(f"{name}_p50_ms", one.p50_ms, "ms"),
            Figure(f"{name}_p99_ms", one.p99_ms, "ms"),
            Figure(f"{name}_other_answers", one.other, "answers"),
            Figure(f"{name}_untold", one.report.untold, "answers"),
            Figure(f"{name}_max_mb", one.max_mb, "MB"),
            Figure(f"{name}_recovery_s", one.recovery_s, "s"),
            Figure(f"{name}_generator_cpu", one.report.cpu_s / one.report.window_s, "cores"),
        ]
    return figures


_COLUMNS: Final = (
    *("load", "due/s", "sent/s", "good/s", "of closed", "2xx", "429", "503", "other", "untold"),
    *("p50 ms", "p99 ms", "MB max", "recovery s", "late ms"),
)


def shown(one: Level | None) -> str:
    """One line of the table; None: its heading."""
    if one is None:
        cells: Sequence[str] = _COLUMNS
    else:
        answers = max(1, sum(one.statuses.values()))
        shares = [
            f"{sum(one.statuses.get(status, 0) for status in group) / answers:.1%}"
            for group in ((200, 204), (429,), (503,))
        ]
        cells = (
            one.name,
            f"{one.due:,.0f}",
            f"{one.sent:,.0f}",
            f"{one.good:,.0f}",
            f"{one.good / one.best:.2f}",
            *shares,
            f"{one.other}",
            f"{one.report.untold}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.max_mb:.0f}",
            f"{one.recovery_s:.1f}",
            f"{one.report.late_p99_ms:.1f}",
        )
    return f"{cells[0]:<15}" + "".join(f"{cell:>11}" for cell in cells[1:])
