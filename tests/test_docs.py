"""The documents, compared with the code that they speak of."""

import ast
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import duckdb
import msgspec
import msgspec.inspect as mi
import pytest

from collector import config_file, refusal
from collector.adapters import ENDPOINTS, croct_answers, scanova_answers, zenovay
from collector.adapters.contract import Request
from collector.cli import main
from collector.config import DEFAULT_TIERS, Config
from collector.refusal import Kind, Refusal
from tests.support import app, pages
from tests.support.process import CollectorProcess

CLI_SCRIPT: Final = runpy.run_path(str(pages.ROOT / "docs" / "generate_cli.py"))
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z")

# --- log lines

# Lines of commands go to whoever typed them; a refusal of ours is told by its own table.
_NOT_OF_THE_SERVICE: Final = re.compile(r"collector/(prove/|cli)")
_PLACEHOLDER: Final = re.compile(r"%(?:\.\d)?[a-z]")


def _log_lines() -> Iterator[tuple[str, str]]:
    """Where the service logs something, and its text with placeholders."""
    for package in ("collector", "storage"):
        for path in sorted((pages.ROOT / package).rglob("*.py")):
            place = path.relative_to(pages.ROOT).as_posix()
            if _NOT_OF_THE_SERVICE.match(place):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log."):
                    text = node.args[0]
                    if isinstance(text, ast.Constant):
                        yield f"{place}:{node.lineno}", text.value


def test_every_log_line_is_documented() -> None:
    """By a piece of it that has no placeholder: who greps a line finds what it means."""
    text = (pages.ROOT / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    [section] = re.findall(r"\n## Log lines\n(.*?)\n## ", text, re.DOTALL)
    lines = list(_log_lines())
    missing = [
        f"{place}: {line}"
        for place, line in lines
        if not any(piece.strip()[:25] in section for piece in _PLACEHOLDER.split(line) if piece[5:])
    ]
    assert missing == []
    assert len(lines) > 40


# --- settings

_TYPE: Final = mi.type_info(Config)
assert isinstance(_TYPE, mi.StructType)


def _structs() -> dict[str, mi.StructType]:
    """The structs of the configuration by the title of their section."""
    found: dict[str, mi.StructType] = {}
    for field in _TYPE.fields:
        kind = field.type
        if isinstance(kind, mi.StructType):
            found[f"`[{field.name}]`"] = kind
        elif isinstance(kind, mi.VarTupleType) and isinstance(kind.item_type, mi.StructType):
            found[f"`[[{field.name}]]`"] = kind.item_type
        elif isinstance(kind, mi.DictType) and isinstance(kind.value_type, mi.StructType):
            found[f"`[{field.name}.<name>]`"] = kind.value_type
    return found


def _as_written(field: mi.Field) -> str:
    """The default of a setting, as its cell in the table has it."""
    value: Any = field.default
    if field.required:
        return "none, must be given"
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int):
        return f"`{value}`"
    if isinstance(value, tuple) and value:
        return f"`{json.dumps(value)}`"
    return "`[]`" if value in ((), frozenset()) else f'`"{value}"`'


@pytest.mark.parametrize("title", _structs())
def test_every_setting_is_documented(title: str) -> None:
    """Every setting has a row in its section of CONFIG.md with its true default; no row is left."""
    text = pages.section(pages.page("docs/CONFIG.md"), title)
    # Settings first; below them may stand the parts of one of them.
    rows = [row for row in pages.rows(text) if len(row) == 5]
    written = {row[0].strip("`"): row[3] for row in reversed(rows)}
    fields = {field.name: _as_written(field) for field in _structs()[title].fields}
    assert {name: written.get(name) for name in fields} == fields
    assert written.keys() - fields.keys() <= {"pem", "id"}, "the parts of a public key"


def test_the_sections_and_tiers_are_documented() -> None:
    """CONFIG.md has a section per table, and the figures of every tier."""
    text = pages.page("docs/CONFIG.md")
    assert len(_structs()) == len(_TYPE.fields) - 1, "all but `path`"
    for name, tier in DEFAULT_TIERS.items():
        figures = f"`{name}` {tier.requests_per_minute} and {tier.requests_per_month:,}"
        assert figures in text


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: path.name)
def test_every_toml_block_is_a_configuration(path: Path) -> None:
    """What is shown as TOML can be put into a file and passes `collector check`."""
    for block in pages.blocks(path.read_text(encoding="utf-8"), "toml"):
        tomllib.loads(block.text)
        config_file.parse(block.text.encode(), file="config.toml", path=None)


# --- metrics, endpoints, refusals


def test_every_metric_is_documented(tmp_path: Path) -> None:
    """The rows of METRICS.md are the metrics of /metrics, with their types."""

    async def ask() -> str:
        async with app.running(tmp_path) as collector:
            return (await collector.request("GET", "/metrics")).body.decode()

    served = dict(re.findall(r"^# TYPE (\S+) (\S+)$", app.run(ask()), re.MULTILINE))
    rows = [row for row in pages.rows(pages.page("docs/METRICS.md")) if len(row) in {3, 4}]
    written = {row[0].strip("`"): row[1] for row in rows if row[0].startswith("`collector_")}
    assert written == served


def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    """The rows of the endpoint table are the paths that are served; METRICS.md has their names."""
    metrics = pages.page("docs/METRICS.md")

    async def served() -> set[str]:
        async with app.running(tmp_path) as collector:
            routes = collector.edge._admin.routes
            assert [route.name for route in routes if f"`{route.name}`" not in metrics] == []
            own = {f"`GET {path}`" for path in collector.edge._pages}
            return own | {f"`{route.method} {route.path}`" for route in routes}

    rows = pages.rows(pages.section(pages.page("docs/PROTOCOLS.md"), "Endpoints"))
    ours = {f"`{endpoint.method} {endpoint.path}`" for endpoint in ENDPOINTS}
    assert {row[0] for row in rows} == ours | app.run(served())
    assert [e.name for e in ENDPOINTS if f"`{e.name}`" not in metrics] == []


REFUSALS: Final = {
    row[0].strip("`"): row[2:]
    for row in pages.rows(pages.section(pages.page("docs/PROTOCOLS.md"), "Refusals"))
}
KINDS: Final = [kind for kind in vars(refusal).values() if isinstance(kind, Kind)]
NOT_HERE: Final = "\N{EN DASH}"
REFUSE: Final = (
    scanova_answers.BROWSER.refuse,
    scanova_answers.SERVER.refuse,
    croct_answers.refuse,
    zenovay.refuse,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_refusal_is_documented(kind: Kind) -> None:
    """A refusal's row tells the status that each protocol answers, and how it is counted."""
    request = Request(method="POST", path="/", query=b"", headers={})
    *statuses, outcome = REFUSALS[kind.code]
    for cell, refuse in zip(statuses, REFUSE, strict=True):
        answered = refuse(request, Refusal(kind, "why"), None).status
        assert cell in {NOT_HERE, "in 200", str(answered)}
    assert outcome in {kind.outcome, "not counted"}


def test_no_refusal_is_documented_that_does_not_exist() -> None:
    """The table of refusals has no row without a reason in the code."""
    assert REFUSALS.keys() == {kind.code for kind in KINDS}


# --- commands


def test_the_page_of_commands_is_what_help_prints() -> None:
    """CLI.md is up to date; else: .venv/bin/python docs/generate_cli.py."""
    assert pages.page("docs/CLI.md") == CLI_SCRIPT["page"]()


def test_every_option_is_in_the_page_of_commands() -> None:
    """Each command has its section, each option stands in it."""
    text = pages.page("docs/CLI.md")
    paths = list(CLI_SCRIPT["commands"](main))
    assert len(paths) > 8
    for path in paths:
        command: click.Command = main
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        # Help texts hold no second-level headings: a section is its block.
        shown = text.partition(f"## `{' '.join(('collector', *path))}`\n")[2].partition("\n## ")[0]
        options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
        assert [option for option in options if option not in shown] == []


def test_help_prints_the_same_when_typed() -> None:
    """What the script takes from the commands is what a terminal of 80 columns shows."""
    result = subprocess.run(
        [sys.executable, "-c", "from collector.cli import main; main()", "query", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    typed = result.stdout.replace("Usage: -c query", "Usage: collector query")
    assert typed == CLI_SCRIPT["help_text"](("query",))


# --- pages as such


@pytest.mark.parametrize("path", pages.pages(), ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    """Relative links name files that are there, and headings that stand in them."""
    text = path.read_text(encoding="utf-8")
    dead = []
    for link in pages.links(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        exists = target.is_file() and target.resolve().is_relative_to(pages.ROOT)
        if not exists or (
            anchor and anchor not in pages.anchors(target.read_text(encoding="utf-8"))
        ):
            dead.append(link)
    assert dead == []


def test_every_page_is_linked_from_the_readme() -> None:
    """Whoever starts at the README finds every page, in two steps at most."""
    found = {(pages.ROOT / link).resolve() for link in _files("README.md")}
    for first in list(found):
        found |= {(first.parent / link).resolve() for link in _files(str(first))}
    missing = {path for path in pages.pages() if path not in found} - {pages.ROOT / "README.md"}
    assert missing == set()


def _files(name: str) -> list[str]:
    if not name.endswith(".md"):
        return []
    return [link.partition("#")[0] for link in pages.links(pages.page(name)) if ":" not in link]


def test_every_test_that_holds_a_bug_exists() -> None:
    """What docs/BUGS_FOUND.md says of tests is true: each one that it names is there."""
    page = pages.page("docs/BUGS_FOUND.md")
    named = set(re.findall(r"`(test_\w+)`", page))
    written = "\n".join(
        path.read_text(encoding="utf-8") for path in (pages.ROOT / "tests").rglob("test_*.py")
    )
    there = set(re.findall(r"def (test_\w+)\(", written))
    assert len(named) > 20
    assert named <= there
    paths = re.findall(r"`(tests/[\w/.]+)`", page)
    assert [path for path in paths if not (pages.ROOT / path).exists()] == []


def test_every_decision_is_listed_and_complete() -> None:
    """Decisions are numbered without a gap, listed in ARCHITECTURE.md, and say all three things."""
    files = sorted((pages.ROOT / "docs/decisions").glob("*.md"))
    assert [path.name[:4] for path in files] == [f"{n:04d}" for n in range(1, len(files) + 1)]
    listed = pages.links(pages.section(pages.page("docs/ARCHITECTURE.md"), "Decisions"))
    assert listed == [f"decisions/{path.name}" for path in files]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]}: ")
        for title in ("Context", "Decision", "Consequences"):
            assert pages.section(text, title).strip()


def test_every_dependency_is_argued_for() -> None:
    """Each package that pyproject.toml names has a row in the page on dependencies."""
    project = tomllib.loads(pages.page("pyproject.toml"))
    groups = project["dependency-groups"].values()
    wanted = [*project["project"]["dependencies"], *(name for group in groups for name in group)]
    names = {re.split(r"[^\w-]", name)[0] for name in wanted}
    rows = pages.rows(pages.page("docs/decisions/0008-dependencies.md"))
    assert {name for row in rows for name in row[0].split(", ")} == names


def test_the_readme_has_the_two_commands() -> None:
    """`make run` and `make test` stand in the README, and are targets."""
    readme, makefile = pages.page("README.md"), pages.page("Makefile")
    for name in ("run", "test"):
        assert re.search(rf"^make {name}\b", readme, re.MULTILINE)
        assert re.search(rf"^{name}:", makefile, re.MULTILINE)


# --- the README, done


def _cells(table: str) -> list[list[str]]:
    """A printed table, with times taken out, for they differ."""
    lines = [line for line in TIME.sub("TIME", table).splitlines() if "-+-" not in line]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


@pytest.mark.end_to_end
def test_the_tour_of_the_readme_is_true(tmp_path: Path) -> None:
    """Each curl command gets the answer printed below it; then the query and the SQL work."""
    readme = pages.page("README.md")
    commands = [b for b in pages.blocks(readme, "sh") if "curl" in b.text]
    assert len(commands) == 3
    with CollectorProcess(tmp_path) as collector:
        for command in commands:
            request = pages.curl(command.text, time.time_ns() // 1_000_000)
            answer = collector.request(
                request.method, request.path, body=request.body, headers=request.headers
            )
            assert command.follows is not None, "the answer is shown"
            if command.follows.language == "json":
                expected = json.loads(command.follows.text)
                assert (answer.status, json.loads(answer.body)) == (200, expected)
            else:
                assert (answer.status, answer.body) == (int(command.follows.text), b"")
        [shown] = [b for b in pages.blocks(readme, "console") if "collector query" in b.text]
        typed, _, table = shown.text.partition("\n")
        sql = shlex.split(typed)[-1]
        assert _cells(collector.run("query", sql).stdout) == _cells(table)
        assert collector.terminate() == 0
        [block] = pages.blocks(readme, "sql")
        statement = block.text.replace("data/events", f"{collector.data}/events")
        counts = duckdb.sql(statement).fetchall()
    assert [row[1:] for row in counts] == [("croct", 1), ("scanova", 1), ("zenovay", 1)]


def test_curl_commands_are_read_as_a_shell_reads_them() -> None:
    """Quotes, continued lines and `$now` inside and between quotes."""
    text = (
        "now=$(date +%s%3N)\ncurl -sS http://h:1/p \\\n  -H 'A: b: c' \\\n  -d '{\"t\": '$now'}'\n"
    )
    assert pages.curl(text, 7) == pages.Curl("POST", "/p", {"A": "b: c"}, '{"t": 7}')
    with pytest.raises(AssertionError, match="--fail"):
        pages.curl("curl --fail http://h/", 7)
