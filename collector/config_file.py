"""Reads a TOML file into a `Config`, or tells everything that is wrong with it at once.

Owns where settings come from and what a fault looks like. The structs say what is allowed
(`config`), `config_reader` fills them, `config_relations` compares them. Reads files (the
configuration and what it names), never writes one. `ConfigError` is the only exception that leaves
this module, whatever bytes the file holds.
"""

import importlib.resources
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
import msgspec.inspect as mi

from collector.config import Config
from collector.config_reader import Reader
from collector.config_relations import broken_relations
from collector.config_values import escaped

DEFAULT_FILE: Final = "config.toml"
EXAMPLE_FILE: Final = "config.example.toml"

_TYPE: Final = mi.type_info(Config)
assert isinstance(_TYPE, mi.StructType), "settings are structs"
_SETTINGS: Final = [field for field in _TYPE.fields if field.name != "path"]
# Where a setting found in the wrong section belongs; names are unique among the plain sections.
_HOMES: Final = {
    setting.name: f"{section.name}.{setting.name}"
    for section in _SETTINGS
    if isinstance(section.type, mi.StructType)
    for setting in section.type.fields
}
_STEP: Final = re.compile(r"(?=[.\[])")
_UTF8_BOM: Final = "\ufeff"


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: `key` is the setting ("" for the file as a whole)."""

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        """One line: file, key, what is wrong."""
        return ": ".join(escaped(part) for part in (self.file, self.key, self.message) if part)


class ConfigError(Exception):
    """The configuration cannot be used; `faults` holds at least one reason, one line each."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


def load(path: Path | None) -> Config:
    """The settings in the file `path`; raises `ConfigError`.

    None: `config.toml` in the working directory when there is one (even an unreadable one, so that
    nobody runs on built-in values by accident), else the packaged example. Relative paths in a file
    start from its folder, those of the packaged example from the working directory.
    """
    if path is None and not os.path.lexists(DEFAULT_FILE):
        text = importlib.resources.files("collector").joinpath(EXAMPLE_FILE).read_bytes()
        return parse(text, file=f"built-in {EXAMPLE_FILE}", path=None)
    path = Path(DEFAULT_FILE) if path is None else path
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        # ValueError: a path that no system call takes, such as one with "\0".
        reason = (error.strerror if isinstance(error, OSError) else None) or "bad path"
        raise ConfigError([Fault(str(path), "", f"cannot be read: {reason}")]) from None
    return parse(text, file=str(path), path=path)


def parse(text: bytes, *, file: str, path: Path | None) -> Config:
    """The settings in TOML `text`; raises `ConfigError`.

    `file` is what faults call it; `path` is where it lies, None for the working directory.
    """
    faults: list[Fault] = []

    def report(key: str, message: str) -> None:
        faults.append(Fault(file, key, message))

    document = _document(text, file)
    where = None if path is None else Path(os.path.abspath(path))  # noqa: PTH100 links stay
    folder = Path.cwd() if where is None else where.parent
    members = Reader(folder, report, _HOMES).members(_SETTINGS, document, "")
    config = Config(**members, path=where)
    keys = {fault.key for fault in faults}
    for key, message in broken_relations(config, lambda key: _is_at_fault(key, keys)):
        report(key, message)
    if faults:
        raise ConfigError(faults)
    return config


def _document(text: bytes, file: str) -> dict[str, Any]:
    """`text` as TOML; raises `ConfigError` with the line."""
    try:
        # Editors on some systems begin a file with a byte order mark, which says nothing here.
        decoded = text.decode().removeprefix(_UTF8_BOM)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ConfigError([Fault(file, "", f"is not valid UTF-8 (at line {line})")]) from None
    try:
        return tomllib.loads(decoded)
    except RecursionError:
        message = "is nested too deeply"
    except ValueError as error:
        # Mostly TOMLDecodeError; a plain one for a number of thousands of digits.
        last = f"(at the end, line {len(decoded.splitlines())})"
        reason = str(error).replace("(at end of document)", last)
        message = f"is not valid TOML: {reason}"
    raise ConfigError([Fault(file, "", message)])


def _is_at_fault(key: str, at_fault: set[str]) -> bool:
    """Whether `key` or a table around it is among `at_fault`."""
    path = ""
    for step in _STEP.split(key):
        path += step
        if path in at_fault:
            return True
    return False
