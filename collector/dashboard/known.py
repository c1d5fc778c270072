"""What the pages of the dashboard may ask, in one value that each of them is given."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from collector.adapters.contract import Budget
from collector.admin_api import Api, Audit, Trouble
from collector.admin_lookups import Stock
from collector.beside import Beside
from collector.config import Config, Key
from collector.panels import Panels
from collector.rates import Rates

# As many as a page lists.
NEWEST: Final = 20


class Watch(msgspec.Struct, frozen=True):
    """What is known of the running collector without asking a file, or without waiting for it.

    `audit` is of today, `newest` are the newest `NEWEST` rows, `stock` is what is on the disk;
    `budget`: what a key may still send.
    """

    rates: Rates
    audit: Beside[Audit | Trouble]
    newest: Beside[list[dict[str, Any]] | Trouble]
    stock: Beside[Stock | Trouble]
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
