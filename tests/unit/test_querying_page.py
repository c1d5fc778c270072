"""docs/QUERYING.md is true: it names every column and view, and its SQL runs."""

import re
from pathlib import Path

import pytest

from storage import COLUMNS, Files, views
from storage.query import Lake
from tests.support.lake import DataDirectory
from tests.support.rows import make_row

PAGE = (Path(__file__).parents[2] / "docs" / "QUERYING.md").read_text()
EXAMPLES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r'^collector query .*?"(.*)"$', PAGE, re.MULTILINE)


@pytest.mark.parametrize("sql", [*EXAMPLES, *COMMANDS])
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    """Whatever stands on the page can be pasted."""
    monkeypatch.chdir(tmp_path)
    data = DataDirectory(Path("data"))
    data.publish(1, 1, make_row(1))
    with Lake(data.path, Files()) as lake:
        assert lake.run(sql).columns


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
