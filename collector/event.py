"""Values that cross from an adapter to the pipeline: an event, a batch of them, an outcome.

Free of any protocol. `Row` is re-exported because an event is a row whose server facts are not
filled in yet: adapters write what the client said under the columns' own names, so that nothing is
copied on the way to the log.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from collector.refusal import Refusal
from storage import Row

__all__ = ["Batch", "Event", "Outcome", "Row", "Verdict", "copy_row"]

# A row of forty members is copied and filled in within half the time that it takes to be made with
# as many keywords. (`copy.copy` looks the method up first; the library's types do not list it.)
copy_row: Final[Callable[[Row], Row]] = Row.__copy__  # type: ignore[attr-defined]


class Event(msgspec.Struct, kw_only=True, gc=False):
    """One event as the client sent it. gc=False: it never takes part in a cycle.

    `row` holds what the client said; the pipeline fills in the server facts (received_time,
    dedup_key, ip_hash, key_id, flags, ...). `row.site_id` is what the *client claims* (Scanova's
    `site_id`) until the pipeline has authorised it; it stays empty where the head or the batch
    names the site. `row.event_id` is "" when the client sent none; the pipeline makes one.
    `row.event_time` is 0 when the client sent none; then the time of receipt counts.
    `identity` is what makes two events of one site the same, None when the protocol gives nothing
    to tell by; it is not yet hashed and may be long.
    `departure_us` is set when the protocol stamps each sending attempt with the client's clock, so
    that a wrong clock can be corrected.
    `client_address` is an address that the sender reported in the body; it is hashed, never kept.
    `webdriver`: the page says that a program drives its browser (`navigator.webdriver`).
    """

    row: Row
    identity: bytes | None = None
    departure_us: int | None = None
    client_address: str | None = None
    webdriver: bool = False


class Verdict(IntEnum):
    """What became of an event that was not refused."""

    ACCEPTED = 1
    DUPLICATE = 2


Outcome = Verdict | Refusal


class Batch(msgspec.Struct, kw_only=True):
    """What one request carried: its events, or why each of them cannot be one, in order sent.

    A request with a single event is a batch of one. `site` is the name of the site in the
    protocol's own terms when the body names one for the whole batch (Zenovay's tracking code).
    """

    items: list[Event | Refusal]
    site: str = ""
