"""What was acknowledged, compared with the rows that are there. Pure, on arrays."""

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from collector.prove.ledger import ACKNOWLEDGED, AGAIN, Ledger
from storage import rollcall

_COPIES_MAX: Final = 255
Copies = npt.NDArray[np.uint8]


class Compared(msgspec.Struct, frozen=True):
    """Numbers of events that are not as they must be, and how many are.

    `lost`: acknowledged, without a row (or a marked repeat was, and has none). `doubled`: more than
    one row that is no marked repeat, or a marked one that nobody sent. `strange`: rows of events
    that were never sent. `unacknowledged`: stored without an answer that said so, which is allowed.
    `copies`: by number, rows that are no marked repeats.
    """

    found: int
    lost: tuple[int, ...]
    doubled: tuple[int, ...]
    strange: int
    unacknowledged: int
    copies: Copies


def compare(ledger: Ledger, roll: rollcall.Roll) -> Compared:
    """Hold every row against every event of `ledger`."""
    sent = ledger.sent
    first, strange = _copies(roll.first, sent)
    marked, more_strange = _copies(roll.marked, sent)
    is_acknowledged = (ledger.states & ACKNOWLEDGED) != 0
    is_lost = is_acknowledged & ((first == 0) | (marked < ledger.marked))
    is_doubled = (first > 1) | ((marked > 0) & ((ledger.states & AGAIN) == 0))
    return Compared(
        found=int(np.count_nonzero(is_acknowledged & (first > 0))),
        lost=_numbers(is_lost),
        doubled=_numbers(is_doubled),
        strange=strange + more_strange,
        unacknowledged=int(np.count_nonzero(~is_acknowledged & (first > 0))),
        copies=first,
    )


def stored(copies: Copies, first: int, count: int) -> int:
    """How many of `count` events from number `first` on have a row."""
    return int(np.count_nonzero(copies[first : first + count]))


def _copies(files: Iterable[rollcall.Numbers], sent: int) -> tuple[Copies, int]:
    """Rows per number, up to 255, and rows whose number is of no event."""
    copies = np.zeros(sent, np.uint8)
    strange = 0
    for every in files:
        numbers = every[every < sent]
        strange += len(every) - len(numbers)
        if len(numbers):
            # Numbers of one file lie close together: counting between the ends is cheap.
            low = int(numbers.min())
            here = np.bincount(numbers - low)
            part = copies[low : low + len(here)]
            part[:] = np.minimum(part + here, _COPIES_MAX)
    return copies, strange


def _numbers(chosen: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(number) for number in np.flatnonzero(chosen))
