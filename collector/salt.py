"""The salt of the day: random, kept only for its UTC day, so that hashes of two days differ.

A restart within the day finds it again; yesterday's is removed as soon as today's is needed.
"""

import logging
import secrets
from typing import Final

from storage import Store, day_of

_log: Final = logging.getLogger("collector")
_PREFIX: Final = "salt-"
_SALT_BYTES: Final = 32
_DAY_US: Final = 24 * 3600 * 1_000_000


class DailySalt:
    """Hands out today's salt; at most one day's salt exists at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._day = -1
        self._salt = b""

    def of(self, now_us: int) -> bytes:
        """The salt of the day of `now_us`, 32 bytes; made when the day is new."""
        day = now_us // _DAY_US
        if day != self._day:
            self._turn(day, f"{_PREFIX}{day_of(now_us).isoformat()}")
        return self._salt

    def _turn(self, day: int, name: str) -> None:
        kept = self._store.read_state(name)
        self._salt = kept if kept and len(kept) == _SALT_BYTES else secrets.token_bytes(_SALT_BYTES)
        self._day = day
        try:
            if self._salt is not kept:
                self._store.write_state(name, self._salt)
            self._store.keep_state(_PREFIX, name)
        except OSError as error:
            # Hashes stay right as long as the process lives; a restart today would change them.
            _log.warning("the day's salt could not be kept: %s", error.strerror)
