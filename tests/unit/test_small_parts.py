"""Identifiers, time rules, metrics, the day's salt."""

import multiprocessing
import uuid
from functools import reduce
from operator import and_, or_

from collector import normalise
from collector.config import Time
from collector.event import Event
from collector.ids import uuid4, uuid4_hex, uuid7, uuid7s
from collector.metrics import Histogram, Metrics
from collector.salt import DailySalt
from tests.support.rows import NOW_US, make_row

DAY_US = 86_400_000_000


def test_uuid7_is_one_and_sorts_by_time() -> None:
    """RFC 9562: version 7, its variant, the millisecond in front, unique."""
    ids = [uuid7(NOW_US + n * 1_000) for n in range(1_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    _assert_uuid7(ids[0], NOW_US // 1_000)


def test_many_uuid7_are_what_one_is() -> None:
    """A batch gets so many, valid, of its millisecond, and none that anybody else has."""
    ids = [one for count in (0, 1, 2, 999, 1_000) for one in uuid7s(NOW_US, count)]
    ids += [uuid7(NOW_US) for _ in range(1_000)]
    assert len(set(ids)) == len(ids) == 3_002
    for text in ids:
        _assert_uuid7(text, NOW_US // 1_000)


def test_all_free_bits_of_a_uuid7_are_random() -> None:
    """Neither the rest of the version's group nor that of the variant's is the same in all."""
    values = [uuid.UUID(text).int for text in uuid7s(NOW_US, 1_000)]
    free = ((1 << 80) - 1) & ~(0xF << 76 | 3 << 62)
    assert reduce(or_, values) & free == free
    assert reduce(and_, values) & free == 0


def test_a_fork_makes_other_uuid7() -> None:
    """What was drawn before a fork is given out by one of the two only."""
    uuid7(NOW_US)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send([uuid7(NOW_US) for _ in range(300)]))
    child.start()
    theirs = receiver.recv()
    child.join()
    assert not set(theirs) & {uuid7(NOW_US) for _ in range(300)}


def _assert_uuid7(text: str, now_ms: int) -> None:
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_ms


def test_uuid4_is_one() -> None:
    """Version 4 and its variant, with and without dashes."""
    for text in (uuid4(), uuid4_hex()):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert len(uuid4_hex()) == 32


def _corrected(event_us: int, departure_us: int | None = None) -> tuple[int, tuple[str, ...]]:
    event = Event(row=make_row(1, event_time=event_us), departure_us=departure_us)
    normalise.Clock(Time()).correct_all([event], NOW_US)
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
