"""`collector keys`: keys made, listed and revoked, in the configuration file if that is wanted.

The text of a key is printed once and kept nowhere. A running collector takes what is written within
two seconds (`reload`).
"""

import difflib
import errno
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import click
import msgspec

from collector import config_edit, keys, render
from collector.cli_shared import EXIT_FAULTY, config_option, load, told_plainly
from collector.config import Config, Key
from collector.config_file import ConfigError
from collector.usage import USAGE_FILE, MonthlyUsage
from storage import Files, Locked, SmallFiles, StorageError, layout

# A running collector looks for orders twice a second.
_PATIENCE_S: Final = 5.0
_NONE_RUNS: Final = "none runs"
_LOOK_S: Final = 0.05
# How file systems of other machines say that a folder cannot be locked there.
_CANNOT_LOCK: Final = frozenset(
    {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
)


@click.group("keys")
def keys_group() -> None:
    """API keys for back ends (Scanova's X-API-Key, Zenovay's Bearer)."""


@keys_group.command("new")
@config_option
@click.option("--name", default="backend", show_default=True, help="Name shown in key_id.")
@click.option("--site", default="demo", show_default=True, help="Site the key may write to.")
@click.option("--team", default="demo", show_default=True, help="Team the key belongs to.")
@click.option("--tier", default="pro", show_default=True, help="Zenovay limits that apply.")
@click.option(
    "--scope",
    type=click.Choice(["site_access", "full_access"]),
    default="site_access",
    show_default=True,
    help="One site, or every site of the team.",
)
@click.option("--write", "writes", is_flag=True, help="Add it to the configuration file.")
def keys_new(
    path: Path | None,
    writes: bool,
    scope: Literal["site_access", "full_access"],
    **chosen: str,
) -> None:
    """Make a key: shown once, only its SHA-256 is kept in the configuration.

    With --write it is added to the configuration file, whose text stays as it is otherwise; a
    running collector takes it within two seconds. If the file would become faulty by it (no such
    site, a name that is taken), nothing is written: exit code 2 and one line per fault.
    """
    key = keys.new_key()
    if not writes:
        click.echo(f"key (shown only now): {key}\n\nadd to config.toml:\n")
        click.echo(keys.toml_block(key_text=key, scope=scope, **_reaching(scope, chosen)))
        return
    from collector import running  # noqa: PLC0415  the store behind it takes a while to load

    block = keys.toml_block(
        key_text=key, scope=scope, created=running.today(), **_reaching(scope, chosen)
    )
    file = _file_of(path)
    with told_plainly():
        _change(file, lambda data: config_edit.with_key(file, data, block))
    click.echo(f"key (shown only now): {key}\n\nadded to {file}")


def _reaching(scope: str, chosen: dict[str, str]) -> dict[str, str]:
    """`chosen` without the site where the key is for all of a team."""
    return {**chosen, "site": ""} if scope == "full_access" else chosen


@keys_group.command("revoke")
@config_option
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def keys_revoke(path: Path | None, name: str, yes: bool) -> None:
    """Take the key NAME out of the configuration file.

    A running collector refuses it within two seconds. Usage is counted by name and stays. Exit code
    1 if there is no such key.
    """
    file, config = _file_of(path), load(path)
    key = next((key for key in config.keys if key.name == name), None)
    if key is None:
        raise click.ClickException(f"{file}: has no key {render.shown(name)}{_close(name, config)}")
    if not yes:
        click.confirm(f"{_about(key)}: revoke it?", abort=True)
    with told_plainly():
        _change(file, lambda data: config_edit.without_key(file, data, name))
    click.echo(f"{render.shown(name)} was taken out of {file}")


@keys_group.command("list")
@config_option
@click.option(
    "--format", "form", type=click.Choice(render.FORMATS), default="table", show_default=True
)
def keys_list(path: Path | None, form: render.Format) -> None:
    """Show the keys of the configuration file, what they may, and how much they were used.

    month: that of the last request by Zenovay's batch endpoint, which alone is counted by month;
    requests: those in it; limit: those of its tier. running: whether the collector that runs has
    the key ("stale": it has another one of that name; "revoked": it still has one that is not in
    the file).
    """
    config = load(path)
    usage, in_force = _usage(config), _in_force(config)
    rows = [_row(config, key, usage, in_force) for key in config.keys]
    if isinstance(in_force, dict):
        names = {key.name for key in config.keys}
        rows += [(name, *[None] * 8, "revoked") for name in in_force if name not in names]
    render.write(_Table(rows), form, sys.stdout.buffer)


# --- the file


def _file_of(path: Path | None) -> Path:
    """The configuration file; ends the command if there is none."""
    file = load(path).path
    if file is None:
        raise click.ClickException(
            "there is no configuration file to change: copy config.example.toml to config.toml"
        )
    return file


def _change(file: Path, edit: Callable[[bytes], bytes]) -> None:
    """Replace what the file says by what `edit` makes of it, unless an editor was quicker.

    Raises OSError; ends the command where the file cannot be changed.
    """
    files = Files()
    # Of two commands at once the second has to change what the first has written.
    lock = _lock_beside(file, files)
    try:
        data = files.read(file)
        new = _edited(file, data, edit)
        if files.read(file) != data:
            raise click.ClickException(f"{file}: was changed meanwhile; look again")
        files.rewrite(file, new)
    finally:
        if lock is not None:
            files.close(lock)


def _edited(file: Path, data: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    try:
        return edit(data)
    except ConfigError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        sys.exit(EXIT_FAULTY)
    except config_edit.NotEditable as error:
        raise click.ClickException(f"{file}: {error}") from None
    except KeyError:
        raise click.ClickException(f"{file}: was changed meanwhile; look again") from None


def _lock_beside(file: Path, files: Files) -> int | None:
    """Have nobody else change it, as long as what is returned is open; None where nothing locks."""
    folder = file.resolve().parent
    waited_s, pause = 0.0, threading.Event()
    while True:
        try:
            return files.lock_folder(folder)
        except Locked:
            if waited_s > _PATIENCE_S:
                message = f"{file}: another command is changing it; try again"
                raise click.ClickException(message) from None
        except OSError as error:
            if error.errno in _CANNOT_LOCK:
                return None
            raise
        pause.wait(_LOOK_S)
        waited_s += _LOOK_S


def _close(name: str, config: Config) -> str:
    found = difflib.get_close_matches(name, [key.name for key in config.keys], n=1)
    return f"; did you mean {render.shown(found[0])}?" if found else ""


def _about(key: Key) -> str:
    whom = f"site {key.site}" if key.scope == "site_access" else f"every site of team {key.team}"
    return f"key {render.shown(key.name)} ({whom}, tier {key.tier})"


# --- the list


class _Column(msgspec.Struct, frozen=True):
    name: str
    type: str = "VARCHAR"


class _Table(msgspec.Struct):
    """Rows in the shape of a query's result."""

    rows: Sequence[tuple[Any, ...]]

    @property
    def columns(self) -> Sequence[_Column]:
        """In order."""
        numbers = {"requests", "limit"}
        names = (
            *("name", "scope", "site", "team", "tier", "created"),
            *("month", "requests", "limit", "running"),
        )
        return [_Column(name, "BIGINT" if name in numbers else "VARCHAR") for name in names]

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """All of them."""
        yield list(self.rows)


def _row(
    config: Config, key: Key, usage: MonthlyUsage, in_force: dict[str, str] | str
) -> tuple[Any, ...]:
    month, requests = usage.latest(key.name)
    if isinstance(in_force, str):
        running = in_force
    else:
        found = in_force.get(key.name)
        running = "no" if found is None else "yes" if found == key.sha256 else "stale"
    return (
        *(key.name, key.scope, key.site or None, key.team or None, key.tier, key.created or None),
        *(month or None, requests, config.tiers[key.tier].requests_per_month or None, running),
    )


def _usage(config: Config) -> MonthlyUsage:
    """What was counted until about a second ago; nothing where there is no readable file."""
    usage = MonthlyUsage()
    folder = SmallFiles(config.storage.directory / layout.STATE, Files())
    try:
        data = folder.read(USAGE_FILE)
        if data is not None:
            usage.load(data)
    except (OSError, ValueError) as error:
        click.echo(f"warning: usage is not known: {error}", err=True)
    return usage


def _in_force(config: Config) -> dict[str, str] | str:
    """The SHA-256 of each key that the running collector has; in words why that is not known."""
    if not config.storage.directory.is_dir():
        return _NONE_RUNS
    from collector import running  # noqa: PLC0415  see above

    stop, waited_s = threading.Event(), 0.0

    def is_enough(seconds: float) -> bool:
        nonlocal waited_s
        waited_s += seconds
        return stop.wait(seconds) or waited_s > _PATIENCE_S

    try:
        told = running.ask(config, "tell the configuration", wait=is_enough)
    except (StorageError, OSError) as error:
        click.echo(f"warning: the running collector cannot be asked: {error}", err=True)
        return "unknown"
    return _NONE_RUNS if told is None else msgspec.convert(told["keys"], dict[str, str])
