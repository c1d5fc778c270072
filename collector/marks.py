"""Our own remarks on rows, and what a site takes for fraud. Nothing is ever dropped by them.

Owns the rules: what each looks at, its bounds, and the flag it leaves. How the vendors mark fraud
is public nowhere, so these rules are our own (docs/PRIVACY.md, docs/QUERYING.md). Which of them set
`is_fraud` is each site's choice (`fraud_rules`). Must not know a protocol.
"""

from collections.abc import Iterable
from typing import Final

from collector.config import Site
from collector.event import Row

IMPOSSIBLE_TIME: Final = "impossible_time"
REPLAY_STORM: Final = "replay_storm"
WEBDRIVER: Final = "webdriver"
BOT: Final = "bot"

# 2000-01-01T00:00:00Z: before that nothing was tracked that could still be sent.
EARLIEST_US: Final = 946_684_800_000_000
# A clock in the wrong zone is off by 14 h at most; Zenovay's own bound is 24 h.
AHEAD_US_MAX: Final = 24 * 3600 * 1_000_000

_NONE: Final[frozenset[str]] = frozenset()


class Marker:
    """Marks rows by the rules of their sites. `copies_max`: see `RepeatCounter`; 0: no limit."""

    def __init__(self, sites: Iterable[Site], *, copies_max: int) -> None:
        self._fraud_rules: dict[str, frozenset[str]] = {}
        self.adopt(sites)
        self._copies_max = copies_max
        self._copies = RepeatCounter()

    def adopt(self, sites: Iterable[Site]) -> None:
        """Mark by the rules of `sites` from now on.

        A site that is gone keeps its own: rows may still be on their way to it.
        """
        self._fraud_rules |= {site.id: frozenset(site.fraud_rules) for site in sites}

    def mark(self, row: Row, fired: frozenset[str], *, is_automated: bool) -> None:
        """Flag `row`, whose agent satisfied the rules `fired`; `is_automated`: so its page says.

        `received_time` and the corrected `event_time` must be set.
        """
        if is_automated:
            row.flags += (WEBDRIVER,) if BOT in row.flags else (BOT, WEBDRIVER)
            fired = fired | {WEBDRIVER}
        if not EARLIEST_US <= row.event_time <= row.received_time + AHEAD_US_MAX:
            row.flags += (IMPOSSIBLE_TIME,)
            fired = fired | {IMPOSSIBLE_TIME}
        if fired:
            self._judge(row, fired)

    def mark_repeat(self, row: Row, key: bytes) -> None:
        """Flag `row`, a repeat of the event with `key` that is about to be stored once more."""
        if self._copies_max and self._copies.count(key, row.received_time) > self._copies_max:
            row.flags += (REPLAY_STORM,)
            self._judge(row, frozenset({REPLAY_STORM}))

    def _judge(self, row: Row, fired: frozenset[str]) -> None:
        if not fired.isdisjoint(self._fraud_rules.get(row.site_id, _NONE)):
            row.is_fraud = 1


class RepeatCounter:
    """Counts repeats of keys, about over the last day, in bounded memory.

    Two generations: when the newer one is full or a day old it becomes the older one, and what was
    in that is forgotten. So a count never exceeds the truth; it starts anew with the process.
    """

    KEYS_MAX: Final = 65_536  # per generation, about 100 bytes each
    AGE_US_MAX: Final = 24 * 3600 * 1_000_000

    def __init__(self) -> None:
        self._newer: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self._since_us = 0

    def __len__(self) -> int:
        """How many keys are counted."""
        return len(self._newer) + len(self._older)

    def count(self, key: bytes, now_us: int) -> int:
        """Count one more repeat of `key`; how many there were, this one included."""
        if len(self._newer) >= self.KEYS_MAX or now_us - self._since_us >= self.AGE_US_MAX:
            self._older, self._newer = self._newer, {}
            self._since_us = now_us
        known = self._newer.get(key)
        if known is None:
            known = self._older.pop(key, 0)
        self._newer[key] = known + 1
        return known + 1
