"""Colours of the style sheet: what is to be read stands out from its ground, in both themes.

By the formula of WCAG 2.2: 4.5 for texts, 3 for shapes and for what shows where the focus is.
"""

import re
from typing import Final

import pytest

from tests.house.source import ROOT

_SHEET: Final = (ROOT / "collector" / "dashboard" / "style.css").read_text(encoding="utf-8")
_GROUNDS: Final = ("paper", "sheet")
_TEXTS: Final = ("ink", "quiet", "link", "good", "bad")
_SHAPES: Final = ("s1", "s2", "s3", "s4", "s5", "s6", "focus")


def _colours(theme: str) -> dict[str, str]:
    """Colours by name, six digits each; those of the dark theme stand for the light ones."""
    light, dark = re.findall(r":root \{(.*?)\}", _SHEET, re.DOTALL)
    found: dict[str, str] = {}
    for block in (light, dark)[: 1 + (theme == "dark")]:
        for name, digits in re.findall(r"--([a-z0-9-]+): #([0-9a-f]{3,6});", block):
            found[name] = digits if len(digits) == 6 else "".join(2 * one for one in digits)
    return found


def _light(digits: str) -> float:
    """Relative luminance."""
    shares = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    linear = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return sum(
        value * weight for value, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True)
    )


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_light(one), _light(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula() -> None:
    """Black on white is 21; the grey that is just enough is known."""
    assert _contrast("000000", "ffffff") == pytest.approx(21)
    assert _contrast("767676", "ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_and_shapes_stand_out(theme: str) -> None:
    """On the page, on what is set apart, on the link that one is at; words of a button, too."""
    colours = _colours(theme)
    pairs = [
        *((text, ground, 4.5) for text in _TEXTS for ground in _GROUNDS),
        *((shape, ground, 3.0) for shape in _SHAPES for ground in _GROUNDS),
        ("ink", "line", 4.5),
        ("button-ink", "link", 4.5),
    ]
    weak = {
        (one, other): round(_contrast(colours[one], colours[other]), 2)
        for one, other, least in pairs
        if _contrast(colours[one], colours[other]) < least
    }
    assert not weak


def test_both_themes_have_their_own_colours() -> None:
    """Each name of a colour that the dark theme needs is given again there."""
    light, dark = _colours("light"), _colours("dark")
    assert [name for name in light if light[name] == dark[name]] == []


def test_no_colour_stands_outside_of_the_themes() -> None:
    """Whatever is coloured follows the theme."""
    rest = re.sub(r":root \{.*?\}", "", _SHEET, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(", rest) == []
