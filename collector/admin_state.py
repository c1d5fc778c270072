"""How the running collector is: read from memory, at no cost, and never from a file."""

from collections.abc import Callable, Mapping
from importlib.metadata import version

import msgspec

from collector.metrics import Metrics
from collector.reload import Configuration


class Count(msgspec.Struct):
    """Events of one site, protocol, outcome and reason (docs/METRICS.md) since the start."""

    site: str
    protocol: str
    outcome: str
    reason: str
    events: int


class Requests(msgspec.Struct):
    """Answered requests of one endpoint and status since the start."""

    endpoint: str
    status: int
    requests: int


class State(msgspec.Struct):
    """`numbers`: the gauges of /metrics by their names without `collector_`.

    Times are ISO 8601, UTC. `trouble`: why no events are taken, "" when they are.
    """

    version: str
    started: str
    now: str
    trouble: str
    configuration: Configuration
    events: list[Count]
    requests: list[Requests]
    numbers: dict[str, float]


class StateReader:
    """Puts a `State` together. `now` gives the time as it is shown, `trouble` as in `State`."""

    def __init__(
        self,
        metrics: Metrics,
        gauges: Mapping[str, Callable[[], float]],
        *,
        now: Callable[[], str],
        trouble: Callable[[], str],
        configuration: Callable[[], Configuration],
    ) -> None:
        self._metrics = metrics
        self._gauges = gauges
        self._now = now
        self._trouble = trouble
        self._configuration = configuration
        self._started = now()
        self._version = version("event-collector")

    def read(self) -> State:
        """The state of this moment."""
        return State(
            version=self._version,
            started=self._started,
            now=self._now(),
            trouble=self._trouble(),
            configuration=self._configuration(),
            events=[Count(*labels, n) for labels, n in sorted(self._metrics.events.items())],
            requests=[Requests(*labels, n) for labels, n in sorted(self._metrics.requests.items())],
            numbers={
                name.removeprefix("collector_"): read() for name, read in self._gauges.items()
            },
        )
