"""The files that pages are made of: read once, served as they are."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final

import msgspec

from collector.adapters.contract import Response
from collector.admin import Route, Visit
from collector.dashboard.frame import ICON, LIVE, STYLE


class _Asset(msgspec.Struct, frozen=True):
    name: str
    media: str
    summary: str


_ASSETS: Final[Mapping[str, _Asset]] = {
    STYLE: _Asset("dashboard_style", "text/css; charset=utf-8", "The style sheet of every page"),
    LIVE: _Asset("dashboard_live_script", "text/javascript; charset=utf-8", "Keeps pages fresh"),
    ICON: _Asset("dashboard_icon", "image/svg+xml", "The icon of every page"),
}


class Assets:
    """Files of our own. They are open: the page to log in wants them, and they tell nothing."""

    @property
    def routes(self) -> Sequence[Route]:
        """The rows of the table."""
        return [_route(path, asset) for path, asset in _ASSETS.items()]


def _route(path: str, asset: _Asset) -> Route:
    file = files("collector.dashboard").joinpath(path.rpartition("/")[2])
    body = file.read_bytes()

    async def answer(_visit: Visit) -> Response:
        return Response(200, [("content-type", asset.media)], body)

    return Route(
        path=path,
        name=asset.name,
        kind="asset",
        summary=asset.summary,
        answer=answer,
        answers={200: None},
        is_open=True,
    )
