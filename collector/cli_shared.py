"""What the commands share: the option that names a configuration, and how faults are told."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from collector import config_file
from collector.config import Config
from storage import StorageError

EXIT_FAULTY: Final = 2

config_option: Final = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file. [default: config.toml if there is one, else built-in example values]",
)


def load(path: Path | None) -> Config:
    """The configuration; a faulty one ends the process: exit code 2, one line per fault."""
    try:
        return config_file.load(path)
    except config_file.ConfigError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        sys.exit(EXIT_FAULTY)


def counted(count: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """What went wrong with files or a query is one line, not a traceback."""
    try:
        yield
    except (StorageError, OSError) as error:
        raise click.ClickException(str(error)) from None
