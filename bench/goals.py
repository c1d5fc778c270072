"""The targets: what is promised of which figure, and whether a run kept it. Pure.

A figure's name is its key in the history. Its bound is what this project set itself; it says
nothing of a machine, so most are ratios of two things measured in turn on the same one.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bench.figures import Figure, shown

# In the history beside a figure's own name.
LOW: Final = "_min"
HIGH: Final = "_max"
_MISSING: Final = "not measured"


class Goal(msgspec.Struct, frozen=True):
    """One row of the table. `measure`: who measures it, a name of `bench.targets`.

    `is_floor`: the figure should not be below `bound`; otherwise not above it.
    """

    name: str
    measure: str
    text: str
    bound: float
    unit: str = ""
    is_floor: bool = True

    def is_met(self, value: float) -> bool:
        """Whether `value` keeps what is promised."""
        return value >= self.bound if self.is_floor else value <= self.bound

    @property
    def target(self) -> str:
        """The bound as people write it."""
        sign = "\N{GREATER-THAN OR EQUAL TO}" if self.is_floor else "\N{LESS-THAN OR EQUAL TO}"
        return f"{sign} {rounded(self.bound)} {self.unit}".rstrip()


def _most(name: str, measure: str, text: str, bound: float, unit: str) -> Goal:
    return Goal(name, measure, text, bound, unit, is_floor=False)


GOALS: Final = (
    Goal("scanova_ratio", "singles", "durable singles / bare handler", 0.75),
    Goal("scanova_os_ratio", "singles", 'durable singles / durability = "os"', 0.85),
    _most("scanova_70_load_ack_p99_ms", "singles", "answer p99 at 70 % of capacity", 20, "ms"),
    Goal("zenovay_1000_events_per_s", "batches", "durable batches of 1,000", 250_000, "events/s"),
    Goal("zenovay_1000_decode_ratio", "batches", "durable batches / decoding alone", 0.40),
    Goal("scanova_checks_ratio", "checks", "Scanova, every check on / off", 0.85),
    Goal("croct_checks_ratio", "checks", "Croct, every check on / off", 0.85),
    Goal("flush_rows_per_s", "flush", "flush on one thread", 300_000, "rows/s"),
    Goal("flushing_singles_ratio", "flushing", "singles while flushing, joining / not", 0.90),
    Goal("flushing_batches_ratio", "flushing", "batches while flushing, joining / not", 0.90),
    _most("fresh_5k_glob_p99_ms", "freshness", "in a glob after, p99, 5,000/s", 6_000, "ms"),
    _most("fresh_5k_session_p99_ms", "freshness", "in a query after, p99, 5,000/s", 1_000, "ms"),
    _most("memory_resident_max_mb", "memory", "resident at full load", 400, "MB"),
    # Flat: in a minute, not more than a hundredth of what it may be.
    _most("memory_slope_mb_per_min", "memory", "growth of resident memory", 4, "MB/min"),
    _most("restart_ready_s", "restart", "kill -9 to ready, 1,000,000 rows", 5, "s"),
    _most("start_empty_s", "start", "cold start to ready", 1, "s"),
    Goal("grown_singles_ratio", "growth", "singles, grown / empty", 0.90),
    Goal("grown_batches_ratio", "growth", "batches, grown / empty", 0.90),
)
_NAMES: Final = frozenset(goal.name for goal in GOALS)


def rounded(value: float) -> str:
    """A bound without digits that say nothing: 0.75, 400, 250,000."""
    return f"{value:,.0f}" if value >= 100 else f"{value:g}" if value >= 1 else f"{value:.2f}"


def spreads(figures: Sequence[Figure]) -> list[Figure]:
    """The lowest and the highest round of each target's figure, as figures of their own."""
    found = []
    for figure in figures:
        if figure.name in _NAMES and figure.rounds:
            found.append(Figure(figure.name + LOW, min(figure.rounds), figure.unit))
            found.append(Figure(figure.name + HIGH, max(figure.rounds), figure.unit))
    return found


def goals_table(figures: Sequence[Figure], goals: Sequence[Goal] = GOALS) -> str:
    """A line for each of `goals`: measure, target, median, lowest and highest round, met or not.

    Goals without a figure are told as not measured.
    """
    measured = {figure.name: figure for figure in figures}
    rows = [("measure", "target", "median", "min - max", "met")]
    rows += [_row(goal, measured) for goal in goals]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        first, target, *numbers, met = row
        cells = [f"{cell:>{width}}" for cell, width in zip(numbers, widths[2:4], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), target.ljust(widths[1]), *cells, met]))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _row(goal: Goal, measured: Mapping[str, Figure]) -> tuple[str, str, str, str, str]:
    figure = measured.get(goal.name)
    if figure is None:
        return goal.text, goal.target, _MISSING, "", ""
    spread = ""
    if len(figure.rounds) > 1:
        spread = f"{shown(min(figure.rounds))} - {shown(max(figure.rounds))}"
    met = "yes" if goal.is_met(figure.value) else "no"
    return goal.text, goal.target, shown(figure.value), spread, met
