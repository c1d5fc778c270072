"""What the measurements are told: how long, how many, where. Values only."""

from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one run of the benchmark.

    `seconds` is the time measured per side and measurement, split into `rounds`. `connections` are
    for singles; batches use fewer, because each carries up to 1,000 events. `directory` is where
    data directories are made: its file system is part of what is measured. `minutes` is how long
    memory is watched; a grown collector has so many keys of 24 hours, parts and sites.
    """

    directory: Path
    seconds: float = 10.0
    rounds: int = 5
    connections: int = 64
    processes: int = 1
    # Requests that repeat an earlier one, as a share: retries after answers that were lost.
    duplicates: float = 0.006
    seed: int = 1
    flush_rows: int = 300_000
    restart_rows: int = 1_000_000
    freshness_rate: int = 1_000
    minutes: float = 10.0
    grown_keys: int = 100_000_000
    grown_parts: int = 1_000
    grown_sites: int = 200
    is_profiled: bool = False

    @property
    def round_s(self) -> float:
        """Seconds measured in one round."""
        return self.seconds / self.rounds


def quick(options: Options) -> Options:
    """The same in less than a minute: fewer, shorter rounds and fewer rows."""
    return msgspec.structs.replace(
        options, seconds=1.2, rounds=2, flush_rows=50_000, restart_rows=100_000
    )
