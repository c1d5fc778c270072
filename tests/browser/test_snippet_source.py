"""The script as it is served, compared with its source by a program that knows JavaScript."""

import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Final

import pytest

from collector.snippet.shorten import shorten
from tests.browser.browsing import unavailable

pytestmark = pytest.mark.browser

_ESBUILD: Final = Path(__file__).parent / "node_modules" / ".bin" / "esbuild"


def _minified(script: str) -> str:
    """The script as esbuild writes it: two that differ in names and blanks become the same."""
    if not _ESBUILD.exists():
        unavailable("esbuild is missing; run tests/browser/setup")
    command = [str(_ESBUILD), "--minify", "--loader=js", "--target=es2020", "--log-level=warning"]
    result = subprocess.run(
        command, input=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_what_is_served_is_the_source() -> None:
    """Nothing but names, blanks and comments got lost when it was made small; browsers of 2020 do."""
    source = files("collector.snippet").joinpath("s.js").read_text(encoding="utf-8")
    assert _minified(shorten(source)) == _minified(source)
