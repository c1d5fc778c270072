"""Who is logged in: random ids in cookies, kept hashed, bounded in number and in time.

Times are microseconds of a monotonic clock, so that nobody's clock can prolong a session. What is
kept lives as long as the process: a restart ends every session. Must not know what a session may
do, nor how the id travels.
"""

import hashlib
import hmac
import secrets
from typing import Final

import msgspec

# More than anybody has browsers. Only who has the token makes one, so that the oldest may go.
_SESSIONS_MAX: Final = 64
_ID_BYTES: Final = 32
# Longer cookies are none of ours, and not worth hashing.
_ID_CHARS_MAX: Final = 64


class _Session(msgspec.Struct):
    ends_us: int
    csrf: str


class Sessions:
    """The open sessions. `life_ms`: how long one lasts, whatever is done with it."""

    def __init__(self, life_ms: int) -> None:
        self.life_s = life_ms // 1_000
        self._life_us = life_ms * 1_000
        self._open: dict[bytes, _Session] = {}
        self._secret = secrets.token_bytes(_ID_BYTES)

    def __len__(self) -> int:
        """How many are kept, those that have ended but were not asked for included."""
        return len(self._open)

    def open(self, now_us: int) -> str:
        """Begin a session; returns its id, which is kept nowhere else."""
        for digest in [one for one, session in self._open.items() if session.ends_us <= now_us]:
            del self._open[digest]
        while len(self._open) >= _SESSIONS_MAX:
            del self._open[next(iter(self._open))]
        name = secrets.token_urlsafe(_ID_BYTES)
        self._open[_digest(name)] = _Session(now_us + self._life_us, self._proof(name))
        return name

    def is_open(self, name: str, now_us: int) -> bool:
        """Whether `name` is the id of a session that has not ended."""
        session = self._find(name)
        return session is not None and now_us < session.ends_us

    def close(self, name: str) -> None:
        """End a session, if there is one of that id."""
        if self._find(name) is not None:
            del self._open[_digest(name)]

    def csrf(self, name: str) -> str:
        """What a form must bring along that was made for a session; "" is that of no session."""
        session = self._find(name)
        return self._proof("") if session is None else session.csrf

    def is_csrf(self, name: str, sent: str) -> bool:
        """Whether `sent` is what `csrf(name)` gave."""
        return hmac.compare_digest(self.csrf(name).encode(), sent.encode("utf-8", "replace"))

    def _find(self, name: str) -> _Session | None:
        return self._open.get(_digest(name)) if 0 < len(name) <= _ID_CHARS_MAX else None

    def _proof(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()


def _digest(name: str) -> bytes:
    # Looked up by a digest: how long a look-up takes tells nothing of an id.
    return hashlib.sha256(name.encode("utf-8", "replace")).digest()
