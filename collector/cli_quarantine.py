"""`collector quarantine`: look at refused events that were kept, and try them again."""

import sys
from pathlib import Path
from typing import Final, Literal

import click
import msgspec

from collector import render
from collector.cli_lake import order
from collector.cli_shared import (
    config_option,
    counted,
    data_directory,
    load,
    time_us,
    told_plainly,
    warn_of_unknown_sites,
)
from collector.config import Config
from collector.receipt import time_text
from collector.refusal import KEPT_CODES
from collector.replay import Report
from storage import aside, asidereader

_EXIT_NOT_FOUND: Final = 1
_SHOWN_BYTES_MAX: Final = 65_536
_BYTES_PER_LINE: Final = 16
_encoder: Final = msgspec.json.Encoder()

_site_option: Final = click.option("--site", "sites", multiple=True, help="Only of this site.")
_reason_option: Final = click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(KEPT_CODES),
    metavar="CODE",
    help="Only refused for this reason (docs/PROTOCOLS.md).",
)
_protocol_option: Final = click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(["scanova", "croct", "zenovay"]),
    help="Only of this protocol.",
)


@click.group("quarantine")
def quarantine() -> None:
    """Refused events that were kept: look at them, and try them again after a rule has changed."""


@quarantine.command("list")
@config_option
@_site_option
@_reason_option
@_protocol_option
@click.option(
    "--since",
    "since_us",
    callback=time_us,
    metavar="TIME",
    help="ISO 8601 date or time: only received then or later.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@click.option(
    "--format", "form", type=click.Choice(render.FORMATS), default="table", show_default=True
)
def list_kept(
    path: Path | None,
    since_us: int | None,
    limit: int,
    form: Literal["table", "csv", "json"],
    **chosen: tuple[str, ...],
) -> None:
    """Show the newest events in quarantine, without their bytes."""
    wanted = asidereader.Filter(**chosen, since_us=max(since_us or 0, 0))
    config = load(path)
    directory = data_directory(config)
    with told_plainly():
        _warn(config, directory, chosen["sites"])
        found = asidereader.summary(directory, wanted, limit)
    render.write(found, form, sys.stdout.buffer)


@quarantine.command("show")
@config_option
@click.argument("one", metavar="ID")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "raw"]),
    default="text",
    show_default=True,
    help="raw: the bytes of the event and nothing else.",
)
def show_kept(path: Path | None, one: str, form: str) -> None:
    """Show one event in quarantine with its bytes: as text, or as a hex dump if they are none.

    Of bytes beyond 64 KiB the beginning is shown; json and raw give all. Exit code 1 if there is no
    such event.
    """
    wanted = asidereader.Filter(ids=(one.lower(),))
    with told_plainly():
        found = asidereader.read(data_directory(load(path)), wanted, 1)
    if not found:
        click.echo(f"{render.shown(one)}: not in quarantine", err=True)
        sys.exit(_EXIT_NOT_FOUND)
    [kept] = found
    if form == "raw":
        sys.stdout.buffer.write(kept.raw)
    elif form == "json":
        click.echo(_as_json(kept))
    else:
        click.echo(_as_text(kept))


@quarantine.command("replay")
@config_option
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_site_option
@_reason_option
@_protocol_option
@click.option("--dry-run", is_flag=True, help="Judge them, change nothing.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def replay_kept(path: Path | None, dry_run: bool, is_json: bool, **chosen: tuple[str, ...]) -> None:
    """Put events in quarantine through the rules of now: those named, or all that options leave.

    Accepted ones become rows, flagged `replayed`, and leave the quarantine; so do duplicates.
    Others stay, with the reason of now. Twice is harmless. Carried out by the running collector,
    by its configuration, or here where none is running. Exit code 1 if an ID is not there.
    """
    config = load(path)
    directory = data_directory(config)
    with told_plainly():
        _warn(config, directory, chosen["sites"])
        value = order(config, "replay", {**chosen, "dry_run": dry_run})
        report = msgspec.convert(value, Report)
    if is_json:
        click.echo(_encoder.encode(report))
    else:
        click.echo(f"{counted(report.seen, 'event')}: {_told(report)}")
        for reason, count in sorted(report.stays.items()):
            click.echo(f"  {count} {'stays' if count == 1 else 'stay'}: {reason}")
    for one in report.missing:
        click.echo(f"{render.shown(one)}: not in quarantine", err=True)
    if report.missing:
        sys.exit(_EXIT_NOT_FOUND)


def _warn(config: Config, directory: Path, sites: tuple[str, ...]) -> None:
    def has_events(site: str) -> bool:
        return bool(asidereader.read(directory, asidereader.Filter(sites=(site,)), 1))

    warn_of_unknown_sites(config, sites, has_events)


def _told(report: Report) -> str:
    if report.dry_run:
        return (
            f"{report.would_pass} would pass the rules (repeats are not looked for), "
            f"{report.removed} would be removed for privacy"
        )
    return (
        f"{report.accepted} accepted, {report.duplicate} duplicate, "
        f"{report.removed} removed for privacy"
    )


def _as_text(kept: aside.Kept) -> str:
    lines = [
        f"id            {kept.id}",
        f"received      {time_text(kept.time)}",
        f"site          {kept.site_id}",
        f"endpoint      {kept.protocol} {kept.source} {kept.endpoint}",
        f"reason        {kept.reason}",
        f"message       {render.shown(kept.message)}",
    ]
    for name, value in (
        ("event_id", kept.event_id),
        ("key_id", kept.key_id),
        ("origin", kept.origin),
        ("content_type", kept.content_type),
        ("violations", _text_of(kept.violations)),
        ("headers", _text_of(kept.headers)),
        ("envelope", kept.envelope),
    ):
        if value:
            lines.append(f"{name:13} {render.shown(value)}")
    return "\n".join([*lines, f"bytes         {len(kept.raw)}", "", *_shown_bytes(kept.raw)])


def _text_of(value: msgspec.Raw | None) -> str:
    return "" if value is None else bytes(value).decode()


def _shown_bytes(raw: bytes) -> list[str]:
    """The bytes as text, line by line; as a hex dump where they are none."""
    start = raw[:_SHOWN_BYTES_MAX]
    rest = len(raw) - len(start)
    try:
        # A character that is cut in the middle is no fault of the event.
        text = start.decode("utf-8", "ignore" if rest else "strict")
        if rest and not raw.isascii():
            raw.decode()
        shown = [render.shown(line) for line in text.split("\n")]
    except UnicodeDecodeError:
        shown = [_hex_line(start, offset) for offset in range(0, len(start), _BYTES_PER_LINE)]
    return [*shown, f"... and {rest} bytes more"] if rest else shown


def _hex_line(data: bytes, offset: int) -> str:
    part = data[offset : offset + _BYTES_PER_LINE]
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
    return f"{offset:08x}  {part.hex(' '):<47}  {text}"


def _as_json(kept: aside.Kept) -> str:
    members = {name: getattr(kept, name) for name in kept.__struct_fields__ if name != "raw"}
    members["time"] = time_text(kept.time)
    try:
        members["raw"] = kept.raw.decode()
    except UnicodeDecodeError:
        members["raw_base64"] = kept.raw
    return _encoder.encode(members).decode()
