"""docs/QUERYING.md is true: it names every column and view, and its SQL runs."""

import io
import re
from pathlib import Path
from typing import Any

import pytest

from collector import render
from storage import COLUMNS, Files, views
from storage.query import Lake
from tests.support.lake import DataDirectory
from tests.support.rows import make_row
from tests.support.traffic import make_traffic

PAGE = (Path(__file__).parents[2] / "docs" / "QUERYING.md").read_text()
EXAMPLES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
ANSWERED = re.findall(
    r"### ([^\n]*)\n(?:(?!### ).)*?```sql\n((?:(?!```).)*)```\n\n```text\n(.*?)```", PAGE, re.DOTALL
)
COMMANDS = re.findall(r'^collector query .*?"(.*)"$', PAGE, re.MULTILINE)


@pytest.mark.parametrize("sql", [*EXAMPLES, *COMMANDS])
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """Whatever stands on the page can be pasted."""
    monkeypatch.chdir(tmp_path)
    data = DataDirectory(Path("data"))
    data.publish(1, 1, make_row(1))
    with Lake(data.path, Files()) as lake:
        assert lake.run(sql).columns


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory that the useful queries are shown with."""
    return make_traffic(tmp_path_factory.mktemp("traffic") / "data").path


@pytest.mark.parametrize(("title", "sql", "answer"), ANSWERED, ids=[one[0] for one in ANSWERED])
def test_useful_queries_answer_what_the_page_says(
    traffic: Path, title: str, sql: str, answer: str
) -> None:
    """The printed table is what `collector query` prints, character by character."""
    out = io.BytesIO()
    with Lake(traffic, Files()) as lake:
        render.write(lake.run(sql), "table", out)
    assert out.getvalue().decode() == answer, title


def test_no_answer_on_the_page_is_empty() -> None:
    """A query that finds nothing shows nothing; and none of them is missed."""
    assert len(ANSWERED) == PAGE.count("```text\n", PAGE.index("## Useful queries")) == 14
    assert not [title for title, _, answer in ANSWERED if "(0 rows)" in answer]


def test_there_are_examples() -> None:
    """The patterns above still find what they look for."""
    assert len(EXAMPLES) >= 7
    assert len(COMMANDS) == 4


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_is_told_with_type_and_meaning(column: object) -> None:
    """The table of columns is that of the schema."""
    assert f"| `{column.name}` | `{column.type}` | {column.meaning} |" in PAGE  # type: ignore[attr-defined]


@pytest.mark.parametrize("view", [view.name for view in views.VIEWS])
def test_every_view_has_a_chapter(view: str) -> None:
    """No view is left to guessing."""
    assert f"\n### `{view}`\n" in PAGE


def test_asking_again_helps_and_gives_up() -> None:
    """The function that readers are told to paste asks until it is answered, five times at most."""
    (source,) = re.findall(r"```python\n(import time.*?)```", PAGE, re.DOTALL)
    page: dict[str, Any] = {}
    exec(source.replace("0.2", "0"), page)  # noqa: S102  our own page
    tries = []

    def ask() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise FileNotFoundError
        return 7

    assert page["asked"](ask, FileNotFoundError) == 7
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(FileNotFoundError):
        page["asked"](ask, FileNotFoundError, tries=2)
