"""What the commands share: the option that names a configuration, and how faults are told."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import click

from collector import config_file
from collector.config import Config
from storage import Files, StorageError

EXIT_FAULTY: Final = 2

config_option: Final = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file. [default: config.toml if there is one, else built-in example values]",
)


class Commands(click.Group):
    """A group whose arguments, and those of the commands in it, are text.

    Bytes that are no UTF-8 reach Python as lone surrogates, which neither DuckDB nor JSON takes.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Group`; exit code 2 and one line when an argument is no text."""
        for number, text in enumerate(args, start=1):
            try:
                text.encode()
            except UnicodeEncodeError:
                shown = os.fsencode(text).decode("utf-8", "backslashreplace")
                click.echo(f"Error: argument {number} is not valid UTF-8: {shown}", err=True)
                ctx.exit(EXIT_FAULTY)
        return super().parse_args(ctx, args)


def clear_up_when_ended() -> None:
    """Have copies of rows in temporary folders removed when a signal ends the process.

    A signal that is ignored (nohup) stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _clear_up_and_end)


def _clear_up_and_end(number: int, _frame: FrameType | None) -> None:
    Files.remove_private()
    # The caller sees what ended us.
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def load(path: Path | None) -> Config:
    """The configuration; a faulty one ends the process: exit code 2, one line per fault."""
    try:
        return config_file.load(path)
    except config_file.ConfigError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        sys.exit(EXIT_FAULTY)


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """What went wrong with files or a query is one line, not a traceback."""
    try:
        yield
    except (StorageError, OSError) as error:
        raise click.ClickException(str(error)) from None
