"""Identifiers, time rules, metrics, the day's salt, log lines."""

import logging
import uuid

from collector import normalise
from collector.config import Time
from collector.event import Event
from collector.ids import uuid4, uuid4_hex, uuid7
from collector.logs import Formatter
from collector.metrics import Histogram, Metrics
from collector.salt import DailySalt
from tests.support.rows import NOW_US, make_row

DAY_US = 86_400_000_000


def test_uuid7_is_one_and_sorts_by_time() -> None:
    """RFC 9562: version 7, its variant, the millisecond in front, unique."""
    ids = [uuid7(NOW_US + n * 1_000) for n in range(1_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == NOW_US // 1_000


def test_uuid4_is_one() -> None:
    """Version 4 and its variant, with and without dashes."""
    for text in (uuid4(), uuid4_hex()):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert len(uuid4_hex()) == 32


def _corrected(event_us: int, departure_us: int | None = None) -> tuple[int, tuple[str, ...]]:
    event = Event(row=make_row(1, event_time=event_us), departure_us=departure_us)
    normalise.Clock(Time()).correct(event, NOW_US)
    assert event.row.received_time == NOW_US
    return event.row.event_time, event.row.flags


def test_time_rules() -> None:
    """Absent: receipt. Small skew: exactly as sent. Large skew: corrected and flagged."""
    minute_us = 60_000_000
    assert _corrected(0) == (NOW_US, ())
    assert _corrected(NOW_US - 5, NOW_US - minute_us) == (NOW_US - 5, ())
    assert _corrected(NOW_US - 5, NOW_US + minute_us) == (NOW_US - 5, ())
    hour_us = 60 * minute_us
    wrong_us = NOW_US - hour_us
    assert _corrected(wrong_us - 7, wrong_us) == (NOW_US - 7, ("clock_corrected",))
    ahead_us = NOW_US + hour_us
    assert _corrected(ahead_us - 7, ahead_us) == (NOW_US - 7, ("clock_corrected",))
    assert _corrected(NOW_US - DAY_US - 1) == (NOW_US - DAY_US - 1, ("late",))
    assert _corrected(NOW_US - DAY_US) == (NOW_US - DAY_US, ())
    assert _corrected(NOW_US + minute_us + 1) == (NOW_US + minute_us + 1, ("future",))
    late = _corrected(wrong_us - 2 * DAY_US, wrong_us)
    assert late == (NOW_US - 2 * DAY_US, ("clock_corrected", "late"))
    huge = 253_402_300_799_999_000
    assert _corrected(huge, -huge)[0] <= huge + 999


def test_metrics_page() -> None:
    """Counters, histograms and gauges come out as Prometheus reads them; labels are escaped."""
    metrics = Metrics()
    metrics.count_event(('a"b\\', "croct", "accepted", ""), 3)
    metrics.count_request("croct_track", 204)
    metrics.observe_commit(0.003, 7)
    page = metrics.render({"collector_parts": lambda: 5}).decode()
    assert (
        'collector_events_total{site="a\\"b\\\\",protocol="croct",outcome="accepted",reason=""} 3'
        in page
    )
    assert 'collector_requests_total{endpoint="croct_track",status="204"} 1' in page
    assert 'collector_commit_seconds_bucket{le="0.005"} 1' in page
    assert 'collector_commit_events_bucket{le="5"} 0' in page
    assert 'collector_commit_events_bucket{le="+Inf"} 1' in page
    assert "collector_parts 5" in page


def test_histogram_bounds_are_inclusive() -> None:
    """A value equal to a bound is counted in its bucket."""
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 1.5, 3.0):
        histogram.observe(value)
    assert histogram.lines("h") == [
        'h_bucket{le="1.0"} 1',
        'h_bucket{le="2.0"} 2',
        'h_bucket{le="+Inf"} 3',
        "h_sum 5.5",
        "h_count 3",
    ]


class FakeState:
    """The small state of a store."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.is_full = False

    def read_state(self, name: str) -> bytes | None:
        """See Store."""
        return self.kept.get(name)

    def write_state(self, name: str, data: bytes) -> None:
        """See Store."""
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.kept[name] = data

    def keep_state(self, prefix: str, name: str) -> None:
        """See Store."""
        self.kept = {n: d for n, d in self.kept.items() if n == name or not n.startswith(prefix)}


def test_salt_lives_for_one_day() -> None:
    """The same all day and across a restart; another the next day; only one is ever kept."""
    state = FakeState()
    salt = DailySalt(state)  # type: ignore[arg-type]
    first = salt.of(NOW_US)
    assert len(first) == 32
    assert DailySalt(state).of(NOW_US + 1) == first  # type: ignore[arg-type]
    second = salt.of(NOW_US + DAY_US)
    assert second != first
    assert len(state.kept) == 1
    state.is_full = True
    third = salt.of(NOW_US + 2 * DAY_US)
    assert third not in {first, second}
    assert salt.of(NOW_US + 2 * DAY_US + 5) == third


def test_a_log_line_cannot_be_forged() -> None:
    """Control characters from outside do not start a line or move a terminal's cursor."""
    record = logging.LogRecord("n", logging.INFO, "", 0, "a\nb\x1b[2J\r%s", ("c\x9b",), None)
    line = Formatter().format(record)
    assert line.endswith("INFO a\\nb?[2J?c?")
    assert "\n" not in line
