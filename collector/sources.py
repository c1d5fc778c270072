"""What rows are enriched from: the parser of agents, the geo database, the table of scan sessions.

Loads what the configuration names, looks whether the files have changed, and tells in numbers how
that goes. A file that cannot be used is told in the log and looked at again: it must not keep a
collector from taking events. Must not know a row.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from collector.agents import AgentReader
from collector.config import Enrich
from collector.geo import Database, DatabaseLoader, Geo
from collector.watched import Unusable, Watched
from storage import Files, ScansError, read_scans


class Sources:
    """The sources of one collector; `load` before use, `look` once a second.

    Both may wait for the disk: beside the event loop they belong, one at a time.
    """

    def __init__(self, enrich: Enrich, files: Files) -> None:
        self.agents = AgentReader()
        self._database: Watched[Database] | None = None
        self._codes: Watched[dict[str, str]] | None = None
        if enrich.geo_database:
            load = DatabaseLoader(files).load
            self._database = Watched(Path(enrich.geo_database), load, "the geo database")
        if enrich.scan_sessions:
            path = Path(enrich.scan_sessions)
            self._codes = Watched(path, read_codes, "the table of scan sessions")
        self.geo = Geo(self._database, country_fallback=enrich.country_fallback)

    @property
    def codes(self) -> Mapping[str, str] | None:
        """QR codes by scan session, lower case; None without a table."""
        return None if self._codes is None else self._codes.value

    def load(self) -> None:
        """Read the files for the first time."""
        for watched in self._watched:
            watched.start()

    def look(self) -> None:
        """Read those files again that have changed."""
        for watched in self._watched:
            watched.look()

    @property
    def _watched(self) -> list[Watched[Any]]:
        return [one for one in (self._database, self._codes) if one is not None]

    def gauges(self, now_us: Callable[[], int]) -> dict[str, Callable[[], float]]:
        """The present numbers by name of the metric (docs/METRICS.md)."""

        def age_s() -> float:
            database = None if self._database is None else self._database.value
            return 0.0 if database is None else max(0.0, now_us() / 1e6 - database.built_s)

        return {
            "collector_agents": lambda: len(self.agents),
            "collector_agent_misses_total": lambda: self.agents.misses,
            "collector_geo_database_age_seconds": age_s,
            "collector_scan_sessions": lambda: len(self.codes or ()),
            "collector_reload_failures_total": lambda: sum(w.failures for w in self._watched),
        }


def read_codes(path: Path) -> dict[str, str]:
    """QR code by scan session in the file at `path`. Raises `Unusable` or OSError."""
    try:
        return read_scans(path)
    except ScansError as error:
        raise Unusable(str(error)) from None
