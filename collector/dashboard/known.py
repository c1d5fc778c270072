"""What the pages of the dashboard may ask, in one value that each of them is given."""

from collections.abc import Callable, Sequence
from datetime import date

import msgspec

from collector.admin_api import Api
from collector.config import Config
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
