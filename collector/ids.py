"""Fresh identifiers. Not secret: from the fast generator, which is seeded anew after a fork."""

from random import getrandbits

_VERSION_4 = 4 << 76
_VARIANT = 2 << 62
_BITS_62 = (1 << 62) - 1
_CLEAR_4 = ~((0xF << 76) | (3 << 62))


def uuid7(now_us: int) -> str:
    """A UUIDv7 (RFC 9562) of the millisecond in `now_us`: sorts by time."""
    bits = getrandbits(74)
    time = f"{now_us // 1000:012x}"
    tail = f"{_VARIANT | (bits & _BITS_62):016x}"
    return f"{time[:8]}-{time[8:]}-7{bits >> 62:03x}-{tail[:4]}-{tail[4:]}"


def uuid4_hex() -> str:
    """A random UUID as 32 hex digits without dashes."""
    return f"{getrandbits(128) & _CLEAR_4 | _VERSION_4 | _VARIANT:032x}"


def uuid4() -> str:
    """A random UUID with dashes."""
    text = uuid4_hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
