"""Invalid bodies kept aside for sites that ask for it, one JSON file each, so nothing is lost.

Only what failed validation after its sender was identified comes here; never what was refused for
privacy or limits. Bounded in number: when it is full, such a body is refused like any other. The
visitor's address, where the protocol has one in its bodies, is masked before a body is kept.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from collector.adapters.contract import Endpoint, PlainEndpoint, Request
from collector.config import Site
from collector.ids import uuid7
from collector.masking import mask_addresses
from collector.refusal import Refusal
from storage import Store

FILES_MAX: Final = 10_000


class Kept(msgspec.Struct, omit_defaults=True):
    """One file: `body` as text, or in base64 where it is not UTF-8. `time` in microseconds."""

    time: int
    site: str
    endpoint: str
    reason: str
    message: str
    violations: tuple[object, ...] = ()
    body: str | None = None
    body_base64: bytes | None = None


_encoder: Final = msgspec.json.Encoder()


class Quarantine:
    """Keeps invalid bodies in `data/quarantine`."""

    def __init__(self, store: Store, endpoints: Iterable[Endpoint | PlainEndpoint]) -> None:
        self._store = store
        self._address_members = {
            one.path: one.address_member for one in endpoints if isinstance(one, Endpoint)
        }
        self._count = store.aside_count()

    def keep(self, request: Request, refusal: Refusal, site: Site) -> bool:
        """Put the body of `request` on disk; False when there is no room."""
        if self._count >= FILES_MAX:
            return False
        kept = Kept(
            time=request.now_us,
            site=site.id,
            endpoint=request.path,
            reason=refusal.kind.code,
            message=refusal.message,
            violations=refusal.violations,
        )
        body = mask_addresses(request.body, self._address_members.get(request.path, ""))
        try:
            kept.body = body.decode()
        except UnicodeDecodeError:
            kept.body_base64 = body
        try:
            self._store.set_aside(f"{uuid7(request.now_us)}.json", _encoder.encode(kept))
        except OSError:
            return False
        self._count += 1
        return True
