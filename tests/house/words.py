"""What must not stand in any file of the repository: what is left over, what nobody can look up,
addresses of machines.
"""

import re
from collections.abc import Container, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from tests.house.source import Fault

MARKERS: Final = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")

# Sources have addresses, and our own decisions are files in docs/decisions/: a bare number leads
# nowhere.
BARE_NUMBERS: Final = re.compile(
    r"(?i:\b(?:decision|issue|ticket)s?) #?\d+|\b(?:reference/|seed-)\d{3}\b"
)
_PAGE: Final = re.compile(r"[\w./-]*\w\.md\b")
# Thousands of random letters, in which every word occurs some day.
LOCKS: Final = (".lock", "package-lock.json")

# A lock file or a script that names a registry works on one network only.
_REGISTRY: Final = re.compile(
    r"--(?:extra-)?index-url|--find-links|--registry|(?i:\bindex-url\s*=)|\"resolved\":"
)
_WITHOUT_ADDRESSES: Final = re.compile(
    r"(^|/)(requirements.*\.lock|package-lock\.json|pyproject\.toml|Makefile|setup|run|\.npmrc)$"
)
_ADDRESS: Final = re.compile(r"[a-z+]+://(?!127\.0\.0\.1|localhost|\[::1\])")
_SECRET_HOMES: Final = re.compile(r"(^|/)(\.npmrc|pip\.conf|\.pypirc|\.netrc|\.env)$")


def no_markers(path: str, text: str) -> Iterator[Fault]:
    """What is left to do is done, or said in the documents."""
    yield from _found(path, text, MARKERS, "left over")


def sources_can_be_looked_up(path: str, text: str) -> Iterator[Fault]:
    """What a text refers to by number can be found by a reader of this repository."""
    if not path.endswith(LOCKS):
        yield from _found(path, text, BARE_NUMBERS, "nobody can look it up")


def pages_exist(path: str, text: str, files: Container[str]) -> Iterator[Fault]:
    """Every page that a text names is there: from the root, from docs/, or beside it."""
    if path.endswith(LOCKS):
        return
    for match in _PAGE.finditer(text):
        folder = PurePosixPath(path).parent
        places = (PurePosixPath(), PurePosixPath("docs"), folder, *folder.parents)
        if not any(_joined(place, match[0]) in files for place in places):
            line = text.count("\n", 0, match.start()) + 1
            yield Fault(path, line, f"{match[0]}: there is no such page")


def _joined(folder: PurePosixPath, name: str) -> str:
    """`folder/name` with `..` undone."""
    parts: list[str] = []
    for part in (folder / name.lstrip("/")).parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def no_registries(path: str, text: str) -> Iterator[Fault]:
    """Where packages come from is the business of who installs them."""
    if _SECRET_HOMES.search(path):
        yield Fault(path, 1, "settings of one machine")
    yield from _found(path, text, _REGISTRY, "names a registry")
    if _WITHOUT_ADDRESSES.search(path):
        yield from _found(path, text, _ADDRESS, "names a host")


def no_machine(path: str, text: str, hosts: Sequence[str]) -> Iterator[Fault]:
    """Nothing names the machine that it was written on."""
    for host in hosts:
        # Short or general names stand everywhere with another meaning.
        if len(host) >= 6 and host not in {"localhost", "ubuntu", "debian", "runner", "docker"}:
            yield from _found(path, text, re.compile(re.escape(host)), "names this machine")


def _found(path: str, text: str, pattern: "re.Pattern[str]", why: str) -> Iterator[Fault]:
    for match in pattern.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Fault(path, line, f"{match[0].strip()!r}: {why}")
