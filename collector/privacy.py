"""What may be kept of an event, and how an address is forgotten. The one home of privacy rules.

Applied before a row is encoded. Owns consent, Global Privacy Control (GPC) and the hashing of
addresses; must not decide whether an event is accepted (Zenovay's refusals of opted-out events
belong to its adapter), must not read a clock, and must not remember an address.
"""

import hashlib
import ipaddress
from typing import Any, Final

import msgspec

from collector.event import Row
from collector.headers import Headers

UNKNOWN_ADDRESS: Final = "unknown"
GPC_FLAG: Final = "gpc"
# Values of consent that take something out of a row.
WITHHELD: Final = frozenset({"denied", "pending"})

# Members of `context` whose content only the sender knows.
_FREE_FORM: Final = frozenset({"metadata", "unknown"})

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()


def gpc_sent(headers: Headers) -> bool:
    """Whether the browser asks not to be tracked: `Sec-GPC: 1`, the only value the draft knows."""
    return headers.get("sec-gpc") == "1"


def apply(row: Row, *, gpc: bool, honour_gpc: bool) -> None:
    """Take out of `row` what consent does not cover (docs/PROTOCOLS.md).

    `denied` and `pending` leave no page address, title, referrer, city, metadata and no free-form
    member of `context`; `denied` leaves no user id and identifier either. `visitor_id` and
    `consent` itself stay, the latter as an audit trail. `gpc`: the request carried the signal,
    which is flagged, and with `honour_gpc` counts as `denied`. Other values of consent take
    nothing. Applying it twice is harmless; apply it after everything that fills these columns in.
    """
    consent = row.consent
    if gpc:
        if GPC_FLAG not in row.flags:
            row.flags = (*row.flags, GPC_FLAG)
        if honour_gpc:
            consent = "denied"
    if consent not in WITHHELD:
        return
    row.page_url = row.page_title = row.referrer = row.city = row.metadata = None
    row.context = _without_free_form(row.context)
    if consent == "denied":
        row.user_id = row.external_id = row.email_hash = row.phone_hash = None


class AddressHasher:
    """Turns client addresses into what may be stored: a digest that changes every day.

    Keeps the day's salted state, never an address: no cache, no log, no exception text.
    """

    def __init__(self) -> None:
        self._salt = b""
        self._salted = hashlib.sha256()

    def hash(self, address: str | None, salt: bytes) -> str:
        """Hex SHA-256 of `salt` and the canonical text of `address`; "unknown" without one.

        `salt` is the secret of the day; that no two days share one is the caller's duty. Spellings
        of one address give one digest (an IPv4 address inside IPv6 is that IPv4 address); what is
        no address is hashed as it is.
        """
        if not address:
            return UNKNOWN_ADDRESS
        if salt is not self._salt:
            self._salted = hashlib.sha256(salt)
            self._salt = salt
        digest = self._salted.copy()
        # Of IPv4 only one spelling can be parsed.
        text = _canonical(address) if ":" in address else address
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def forget(self) -> None:
        """Have nothing left of the salt that was used last."""
        self._salt = b""
        self._salted = hashlib.sha256()


def _canonical(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def _without_free_form(
    context: msgspec.Raw | dict[str, object] | None,
) -> msgspec.Raw | dict[str, object] | None:
    """`context` without its free-form members; None when nothing is left or nothing is sure."""
    if context is None:
        return None
    members: dict[str, Any]
    if isinstance(context, dict):
        members = context
    else:
        try:
            members = _members.decode(context)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # What cannot be read cannot be shown to be free of personal data.
            return None
    # A new one: events of a batch may share theirs, and consent is each event's own.
    kept = {name: value for name, value in members.items() if name not in _FREE_FORM}
    if isinstance(context, dict):
        return kept or None
    return msgspec.Raw(_encoder.encode(kept)) if kept else None
