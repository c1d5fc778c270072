"""For all tests: where everything must be run (`CI` is set), a test that is skipped has failed."""

import atexit
import os
import signal
from collections.abc import Generator, Iterator
from typing import Final

import pytest


@atexit.register
def _end_quietly() -> None:
    """DuckDB's bindings print pages about their own leaks when the interpreter ends: not there.

    Registered before anybody else's, so that it runs last; the exit code stays what it is.
    """
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a descriptor is wanted)
        os.dup2(nowhere.fileno(), 2)


_SIGNALS: Final = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets signals for a process of its own.

    Left so, the first write to a closed socket in a later test would end all of them.
    """
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


_WORKERS_MAX: Final = 4


# Optional: where pytest-xdist is switched off there is no such hook.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than processors: who waits for a collector or a browser leaves his to others."""
    return min(_WORKERS_MAX, len(os.sched_getaffinity(0)) + 2)


# What depends on rights or machines that not every runner has.
MAY_BE_SKIPPED: Final = (
    "cannot mount a small disk",
    "atheris has no wheel here",
    "no interpreter for the snippet",
)


def forbid_skip(report: pytest.TestReport) -> None:
    """Turn a skip into a failure that tells its reason, unless it is one that may happen."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(allowed in reason for allowed in MAY_BE_SKIPPED):
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped where CI is set; this was: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See `forbid_skip`."""
    report = yield
    if os.environ.get("CI"):
        forbid_skip(report)
    return report
