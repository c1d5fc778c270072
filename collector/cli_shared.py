"""What the commands share: the option that names a configuration, and how faults are told."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Final

import click

from collector import config_file, render
from collector.config import Config
from storage import Files, StorageError

EXIT_FAULTY: Final = 2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

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


def data_directory(config: Config) -> Path:
    """The data directory, for a command that looks into it; ends the command if there is none."""
    directory = config.storage.directory
    if not directory.is_dir():
        raise click.ClickException(
            f"{directory}: no such data directory; `collector serve` makes it, "
            "storage.directory in the configuration says where"
        )
    return directory


def warn_of_unknown_sites(
    config: Config, sites: Iterable[str], has_events: Callable[[str], bool]
) -> None:
    """Say which of `sites` are neither configured nor in what is there: mistyped, it may be."""
    configured = {site.id for site in config.sites}
    for site in sites:
        if site not in configured and not has_events(site):
            click.echo(
                f"warning: site {render.shown(site)} is not configured, and nothing of it is here",
                err=True,
            )


def time_us(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """An ISO 8601 date or time as microseconds since the epoch.

    A date is its midnight; without an offset UTC is meant.
    """
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is no ISO 8601 date or time such as 2026-11-21 or "
            f"2026-11-21T10:00:00Z: {error}"
        ) from None
    return ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def end_us(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """The same for an end that is excluded, where a date means the end of its day."""
    found = time_us(context, option, value)
    if found is None or value is None or not _is_date(value):
        return found
    return found + timedelta(days=1) // _MICROSECOND


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


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


@contextlib.contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal; it is told what is done, and of how much."""
    with click.progressbar(
        length=1, label=what, show_pos=True, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def tell(done: int, total: int) -> None:
            bar.length = max(total, 1)
            # Never back: a query that begins anew catches up.
            bar.update(max(0, done - bar.pos))

        yield tell
