"""The files that pages are made of: read once, served as they are."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard.frame import STYLE

_STYLE_TYPE: Final = ("content-type", "text/css; charset=utf-8")


class Assets:
    """The style sheet. It is open: the page to log in wants it, and it tells nothing."""

    def __init__(self) -> None:
        self._style = files("collector.dashboard").joinpath("style.css").read_bytes()

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        return (
            Route(
                path=STYLE,
                name="dashboard_style",
                kind="asset",
                summary="The style sheet of every page",
                answer=self._answer_style,
                answers={200: None},
                is_open=True,
            ),
        )

    async def _answer_style(self, _visit: Visit) -> Response:
        return Response(200, [_STYLE_TYPE], self._style)
