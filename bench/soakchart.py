"""What was sampled during a soak, as a picture: one small plot for each measure, in SVG. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from bench.figures import shown

_WIDTH: Final = 1_000
_COLUMNS: Final = 2
_MARGIN: Final = 20
_GAP: Final = 30
_PANEL: Final = 150
_ABOVE: Final = 34
_BELOW: Final = 24
_ROOM: Final = 1.1
_STYLE: Final = """\
:root { color-scheme: light dark; }
.page { fill: #ffffff; } .title { fill: #1f2328; } .small { fill: #59636e; }
.axis { stroke: #d1d9e0; } .series { stroke: #0969da; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .title { fill: #f0f6fc; } .small { fill: #9198a1; }
.axis { stroke: #3d444d; } .series { stroke: #4493f8; }
}
text { font-family: system-ui, sans-serif; font-size: 12px; }
.title { font-size: 13px; font-weight: 600; } .end { text-anchor: end; }
.series { fill: none; stroke-width: 1.5; }"""

Points = Sequence[tuple[float, float]]


def svg(measured: Mapping[str, Points], units: Mapping[str, str]) -> str:
    """A picture of (minute, value) by measure; every plot begins at 0. Each needs a point."""
    width = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) / _COLUMNS
    height = 2 * _MARGIN + -(-len(measured) // _COLUMNS) * _PANEL
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img">'
        ),
        "<title>Half of the capacity, over time</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
    ]
    for number, (name, points) in enumerate(measured.items()):
        row, column = divmod(number, _COLUMNS)
        left, top = _MARGIN + column * (width + _GAP), _MARGIN + row * _PANEL
        lines += _panel(name.replace("_", " "), units[name], points, (left, top, width))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(title: str, unit: str, points: Points, place: tuple[float, float, float]) -> list[str]:
    left, top, width = place
    bottom, height = top + _PANEL - _BELOW, _PANEL - _ABOVE - _BELOW
    last = points[-1][0] or 1.0
    ceiling = max(value for _, value in points) * _ROOM or 1.0
    places = " ".join(
        f"{left + width * minute / last:.1f},{bottom - height * max(0.0, value) / ceiling:.1f}"
        for minute, value in points
    )
    most = shown(max(value for _, value in points))
    return [
        f'<text class="title" x="{left:.1f}" y="{top + 14}">{escape(title)}</text>',
        (
            f'<text class="small end" x="{left + width:.1f}" y="{top + 14}">'
            f"at most {most} {escape(unit)}</text>"
        ),
        f'<line class="axis" x1="{left:.1f}" y1="{bottom}" x2="{left + width:.1f}" y2="{bottom}"/>',
        f'<polyline class="series" points="{places}"/>',
        f'<text class="small" x="{left:.1f}" y="{bottom + 15}">0</text>',
        f'<text class="small end" x="{left + width:.1f}" y="{bottom + 15}">{last:.0f} min</text>',
    ]
