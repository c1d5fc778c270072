"""Charts, drawn by the server: numbers as shapes, in words, and as a table behind each of them.

A drawing stretches to the room it has; texts stand around it as HTML, so that they stay readable on
a phone. Colours are classes of the style sheet: `s1` to `s6` are the series, in order. Must not
know what the numbers are of.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from collector import rates
from collector.dashboard.frame import number, table
from collector.dashboard.html import Child, Html, Link, tag

_HEIGHT: Final = 100.0
_STEP: Final = 10.0
# Of the room of one column, what stays free beside it.
_GAP: Final = 2.0
# Places of a chart that live.js keeps up to date: as many as `rates` knows.
MINUTES: Final = rates.MINUTES
Attributes: TypeAlias = dict[str, str | Link | bool]


class Series(msgspec.Struct, frozen=True):
    """A name, and a value for each place of the axis."""

    name: str
    values: Sequence[float]


def columns(
    name: str, title: str, axis: Sequence[str], series: Sequence[Series], *, live: str = ""
) -> Html:
    """Columns side by side, one for each place of `axis`, the series stacked in each.

    `name` is unique on the page. `live`: what live.js calls the chart when it brings new numbers.
    """
    sums = [sum(one.values[place] for one in series) for place in range(len(axis))]
    most = max(sums, default=0) or 1
    shapes: list[Html] = []
    for place, text in enumerate(axis):
        below = 0.0
        for index, one in enumerate(series):
            value = one.values[place]
            height = _HEIGHT * value / most
            words = f"{text}: {number(value)} {one.name}"
            shapes.append(_column(place, below + height, height, index, words))
            below += height
    return _figure(name, title, axis, series, most, shapes, live=live)


def area(
    name: str, title: str, axis: Sequence[str], now: Series, before: Series | None = None
) -> Html:
    """A line over time with the ground below it filled, and a second, thin one to compare with."""
    most = max([*now.values, *(before.values if before else ())], default=0) or 1
    width = _STEP * max(1, len(axis) - 1)
    known = [now] if before is None else [now, before]
    line = _points(now.values, most)
    shapes: list[Html] = []
    if len(axis) > 1:
        ground = f"{line} {width:g},{_HEIGHT:g} 0,{_HEIGHT:g}"
        shapes.append(tag("polygon", attributes={"class": "ground s1", "points": ground}))
        shapes.append(tag("polyline", attributes={"class": "line s1", "points": line}))
        if before is not None:
            old = _points(before.values, most)
            shapes.append(tag("polyline", attributes={"class": "line before", "points": old}))
    else:
        # One place has no line: two columns say as much.
        for place, one in enumerate(known):
            total = sum(one.values)
            height = _HEIGHT * total / most
            shapes.append(_column(place, height, height, place, f"{number(total)} {one.name}"))
        width = _STEP * len(known)
    return _figure(name, title, axis, known, most, shapes, width=width)


def _column(place: int, top: float, height: float, index: int, words: str) -> Html:
    return tag(
        "rect",
        tag("title", words),
        attributes={
            "class": f"s{index + 1}",
            "x": f"{_STEP * place + _GAP / 2:g}",
            "y": f"{_HEIGHT - top:.2f}",
            "width": f"{_STEP - _GAP:g}",
            "height": f"{height:.2f}",
        },
    )


def _points(values: Sequence[float], most: float) -> str:
    return " ".join(
        f"{_STEP * place:g},{_HEIGHT * (1 - value / most):.2f}"
        for place, value in enumerate(values)
    )


def _figure(
    name: str,
    title: str,
    axis: Sequence[str],
    series: Sequence[Series],
    most: float,
    shapes: Sequence[Html],
    *,
    width: float | None = None,
    live: str = "",
) -> Html:
    drawing: Attributes = {
        "viewBox": f"0 0 {width or _STEP * max(1, len(axis)):g} {_HEIGHT:g}",
        "preserveAspectRatio": "none",
        "role": "img",
        "focusable": "false",
        "aria-labelledby": f"{name}-title {name}-words",
    }
    plot: Attributes = {"class": "plot"}
    if live:
        plot["data-live"] = live
    return tag(
        "figure",
        tag("figcaption", title, _legend(series) if len(series) > 1 else None),
        tag(
            "div",
            tag("span", number(most), attributes={"class": "most", "aria-hidden": "true"}),
            tag(
                "svg",
                tag("title", title, attributes={"id": f"{name}-title"}),
                tag("desc", _words(axis, series), attributes={"id": f"{name}-words"}),
                [_rule(at, width or _STEP * max(1, len(axis))) for at in (0.0, _HEIGHT / 2)],
                shapes,
                attributes=drawing,
            ),
            _axis(axis),
            attributes=plot,
        ),
        _numbers(title, axis, series),
        attributes={"class": "chart"},
    )


def _rule(at: float, width: float) -> Html:
    return tag(
        "line",
        attributes={
            "class": "rule",
            "x1": "0",
            "x2": f"{width:g}",
            "y1": f"{at:g}",
            "y2": f"{at:g}",
        },
    )


def _axis(axis: Sequence[str]) -> Html:
    """The names of the ends, and of the middle where there is room for it."""
    ends = [axis[0], axis[len(axis) // 2], axis[-1]] if len(axis) > 4 else list(axis)
    return tag(
        "div",
        [tag("span", text) for text in ends],
        attributes={"class": "axis", "aria-hidden": "true"},
    )


def _words(axis: Sequence[str], series: Sequence[Series]) -> str:
    """What a drawing shows, for those who do not see it."""
    if not axis:
        return "Nothing is known."
    told = []
    for one in series:
        most, place = max((value, -place) for place, value in enumerate(one.values))
        told.append(
            f"{one.name}: {number(sum(one.values))} in all, most at {axis[-place]}, {number(most)}."
        )
    return f"From {axis[0]} to {axis[-1]}. {' '.join(told)} The numbers are in the table below."


def _legend(series: Sequence[Series]) -> Html:
    return tag(
        "ul",
        [
            tag("li", tag("span", attributes={"class": f"key k{index + 1}"}), one.name)
            for index, one in enumerate(series)
        ],
        attributes={"class": "legend"},
    )


def _numbers(title: str, axis: Sequence[str], series: Sequence[Series]) -> Html:
    rows: list[Sequence[Child]] = [
        (text, *(int(one.values[place]) for one in series)) for place, text in enumerate(axis)
    ]
    return tag(
        "details",
        tag("summary", "Numbers"),
        table(title, ("", *(one.name for one in series)), rows),
    )


# --- bars within a table


def bar(value: float, most: float) -> Html:
    """A horizontal bar, as long as `value` is of `most`; the number itself stands beside it."""
    width = 100 * value / most if most else 0
    shape = tag(
        "rect",
        attributes={"class": "s1", "x": "0", "y": "0", "width": f"{width:.2f}", "height": "10"},
    )
    attributes: Attributes = {
        "class": "bar-drawn",
        "viewBox": "0 0 100 10",
        "preserveAspectRatio": "none",
        "aria-hidden": "true",
        "focusable": "false",
    }
    return tag("svg", shape, attributes=attributes)
