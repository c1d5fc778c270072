"""Which refused events are kept aside, and of which of their bytes a replay is made again.

Kept is what was refused for being malformed (`Kind.keeps`), once its sender had shown that it may
write to the site. Never kept: what was refused for privacy, credentials, origin, limits or by a
fault of ours; what comes from a sender who objects to being tracked, or whose consent is not
plainly given; what holds bytes that the protocol forbids to send; what is no UTF-8 text, so that
none of this can be found in it. Addresses of clients are masked.
Of the head only what a replay needs is kept: no credential, no token, no address.

Events wait in memory for the next write, at most a second, so that a crash may lose what its sender
knows to be refused. `keep_for_good` waits for the disk. Bounded in bytes: per site on disk, and all
together in memory. Event loop only; looking through bytes and writing them go through `in_thread`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from collector import rawbody
from collector.access import Caller
from collector.adapters.contract import Endpoint, Request
from collector.config import Site
from collector.event import Outcome
from collector.ids import uuid7
from collector.masking import is_address
from collector.privacy import gpc_sent
from collector.refusal import Refusal, Violation
from storage import Person, StorageError, aside

Mask = Callable[[Endpoint, bytes], bytes]  # a body of it: the same without addresses of clients

_log: Final = logging.getLogger("collector")
# Of all sites together, waiting for the next write.
_PENDING_BYTES_MAX: Final = 33_554_432
_DAY_US: Final = 24 * 3600 * 1_000_000
_EXPIRE_EVERY_US: Final = 3_600_000_000
_ID_CHARS_MAX: Final = 256
_MESSAGE_CHARS_MAX: Final = 512
_VIOLATIONS_MAX: Final = 20
# What an adapter may read of a head, without credentials; longer values are cut.
_HEADERS: Final = (
    *("user-agent", "accept-language", "x-client-id", "x-client-library", "x-app-id"),
    *("sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-gpc"),
)
_HEADER_CHARS_MAX: Final = 1_024  # as long as adapters read them

_encoder: Final = msgspec.json.Encoder()


class _Candidate(msgspec.Struct):
    """An event that is kept if its bytes allow it; `decided` tells who waits for it."""

    kept: aside.Kept
    endpoint: Endpoint
    decided: "asyncio.Future[bool] | None" = None


class Quarantine:
    """Keeps refused events of each site, up to `bytes_max` (0: none), for `days` (0: for ever).

    `site_days`: for how many days those of a site, where it differs. `mask` takes addresses of
    clients out of a body.
    """

    def __init__(
        self,
        aside: aside.Aside,
        *,
        mask: Mask,
        bytes_max: int,
        days: int,
        site_days: Mapping[str, int],
        now_us: Callable[[], int],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._aside = aside
        self._mask = mask
        self._bytes_max = bytes_max
        self._days = days
        # How long those of a site are kept; a reload puts others in their place.
        self.site_days = site_days
        self._now_us = now_us
        self._in_thread = in_thread
        self._flushes: list[asyncio.Future[None]] = []
        # Called when a write cannot wait; replaced by whoever writes.
        self.wake: Callable[[], None] = lambda: None
        self._used: dict[str, int] = {}
        self._pending: list[_Candidate] = []
        self._pending_bytes = 0
        self._expired_us = 0
        self._is_stale = False
        self.kept = 0
        self.withheld = 0
        self.full = 0
        self.failures = 0

    @property
    def bytes_kept(self) -> int:
        """What is kept of all sites, and waits to be."""
        return sum(self._used.values())

    def load(self) -> None:
        """Find out what is kept. Raises `StorageError` or OSError."""
        self._used = self._aside.open()

    async def flush(self) -> None:
        """Return when all that waits now is written, or is known not to be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append(done)
        self.wake()
        await done

    async def erase(
        self, person: Person, dry_run: bool, values: Sequence[str] = ()
    ) -> dict[str, int]:
        """Take out the events of a person, or only count them; how many, by file.

        Those of the person's site whose bytes hold the value that the person is known by, or one of
        `values`, by which the person is known too. Raises `StorageError` or OSError.
        """
        await self.flush()
        erase = partial(self._aside.erase, person.site, [person.value, *values], dry_run=dry_run)
        try:
            counts: dict[str, int] = await self._in_thread(erase)
        finally:
            self._is_stale = True
        return counts

    def refresh(self) -> None:
        """What is kept was changed by somebody else: look again at the next write."""
        self._is_stale = True

    # --- what is kept

    def keep_body(
        self, endpoint: Endpoint, request: Request, caller: Caller, refusal: Refusal
    ) -> None:
        """Keep a body that was refused as a whole, if it may be."""
        self._consider_body(endpoint, request, caller, refusal)

    async def keep_for_good(
        self, endpoint: Endpoint, request: Request, caller: Caller, refusal: Refusal
    ) -> bool:
        """The same; when it returns True, the body is on disk."""
        candidate = self._consider_body(endpoint, request, caller, refusal)
        if candidate is None:
            return False
        candidate.decided = asyncio.get_running_loop().create_future()
        self.wake()
        return await candidate.decided

    def _consider_body(
        self, endpoint: Endpoint, request: Request, caller: Caller, refusal: Refusal
    ) -> _Candidate | None:
        if not refusal.kind.keeps or not self._bytes_max:
            return None
        members = rawbody.members_of(request.body)
        site = self._site_of(endpoint, caller, members, {})
        if site is None:
            return None
        what = (request.body, members, None)
        return self._consider(endpoint, request, caller, (refusal, site), what)

    def keep_items(
        self,
        endpoint: Endpoint,
        request: Request,
        caller: Caller,
        outcomes: Sequence[Outcome],
        sites: "Sequence[Site | None]",
    ) -> None:
        """Keep those of a request's events that were refused and may be kept, each by itself."""
        refused = [
            (index, outcome)
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, Refusal) and outcome.kind.keeps
        ]
        if not refused or not self._bytes_max:
            return
        shape = endpoint.shape
        beside: rawbody.Members = {}
        items = [msgspec.Raw(request.body)]
        envelope = None
        if shape.items:
            beside = rawbody.members_of(request.body)
            items = rawbody.items_of(beside.get(shape.items, rawbody.NULL))
            envelope = rawbody.envelope(shape, beside)
            if not rawbody.consents_beside(shape, request.body, beside):
                self.withheld += len(refused)
                return
        if len(items) != len(outcomes):
            return  # read in another way than the adapter did: nothing is sure
        for index, refusal in refused:
            raw = bytes(items[index])
            members = rawbody.members_of(raw)
            site = sites[index] or self._site_of(endpoint, caller, members, beside)
            if site is not None:
                what = (raw, members, envelope)
                self._consider(endpoint, request, caller, (refusal, site), what)

    def _site_of(
        self, endpoint: Endpoint, caller: Caller, members: rawbody.Members, beside: rawbody.Members
    ) -> Site | None:
        """The site that a refused event would have gone to, if its sender may write there."""
        if caller.site is not None:
            return caller.site
        shape = endpoint.shape
        name = rawbody.text_of(members, shape.site) or rawbody.text_of(beside, shape.site)
        if not name:
            return caller.access.only_site(caller)
        if shape.is_tracking_code:
            found = caller.access.batch_site(caller, name)
        else:
            found = caller.access.item_site(caller, name)
        return None if isinstance(found, Refusal) else found

    def _consider(
        self,
        endpoint: Endpoint,
        request: Request,
        caller: Caller,
        why: tuple[Refusal, Site],
        what: tuple[bytes, rawbody.Members, str | None],
    ) -> _Candidate | None:
        (refusal, site), (raw, members, envelope) = why, what
        objects = gpc_sent(request.headers) and (site.honour_gpc or endpoint.shape.gpc_refuses)
        event_id = rawbody.text_of(members, endpoint.shape.identity)
        # One id for all whose address is masked would make them repeats of one another.
        if objects or not rawbody.is_text(raw) or is_address(event_id):
            self.withheld += 1
            return None
        kept = aside.Kept(
            id=uuid7(request.now_us),
            time=request.now_us,
            site_id=site.id,
            protocol=endpoint.protocol,
            source=endpoint.source,
            endpoint=endpoint.path,
            reason=refusal.kind.code,
            message=refusal.message[:_MESSAGE_CHARS_MAX],
            violations=violations_json(refusal.violations),
            content_type=_content_type(request),
            key_id=caller.key.name if caller.key else None,
            origin=caller.origin or None,
            headers=_headers(request),
            event_id=event_id[:_ID_CHARS_MAX] or None,
            envelope=envelope,
            raw=raw,
        )
        size = aside.size_of(kept)
        used = self._used.get(kept.site_id, 0)
        if (
            used + size > self._bytes_max
            or size > aside.RAW_BYTES_MAX
            or self._pending_bytes + size > _PENDING_BYTES_MAX
        ):
            self.full += 1
            return None
        self._used[kept.site_id] = used + size
        self._pending_bytes += size
        candidate = _Candidate(kept, endpoint)
        self._pending.append(candidate)
        return candidate

    # --- to the disk

    async def save(self) -> None:
        """Write what waits, and take out what is too old; a failed write is told and counted.

        Waits for the disk, so the owner calls it again only when it has returned.
        """
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        flushes, self._flushes = self._flushes, []
        try:
            if pending:
                await self._write_and_decide(pending)
        finally:
            for done in flushes:
                if not done.done():
                    done.set_result(None)
        try:
            await self._tidy(has_written=bool(pending))
        except (StorageError, OSError) as error:
            self._is_stale = True
            self._failed(error)

    async def _write_and_decide(self, pending: list[_Candidate]) -> None:
        allowed: set[str] = set()
        try:
            await self._in_thread(self._write, pending, allowed)
        except (StorageError, OSError) as error:
            self._failed(error)
        finally:
            # Whatever happened, somebody may wait for it.
            self._decide(pending, allowed)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        _log.warning("quarantine: %s", error)

    def _decide(self, pending: list[_Candidate], allowed: set[str]) -> None:
        """Tell who waits; what is not kept takes no room."""
        self.kept += len(allowed)
        for candidate in pending:
            is_kept = candidate.kept.id in allowed
            if not is_kept:
                self.withheld += 1
                self._used[candidate.kept.site_id] -= aside.size_of(candidate.kept)
            if candidate.decided is not None and not candidate.decided.done():
                candidate.decided.set_result(is_kept)

    def _write(self, pending: list[_Candidate], allowed: set[str]) -> None:
        """Keep what may be kept; its ids are `allowed` when it is on disk. Runs in a thread."""
        chosen = []
        for candidate in pending:
            kept, endpoint = candidate.kept, candidate.endpoint
            if rawbody.consents(endpoint.shape, kept.raw) and not endpoint.shape.is_forbidden(
                kept.raw
            ):
                envelope = kept.envelope
                if envelope is not None:
                    envelope = self._mask(endpoint, envelope.encode()).decode()
                raw = self._mask(endpoint, kept.raw)
                chosen.append(msgspec.structs.replace(kept, raw=raw, envelope=envelope))
        if chosen:
            self._aside.add(chosen)
        allowed.update(one.id for one in chosen)

    async def _tidy(self, *, has_written: bool) -> None:
        if has_written:
            # Not a part of the write: what was kept stays kept if this fails.
            await self._in_thread(self._aside.join)
        now_us = self._now_us()
        expires = self._days or any(self.site_days.values())
        if expires and now_us - self._expired_us >= _EXPIRE_EVERY_US:
            self._expired_us = now_us
            borders = {
                site: now_us - days * _DAY_US if days else 0
                for site, days in self.site_days.items()
            }
            before_us = now_us - self._days * _DAY_US if self._days else 0
            if await self._in_thread(self._aside.expire, before_us, borders):
                self._is_stale = True
        if self._is_stale:
            self._is_stale = False
            sizes: dict[str, int] = await self._in_thread(self._aside.sizes)
            for candidate in self._pending:
                kept = candidate.kept
                sizes[kept.site_id] = sizes.get(kept.site_id, 0) + aside.size_of(kept)
            self._used = sizes


def violations_json(violations: tuple[Violation, ...]) -> msgspec.Raw | None:
    """The first of the broken rules as JSON, None without any."""
    if not violations:
        return None
    return msgspec.Raw(_encoder.encode(violations[:_VIOLATIONS_MAX]))


def _content_type(request: Request) -> str | None:
    value: str | None = request.headers.get("content-type")
    return None if value is None else value[:_HEADER_CHARS_MAX]


def _headers(request: Request) -> msgspec.Raw | None:
    found = {
        name: text[:_HEADER_CHARS_MAX]
        for name in _HEADERS
        if (text := request.headers.get(name, ""))
    }
    return msgspec.Raw(_encoder.encode(found)) if found else None
