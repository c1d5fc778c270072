"""The commands. Each reads the configuration, calls one function of the house, and prints."""

import signal
import sys
import threading
from pathlib import Path
from typing import Final

import click

from collector import cli_lake, config_file, keys, render
from collector import demo as demonstration
from collector.cli_audit import audit, show_receipt
from collector.cli_backup import backup
from collector.cli_export import export
from collector.cli_keys import keys_group
from collector.cli_prove import prove
from collector.cli_quarantine import quarantine
from collector.cli_shared import (
    EXIT_FAULTY,
    Commands,
    clear_up_when_ended,
    config_option,
    data_directory,
    load,
    told_plainly,
)
from collector.config import Config
from storage import Files, Lake, StorageError, inspect, layout, read_scans, recovery, views
from storage import tail as log_tail

# Commands with connections of their own.
_SPEAKING: Final = frozenset({"serve", "demo", "prove"})


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="event-collector", prog_name="collector")
@click.pass_context
def main(context: click.Context) -> None:
    """Collect analytics events over three public protocols; query them as Parquet.

    Start with `collector serve`, send some traffic with `collector demo`, look at it with
    `collector query "SELECT protocol, event_type, count(*) FROM events GROUP BY ALL"`.
    """
    # A reader that closes the pipe early (`| head`) ends the command quietly. One that speaks to a
    # collector must be told instead: a connection that breaks raises the same signal.
    is_speaking = context.invoked_subcommand in _SPEAKING
    signal.signal(signal.SIGPIPE, signal.SIG_IGN if is_speaking else signal.SIG_DFL)
    if context.invoked_subcommand != "serve":
        clear_up_when_ended()
    else:
        # A reload that is asked for before the server knows what to do about it must not end it:
        # it is about to read the configuration anyway.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@main.command()
@config_option
def serve(path: Path | None) -> None:
    """Run the collector until it is stopped (Ctrl-C or SIGTERM)."""
    config = load(path)
    from collector import supervisor  # noqa: PLC0415  only this command needs the server

    sys.exit(supervisor.serve(config))


@main.command()
@config_option
def check(path: Path | None) -> None:
    """Validate the configuration; exit code 2 and one line per fault if it is wrong."""
    config = load(path)
    name = config.path or "built-in example values"
    if config.enrich.scan_sessions:
        try:
            read_scans(Path(config.enrich.scan_sessions))
        except (StorageError, OSError) as error:
            click.echo(config_file.Fault(str(name), "enrich.scan_sessions", str(error)), err=True)
            sys.exit(EXIT_FAULTY)
    click.echo(f"{name}: ok, {len(config.sites)} site(s), {len(config.keys)} key(s)")


@main.group("admin-token")
def admin_token_group() -> None:
    """The token that opens dashboard and admin API to others than this machine itself."""


@admin_token_group.command("new")
def admin_token_new() -> None:
    """Make a token: shown once, only its SHA-256 is kept in the configuration."""
    token = keys.new_admin_token()
    click.echo(f"admin token (shown only now): {token}\n\nput into config.toml, then reload:\n")
    click.echo(keys.admin_toml_line(token))


@main.command(
    epilog=f"Tables: events, and the views {', '.join(view.name for view in views.VIEWS)}; "
    "docs/QUERYING.md tells what they mean."
)
@config_option
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice([*render.FORMATS, "parquet"]),
    default="table",
    show_default=True,
    help="How to write the result; parquet needs --output.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead of standard output.",
)
def query(path: Path | None, sql: str, form: str, output: Path | None) -> None:
    """Run SQL over every acknowledged row: published files and the log's tail alike.

    Works beside a running collector and takes no lock.
    """
    if form == "parquet" and output is None:
        raise click.UsageError("--format parquet needs --output")
    with told_plainly(), Lake(load(path).storage.directory, Files()) as lake:
        if form == "parquet" and output is not None:
            lake.write_parquet(sql, output)
            return
        result = lake.run(sql)
        with click.open_file(output or "-", "wb") as out:
            render.write(result, form, out)  # type: ignore[arg-type]  # click checked it


@main.command()
@config_option
@click.option("--rows", "last", default=10, show_default=True, help="Start with the last N rows.")
@click.option("--site", help="Only rows of this site.")
@click.option("--protocol", type=click.Choice(["scanova", "croct", "zenovay"]), help="Only these.")
@click.option("--no-follow", is_flag=True, help="Print the last rows and end.")
def tail(
    path: Path | None, last: int, site: str | None, protocol: str | None, no_follow: bool
) -> None:
    """Print rows as JSON lines as they are acknowledged, until Ctrl-C."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    if no_follow:
        stop.set()
    with told_plainly():
        for line in log_tail.follow(
            load(path).storage.directory,
            Files(),
            wait=stop.wait,
            last=last,
            site=site,
            protocol=protocol,
        ):
            click.echo(log_tail.readable(line))


@main.command("inspect-log")
@config_option
@click.argument("segments", nargs=-1)
@click.option("--rows", "shows_rows", is_flag=True, help="Print the valid rows of SEGMENTS.")
def inspect_log(path: Path | None, segments: tuple[str, ...], shows_rows: bool) -> None:
    """Show what the log holds: segments, groups, torn tails, damage. Only reads.

    Without SEGMENTS one line per segment; with numbers or file names, the groups of each.
    """
    directory = load(path).storage.directory
    with told_plainly():
        if not segments:
            reports = inspect.segments(directory, Files())
            for report in reports:
                click.echo(_segment_line(report))
            click.echo(f"{len(reports)} segment(s), {sum(r.rows for r in reports)} row(s)")
            return
        wal = directory / layout.WAL
        paths = [wal / layout.segment_name(inspect.number_of(name)) for name in segments]
        if shows_rows:
            for line in inspect.rows(paths, Files()):
                click.echo(line)
            return
        for one in paths:
            click.echo(one.name)
            for group in inspect.groups(one, Files()):
                verdict = "valid" if group.is_valid else f"NOT VALID: {group.reason}"
                size = f"{group.bytes:>9} bytes  {group.rows:>6} rows"
                click.echo(f"  at {group.offset:>10}  {size}  {verdict}")


def _segment_line(report: inspect.SegmentReport) -> str:
    said = {"covered": f"covered by {report.part}", "torn": f"torn: {report.reason}"}
    damaged = f"DAMAGED at byte {report.valid_bytes}: {report.reason}"
    state = damaged if report.state == "damaged" else said.get(report.state, report.state)
    return (
        f"{report.path.name}  {report.date or 'no date   '}  {report.groups:>6} groups  "
        f"{report.rows:>8} rows  {report.bytes:>10} bytes  {state}"
    )


@main.command()
@config_option
@click.option(
    "--cut-damaged",
    is_flag=True,
    help="Mend: cut damaged segments behind their last valid group, keeping a copy of the rest.",
)
def recover(path: Path | None, cut_damaged: bool) -> None:
    """Show what the next start would do with the files found, or mend damage on demand.

    Exit code 1 when there is damage that stops a start. With --cut-damaged rows behind the damage
    are given up (their bytes stay in wal/torn-*), so look with `collector inspect-log` first.
    """
    files = Files()
    directory = data_directory(load(path))
    with told_plainly():
        lock = files.lock(directory / layout.LOCK)
        try:
            actions = recovery.mend(
                directory, files, lambda text: click.echo(text, err=True), cuts=cut_damaged
            )
        finally:
            files.close(lock)
    for action in actions:
        click.echo(recovery.describe(action))
    if not actions:
        click.echo("nothing to do: every file is whole")
    if any(isinstance(action, recovery.Stop) for action in actions):
        sys.exit(1)


@main.command()
@config_option
@click.option("--url", help="Collector to send to. [default: the configured host and port]")
@click.option("--seconds", default=10.0, show_default=True, help="How long.")
@click.option("--rate", default=20.0, show_default=True, help="Events per second, about.")
@click.option("--key", default=keys.DEMO_KEY, help="API key. [default: the example's]")
def demo(path: Path | None, url: str | None, seconds: float, rate: float, key: str) -> None:
    """Send realistic traffic of all three protocols to a running collector."""
    config = load(path)
    options = demonstration.Options(
        url=url or _own_url(config),
        seconds=seconds,
        rate=rate,
        key=key,
    )
    try:
        click.echo(str(demonstration.run(options, config)))
    except demonstration.Unreachable as error:
        raise click.ClickException(str(error)) from None


def _own_url(config: Config) -> str:
    host = config.server.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.server.port}"


for command in (audit, backup, keys_group, prove, quarantine, show_receipt):
    main.add_command(command)
for command in (export, cli_lake.compact, cli_lake.retention, cli_lake.erase):
    main.add_command(command)
