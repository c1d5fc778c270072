"""`collector backup`: a copy of the data directory that a collector can start on."""

import threading
from pathlib import Path
from typing import Final

import click
import msgspec

from collector import salt
from collector.cli_shared import (
    config_option,
    counted,
    data_directory,
    load,
    progress_of,
    told_plainly,
)
from storage import Files
from storage import backup as backups

_encoder: Final = msgspec.json.Encoder()


@click.command()
@config_option
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def backup(path: Path | None, target: Path, is_json: bool) -> None:
    """Make TARGET a copy of the data directory, replacing an earlier one.

    Works beside a running collector and without one. Every event acknowledged before it begins is
    in the copy, once. Published files take no room where TARGET is on the same file system, and are
    copied only once where it is not. The day's secret behind address hashes is left out. TARGET is
    the earlier copy until the new one is whole.
    """
    directory = data_directory(load(path))
    with told_plainly(), progress_of("files") as tell:
        report = backups.make(
            directory,
            target,
            Files(),
            secret_state=salt.PREFIX,
            wait=threading.Event().wait,
            tell=tell,
        )
    if is_json:
        click.echo(_encoder.encode(report))
        return
    click.echo(
        f"{target}: {counted(report.parts, 'file')} of {report.part_bytes:,} bytes "
        f"({report.linked} linked, {report.kept} kept, {report.copied} copied), "
        f"{counted(report.segments, 'segment')} of the log with {counted(report.log_rows, 'row')}"
    )
