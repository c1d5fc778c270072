"""The times of a row, and the flags that say what was done to them. Pure; time is handed in.

Time rules: where the protocol stamps every attempt with the client's clock, a clock that is off by
more than `clock_skew_ms_max` is corrected by the difference between receipt and departure, and the
row is flagged `clock_corrected`; within it the client's time stays exactly as sent. `late`: older
than `late_after_ms`. `future`: ahead of receipt by more than the skew.
"""

from collections.abc import Iterable
from typing import Final

from collector.config import Time
from collector.event import Event
from collector.refusal import Refusal

# What DuckDB and every other reader of Parquet can hold: years 1 to 9999.
_TIME_US_MIN: Final = -62_135_596_800_000_000
_TIME_US_MAX: Final = 253_402_300_799_999_999


class Clock:
    """The time rules of one collector; all members are microseconds."""

    def __init__(self, time: Time) -> None:
        self._late_us = time.late_after_ms * 1000
        self._skew_us = time.clock_skew_ms_max * 1000

    def correct_all(self, items: Iterable[Event | Refusal], received_us: int) -> None:
        """Set event_time, received_time and the time flags of the row of each event."""
        late_us, skew_us = self._late_us, self._skew_us
        for event in items:
            if isinstance(event, Refusal):
                continue
            row = event.row
            row.received_time = received_us
            if row.event_time == 0:
                row.event_time = received_us
                continue
            if event.departure_us is not None:
                off_us = received_us - event.departure_us
                if not -skew_us <= off_us <= skew_us:
                    corrected_us = row.event_time + off_us
                    row.event_time = min(max(corrected_us, _TIME_US_MIN), _TIME_US_MAX)
                    row.flags += ("clock_corrected",)
            age_us = received_us - row.event_time
            if age_us > late_us:
                row.flags += ("late",)
            elif age_us < -skew_us:
                row.flags += ("future",)
