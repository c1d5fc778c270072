"""Every page of the dashboard: what they share, and who makes which.

A new page is a module with a class that has `routes`, a line here, and a row in `frame.PAGES`.
"""

from collections.abc import Callable, Sequence
from datetime import date

import msgspec

from collector.admin import Route
from collector.admin_api import Api
from collector.admin_gate import Gate
from collector.config import Config
from collector.dashboard.assets import Assets
from collector.dashboard.login import Login
from collector.dashboard.overview import Overview
from collector.panels import Panels


class Known(msgspec.Struct, frozen=True):
    """What pages may ask. `config`: the settings of this moment, which may change while it runs.

    `now_us`: Unix microseconds.
    """

    api: Api
    panels: Panels
    config: Callable[[], Config]
    now_us: Callable[[], int]
    today: Callable[[], date]

    @property
    def sites(self) -> Sequence[str]:
        """Ids of the configured sites."""
        return [site.id for site in self.config().sites]


def routes(known: Known, gate: Gate) -> list[Route]:
    """The rows of the table that are the dashboard's."""
    owners = (Login(gate), Overview(known.api), Assets())
    return [route for owner in owners for route in owner.routes]
