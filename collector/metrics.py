"""Counters kept as plain integers, and their Prometheus text. docs/METRICS.md lists them.

Counting happens on the event loop only, so nothing is locked. Label values are names from the
configuration and codes from the refusal table: a client cannot make new ones.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from collector.refused_origins import RefusedOrigins

# Seconds. From a fast disk's sync to a request that has waited for a slow one.
SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)

# What may come of reading the configuration again.
RELOADS: Final = ("taken", "unchanged", "refused")

EventLabels = tuple[str, str, str, str]  # site, protocol, outcome, reason


class Histogram:
    """Counts of values up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def sum(self) -> float:
        """All values together."""
        return self._sum

    def lines(self, name: str) -> list[str]:
        """The histogram as Prometheus text lines."""
        out, total = [], 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            out.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*out, f"{name}_sum {self._sum:.9g}", f"{name}_count {total}"]


class Metrics:
    """All counters of one collector; gauges are asked for when the page is."""

    def __init__(self) -> None:
        self._events: defaultdict[EventLabels, int] = defaultdict(int)
        self._requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        # Of the configuration; a result that never came shows as 0, so that its rate is known.
        self.reloads: dict[str, int] = dict.fromkeys(RELOADS, 0)
        self.unaccounted = 0
        self.commit_seconds = Histogram(SECONDS)
        self.commit_events = Histogram(ROWS)
        self.ack_seconds = Histogram(SECONDS)
        self.flush_seconds = Histogram(SECONDS)
        # Has names that clients make up, hence is for people and no series.
        self.origins = RefusedOrigins()

    def count_event(self, labels: EventLabels, count: int = 1) -> None:
        """Count `count` events of one outcome."""
        self._events[labels] += count

    def count_request(self, endpoint: str, status: int) -> None:
        """Count one answered request."""
        self._requests[endpoint, status] += 1

    def count_reload(self, result: str) -> None:
        """Count one reading of the configuration, by its result (`RELOADS`)."""
        self.reloads[result] += 1

    def observe_commit(self, seconds: float, rows: int) -> None:
        """Count one group commit."""
        self.commit_seconds.observe(seconds)
        self.commit_events.observe(rows)

    @property
    def events(self) -> Mapping[EventLabels, int]:
        """Events so far, by site, protocol, outcome and reason."""
        return self._events

    @property
    def requests(self) -> Mapping[tuple[str, int], int]:
        """Answered requests so far, by endpoint and status."""
        return self._requests

    def render(self, gauges: Mapping[str, Callable[[], float]]) -> bytes:
        """The page for Prometheus; `gauges` maps names to their present values."""
        out = _head("collector_events_total", "counter", "events by outcome")
        for (site, protocol, outcome, reason), count in sorted(self._events.items()):
            out.append(
                f'collector_events_total{{site="{_escape(site)}",protocol="{protocol}",'
                f'outcome="{outcome}",reason="{reason}"}} {count}'
            )
        out += _head("collector_requests_total", "counter", "answered requests")
        for (endpoint, status), count in sorted(self._requests.items()):
            out.append(
                f'collector_requests_total{{endpoint="{endpoint}",status="{status}"}} {count}'
            )
        out += _head("collector_config_reloads_total", "counter", "configuration read again")
        for result, count in self.reloads.items():
            out.append(f'collector_config_reloads_total{{result="{result}"}} {count}')
        name = "collector_unaccounted_events_total"
        out += [*_head(name, "counter", "lost by a fault of ours"), f"{name} {self.unaccounted}"]
        for name, histogram, meaning in (
            ("collector_commit_seconds", self.commit_seconds, "write and sync of one group"),
            ("collector_commit_events", self.commit_events, "rows in one group"),
            ("collector_ack_seconds", self.ack_seconds, "from head of request to its answer"),
            ("collector_flush_seconds", self.flush_seconds, "one segment to Parquet"),
        ):
            out += _head(name, "histogram", meaning) + histogram.lines(name)
        for name, read in gauges.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            out += [*_head(name, kind, "see docs/METRICS.md"), f"{name} {read():.15g}"]
        return ("\n".join(out) + "\n").encode()


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
