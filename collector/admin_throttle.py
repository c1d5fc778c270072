"""How often a wrong admin token may be shown: per client address, and by all together.

Must not know what a token is, nor keep an address longer than its bucket is not full.
"""

from typing import Final

from collector.addresses import address_key
from collector.buckets import Buckets

# Together as many as this many addresses may: whoever has many addresses gains little by it.
_ADDRESSES: Final = 10
_ALL: Final = b"all"


class FailedLogins:
    """Two token buckets; a failure takes from both, a success from none.

    `per_minute` per address, ten times as many in all; 0: no limit. `entries_max`: addresses kept.
    """

    def __init__(self, per_minute: int, entries_max: int) -> None:
        self._by_address = Buckets(per_minute, 0, entries_max)
        self._together = Buckets(per_minute * _ADDRESSES, 0, 1)

    def change(self, per_minute: int, entries_max: int, now_us: int) -> None:
        """Go on with other limits; what failed stays counted."""
        self._by_address.change(per_minute, 0, entries_max, now_us)
        self._together.change(per_minute * _ADDRESSES, 0, 1, now_us)

    def wait_s(self, address: str, now_us: int) -> int:
        """Whole seconds until a token of `address` is looked at again; 0: at once."""
        key = address_key(address)
        return max(
            self._by_address.wait_s(self._by_address.foresee(key, now_us)),
            self._together.wait_s(self._together.foresee(_ALL, now_us)),
        )

    def failed(self, address: str, now_us: int) -> None:
        """Count a wrong token."""
        self._by_address.pay(address_key(address), now_us)
        self._together.pay(_ALL, now_us)
