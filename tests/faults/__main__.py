"""`python -m tests.faults`: every sweep, and what was tried; `--deep`: far more of it."""

import logging
import sys
import time

import click

from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import DEEP, USUAL, Counts, Sweep
from tests.faults.world import small_world

_HEAD = f"{'scenario':24} {'operations':>10} {'failed':>7} {'crashes':>8} {'again':>7} {'s':>6}"


@click.command()
@click.option("--deep", is_flag=True, help="Many more states, every error of every call.")
@click.option("--scenario", multiple=True, help="Only this one; may be repeated.")
def main(*, deep: bool, scenario: tuple[str, ...]) -> None:
    """Fail every operation, lose power at every one; print what was tried.

    operations: of a run without faults. failed: runs in which one of them failed, in one way.
    crashes: different states of the disk that were started from. again: the same, of a disk that
    lost power once more while it was mended. Ends at the first thing that does not hold.
    """
    logging.disable(logging.CRITICAL)
    total = Counts()
    click.echo(_HEAD)
    with small_world():
        for one in SCENARIOS:
            if scenario and one.name not in scenario:
                continue
            started_s = time.process_time()
            sweep = Sweep(one, DEEP if deep else USUAL)
            try:
                sweep.fail_each()
                sweep.crash_everywhere()
            finally:
                sweep.close()
            _tell(one.name, sweep.counts, time.process_time() - started_s)
            total.add(sweep.counts)
    _tell("all", total, time.process_time())


def _tell(name: str, counts: Counts, seconds: float) -> None:
    click.echo(
        f"{name:24} {counts.operations:10} {counts.failed:7} {counts.states:8} "
        f"{counts.recoveries:7} {seconds:6.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
