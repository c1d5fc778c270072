"""The history of the targets as a picture: small multiples in SVG, one for each. Pure.

One column per run that measured a target, in the order of the history. Colours follow the
reader's: light or dark. A line joins runs on one kind of machine only; a hollow dot is a rough
run, with fewer than five rounds.
"""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Final

import msgspec

from bench.figures import shown
from bench.goals import GOALS, HIGH, LOW, Goal
from bench.history import Run

WIDTH: Final = 1_000
_COLUMNS: Final = 3
_MARGIN: Final = 20
_HEADER: Final = 58
_GAP_X: Final = 26
_PANEL_HEIGHT: Final = 156
# Of a panel: above the plot stand its title and its last value, below it the first and last date.
_ABOVE: Final = 42
_BELOW: Final = 26
_ROOM: Final = 1.15
_ROUNDS_SURE: Final = 5
_STYLE: Final = """\
:root { color-scheme: light dark; }
.page { fill: #ffffff; } .title { fill: #1f2328; } .small { fill: #59636e; }
.axis { stroke: #d1d9e0; } .target { stroke: #9a6700; } .bound { fill: #9a6700; }
.series { stroke: #0969da; } .range { stroke: #0969da; } .dot { stroke: #0969da; fill: #0969da; }
.rough { fill: #ffffff; } .met { fill: #1a7f37; } .missed { fill: #cf222e; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .title { fill: #f0f6fc; } .small { fill: #9198a1; }
.axis { stroke: #3d444d; } .target { stroke: #d29922; } .bound { fill: #d29922; }
.series { stroke: #4493f8; } .range { stroke: #4493f8; } .dot { stroke: #4493f8; fill: #4493f8; }
.rough { fill: #0d1117; } .met { fill: #3fb950; } .missed { fill: #f85149; }
}
text { font-family: system-ui, sans-serif; font-size: 12px; }
.title { font-size: 13px; font-weight: 600; } .head { font-size: 18px; }
.axis { stroke-width: 1; } .target { stroke-width: 1; stroke-dasharray: 4 3; }
.series { fill: none; stroke-width: 1.5; } .range { stroke-width: 4; opacity: 0.4; }
.dot { stroke-width: 1.5; } .end { text-anchor: end; }"""


class _Point(msgspec.Struct, frozen=True):
    """One run's value, at `x` and `y` of the picture; `low` and `high` are y, too."""

    x: float
    y: float
    low: float
    high: float
    is_rough: bool
    machine: tuple[str, int]


class _Panel(msgspec.Struct, frozen=True):
    """Where a small multiple is: its plot reaches from `left`, `top` to `right`, `bottom`."""

    left: float
    top: float
    right: float
    bottom: float
    ceiling: float
    runs: int

    def x(self, index: int) -> float:
        """Where the run of that number stands; one alone stands in the middle."""
        return self.left + (self.right - self.left) * (index + 0.5) / self.runs

    def y(self, value: float) -> float:
        """Where a value stands, from 0 at the bottom."""
        return self.bottom - (self.bottom - self.top) * min(1.0, value / self.ceiling)


def svg(runs: Sequence[Run], goals: Sequence[Goal] = GOALS) -> str:
    """A picture of `goals` over those of `runs` that measured any of them."""
    names = {goal.name for goal in goals}
    shown_runs = [run for run in runs if names & run.figures.keys()]
    width = (WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP_X) / _COLUMNS
    height = _HEADER + -(-len(goals) // _COLUMNS) * _PANEL_HEIGHT + _MARGIN
    size = f'width="{WIDTH}" height="{height}" role="img"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {size}>',
        "<title>Targets over the runs of the benchmark</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        _text(_MARGIN, 26, "title head", "Targets over the runs of the benchmark"),
        _text(_MARGIN, 45, "small", _legend(len(shown_runs))),
    ]
    for number, goal in enumerate(goals):
        row, column = divmod(number, _COLUMNS)
        left = _MARGIN + column * (width + _GAP_X)
        top = _HEADER + row * _PANEL_HEIGHT
        panel = _Panel(
            left,
            top + _ABOVE,
            left + width,
            top + _PANEL_HEIGHT - _BELOW,
            _ceiling(goal, shown_runs),
            max(1, len(shown_runs)),
        )
        lines += _multiple(goal, shown_runs, panel)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _legend(runs: int) -> str:
    return (
        f"{runs} {'run' if runs == 1 else 'runs'}, oldest left. Dashed: the target. Pale: lowest "
        "to highest round. Hollow: fewer than five rounds. A line joins runs on one machine."
    )


def _ceiling(goal: Goal, runs: Sequence[Run]) -> float:
    """What stands at the top of the plot: more than the target, and than every round."""
    names = (goal.name, goal.name + HIGH)
    values = [run.figures[name] for run in runs for name in names if name in run.figures]
    return max([goal.bound, *values]) * _ROOM


def _multiple(goal: Goal, runs: Sequence[Run], panel: _Panel) -> list[str]:
    target_y = panel.y(goal.bound)
    lines = [
        f'<g id="{escape(goal.name)}">',
        _text(panel.left, panel.top - 26, "title", goal.text),
        _line("axis", (panel.left, panel.bottom), (panel.right, panel.bottom)),
        _line("target", (panel.left, target_y), (panel.right, target_y)),
        _text(panel.right, panel.top - 9, "bound end", goal.target),
    ]
    points = _points(goal, runs, panel)
    lines += [_line("range", (one.x, one.low), (one.x, one.high)) for one in points]
    for _, group in groupby(points, key=lambda one: one.machine):
        places = " ".join(f"{_n(one.x)},{_n(one.y)}" for one in group)
        lines.append(f'<polyline class="series" points="{places}"/>')
    for one in points:
        kind = "dot rough" if one.is_rough else "dot"
        lines.append(f'<circle class="{kind}" cx="{_n(one.x)}" cy="{_n(one.y)}" r="3.5"/>')
    lines += _words(goal, runs, panel)
    return [*lines, "</g>"]


def _words(goal: Goal, runs: Sequence[Run], panel: _Panel) -> list[str]:
    """The last value and whether it keeps the target; between which dates."""
    measured = [run for run in runs if goal.name in run.figures]
    if not measured:
        return [_text(panel.left, panel.top - 9, "small", "not measured yet")]
    value = measured[-1].figures[goal.name]
    kind, verdict = ("met", "met") if goal.is_met(value) else ("missed", "not met")
    last_value = f"{shown(value)} {goal.unit}".rstrip()
    first, last = (runs[index].date[:10] for index in (0, -1))
    lines = [
        _text(panel.left, panel.top - 9, kind, f"{last_value}, {verdict}"),
        _text(panel.left, panel.bottom + 15, "small", first),
    ]
    if first != last:
        lines.append(_text(panel.right, panel.bottom + 15, "small end", last))
    return lines


def _points(goal: Goal, runs: Sequence[Run], panel: _Panel) -> list[_Point]:
    found = []
    for index, run in enumerate(runs):
        value = run.figures.get(goal.name)
        if value is not None:
            low = run.figures.get(goal.name + LOW, value)
            high = run.figures.get(goal.name + HIGH, value)
            found.append(
                _Point(
                    panel.x(index),
                    panel.y(max(0.0, value)),
                    panel.y(max(0.0, low)),
                    panel.y(max(0.0, high)),
                    run.options.get("rounds", _ROUNDS_SURE) < _ROUNDS_SURE,
                    (run.machine.cpu, run.machine.cores),
                )
            )
    return found


def _text(x: float, y: float, kind: str, words: str) -> str:
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}">{escape(words)}</text>'


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1, x2, y2 = map(_n, (*start, *end))
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _n(value: float) -> str:
    return f"{value:.1f}"
