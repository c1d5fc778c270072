"""Draws stacks as a flame graph: who called whom, and how much of the whole each takes.

A picture without scripts, on a ground of its own, so that it can stand in a page, light or dark.
The same stacks give the same picture. Pure; knows nothing of where stacks come from.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

_WIDTH: Final = 1_200.0
_MARGIN: Final = 10.0
_ROW: Final = 18.0
_TITLE: Final = 52.0
_FOOT: Final = 26.0
# Of a monospaced letter at 11 px, and what is left free at both ends of a frame.
_LETTER: Final = 6.65
_PADDING: Final = 3.0
# Narrower frames cannot be seen, and there are thousands of them.
_NARROWEST: Final = 1.2
_COLOURS: Final = {
    "collector": "#f4a259",
    "storage": "#8cb369",
    "msgspec": "#7fb3d5",
    "xxhash": "#e8c547",
    "disk": "#e07a5f",
    "event loop": "#b8a1d9",
    "python": "#d9d4c7",
    "other": "#a9c7c0",
}
_OTHER: Final = "other"


class Frame(NamedTuple):
    """One function, and the package that it belongs to."""

    name: str
    package: str


Stack = tuple[Frame, ...]


class Node:
    """A frame in its place: `samples` of it and all that it called, `own` without these."""

    __slots__ = ("children", "frame", "own", "samples")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.samples = 0
        self.own = 0
        self.children: dict[Frame, Node] = {}

    @property
    def depth(self) -> int:
        """How many frames stand on each other, this one included."""
        return 1 + max((child.depth for child in self.children.values()), default=0)


class Placed(NamedTuple):
    """A node on the picture: `x` and `width` in pixels, `level` 0 at the bottom."""

    node: Node
    x: float
    width: float
    level: int


def grown(stacks: Mapping[Stack, int]) -> Node:
    """The tree of `stacks`, outermost frame first, with how often each was seen."""
    root = Node(Frame("all", _OTHER))
    for stack, samples in stacks.items():
        root.samples += samples
        node = root
        for frame in stack:
            node = node.children.setdefault(frame, Node(frame))
            node.samples += samples
        node.own += samples
    return root


def placed(root: Node) -> Iterator[Placed]:
    """Every node that is wide enough to be seen; neighbours in the order of their names."""
    scale = (_WIDTH - 2 * _MARGIN) / root.samples if root.samples else 0.0
    waiting = [Placed(root, _MARGIN, root.samples * scale, 0)]
    while waiting:
        here = waiting.pop()
        yield here
        x = here.x
        for frame in sorted(here.node.children):
            child = here.node.children[frame]
            width = child.samples * scale
            if width >= _NARROWEST:
                waiting.append(Placed(child, x, width, here.level + 1))
            x += width


def by_package(root: Node) -> dict[str, int]:
    """Samples by the package whose function was running, most first."""
    found: dict[str, int] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        waiting.extend(node.children.values())
        if node.own:
            found[node.frame.package] = found.get(node.frame.package, 0) + node.own
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def draw(root: Node, title: str, note: str) -> str:
    """The picture as SVG: `title` above it, `note` below, a name and share on every frame."""
    frames = list(placed(root))
    height = _TITLE + (1 + max(one.level for one in frames)) * _ROW + _FOOT
    bottom = height - _FOOT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}"',
        f'  width="{_WIDTH:g}" height="{height:g}" font-family="monospace" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH:g}" height="{height:g}" fill="#ffffff"/>',
        f'<text x="{_MARGIN:g}" y="20" font-size="14" fill="#1f1f1f">{escape(title)}</text>',
        *_legend(root),
        *(line for one in frames for line in _drawn(one, root.samples, bottom)),
        f'<text x="{_MARGIN:g}" y="{height - 9:g}" fill="#5f5f5f">{escape(note)}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend(root: Node) -> Iterator[str]:
    x = _MARGIN
    for package, samples in by_package(root).items():
        text = f"{package} {samples / root.samples:.0%}"
        yield f'<rect x="{x:g}" y="31" width="11" height="11" fill="{_colour(package)}"/>'
        yield f'<text x="{x + 15:g}" y="41" fill="#1f1f1f">{escape(text)}</text>'
        x += 15 + len(text) * _LETTER + 18


def _drawn(one: Placed, samples: int, bottom: float) -> Iterator[str]:
    frame = one.node.frame
    share = one.node.samples / samples if samples else 0.0
    y = bottom - (one.level + 1) * _ROW
    yield (
        f"<g><title>{escape(frame.name)}: {share:.1%}, {one.node.own} of {one.node.samples} "
        f"samples in itself ({escape(frame.package)})</title>"
    )
    yield (
        f'<rect x="{one.x:.2f}" y="{y:g}" width="{max(one.width - 0.5, 0.5):.2f}" '
        f'height="{_ROW - 1:g}" rx="1" fill="{_colour(frame.package)}"/>'
    )
    if text := clipped(frame.name, one.width):
        x = one.x + _PADDING
        yield f'<text x="{x:.2f}" y="{y + 12.5:g}" fill="#1f1f1f">{escape(text)}</text>'
    yield "</g>"


def clipped(name: str, width: float) -> str:
    """As much of `name` as fits into `width` pixels; nothing where that would be no name."""
    letters = int((width - 2 * _PADDING) / _LETTER)
    if letters >= len(name):
        return name
    return f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}" if letters >= 4 else ""


def _colour(package: str) -> str:
    return _COLOURS.get(package, _COLOURS[_OTHER])
