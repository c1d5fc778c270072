"""What a fuzz target is, and how the bytes that one is given are cut into what it needs.

Targets know nothing of who calls them: hypothesis, atheris, or somebody with a file that failed.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

# Between the parts of an input: in text that a fuzzer changes this stays in sight.
SEPARATOR: Final = b"\n--\n"
_EDITED_BYTES_MAX: Final = 15


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is fuzzed.

    `run` takes any bytes and raises when a promise is broken. `seeds` gives inputs that go far, to
    begin with. `close` ends what `run` started, and raises when something is wrong in the end.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    close: Callable[[], None] = lambda: None
    words: tuple[bytes, ...] = ()


def parts(data: bytes, count: int) -> list[bytes]:
    """`count` parts of `data`; those at the end may be empty."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def join(*pieces: bytes) -> bytes:
    """The input whose parts these are."""
    return SEPARATOR.join(pieces)


def edited(whole: bytes, edit: bytes) -> bytes:
    """`whole` with one edit: where, how many bytes are taken out, and what is put there.

    An edit touches a window of a few bytes, so that it cannot change a row and its checksum at
    once. Four bytes say where, one how many, the rest is put in.
    """
    if len(edit) < 5 or not whole:
        return whole
    at = int.from_bytes(edit[:4], "little") % len(whole)
    return whole[:at] + edit[5 : 5 + _EDITED_BYTES_MAX] + whole[at + edit[4] % _EDITED_BYTES_MAX :]


def edit(at: int, taken: int, put: bytes = b"") -> bytes:
    """The edit that `edited` carries out, for seeds."""
    return at.to_bytes(4, "little") + bytes([taken]) + put


def named(targets: Mapping[str, Target], name: str) -> Target:
    """The target of that name; raises SystemExit that lists them."""
    if name not in targets:
        raise SystemExit(f"no target is called {name}; there are: {', '.join(sorted(targets))}")
    return targets[name]
