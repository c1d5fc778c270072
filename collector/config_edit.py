"""Changes to the text of a configuration file: a key added, a key taken out; all else as it was.

Text surgery, and then the proof: the new text is read, and must say what the old one said but for
that key. What cannot be proved is not handed out. Pure: bytes in, bytes out. Must not write a file.
"""

import re
from pathlib import Path
from typing import Final

import msgspec

from collector import config_file
from collector.config import Config, Key

_HEADER: Final = re.compile(rb"[ \t]*\[")
_KEYS_HEADER: Final = re.compile(rb"[ \t]*\[\[[ \t]*(keys|\"keys\"|'keys')[ \t]*\]\][ \t]*(#.*)?")


class NotEditable(ValueError):
    """The text is written in a way that is not understood well enough; the message says what to do.

    The file is as good as it was.
    """


def read(path: Path, data: bytes) -> Config:
    """What `data` says, as the content of `path`. Raises `config_file.ConfigError`."""
    return config_file.parse(data, file=str(path), path=path)


def with_key(path: Path, data: bytes, block: str) -> bytes:
    """`data` with a `[[keys]]` table behind it. Raises `ConfigError` or `NotEditable`.

    `ConfigError`: the file is faulty already, or becomes so by the key (its site does not exist).
    """
    before = read(path, data)
    ending = _line_ending(data)
    text = block.encode().rstrip(b"\n").replace(b"\n", ending) + ending
    gap = b"" if not data.strip() else ending if data.endswith(b"\n") else ending * 2
    new = data + gap + text
    try:
        after = read(path, new)
    except config_file.ConfigError as error:
        if any(not fault.key for fault in error.faults):
            # A [[keys]] table behind `keys = [...]` is not even TOML.
            raise NotEditable(
                "a [[keys]] table cannot be added to this file: is `keys` written as one list? "
                "Add the key by hand (`collector keys new` without --write prints it)"
            ) from None
        raise
    if after.keys[:-1] != before.keys or not _differ_in_keys_only(before, after):
        raise NotEditable("the file would say something else; add the key by hand")
    return new


def without_key(path: Path, data: bytes, name: str) -> bytes:
    """`data` without the `[[keys]]` table of that name. Raises as `with_key`, KeyError if none has.

    Comments above the table stay, and so do those in front of the next one.
    """
    before = read(path, data)
    index = next((i for i, key in enumerate(before.keys) if key.name == name), None)
    if index is None:
        raise KeyError(name)
    lines = data.splitlines(keepends=True)
    heads = [i for i, line in enumerate(lines) if _KEYS_HEADER.fullmatch(line.rstrip(b"\r\n"))]
    if len(heads) != len(before.keys):
        raise NotEditable(_BY_HAND)
    start = heads[index]
    end = next((i for i in range(start + 1, len(lines)) if _HEADER.match(lines[i])), len(lines))
    # Comments behind it are of the file, or of the next table.
    while end > start + 1 and _is_between(lines[end - 1]):
        end -= 1
    # One gap is left of two.
    if end == len(lines):
        while start and not lines[start - 1].strip():
            start -= 1
    elif not lines[end].strip():
        end += 1
    new = b"".join(lines[:start] + lines[end:])
    expected = before.keys[:index] + before.keys[index + 1 :]
    try:
        after = read(path, new)
    except config_file.ConfigError:
        raise NotEditable(_BY_HAND) from None
    if after.keys != expected or not _differ_in_keys_only(before, after):
        raise NotEditable(_BY_HAND)
    return new


_BY_HAND: Final = "the file is written in a way that is not understood; take the key out by hand"


def _is_between(line: bytes) -> bool:
    text = line.strip()
    return not text or text.startswith(b"#")


def _line_ending(data: bytes) -> bytes:
    first, newline, _ = data.partition(b"\n")
    return b"\r\n" if newline and first.endswith(b"\r") else b"\n"


def _differ_in_keys_only(before: Config, after: Config) -> bool:
    none: tuple[Key, ...] = ()
    return msgspec.structs.replace(before, keys=none) == msgspec.structs.replace(after, keys=none)
