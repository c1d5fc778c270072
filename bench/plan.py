"""What a generator process is told, and what it reports. Values only."""

from typing import Final

import msgspec

from bench.corpus import Account, Traffic
from bench.figures import percentile

SECONDS_MAX: Final = 60.0
CONNECTIONS_MAX: Final = 1_024


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. `size`: events per request. `rate`: requests per second, 0: closed loop.

    `address` is a host's name or IP address; with `tls` its certificate must be valid, for the
    authorities in `ca_file` (PEM) or, without one, those the system trusts. `duplicates` is the
    share of requests that repeat an earlier one. `run` (8 hex digits) makes the ids of this run its
    own. `requests_max` 0: bounded by time only.
    """

    address: str
    port: int
    traffic: Traffic
    account: Account
    run: str
    size: int = 1
    connections: int = 64
    warm_up_s: float = 0.5
    seconds: float = 10.0
    rate: float = 0.0
    duplicates: float = 0.0
    requests_max: int = 0
    seed: int = 1
    tls: bool = False
    ca_file: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= SECONDS_MAX or not 0 <= self.warm_up_s <= SECONDS_MAX:
            raise ValueError(f"a measurement lasts at most {SECONDS_MAX:.0f} s")
        if not 0 < self.connections <= CONNECTIONS_MAX:
            raise ValueError(f"1 to {CONNECTIONS_MAX} connections")
        if not 0 <= self.duplicates < 1 or self.rate < 0 or self.size < 1:
            raise ValueError("duplicates is a share, rate and size are counts")


class Report(msgspec.Struct, kw_only=True):
    """What came of a plan. `window_s`, `requests`, `events`, the two lists and `cpu_s` are of the
    measured time only; the other counts are of everything that was sent, warm-up included.

    `events` were answered with success in the window. `statuses` counts answers; `failures` are
    connections that broke. How busy the generator was itself: `cpu_s` is what this process used,
    `lags_us` is how late it was. In an open loop: each request's turn against when it was due,
    whether or not a connection was free then. In a closed one: a timer, 100 times a second.
    """

    window_s: float
    requests: int
    events: int
    latencies_us: list[int]
    cpu_s: float
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    statuses: dict[int, int] = {}
    failures: int = 0
    lags_us: list[int] = []

    @property
    def cpu_share(self) -> float:
        """Share of one core that the generator used; near 1 it was the bottleneck itself."""
        return self.cpu_s / self.window_s

    @property
    def lag_p99_ms(self) -> float:
        """99th percentile of `lags_us` in milliseconds, 0 without any.

        Timers tick in milliseconds: 1 to 2 is as good as it gets.
        """
        return percentile(sorted(self.lags_us), 0.99) / 1000 if self.lags_us else 0.0
