"""Requests built once and made unique by two patches: an id per request, the time per second.

A template holds slots of the final width, so that its length never changes and it is itself a
valid body. Stamping puts the time in and cuts the request at its ids; what is left to do per
request is one `bytes.join`, so that the generator stays cheaper than what it measures.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

ID_SLOT: Final = "00000000-0000-4000-8000-000000000000"
# One second of 2001 in two spellings; milliseconds are a template's own and stay.
_SECOND_SLOT: Final = b"1000000000"
_ISO_SLOT: Final = b"2001-09-09T01:46:40"

# Odd, hence a bijection on 88 bits: consecutive numbers look random, and none comes twice. Random
# looks matter because consecutive ids would be easier on compression than real ones are.
_FACTOR: Final = 0x9E3779B97F4A7C15F39CC1
_BITS: Final = (1 << 88) - 1


class Template(msgspec.Struct, frozen=True):
    """One request without its id and time; `events` is how many its body holds."""

    head: bytes
    body: bytes
    events: int = 1

    def stamped(self, now_ms: int) -> list[bytes]:
        """The request as of `now_ms` (Unix milliseconds), cut at its ids; join it with one."""
        # The second before, so that no event comes from the future.
        second = now_ms // 1000 - 1
        body = self.body.replace(_SECOND_SLOT, b"%d" % second)
        body = body.replace(_ISO_SLOT, _iso_second(second).encode())
        return (self.head + body).split(ID_SLOT.encode())


class Ids:
    """Version 4 UUIDs in text, without end and without repeats; `run` is 8 hex digits.

    Two runs with different `run` never make the same id.
    """

    def __init__(self, run: str) -> None:
        if len(run) != 8 or set(run) - set("0123456789abcdef"):
            raise ValueError("a run is named by 8 hex digits")
        self._run = run
        self._count = 0

    def next(self) -> bytes:
        """One more."""
        self._count += 1
        digits = f"{self._count * _FACTOR & _BITS:022x}"
        return (f"{self._run}-{digits[:4]}-4{digits[4:7]}-8{digits[7:10]}-{digits[10:]}").encode()


def ms_slot(ms: int) -> int:
    """A time in Unix milliseconds, to be stamped; `ms` (0 to 999) stays."""
    assert 0 <= ms < 1000, "only the second is stamped"
    return int(_SECOND_SLOT) * 1000 + ms


def iso_slot(ms: int) -> str:
    """A time as browsers write it, to be stamped; `ms` (0 to 999) stays."""
    assert 0 <= ms < 1000, "only the second is stamped"
    return f"{_ISO_SLOT.decode()}.{ms:03d}Z"


def _iso_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
