"""Requests built once and made unique by two patches: an id per request, the time per second.

A template holds slots of the final width, so that its length never changes and it is itself a
valid body. Stamping puts the time in and cuts the request at its ids; what is left to do per
request is one `bytes.join`, so that the generator stays cheaper than what it measures.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np

ID_SLOT: Final = "00000000-0000-4000-8000-000000000000"
# One second of 2001 in two spellings; milliseconds are a template's own and stay.
_SECOND_SLOT: Final = b"1000000000"
_ISO_SLOT: Final = b"2001-09-09T01:46:40"

# Odd, hence bijections on 64 bits: consecutive numbers look random, and none comes twice. Random
# looks matter because consecutive ids would be easier on compression than real ones are.
_FACTOR: Final = np.uint64(0xB97F4A7C15F39CC1)
_OTHER_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_HEX: Final = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
# Where of the 36 characters the 6 and the 16 digits go that differ within a run.
_PLACES: Final = [*range(9, 13), *range(15, 18), *range(20, 23), *range(24, 36)]
# Ids made at once: enough to share the cost, few enough that it is no pause (0.2 ms).
_BLOCK: Final = 512


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
        self._shape = np.frombuffer(f"{run}-____-4___-8___-____________".encode(), dtype=np.uint8)
        self._made = 0
        self._ready: list[bytes] = []

    def next(self) -> bytes:
        """One more."""
        if not self._ready:
            self._ready = self._block()
        return self._ready.pop()

    def _block(self) -> list[bytes]:
        counts = np.arange(self._made, self._made + _BLOCK, dtype=np.uint64)
        self._made += _BLOCK
        digits = np.hstack([_digits(counts * _OTHER_FACTOR, 6), _digits(counts * _FACTOR, 16)])
        block = np.tile(self._shape, (_BLOCK, 1))
        block[:, _PLACES] = _HEX[digits]
        text, size = block.tobytes(), len(self._shape)
        return [text[at : at + size] for at in range(0, len(text), size)]


def _digits(values: "np.typing.NDArray[np.uint64]", count: int) -> "np.typing.NDArray[np.uint64]":
    """The first `count` hex digits of each of `values`."""
    shifts = np.arange(60, 60 - 4 * count, -4, dtype=np.uint64)
    return values[:, None] >> shifts & np.uint64(15)


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
