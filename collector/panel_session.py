"""Where the answers of `panels` come from: one DuckDB session, kept between questions.

To open one, list the files and read the log takes longer than most questions. So it is kept, and
looks again when the last look is a while ago: questions of one page are answered as of one moment.
A log that is too long to be read beside intake is left out, which is told.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from collector.panels import Found, Question
from storage import Deadline, Files, Lake, StorageError, SummaryViews

# Beside intake, which must not be short of either.
_THREADS: Final = 1
# A look is repeated after so many times what it took, within bounds.
_LOOK_TIMES: Final = 20.0
_LOOK_S_MIN: Final = 1.0
_LOOK_S_MAX: Final = 10.0
# More than that is a few seconds of more than 2,000 events a second, which are soon in parts.
_LOG_BYTES_MAX: Final = 8 * 1024 * 1024
# Bound to the moment of asking: as a value of the question, each moment would be another one.
_NOW: Final = "now_us"
_NAMED: Final = re.compile(r"\$([a-z_][a-z_0-9]*)")


class LakeSession:
    """A `panels.Session` over the data directory. From one thread."""

    def __init__(
        self, directory: Path, files: Files, now_us: Callable[[], int], *, memory_mb: int = 384
    ) -> None:
        self._directory = directory
        self._files = files
        self._now_us = now_us
        self._memory_mb = memory_mb
        self._lake: Lake | None = None
        self._looked_us = 0
        self._look_again_us = 0

    def ask(
        self, question: Question, deadline: Deadline, progress: Callable[[float], None], /
    ) -> Found:
        """See `panels.Session`."""
        began_us = self._now_us()
        try:
            lake = self._opened(deadline)
            values: dict[str, Any] = {**dict(question.values), _NOW: began_us}
            columns: tuple[str, ...] = ()
            rows: list[tuple[Any, ...]] = [()]
            for sql in (*question.first, question.sql):
                # What one found is given to those that follow.
                [found] = rows
                values |= dict(zip(columns, found, strict=True))
                named = {name: values[name] for name in _NAMED.findall(sql)}
                result = lake.ask(sql, named, deadline=deadline, progress=progress)
                columns = tuple(column.name for column in result.columns)
                rows = result.rows()
        except (StorageError, OSError):
            # Whatever is wrong with it: the next question begins anew.
            self.close()
            raise
        return Found(
            columns=columns,
            rows=rows,
            as_of_us=self._looked_us,
            seconds=(self._now_us() - began_us) / 1e6,
            lacks_newest=lake.leaves_out_log,
        )

    def close(self) -> None:
        """See `panels.Session`."""
        lake, self._lake = self._lake, None
        if lake is not None:
            lake.__exit__(None, None, None)

    def _opened(self, deadline: Deadline) -> Lake:
        """The session, over files as they are now or were a moment ago."""
        deadline.check()
        began_us = self._now_us()
        if self._lake is not None and began_us < self._look_again_us:
            return self._lake
        if self._lake is None:
            lake = Lake(
                self._directory,
                self._files,
                memory_mb=self._memory_mb,
                threads=_THREADS,
                more=SummaryViews(self._directory, self._files),
                log_bytes_max=_LOG_BYTES_MAX,
            )
            self._lake = lake.__enter__()
        else:
            self._lake.refresh()
        took_s = (self._now_us() - began_us) / 1e6
        pause_s = min(max(_LOOK_S_MIN, took_s * _LOOK_TIMES), _LOOK_S_MAX)
        self._looked_us = began_us
        self._look_again_us = began_us + int((took_s + pause_s) * 1e6)
        return self._lake
