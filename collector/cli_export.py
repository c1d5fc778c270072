"""`collector export`: rows as files, by site and time."""

import sys
from functools import partial
from pathlib import Path
from typing import Final, Literal

import click

from collector.cli_shared import (
    config_option,
    load,
    progress_of,
    time_us,
    told_plainly,
    warn_of_unknown_sites,
)
from storage import Files, Lake
from storage import export as exports

_FORMATS: Final = ("csv", "jsonl", "parquet")
_BY: Final[dict[str, Literal["event_time", "received_time"]]] = {
    "event": "event_time",
    "received": "received_time",
}


@click.command()
@config_option
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="csv",
    show_default=True,
    help="CSV (RFC 4180), JSON lines, or Parquet, which needs a file.",
)
@click.option("--site", "sites", multiple=True, help="Only rows of this site; may be repeated.")
@click.option(
    "--from", "since_us", callback=time_us, metavar="TIME", help="ISO 8601 date or time, included."
)
@click.option("--to", "until_us", callback=time_us, metavar="TIME", help="The same, excluded.")
@click.option(
    "--by",
    type=click.Choice(list(_BY)),
    default="event",
    show_default=True,
    help="Which time --from and --to are about: when it happened, or when it arrived.",
)
@click.option(
    "--columns",
    metavar="A,B,...",
    help="Which, in this order; date is the UTC date of receipt. [default: those of the files]",
)
@click.option(
    "--include-duplicates/--valid-only",
    "has_all",
    default=True,
    show_default=True,
    help="Every row, or none that is marked as a repeat or as fraud.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File to write; replaced when the new one is whole. [default: standard output, -]",
)
@click.option(
    "--output-directory",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="New or empty folder: one file per UTC date of receipt.",
)
def export(
    *,
    path: Path | None,
    form: exports.Format,
    sites: tuple[str, ...],
    since_us: int | None,
    until_us: int | None,
    by: str,
    columns: str | None,
    has_all: bool,
    output: Path | None,
    folder: Path | None,
) -> None:
    """Write rows to files for somebody else: by site, time and column.

    Works beside a running collector, over every row acknowledged when it begins. Output gets its
    name when it is whole; an export that is interrupted leaves nothing that looks like one.
    """
    selection = exports.Selection(
        sites=sites,
        since_us=since_us,
        until_us=until_us,
        by=_BY[by],
        columns=tuple(name.strip() for name in columns.split(",")) if columns is not None else (),
        valid_only=not has_all,
    )
    if output is not None and folder is not None:
        raise click.UsageError("--output and --output-directory exclude each other")
    named = None if output == Path("-") else output
    if form == "parquet" and named is None and folder is None:
        raise click.UsageError("--format parquet needs --output FILE or --output-directory")
    config = load(path)
    directory = config.storage.directory
    with told_plainly():
        exports.check(selection)
        _refuse_inside(directory, named or folder)
        with Lake(directory, Files()) as lake, progress_of("rows") as tell:
            warn_of_unknown_sites(config, sites, partial(_has_rows, lake))
            if folder is not None:
                rows = exports.to_folder(lake, Files(), selection, form, folder, tell)
            elif named is not None:
                rows = exports.to_file(lake, Files(), selection, form, named, tell)
            else:
                out = sys.stdout.buffer
                rows = exports.to_stream(lake, Files(), selection, form, out, tell)
    click.echo(f"{rows:,} rows", err=True)


def _has_rows(lake: Lake, site: str) -> bool:
    quoted = site.replace("'", "''")
    return bool(lake.run(f"SELECT 1 FROM events WHERE site_id = '{quoted}' LIMIT 1").rows())  # noqa: S608


def _refuse_inside(directory: Path, output: Path | None) -> None:
    """Whoever reads the events folder would take an export for events."""
    if output is not None and output.resolve().is_relative_to(directory.resolve()):
        raise click.ClickException(
            f"{output}: lies in the data directory, which is not for exports"
        )
