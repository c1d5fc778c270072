"""The commands. Each reads the configuration, calls one function of the house, and prints."""

import signal
import sys
import threading
from pathlib import Path
from typing import Final, Literal

import click

from collector import config_file, keys, render
from collector.config import Config
from storage import Files, StorageError
from storage import inspect as log_inspection
from storage import query as lake
from storage import tail as log_tail
from storage.recovery import mend

_EXIT_FAULTY: Final = 2

config_option: Final = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file. [default: config.toml if there is one, else built-in example values]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="event-collector", prog_name="collector")
def main() -> None:
    """Collect analytics events over three public protocols; query them as Parquet.

    Start with `collector serve`, send some traffic with `collector demo`, look at it with
    `collector query "SELECT protocol, event_type, count(*) FROM events GROUP BY ALL"`.
    """
    # A reader that closes the pipe early (`| head`) ends the command quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _load(path: Path | None) -> Config:
    try:
        return config_file.load(path)
    except config_file.ConfigError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        sys.exit(_EXIT_FAULTY)


@main.command()
@config_option
def serve(path: Path | None) -> None:
    """Run the collector until it is stopped (Ctrl-C or SIGTERM)."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    config = _load(path)
    from collector import service  # noqa: PLC0415  only this command needs the server loaded

    sys.exit(service.serve(config))


@main.command()
@config_option
def check(path: Path | None) -> None:
    """Validate the configuration; exit code 2 and one line per fault if it is wrong."""
    config = _load(path)
    name = config.path or "built-in example values"
    click.echo(f"{name}: ok, {len(config.sites)} site(s), {len(config.keys)} key(s)")


@main.group("keys")
def keys_group() -> None:
    """API keys for back ends (Scanova's X-API-Key, Zenovay's Bearer)."""


@keys_group.command("new")
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
def keys_new(
    name: str, site: str, team: str, tier: str, scope: Literal["site_access", "full_access"]
) -> None:
    """Make a key: shown once, only its SHA-256 is kept in the configuration."""
    key = keys.new_key()
    click.echo(f"key (shown only now): {key}\n\nadd to config.toml:\n")
    click.echo(
        keys.toml_block(name=name, key_text=key, site=site, team=team, tier=tier, scope=scope)
    )
