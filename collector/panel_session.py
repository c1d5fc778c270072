"""Where the answers of `panels` come from: a DuckDB session over every acknowledged row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from collector.panels import Question
from storage import Deadline, Files, Lake, panelviews

# Beside intake, which must not be short of either.
_THREADS: Final = 1
_MEMORY_MB: Final = 384


class LakeSession:
    """A `panels.Session` over the data directory. Its rows are those of the moment of asking."""

    def __init__(self, directory: Path, files: Files) -> None:
        self._directory = directory
        self._files = files

    def __call__(
        self, question: Question, deadline: Deadline, progress: Callable[[float], None], /
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Columns and rows. Raises `StorageError` and OSError."""
        with Lake(
            self._directory,
            self._files,
            memory_mb=_MEMORY_MB,
            threads=_THREADS,
            more_views=panelviews.PANEL_VIEWS,
        ) as lake:
            result = lake.ask(
                question.sql, dict(question.values), deadline=deadline, progress=progress
            )
            return tuple(column.name for column in result.columns), result.rows()
