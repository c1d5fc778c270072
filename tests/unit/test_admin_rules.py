"""Rules of the admin pages that hold for whatever is added to them."""

import ast
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest

from collector.admin_lookups import Lookups
from collector.panels import Panels, Pending, Question, Told
from tests.house.source import ROOT
from tests.support import app, pages

# What the pages may ask of the engine: values, errors, and questions with arguments.
_STORAGE: Final = {
    *("COLUMNS", "Deadline", "Files", "StorageError", "TookTooLong", "latest"),
    *("give_way", "panelviews", "views"),  # a priority, and texts
    *("layout", "stock"),  # names and sizes of files
}
_FILES: Final = sorted(
    path.relative_to(ROOT)
    for pattern in ("admin*.py", "dashboard/*.py", "inside.py", "pages.py", "openapi*.py")
    for path in (ROOT / "collector").glob(pattern)
)
_LOCAL: Final = {"Host": "localhost:8000"}
_SQL: Final = re.compile(r"\b(SELECT|INSERT|DELETE|COPY|ATTACH)\b .*\b(FROM|INTO|TO)\b")


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_no_route_runs_sql(path: object) -> None:
    """Handlers reach no connection and no query session: only questions of ours, with values.

    Pages of the dashboard state theirs in SQL (`test_no_question_is_made_of_a_request`).
    """
    text = (ROOT / str(path)).read_text(encoding="utf-8")
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "storage":
            assert node.module == "storage"
            assert {alias.name for alias in node.names} <= _STORAGE
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & {"storage", "duckdb"}
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"execute", "executemany", "sql", "run"}, ast.unparse(node)
        states_questions = "dashboard" in str(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not states_questions:
            assert not _SQL.search(node.value), node.value


def test_no_question_is_made_of_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever members a page is asked with: none becomes a piece of SQL, all are values."""
    mark = "s3cr3t' OR 1=1 --"
    asked: list[Question] = []

    async def ask(_self: Panels, *questions: Question, **_: float) -> Sequence[Told]:
        asked.extend(questions)
        return [Pending() for _ in questions]

    monkeypatch.setattr(Panels, "ask", ask)

    async def visit_all() -> None:
        async with app.running(tmp_path) as collector:
            routes = collector.service._inside.admin.routes
            for route in routes:
                if route.kind == "page":
                    query = urlencode(dict.fromkeys((*route.query, "site", "id", "name"), mark))
                    answer = await collector.request(
                        "GET", f"{route.path}?{query}", headers=_LOCAL, address="127.0.0.1"
                    )
                    assert answer.status < 500, route.path

    app.run(visit_all())
    assert not [one.sql for one in asked if "s3cr3t" in one.sql or "1=1" in one.sql]


def test_questions_take_values_only() -> None:
    """A number, a text that is an id, a date: nothing that could be a piece of a query."""
    taken = {
        name: [str(one.annotation) for one in inspect.signature(method).parameters.values()][1:]
        for name, method in vars(Lookups).items()
        if not name.startswith("_")
    }
    assert taken == {
        "newest": ["<class 'int'>"],
        "receipt": ["<class 'str'>"],
        "audit": ["<class 'datetime.date'>"],
        "stock": [],
    }


def test_what_the_page_on_security_names_is_there() -> None:
    """Every file of code or test that holds a threat off exists."""
    text = pages.page("docs/SECURITY.md")
    rows = list(pages.rows(pages.section(text, "What holds them off")))
    assert len(rows) > 10
    for row in rows:
        for cell in row[2:]:
            folder = ""
            for name in re.findall(r"`([\w./]+\.(?:py|lock))`", cell):
                # After the first of a cell, files of the same folder are named shortly.
                full = name if "/" in name and (ROOT / name).exists() else f"{folder}/{name}"
                path = ROOT / full.lstrip("/")
                assert path.is_file(), (row[0], name)
                folder = str(path.relative_to(ROOT).parent)
