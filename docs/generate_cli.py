"""Writes docs/CLI.md from the help texts of the commands; `tests/test_docs.py` compares the two.

Run it after a change to a command: `.venv/bin/python docs/generate_cli.py`. Owns the frame around
the help texts; their words belong to `collector/cli.py`.
"""  # noqa: INP001  a script beside the pages it makes, never imported as a package

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from click.testing import CliRunner

from collector.cli import main

PAGE: Final = Path(__file__).with_name("CLI.md")
# What click leaves of a terminal that is 80 columns wide.
_WIDTH: Final = 78

_HEAD: Final = """\
# Commands

Made from the commands' own `--help` by `docs/generate_cli.py`; change it there.

Exit codes: 0 done; 1 it could not be done, with one line on standard error; 2 the configuration or
the command line is wrong. Results go to standard output, faults to standard error. Without
`--config`, `config.toml` in the working directory is used if there is one, else the built-in values
of `config.example.toml`; every command finds the data directory there.
"""


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, groups before their members, in alphabetical order."""
    yield path
    if isinstance(command, click.Group):
        for name, member in sorted(command.commands.items()):
            yield from commands(member, *path, name)


def help_text(path: tuple[str, ...]) -> str:
    """What `collector <path> --help` prints on a terminal of 80 columns."""
    result = CliRunner().invoke(
        main, [*path, "--help"], prog_name="collector", terminal_width=_WIDTH
    )
    if result.exit_code != 0:
        raise RuntimeError(f"{' '.join(path)} --help: {result.output}")
    return result.output


def page() -> str:
    """The whole page."""
    sections = [
        f"## `{' '.join(('collector', *path))}`\n\n```text\n{help_text(path)}```\n"
        for path in commands(main)
    ]
    return "\n".join([_HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
