"""Options that several measurements have, by the same names: where, what is kept, what is told."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)


def directory_option(words: str) -> Callable[[_Command], _Command]:
    """`--directory`, in which files are made: the system's temporary folder without it."""
    return click.option(
        "--directory", type=_FOLDER, default=Path(tempfile.gettempdir()), help=words
    )


def history_option(words: str = "Add a line to the history.") -> Callable[[_Command], _Command]:
    """`--history` or `--no-history`, as `is_kept`."""
    return click.option("--history/--no-history", "is_kept", default=True, help=words)


def keep_option(command: _Command) -> _Command:
    """`--keep`: see `data_directory`."""
    words = "Leave the data directory there, and say where."
    return click.option("--keep", is_flag=True, help=words)(command)


def reuse_option(words: str) -> Callable[[_Command], _Command]:
    """`--reuse`, a data directory that was kept; None without it."""
    return click.option("--reuse", type=_FOLDER, help=words)


@contextmanager
def data_directory(directory: Path, *, keep: bool, reuse: Path | None) -> Iterator[Path]:
    """`reuse`, or a new folder in `directory`, which is removed afterwards unless it is to stay."""
    made = reuse or Path(tempfile.mkdtemp(prefix="collector-bench-", dir=directory))
    try:
        yield made
    finally:
        if keep or reuse:
            click.echo(f"data directory: {made}", err=True)
        else:
            shutil.rmtree(made, ignore_errors=True)
