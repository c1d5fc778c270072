"""The configuration while the collector runs: watched, read again, taken whole or not at all.

Sites, keys, tiers and limits (`AT_ONCE`) are taken under way; what else differs is told, and waits
for a new worker (SIGHUP) or for the next start. A file that is of no use changes nothing. What is
taken was built whole before anything is changed, and is put in force in one step of the event loop:
no request meets half of it, and those under way end by the rules that let them in.

Rules of the house for those who show settings: ask `in_force`, never the configuration of the
start.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from collector import config_file
from collector.config import Config, Key, Site, Tier
from collector.config_values import escaped
from collector.receipt import time_text
from collector.watched import Unusable, Watched

Result = Literal["taken", "unchanged", "refused"]
AT_ONCE: Final = ("sites", "keys", "tiers", "limits")
# What the main process itself holds on to; a new worker alone does not change it.
AT_START_ONLY: Final = ("server.host", "server.port", "server.interface")

_log: Final = logging.getLogger("collector")
_FAULTS_MAX: Final = 10
_NAMES_MAX: Final = 10


def _never() -> int:
    return 0


def _nobody() -> None:
    pass


class MainProcess(msgspec.Struct, frozen=True):
    """What a worker knows of the process above it; without one nobody asks and nobody listens.

    `asked`: how often a reload was asked for so far (SIGHUP). `tell_taken`: a file was taken.
    """

    asked: Callable[[], int] = _never
    tell_taken: Callable[[], None] = _nobody


class Configuration(msgspec.Struct):
    """The configuration as it is shown. `file` is its name, "" for the built-in values.

    `loaded`: since when it is in force, ISO 8601, UTC. `refused`: why the file as it is now is not
    obeyed, "" if it is. `waiting`: settings of the file that differ from those in force until
    SIGHUP or the next start.
    """

    file: str
    loaded: str
    refused: str
    waiting: list[str]


class Reload:
    """Keeps `in_force`. `adopt` is called with the settings before and now, and must not fail.

    `in_thread` runs a function beside the event loop. `count` is told each result.
    """

    def __init__(
        self,
        config: Config,
        *,
        main: MainProcess,
        adopt: Callable[[Config, Config], None],
        count: Callable[[Result], None],
        now_us: Callable[[], int],
        in_thread: Callable[..., Awaitable[None]],
    ) -> None:
        self.in_force = config
        self.waiting: tuple[str, ...] = ()
        self.loaded_us = now_us()
        self._adopt = adopt
        self._main = main
        self._count = count
        self._now_us = now_us
        self._in_thread = in_thread
        self._asked = main.asked()
        self._failures = 0
        self._file: Watched[Config] | None = None
        if config.path is not None:
            self._file = Watched(
                config.path, read, "the configuration", is_quiet=True, names_files=True
            )
            self._file.value = config
        self._is_first = True

    async def look(self) -> None:
        """Take what is new; once a second is enough."""
        file, asked = self._file, self._main.asked()
        if file is None:
            return
        # Read once at the start: the file may have changed since the main process read it.
        is_asked = asked != self._asked
        before = file.value
        await self._in_thread(file.read_again if is_asked or self._is_first else file.look)
        self._asked = asked
        if file.failures != self._failures:
            self._failures = file.failures
            self._count("refused")
        elif file.value is not None and (file.value is not before or is_asked):
            self._take(file.value)
        self._is_first = False

    @property
    def refused(self) -> str:
        """Why the file as it is now is not obeyed; "" if it is."""
        return self._file.reason if self._file is not None else ""

    def told(self) -> Configuration:
        """The configuration as it is shown."""
        return Configuration(
            file=self.in_force.path.name if self.in_force.path else "",
            loaded=time_text(self.loaded_us),
            refused=self.refused,
            waiting=list(self.waiting),
        )

    def gauges(self) -> dict[str, Callable[[], float]]:
        """Present values by name; see docs/METRICS.md."""
        return {
            "collector_config_loaded_timestamp_seconds": lambda: self.loaded_us / 1e6,
            "collector_config_refused": lambda: float(bool(self.refused)),
            "collector_config_settings_waiting": lambda: len(self.waiting),
        }

    async def answer(self, _arguments: dict[str, Any], _tell: object) -> dict[str, Any]:
        """What a command is told that asks for the settings in force: keys as names and digests."""
        keys = {key.name: key.sha256 for key in self.in_force.keys}
        return {**msgspec.structs.asdict(self.told()), "keys": keys}

    def _take(self, found: Config) -> None:
        before, now = self.in_force, merged(self.in_force, found)
        path = found.path
        if now != before:
            self._adopt(before, now)
            self.in_force = now
            self.loaded_us = self._now_us()
            _log.info("%s: taken: %s", path, changes(before, now))
            self._count("taken")
            self._main.tell_taken()
        elif not self._is_first:
            _log.info("%s: read again; sites, keys, tiers and limits are as they were", path)
            self._count("unchanged")
        waiting = differences(before, found)
        if waiting and waiting != self.waiting:
            _log.warning(
                "%s: %s: what is new takes effect in a new worker (SIGHUP%s)",
                *(path, _some(waiting)),
                ", but for where to listen: that needs a restart"
                if set(waiting) & set(AT_START_ONLY)
                else " or the next start",
            )
        self.waiting = waiting


def read(path: Path) -> Config:
    """The settings in the file. Raises `Unusable`, in one line, or OSError.

    An empty file is one that is about to be written: nobody switches every site off like that.
    """
    data = path.read_bytes()
    if not data.strip():
        raise Unusable("it is empty")
    try:
        return config_file.parse(data, file=str(path), path=path)
    except config_file.ConfigError as error:
        faults = [f"{one.key}: {one.message}" if one.key else one.message for one in error.faults]
        more = len(faults) - _FAULTS_MAX
        told = faults[:_FAULTS_MAX] + ([f"and {more} more"] if more > 0 else [])
        raise Unusable(escaped("; ".join(told))) from None


def merged(in_force: Config, found: Config) -> Config:
    """`in_force` with what can be taken at once of `found`."""
    new = {section: getattr(found, section) for section in AT_ONCE}
    return msgspec.structs.replace(in_force, **new)


def differences(in_force: Config, found: Config) -> tuple[str, ...]:
    """The settings that differ and cannot be taken at once, such as "storage.retention_days"."""
    names = []
    for section in msgspec.structs.fields(Config):
        if section.name in (*AT_ONCE, "path"):
            continue
        old, new = getattr(in_force, section.name), getattr(found, section.name)
        names += [
            f"{section.name}.{member.name}"
            for member in msgspec.structs.fields(type(old))
            if getattr(old, member.name) != getattr(new, member.name)
        ]
    # Any free port: the one that was found is one.
    return tuple(name for name in names if name != "server.port" or found.server.port)


def moved_keys(before: Config, now: Config) -> list[tuple[str, str, str]]:
    """The keys that have another tier now: name, tier before, tier now."""
    tiers = {key.name: key.tier for key in before.keys}
    return [
        (key.name, tiers[key.name], key.tier)
        for key in now.keys
        if tiers.get(key.name, key.tier) != key.tier
    ]


def changes(before: Config, now: Config) -> str:
    """What is new, by names, in one line for the log."""
    parts = [
        _compared("sites", _by_id(before.sites), _by_id(now.sites)),
        _compared("keys", _by_name(before.keys), _by_name(now.keys)),
        _compared("tiers", before.tiers, now.tiers),
    ]
    limits = [
        member.name
        for member in msgspec.structs.fields(now.limits)
        if getattr(before.limits, member.name) != getattr(now.limits, member.name)
    ]
    if limits:
        parts.append(f"limits changed: {_some(limits)}")
    return "; ".join(part for part in parts if part)


def _by_id(sites: Iterable[Site]) -> dict[str, Site]:
    return {site.id: site for site in sites}


def _by_name(keys: Iterable[Key]) -> dict[str, Key]:
    return {key.name: key for key in keys}


_Named = dict[str, Site] | dict[str, Key] | dict[str, Tier]


def _compared(what: str, before: _Named, now: _Named) -> str:
    both = before.keys() & now.keys()
    found = {
        "added": [name for name in now if name not in both],
        "removed": [name for name in before if name not in both],
        "changed": [name for name in now if name in both and before[name] != now[name]],
    }
    return "; ".join(f"{what} {how}: {_some(names)}" for how, names in found.items() if names)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _NAMES_MAX
    return ", ".join(listed[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
