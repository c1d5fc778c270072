"""The script as it is served, compared with its source by a program that knows JavaScript."""

import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Final

import pytest

from collector.snippet.shorten import shorten
from tests.browser.browsing import unavailable

pytestmark = pytest.mark.browser

_ESBUILD: Final = Path(__file__).parent / "node_modules" / ".bin" / "esbuild"
_WORD: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\.{3}|[\w$]+|[^\w$\s]')


def _words(script: str) -> list[str]:
    """The script as esbuild understands and writes it, word by word."""
    if not _ESBUILD.exists():
        unavailable("esbuild is missing; run tests/browser/setup")
    command = [
        str(_ESBUILD),
        "--minify-whitespace",
        "--loader=js",
        "--target=es2020",
        "--log-level=warning",
    ]
    result = subprocess.run(
        command, input=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    # A word more, so that each has one behind it.
    return [*_WORD.findall(result.stdout), ""]


def _is_member(words: list[str], index: int) -> bool:
    before, after = words[index - 1], words[index + 1]
    return before == "." or (before in {"{", ","} and after == ":")


def test_what_is_served_is_the_source() -> None:
    """Made small it is the same program: only names of its own differ, each by one other."""
    source = files("collector.snippet").joinpath("s.js").read_text(encoding="utf-8")
    ours, theirs = _words(shorten(source)), _words(source)
    assert len(ours) == len(theirs)
    short: dict[str, str] = {}
    long: dict[str, str] = {}
    same = set()
    for index, (one, other) in enumerate(zip(ours[:-1], theirs[:-1], strict=True)):
        if _is_member(ours, index):
            assert one == other, "members keep their names"
        elif one == other:
            same.add(other)
        else:
            assert (short.setdefault(other, one), long.setdefault(one, other)) == (one, other)
    assert len(short) > 50
    assert same.isdisjoint(short), "who has another name has it everywhere"
