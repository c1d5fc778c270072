"""Skips where everything must be run."""

import pytest

from tests.conftest import forbid_skip


def _report(reason: str) -> pytest.TestReport:
    longrepr = ("tests/test_x.py", 3, f"Skipped: {reason}")
    return pytest.TestReport("x", ("x", 3, "x"), {}, "skipped", longrepr, "call")


def test_skip_becomes_a_failure() -> None:
    """The reason is told, so that whoever runs the tests can make them run."""
    report = _report("no Chromium found")
    forbid_skip(report)
    assert report.failed
    assert "no Chromium found" in str(report.longrepr)


def test_some_skips_are_allowed() -> None:
    """Who may not mount a disk cannot be helped."""
    report = _report("cannot mount a small disk: permission denied")
    forbid_skip(report)
    assert report.skipped


def test_other_outcomes_are_left_alone() -> None:
    """What passed has passed; what was expected to fail did."""
    passed = pytest.TestReport("x", ("x", 3, "x"), {}, "passed", None, "call")
    forbid_skip(passed)
    assert passed.passed
    expected = _report("")
    expected.wasxfail = "known"  # type: ignore[attr-defined]
    forbid_skip(expected)
    assert expected.skipped
