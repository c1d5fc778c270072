"""Commands that change published rows: join files, apply retention, remove a person."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final, get_args

import click
import msgspec

from collector import render
from collector.cli_shared import (
    config_option,
    counted,
    load,
    told_plainly,
    warn_of_unknown_sites,
)
from collector.config import Config
from collector.lakeorders import ErasureReceipt
from storage import Expired, Files, Joined, Lake, Person, Who

_EXIT_LEFT: Final = 1
_encoder: Final = msgspec.json.Encoder()
_json_option = click.option("--json", "is_json", is_flag=True, help="Print JSON.")
_dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


def order(config: Config, command: str, arguments: dict[str, Any]) -> Any:
    """Have `command` carried out, by the running collector or here; shows how far it is.

    Returns its value as plain JSON. Raises `StorageError` or OSError.
    """
    # The server is loaded for commands that need it only: it takes longer than the others do.
    from collector import running  # noqa: PLC0415

    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda *_: stop.set())
    shows = sys.stderr.isatty()

    def watch(done: int, total: int, word: str) -> None:
        if shows:
            click.echo(f"\r\033[K{done}/{total} {word}", nl=False, err=True)

    try:
        value = running.give_order(config, command, arguments, watch=watch, wait=stop.wait)
    finally:
        if shows:
            click.echo("\r\033[K", nl=False, err=True)
    return msgspec.to_builtins(value)


@click.command()
@config_option
@_json_option
def compact(path: Path | None, is_json: bool) -> None:
    """Join small files now, those of today too; a running collector does it by itself.

    Readers of the files never see a row twice or not at all; one that has just listed a folder may
    be told that it cannot open a file, and asks again.
    """
    with told_plainly():
        done = msgspec.convert(order(load(path), "compact", {}), list[Joined])
    if is_json:
        click.echo(_encoder.encode(done))
        return
    for one in done:
        click.echo(
            f"{one.date}: {counted(one.parts_before, 'file')} joined into {one.parts_after}, "
            f"{counted(one.rows, 'row')}, {one.bytes_before:,} -> {one.bytes_after:,} bytes"
        )
    if not done:
        click.echo("nothing to join")


@click.command()
@config_option
@_dry_run_option
@_json_option
def retention(path: Path | None, dry_run: bool, is_json: bool) -> None:
    """Remove rows that are kept no longer now; a running collector does it at midnight UTC.

    How long is told by storage.retention_days, and retention_days of a site.
    """
    with told_plainly():
        value = order(load(path), "retention", {"dry_run": dry_run})
        done = msgspec.convert(value, list[Expired])
    if is_json:
        click.echo(_encoder.encode(done))
        return
    would = "would be " if dry_run else ""
    for one in done:
        of = "all of it" if one.is_whole else "of " + ", ".join(one.sites)
        click.echo(f"{one.date}: {counted(one.rows, 'row')} {would}removed, {of}")
    if not done:
        click.echo("nothing is older than it may be")


@click.command()
@config_option
@click.option("--site", required=True, help="Site whose rows are meant.")
@click.option("--visitor", help="By visitor_id.")
@click.option("--user", help="By user_id or external_id.")
@click.option("--email-hash", help="By email_hash.")
@click.option(
    "--linked",
    is_flag=True,
    help="Also all other rows of every visitor that one of these rows names.",
)
@_dry_run_option
@_json_option
def erase(
    path: Path | None,
    site: str,
    linked: bool,
    dry_run: bool,
    is_json: bool,
    **names: str | None,
) -> None:
    """Remove a person's rows everywhere: log, files, quarantine. Works beside a running collector.

    Prints a receipt: rows per file, and the query that proves that none is left; exit code 1 if
    one is. No other row changes. Rows that arrive later are new ones.
    """
    given = [(who, names[who]) for who in get_args(Who) if names[who]]
    if len(given) != 1:
        raise click.UsageError("give exactly one of --visitor, --user, --email-hash")
    (who, value), config = given[0], load(path)
    person = Person(site=site, who=who, value=value or "", linked=linked)
    arguments = {"person": msgspec.to_builtins(person), "dry_run": dry_run}
    with told_plainly():
        receipt = msgspec.convert(order(config, "erase", arguments), ErasureReceipt)
        with Lake(config.storage.directory, Files()) as lake:
            left = lake.run(receipt.query).rows()[0][0]
            # Its rows may be gone by now, which is no reason to warn.
            warn_of_unknown_sites(config, [site], lambda _site: bool(receipt.erased.rows))
    if is_json:
        click.echo(_encoder.encode({**msgspec.to_builtins(receipt), "rows_left": left}))
    else:
        _show(receipt, left)
    if left and not dry_run:
        sys.exit(_EXIT_LEFT)


def _show(receipt: ErasureReceipt, left: int) -> None:
    would = "would be " if receipt.is_dry_run else ""
    for one in receipt.erased.files:
        click.echo(f"events/{one.part}: {counted(one.rows, 'row')} {would}removed")
    for name, rows in receipt.quarantine.items():
        click.echo(f"quarantine/{name}: {counted(rows, 'event')} {would}removed")
    for name in receipt.erased.torn:
        click.echo(f"wal/{name}: {would}removed")
    removed, rest = counted(receipt.erased.rows, "row"), counted(left, "row")
    click.echo(f"{removed} {would}removed; {rest} left, as told by\n")
    click.echo(f"    {render.shown(receipt.query)}")
