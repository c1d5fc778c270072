"""Markdown as tests look at it: sections, tables, code, links, and curl commands as requests.

Knows the little of Markdown that our pages use. Must not know what any page is about.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).parents[2]

_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING: Final = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CELLS: Final = re.compile(r"(?<!\\)\|")


class Block(NamedTuple):
    """A fenced block of code; `follows` is the block behind it, if only blank lines lie between."""

    language: str
    text: str
    follows: "Block | None" = None


class Curl(NamedTuple):
    """One request, as a curl command says it."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


def pages() -> list[Path]:
    """Every page that people read, except the vendors' that came with packages."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]
    return sorted(found)


def page(name: str) -> str:
    """The text of a page, by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """`text` without its blocks of code."""
    return _BLOCK.sub("", text)


def blocks(text: str, *languages: str) -> list[Block]:
    """The blocks of `text` in these languages (all without any), in order."""
    matches = list(_BLOCK.finditer(text))
    found: list[Block] = []
    following: Block | None = None
    for index in reversed(range(len(matches))):
        match = matches[index]
        is_next = (
            index + 1 < len(matches) and not text[match.end() : matches[index + 1].start()].strip()
        )
        following = Block(match[1], match[2], following if is_next else None)
        found.append(following)
    return [block for block in reversed(found) if not languages or block.language in languages]


def section(text: str, title: str) -> str:
    """What stands under the heading `title`, its subsections included."""
    headings = list(_HEADING.finditer(text))
    for heading, level in ((h, len(h[1])) for h in headings if h[2] == title):
        ends = [h.start() for h in headings if h.start() > heading.start() and len(h[1]) <= level]
        return text[heading.end() : ends[0] if ends else len(text)]
    raise AssertionError(f"no section {title!r}")


def rows(text: str) -> Iterator[list[str]]:
    """The rows of all tables of `text` as cells, without headers and rules."""
    lines = prose(text).splitlines()
    for index, line in enumerate(lines):
        if not line.startswith("|") or set(line) <= set("|-: "):
            continue
        if index + 1 < len(lines) and lines[index + 1].startswith("| ---"):
            continue
        cells = _CELLS.split(line.strip().strip("|"))
        yield [cell.strip().replace("\\|", "|") for cell in cells]


def links(text: str) -> list[str]:
    """Targets of the links of `text`."""
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """What a link may name behind `#`: headings, as forges spell them."""
    titles = (re.sub(r"[`*]", "", title) for _, title in _HEADING.findall(prose(text)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def curl(command: str, now_ms: int) -> Curl:
    """The request of a shell block; `$now` in it is `now_ms`.

    Raises AssertionError for what it does not know, so that no part of a command goes untested.
    """
    lines = [line for line in command.splitlines() if line != "now=$(date +%s%3N)"]
    words = shlex.split("\n".join(lines).replace("\\\n", " "))
    assert words.pop(0) == "curl", command
    method, url, body = "", "", ""
    headers: dict[str, str] = {}
    while words:
        word = words.pop(0)
        match word:
            case "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case "-d":
                body = words.pop(0).replace("$now", str(now_ms))
            case "-w":
                words.pop(0)
            case "-sS":
                pass
            case _:
                assert word.startswith("http"), f"what is {word!r}?"
                url = word
    return Curl(method or ("POST" if body else "GET"), urlsplit(url).path, headers, body)
