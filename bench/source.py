"""The requests of one plan, one after the other, as cheap as they can be made."""

import random
import time
from collections import deque
from typing import Final

from bench.corpus import templates
from bench.plan import Plan
from bench.template import Ids

# A repeat comes at least this many requests after the first.
_APART: Final = 64


class Source:
    """Requests in an order of its own for each run; every event has an id of its own.

    Times are put in by `stamp`, which is called `STAMPS_PER_S` times a second and does its share
    of the templates each time, so that sending never has to wait for long.
    """

    STAMPS_PER_S: Final = 20

    def __init__(self, plan: Plan) -> None:
        self._templates = templates(plan.traffic, plan.size, plan.account, plan.seed)
        random.Random(plan.run).shuffle(self._templates)
        self._ids = Ids(plan.run)
        self._every = round(1 / plan.duplicates) if plan.duplicates else 0
        # One request in `every` is kept until it is sent again.
        self._kept: deque[bytes] = deque(maxlen=_APART // self._every + 1 if self._every else 1)
        self._count = 0
        now_ms = time.time_ns() // 1_000_000
        self._cut = [template.stamped(now_ms) for template in self._templates]
        self._stamped = 0

    def stamp(self) -> None:
        """Put the present time into the templates whose turn it is."""
        now_ms = time.time_ns() // 1_000_000
        count = len(self._cut)
        for _ in range(-(-count // self.STAMPS_PER_S)):
            self._stamped = (self._stamped + 1) % count
            self._cut[self._stamped] = self._templates[self._stamped].stamped(now_ms)

    def next(self) -> bytes:
        """The next request, whole."""
        count = self._count = self._count + 1
        cut = self._cut
        if not self._every:
            return self._ids.next().join(cut[count % len(cut)])
        turn = count % self._every
        if turn == 0 and len(self._kept) == self._kept.maxlen:
            return self._kept[0]
        request = self._ids.next().join(cut[count % len(cut)])
        if turn == 1:
            self._kept.append(request)
        return request
