"""Starts generator processes and adds up their reports."""

import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.plan import Plan, Report

_ROOT: Final = Path(__file__).resolve().parent.parent
# Starting, building the corpus, and the last answers.
_GRACE_S: Final = 45.0


class LoadFailed(Exception):
    """A generator could not do what it was told; nothing it measured counts."""


class Fleet:
    """Generator processes at work on one plan. Use `wait`, or `stop` to give up."""

    def __init__(self, plan: Plan, processes: int = 1) -> None:
        self._timeout_s = plan.warm_up_s + plan.seconds + _GRACE_S
        self._children = [self._start(part) for part in shares(plan, processes)]

    def wait(self) -> Report:
        """The report of all of them together. Raises `LoadFailed`."""
        reports = []
        try:
            for child in self._children:
                out, err = child.communicate(timeout=self._timeout_s)
                if child.returncode:
                    raise LoadFailed(err.decode(errors="replace").strip()[-500:])
                reports.append(msgspec.json.decode(out, type=Report))
        except subprocess.TimeoutExpired:
            raise LoadFailed("a generator did not end in time") from None
        except msgspec.DecodeError as error:
            raise LoadFailed(f"a generator's report of {len(out):,} bytes: {error}") from None
        finally:
            self.stop()
        return merged(reports)

    def stop(self) -> None:
        """End what still runs."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()

    def _start(self, plan: Plan) -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.generator"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdin is not None
        child.stdin.write(msgspec.json.encode(plan))
        child.stdin.close()
        # `communicate` would flush it once more.
        child.stdin = None
        return child


def drive(plan: Plan, processes: int = 1) -> Report:
    """Carry `plan` out by `processes` generators. Raises `LoadFailed`."""
    return Fleet(plan, processes).wait()


def merged(reports: Sequence[Report]) -> Report:
    """One report of several generators that ran side by side; CPU adds up."""
    if not reports:
        raise ValueError("nothing to merge")
    statuses: dict[int, int] = {}
    for report in reports:
        for status, count in report.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return Report(
        window_s=max(report.window_s for report in reports),
        requests=sum(report.requests for report in reports),
        events=sum(report.events for report in reports),
        latencies_us=[latency for report in reports for latency in report.latencies_us],
        cpu_s=sum(report.cpu_s for report in reports),
        accepted=sum(report.accepted for report in reports),
        duplicate=sum(report.duplicate for report in reports),
        rejected=sum(report.rejected for report in reports),
        statuses=statuses,
        failures=sum(report.failures for report in reports),
        lags_us=[lag for report in reports for lag in report.lags_us],
    )


def fresh_run() -> str:
    """A name for a run, so that its ids are its own."""
    return secrets.token_hex(4)


def shares(plan: Plan, processes: int) -> list[Plan]:
    """The parts of `plan` that `processes` carry out, each with ids of its own."""
    return [
        msgspec.structs.replace(
            plan,
            run=fresh_run(),
            connections=max(1, plan.connections // processes),
            rate=plan.rate / processes,
            # Rounded up: 0 would be no bound at all.
            requests_max=-(-plan.requests_max // processes),
        )
        for _ in range(processes)
    ]
