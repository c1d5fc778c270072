"""The declared dependencies and the lock files say the same, and lock files name no place."""

import re
import tomllib
from functools import cache
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.source import ROOT, tracked

# What production runs, and the same with the tools of a dependency group.
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-binary.lock")
GROUPS = {"dev": LOCKS[1], "binary": LOCKS[2]}
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


class Pin(NamedTuple):
    """One entry of a lock file."""

    version: str
    marker: str
    hashes: frozenset[str]


@cache
def project() -> dict[str, dict[str, list[str]]]:
    """The tables of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def pins(lock: str) -> dict[str, list[Pin]]:
    """The entries of a lock file by name; one name may have several, for several platforms."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[Pin]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        stated = Requirement(_HASH.sub("", line).strip())
        (pinned,) = stated.specifier
        assert pinned.operator == "==", line[:80]
        hashes = frozenset(_HASH.findall(line))
        pin = Pin(pinned.version, str(stated.marker or ""), hashes)
        found.setdefault(canonicalize_name(stated.name), []).append(pin)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_name_no_place(lock: str) -> None:
    """A lock says what, byte for byte, and leaves it to the machine where from."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|-e|--index|--extra|--find|--trusted)", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_locked_has_hashes(lock: str) -> None:
    """Every entry is pinned to one version and to the bytes of its files."""
    assert len(pins(lock)) >= 10
    assert [
        name for name, found in pins(lock).items() if not all(pin.hashes for pin in found)
    ] == []


def _is_locked(stated: str, lock: str) -> bool:
    requirement = Requirement(stated)
    found = pins(lock).get(canonicalize_name(requirement.name), [])
    return bool(found) and all(requirement.specifier.contains(pin.version) for pin in found)


def test_every_dependency_is_locked() -> None:
    """What pyproject.toml asks for is in the lock files, in a version that it allows."""
    needed = project()["project"]["dependencies"]
    assert [one for one in needed for lock in LOCKS if not _is_locked(one, lock)] == []
    groups = project()["dependency-groups"]
    assert groups.keys() == GROUPS.keys()
    for group, lock in GROUPS.items():
        assert [one for one in groups[group] if not _is_locked(one, lock)] == []


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_development_runs_what_production_runs(lock: str) -> None:
    """The locks for development and for the one-file program hold the other one unchanged."""
    run, other = pins(LOCKS[0]), pins(lock)
    assert {name: other.get(name) for name in run} == run


def test_make_installs_by_hash() -> None:
    """Every lock file is installed with its hashes checked."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for lock in LOCKS:
        assert re.search(rf"pip install .*--require-hashes -r {re.escape(lock)}\n", makefile)


def test_browser_packages_are_locked_by_hash() -> None:
    """The packages of the browser tests are pinned by their contents too, and name no place."""
    text = (ROOT / "tests/browser/package-lock.json").read_text(encoding="utf-8")
    assert text.count('"integrity": "sha512-') >= 5
    assert "://" not in text


def test_licence() -> None:
    """Apache 2.0, whole, and named in the metadata."""
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert project()["project"]["license"] == "Apache-2.0"


def test_example_configuration_is_one_file() -> None:
    """The example beside the README is the one that is installed."""
    example = ROOT / "config.example.toml"
    assert example.read_bytes() == (ROOT / "collector" / "config.example.toml").read_bytes()
    assert "config.example.toml" in tracked()
