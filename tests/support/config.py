"""Shortcuts for tests of the configuration: text in, settings or lines of faults out."""

from pathlib import Path

import pytest

from collector.config import Config
from collector.config_file import ConfigError, parse

APP_ID = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"
DIGEST = "ab" * 32
SITE = '[[sites]]\nid = "shop"\nteam = "t"\n'
KEY = f'[[keys]]\nname = "k"\nsha256 = "{DIGEST}"\nsite = "shop"\n'


def read(text: str, folder: Path | None = None) -> Config:
    """The settings in `text`, as if it were the file config.toml in `folder`."""
    path = None if folder is None else folder / "config.toml"
    return parse(text.encode(), file="config.toml", path=path)


def faults(text: str, folder: Path | None = None) -> list[str]:
    """Every fault of `text`, one line each."""
    with pytest.raises(ConfigError) as caught:
        read(text, folder)
    return [str(fault) for fault in caught.value.faults]


def fault(text: str, folder: Path | None = None) -> str:
    """The one fault of `text`; fails when there are others."""
    (line,) = faults(text, folder)
    return line
