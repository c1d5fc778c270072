"""Monthly usage of a real collector: what a stop and a kill -9 leave of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from collector.keys import DEMO_KEY
from tests.support.process import CollectorProcess, wait_until

pytestmark = pytest.mark.end_to_end


def _ask(collector: CollectorProcess) -> int:
    """One more request; how many of this month its sender is told there were."""
    answer = collector.request(
        "POST",
        "/api/v1/events",
        body='{"trackingCode": "ZV_demo", "events": [{}]}',
        headers={"Authorization": f"Bearer {DEMO_KEY}"},
    )
    assert answer.status == 200
    assert answer.headers["x-usage-monthly"] == answer.headers["x-usage-total"]
    return int(answer.headers["x-usage-monthly"])


def _kept(collector: CollectorProcess) -> int:
    """How many the file says there were; it is whole whenever it is read."""
    try:
        text = (collector.data / "state" / "usage.json").read_text()
    except FileNotFoundError:
        return 0
    counts: dict[str, Any] = json.loads(text)
    return int(counts["backend"]["used"])


def test_a_stop_loses_no_request_of_the_month(tmp_path: Path) -> None:
    """SIGTERM right behind the last answer: the next start goes on with the next number."""
    with CollectorProcess(tmp_path) as collector:
        assert [_ask(collector) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert collector.terminate() == 0
        collector.start()
        assert _ask(collector) == 6


def test_a_kill_forgets_what_was_counted_within_the_last_second(tmp_path: Path) -> None:
    """What is in the file after a second survives kill -9; what came later is the sender's gain.

    The file is whole after every kill, also when it hits while the file is written.
    """
    with CollectorProcess(tmp_path) as collector:
        sent = kept = 0
        for _ in range(4):
            for _ in range(3):
                sent += 1
                told = _ask(collector)
                assert kept < told <= sent
            wait_until(lambda told=told: _kept(collector) == told, timeout_s=3, what="kept")
            kept = told
            for _ in range(20):  # some of these are written, some are not
                sent += 1
                told = _ask(collector)
            collector.restart()
            survived = _kept(collector)
            assert kept <= survived <= told
            kept = survived
        assert _ask(collector) == kept + 1
        assert list((collector.data / "state").glob("usage-damaged*")) == []
