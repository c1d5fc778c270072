"""What the pages of the dashboard may ask, in one value that each of them is given."""

from collections.abc import Callable, Sequence
from datetime import date

import msgspec

from collector.adapters.contract import Budget
from collector.admin_api import Api
from collector.auditwatch import AuditWatch
from collector.config import Config, Key
from collector.panels import Panels
from collector.rates import Rates


class Watch(msgspec.Struct, frozen=True):
    """What is known of the running collector without asking a file, or without waiting for it.

    `budget`: what a key may still send.
    """

    rates: Rates
    audit: AuditWatch
    budget: Callable[[Key], Budget]


class Known(msgspec.Struct, frozen=True):
    """What pages may ask. `config`: the settings of this moment, which may change while it runs.

    `now_us`: Unix microseconds.
    """

    api: Api
    panels: Panels
    watch: Watch
    config: Callable[[], Config]
    now_us: Callable[[], int]
    today: Callable[[], date]

    @property
    def sites(self) -> Sequence[str]:
        """Ids of the configured sites."""
        return [site.id for site in self.config().sites]
