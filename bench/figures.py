"""Arithmetic of a report: percentiles, medians, and figures as lines of a table. Pure."""

import math
import statistics
from collections.abc import Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One measured number. `name` is its key in the history and never changes its meaning.

    `rounds`: what the single rounds gave, where there were several.
    """

    name: str
    value: float
    unit: str
    note: str = ""
    rounds: tuple[float, ...] = ()


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (above 0, at most 1) of the ascending `ordered` does not exceed.

    Nearest rank: always a value that was measured, never one between two. Raises ValueError when
    there is none to choose from.
    """
    if not ordered:
        raise ValueError("no percentile of nothing")
    if not 0 < share <= 1:
        raise ValueError("a share lies above 0 and is at most 1")
    return ordered[math.ceil(share * len(ordered)) - 1]


def ratio_of_medians(measured: Sequence[float], floor: Sequence[float]) -> float:
    """Median of `measured` over median of `floor`; rounds of both were taken in turn.

    Medians, because on a shared machine single rounds are spoilt by neighbours. Raises ValueError
    when either is empty or the floor is 0.
    """
    if not measured or not floor:
        raise ValueError("a ratio needs rounds on both sides")
    below = statistics.median(floor)
    if below <= 0:
        raise ValueError("the floor measured nothing")
    return statistics.median(measured) / below


def median_figure(name: str, rounds: Sequence[float], unit: str, note: str = "") -> Figure:
    """The middle one of several rounds. Raises ValueError when there is none."""
    if not rounds:
        raise ValueError(f"{name}: no round was measured")
    return Figure(name, statistics.median(rounds), unit, note, tuple(rounds))


def ratio_figure(
    name: str, measured: Sequence[float], floor: Sequence[float], note: str = ""
) -> Figure:
    """Ratio of medians; its rounds are those of `measured` over those of `floor` in their order.

    Raises ValueError when there is nothing to divide by.
    """
    ratio = ratio_of_medians(measured, floor)
    pairs = zip(measured, floor, strict=True)
    return Figure(name, ratio, "", note, tuple(a / b for a, b in pairs if b > 0))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much the second number grows per unit of the first, by least squares.

    Raises ValueError for fewer than two points, or points that differ in nothing.
    """
    try:
        return statistics.linear_regression(*zip(*points, strict=True)).slope
    except (statistics.StatisticsError, TypeError) as error:
        raise ValueError("a slope needs points apart") from error


def latency_figures(name: str, latencies_us: Sequence[int], note: str = "") -> list[Figure]:
    """p50 and p99 of latencies in microseconds, as milliseconds."""
    ordered = sorted(latencies_us)
    return [
        Figure(f"{name}_p50_ms", percentile(ordered, 0.50) / 1000, "ms", note),
        Figure(f"{name}_p99_ms", percentile(ordered, 0.99) / 1000, "ms"),
    ]


def shown(value: float) -> str:
    """`value` with about three digits that mean something, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def table(figures: Sequence[Figure]) -> str:
    """`figures` as aligned lines: name, value, unit, note."""
    cells = [(figure.name, shown(figure.value), figure.unit, figure.note) for figure in figures]
    names, values, units = (max((len(row[i]) for row in cells), default=0) for i in range(3))
    lines = [
        f"{name:<{names}}  {value:>{values}} {unit:<{units}}  {note}".rstrip()
        for name, value, unit, note in cells
    ]
    return "\n".join(lines)
