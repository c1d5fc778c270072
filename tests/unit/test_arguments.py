"""Arguments that are no text: one line and exit code 2, whatever the command."""

import pytest
from click.testing import CliRunner

from collector.cli import main

BAD = "q\udcff"


@pytest.mark.parametrize(
    "words",
    [
        ["query", f"SELECT '{BAD}'"],
        ["query", "--output", BAD, "SELECT 1"],
        ["export", "--site", BAD],
        ["tail", "--no-follow", "--site", BAD],
        ["audit", "--site", BAD],
        ["receipt", BAD],
        ["erase", "--site", "demo", "--visitor", BAD],
        ["quarantine", "list", "--site", BAD],
        ["quarantine", "show", BAD],
        ["quarantine", "replay", BAD],
        ["keys", "new", "--name", BAD],
        ["inspect-log", BAD],
        ["check", "--config", BAD],
        ["demo", "--key", BAD],
        [BAD],
    ],
)
def test_an_argument_that_is_no_utf8_is_refused(words: list[str]) -> None:
    """Neither a traceback nor a guess: the line names the argument and shows its bytes."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    place = next(number for number, word in enumerate(words, start=1) if BAD in word)
    shown = words[place - 1].replace("\udcff", "\\xff")
    assert result.output == f"Error: argument {place} is not valid UTF-8: {shown}\n"


def test_text_of_any_language_is_an_argument() -> None:
    """Only what is no text is refused."""
    result = CliRunner().invoke(main, ["keys", "new", "--name", "clé-日本-🎉"])
    assert result.exit_code == 0
    assert "clé-日本-🎉" in result.output
