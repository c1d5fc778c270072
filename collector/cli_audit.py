"""The commands that answer "where did my events go?": `audit` and `receipt`."""

import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

import click
import msgspec

from collector import audit as auditing
from collector import auditor, receipt, render
from collector.audit import Line
from collector.book import hour_of
from collector.cli_shared import (
    config_option,
    counted,
    end_us,
    load,
    time_us,
    told_plainly,
    warn_of_unknown_sites,
)
from collector.receipt import time_text
from storage import Files, find

_EXIT_DIFFERENCE: Final = 1
_EXIT_NOT_FOUND: Final = 1
_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Line))
_encoder: Final = msgspec.json.Encoder()


class _Column(msgspec.Struct, frozen=True):
    name: str
    type: str


class _Lines:
    """Lines of an audit as `render` writes them."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.columns = [
            _Column(name, "BIGINT" if name in auditing.NUMBERS else "VARCHAR") for name in _FIELDS
        ]
        self._lines = lines

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows."""
        if self._lines:
            yield [msgspec.structs.astuple(line) for line in self._lines]


@click.command()
@config_option
@click.option("--site", help="Only events of this site (`unknown`: of none that was named).")
@click.option(
    "--since",
    "since_us",
    callback=time_us,
    metavar="TIME",
    help="ISO 8601 date or time: only hours that begin then or later.",
)
@click.option(
    "--until",
    "until_us",
    callback=end_us,
    metavar="TIME",
    help="The same: only hours that begin before; of a date, or on it.",
)
@click.option("--all", "shows_all", is_flag=True, help="Every hour, not only days and faults.")
@click.option(
    "--format", "form", type=click.Choice(render.FORMATS), default="table", show_default=True
)
def audit(
    path: Path | None,
    site: str | None,
    since_us: int | None,
    until_us: int | None,
    shows_all: bool,
    form: Literal["table", "csv", "json"],
) -> None:
    """Compare what was received with the rows on disk; exit code 1 if anything is missing.

    Per site, protocol and hour of receipt, received = stored + duplicate + rejected + dropped, and
    stored = rows + erased + expired. Shown are sums per day, and every hour with a difference.
    Rows that are too new to be compared are shown as not_counted. Works beside a running collector.
    """
    config = load(path)
    with told_plainly():
        start = date.min if since_us is None else date.fromisoformat(time_text(since_us)[:10])
        directory = config.storage.directory
        lines = auditor.examine(directory, Files(), wait=threading.Event().wait, since=start)
    if site not in {None, "unknown"}:
        here = {line.site for line in lines}
        warn_of_unknown_sites(config, [site or ""], here.__contains__)
    chosen = [
        line
        for line in lines
        if site in {None, line.site}
        and (since_us is None or hour_of(line.time) >= since_us)
        and (until_us is None or hour_of(line.time) < until_us)
    ]
    total = auditing.total(chosen)
    shown = chosen if shows_all else auditing.by_day(chosen)
    rows = _Lines([*shown, total] if form == "table" else shown)
    render.write(rows, form, sys.stdout.buffer)
    if total.difference:
        click.echo(f"{counted(total.difference, 'event')} unaccounted for", err=True)
        sys.exit(_EXIT_DIFFERENCE)


@click.command("receipt")
@config_option
@click.argument("text", metavar="ID")
@click.option("--all", "every_date", is_flag=True, help="Search every date, also when found.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def show_receipt(path: Path | None, text: str, every_date: bool, form: str) -> None:
    """Tell what became of an event; exit code 1 if nothing is known of it.

    ID is an event id, an idempotency key, the key of the duplicate check (dedup_key), or the id of
    an event in quarantine. Dates are searched newest first, or first those that the id tells.
    """
    directory = load(path).storage.directory
    with told_plainly():
        found = receipt.look_up(
            directory, Files(), text, every_date=every_date, progress=_with_progress
        )
    click.echo(_encoder.encode(receipt.told(found)).decode() if form == "json" else _as_text(found))
    if found.verdict == "unknown":
        sys.exit(_EXIT_NOT_FOUND)


def _with_progress(days: Sequence[date]) -> Iterator[date]:
    """`days`, with a bar on standard error while they are searched."""
    if not sys.stderr.isatty():
        yield from days
        return
    with click.progressbar(days, label="searching dates", file=sys.stderr) as bar:
        yield from bar


_MEANINGS: Final = {
    "accepted": "accepted: it is a row",
    "duplicate": "duplicate: only marked repeats of it are there",
    "refused": "refused, and kept in quarantine",
    "unknown": "unknown: never seen, refused and not kept, erased, or expired",
}


def _as_text(found: receipt.Receipt) -> str:
    lines = [f"{render.shown(found.id)}: {_MEANINGS[found.verdict]}"]
    for row in found.rows:
        what = "marked repeat" if row.is_duplicate else "row"
        lines += [
            f"  {what} {row.row} of {row.file}",
            f"    event_id        {row.event_id}",
            f"    site            {row.site_id}, {row.protocol}, {row.source}",
            f"    event           {render.shown(' '.join(filter(None, _kinds(row))))}",
            f"    event_time      {time_text(row.event_time)}",
            f"    received_time   {time_text(row.received_time)}",
        ]
        lines += [
            f"    {name:15} {render.shown(value)}"
            for name, value in (
                ("key_id", row.key_id),
                ("idempotency_key", row.idempotency_key),
                ("dedup_key", row.dedup_key),
                ("flags", ", ".join(row.flags)),
            )
            if value
        ]
    for kept in found.quarantine:
        lines += [
            f"  in quarantine   {kept.id}",
            f"    site            {kept.site_id}, {kept.protocol}, {kept.endpoint}",
            f"    received        {time_text(kept.time)}",
            f"    reason          {kept.reason}: {render.shown(kept.message)}",
        ]
    return "\n".join(lines)


def _kinds(row: find.FoundRow) -> tuple[str | None, str | None]:
    return row.event_type, row.event_name
