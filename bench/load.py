"""Measure the collector on this machine: `python -m bench.load [MEASUREMENT]...`.

Owns the choice of measurements and what becomes of their figures: a table, and one line of
history. Each measurement starts a collector of its own on a fresh directory and stops it.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from bench import history
from bench.corpus import Traffic
from bench.enrich import enrich
from bench.figures import Figure, table
from bench.fleet import LoadFailed
from bench.flush import flush
from bench.freshness import freshness
from bench.inprocess import inprocess
from bench.limits import limits
from bench.options import Options, quick
from bench.plan import CONNECTIONS_MAX, SECONDS_MAX
from bench.refusals import refusals
from bench.remote import NotAllowed, Target, remote, target
from bench.restart import restart
from bench.switches import directory_option, history_option
from bench.target import NotReady, compile_packages
from bench.throughput import batches, singles

_MEASUREMENTS: Final[dict[str, tuple[str, Callable[[Options], list[Figure]]]]] = {
    "singles": ("Scanova events, one per request", lambda o: singles("scanova", o)),
    "beacons": ("Croct beacons, one per request", lambda o: singles("croct", o)),
    "batches-100": ("Zenovay events, 100 per request", lambda o: batches(100, o)),
    "batches-1000": ("Zenovay events, 1,000 per request", lambda o: batches(1_000, o)),
    "inprocess": ("processor time per event, no HTTP", inprocess),
    "enrich": ("what agents, places and marks add to an event", enrich),
    "refusals": ("processor time of a refusal", refusals),
    "limits": ("memory and pauses under very many addresses", limits),
    "flush": ("rows from the log to Parquet", flush),
    "restart": ("kill -9 to ready", restart),
    "freshness": ("acknowledged to readable", freshness),
}
_REMOTE: Final[dict[str, tuple[Traffic, int]]] = {
    "singles": ("scanova", 1),
    "beacons": ("croct", 1),
    "batches-100": ("zenovay", 100),
    "batches-1000": ("zenovay", 1_000),
}
_HELP: Final = "\b\n" + "\n".join(
    f"  {name:<13} {what}" for name, (what, _) in _MEASUREMENTS.items()
)


def _measure(names: Sequence[str], options: Options) -> list[Figure]:
    compile_packages()
    figures: list[Figure] = []
    for name in names or _MEASUREMENTS:
        began_s = time.perf_counter()
        sys.stderr.write(f"{name} ... ")
        sys.stderr.flush()
        figures += _MEASUREMENTS[name][1](options)
        sys.stderr.write(f"{time.perf_counter() - began_s:.0f} s\n")
    return figures


def _measure_remote(names: Sequence[str], to: Target, options: Options) -> list[Figure]:
    unknown = set(names) - _REMOTE.keys()
    if unknown:
        raise click.UsageError(f"{', '.join(sorted(unknown))}: not possible with --url")
    figures: list[Figure] = []
    for name in names or _REMOTE:
        traffic, size = _REMOTE[name]
        figures += remote(traffic, size, to, options)
    return figures


def _maybe_target(url: str, given: dict[str, Any]) -> Target | None:
    """What the options that go with --url say; None without it."""
    named = {name: given.pop(name) for name in ("ca_file", "rate", "requests_max")}
    named["ca_file"] = named["ca_file"] or ""
    has_permission = given.pop("has_permission")
    if not url:
        return None
    try:
        return target(url, given, has_permission=has_permission, **named)
    except NotAllowed as error:
        raise click.UsageError(str(error)) from None


def _of_a_url(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for a collector that runs already."""
    options = [
        click.option("--url", default="", help="Load a collector that runs already instead."),
        click.option(
            "--with-permission",
            "has_permission",
            is_flag=True,
            help="With --url on another machine: it is mine, or its owner wants this load.",
        ),
        click.option(
            "--rate",
            type=click.FloatRange(0, 1_000_000),
            default=0.0,
            help="With --url: requests per second at fixed times; 0: as fast as answers come.",
        ),
        click.option(
            "--requests",
            "requests_max",
            type=click.IntRange(1, 10_000_000),
            default=1_000_000,
            help="With --url: at most so many requests per measurement.",
        ),
        click.option(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False, resolve_path=True),
            help="With --url: who issued its certificate, if not somebody the system trusts.",
        ),
        click.option("--site", default="", help="With --url: Scanova's site id."),
        click.option("--origin", default="", help="With --url: an allowed origin, with scheme."),
        click.option("--key", default="", help="With --url: API key for Zenovay."),
        click.option("--tracking-code", default="", help="With --url: Zenovay's tracking code."),
        click.option("--app-id", default="", help="With --url: Croct's application id."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    help=f"Measure the collector. MEASUREMENT is any of these, all of them by default:\n\n{_HELP}",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.argument("names", metavar="[MEASUREMENT]...", nargs=-1, type=click.Choice([*_MEASUREMENTS]))
@click.option("--quick", "is_quick", is_flag=True, help="All within a minute and a half, rougher.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, SECONDS_MAX),
    default=10.0,
    help="Measured time per side and measurement.",
)
@click.option("--rounds", type=click.IntRange(1, 20), default=5, help="Parts of that time.")
@click.option(
    "--connections", type=click.IntRange(1, CONNECTIONS_MAX), default=64, help="For singles."
)
@click.option("--processes", type=click.IntRange(1, 16), default=1, help="Load generators.")
@click.option(
    "--duplicates",
    type=click.FloatRange(0, 0.5),
    default=0.006,
    help="Share of requests that repeat an earlier one.",
)
@click.option("--seed", type=int, default=1, help="Of the corpus.")
@directory_option("Where data directories are made. Its disk is part of what is measured.")
@click.option("--profile", "is_profiled", is_flag=True, help="With inprocess: where time goes.")
@history_option()
@_of_a_url
def main(
    names: tuple[str, ...],
    *,
    is_quick: bool,
    seconds: float,
    rounds: int,
    connections: int,
    processes: int,
    duplicates: float,
    seed: int,
    directory: Path,
    is_profiled: bool,
    is_kept: bool,
    url: str,
    **of_the_url: Any,
) -> None:
    """Parse the command line, measure, print, remember."""
    options = Options(
        directory=directory,
        seconds=seconds,
        rounds=rounds,
        connections=connections,
        processes=processes,
        duplicates=duplicates,
        seed=seed,
        is_profiled=is_profiled,
    )
    if is_quick:
        options = quick(options)
    if history.file_system(directory) == "tmpfs":
        click.echo(f"{directory} is in memory: nothing is really synced there", err=True)
    to = _maybe_target(url, of_the_url)
    try:
        figures = _measure_remote(names, to, options) if to else _measure(names, options)
    except (LoadFailed, NotReady) as error:
        raise click.ClickException(str(error)) from error
    run = history.describe(options, figures)
    click.echo(f"{run.machine.told}\n{table(figures)}")
    if is_kept and not url:
        history.append(run)


if __name__ == "__main__":
    main()
