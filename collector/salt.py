"""The salt of the day: random, kept only for its UTC day, so that hashes of two days differ.

A restart within the day finds it again. When the day is over it is removed, from the disk and from
memory, whether or not another event comes. A clock that steps back over midnight gets a new salt
for the day that it comes back to: what was removed stays gone, so the hashes of that day change,
and no salt ever serves two days.
"""

import logging
import secrets
from typing import Final

from storage import Store, day_of

_log: Final = logging.getLogger("collector")
PREFIX: Final = "salt-"
_SALT_BYTES: Final = 32
_DAY_US: Final = 24 * 3600 * 1_000_000
_NO_DAY: Final = -1


class DailySalt:
    """Hands out today's salt; at most one day's salt exists at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._day = _NO_DAY
        self._salt = b""
        self._cleared = _NO_DAY  # the day for which the disk holds no other day's salt
        self._is_troubled = False

    def of(self, now_us: int) -> bytes:
        """The salt of the day of `now_us`, 32 bytes; made when the day is new."""
        day = now_us // _DAY_US
        if day != self._day:
            self._turn(day, _name(now_us))
        return self._salt

    def expire(self, now_us: int) -> bool:
        """Remove salts of other days than that of `now_us`; whether one was in memory.

        A removal that fails is tried again at the next call.
        """
        day = now_us // _DAY_US
        was_held = self._day not in {day, _NO_DAY}
        if was_held:
            self._day, self._salt = _NO_DAY, b""
        if day != self._cleared:
            self._clear(day, _name(now_us))
        return was_held

    def _turn(self, day: int, name: str) -> None:
        kept = self._store.read_state(name)
        self._salt = kept if kept and len(kept) == _SALT_BYTES else secrets.token_bytes(_SALT_BYTES)
        self._day = day
        try:
            if self._salt is not kept:
                self._store.write_state(name, self._salt)
        except OSError as error:
            # Hashes stay right as long as the process lives; a restart today would change them.
            _log.warning("the day's salt could not be kept: %s", error.strerror)
        self._clear(day, name)

    def _clear(self, day: int, name: str) -> None:
        try:
            self._store.keep_state(PREFIX, name)
        except OSError as error:
            if not self._is_troubled:  # told once, tried again every second
                _log.warning("the salt of a past day could not be removed: %s", error.strerror)
            self._is_troubled, self._cleared = True, _NO_DAY
        else:
            self._is_troubled, self._cleared = False, day


def _name(now_us: int) -> str:
    return f"{PREFIX}{day_of(now_us).isoformat()}"
