"""Takes events out of the quarantine and through adapter and pipeline again, by the rules of now.

An event is judged as if it had just arrived at the time of its receipt: what is too old, or from a
clock that is wrong, is told by that. It is stored now: `received_time` is the time of the replay,
the flag `replayed` marks the row, and `context.quarantine` tells when it was received and under
which id it was kept. Who may send was settled then: no origin, key or limit is asked again; the
site must still be there and be switched on.

Twice is harmless: an event has the identity it would have had, or one made of its id in quarantine,
and leaves the quarantine only when its row is on disk. What is refused again stays, with the reason
of now; what is refused for privacy now is removed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from collector import quarantine as keeping
from collector import rawbody
from collector.access import Caller
from collector.adapters.contract import Endpoint, Head, PlainEndpoint, Request
from collector.event import Event, Outcome, Row, Verdict
from collector.normalise import Clock
from collector.orders import OrderFailed
from collector.pipeline import Pipeline
from collector.quarantine import Quarantine
from collector.refusal import INACTIVE_SITE, SUSPENDED, UNKNOWN_SITE, Refusal
from storage import aside, asidereader

REPLAYED_FLAG: Final = "replayed"
_AT_ONCE: Final = 100
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_headers: Final = msgspec.json.Decoder(dict[str, str])
_encoder: Final = msgspec.json.Encoder()


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events; empty members ask for nothing. `dry_run`: judge them, change nothing."""

    ids: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    dry_run: bool = False


class Report(msgspec.Struct, kw_only=True):
    """What became of the events.

    `accepted` and `duplicate` have left the quarantine, and so have those that are `removed` for
    privacy. `stays`: by the reason of now. `seen`: all of them. `missing`: ids that were asked for
    and are not there. A `dry_run` counts in `would_pass` what the rules take: it does not look for
    repeats, so that some of them may be duplicates.
    """

    seen: int = 0
    accepted: int = 0
    duplicate: int = 0
    would_pass: int = 0
    removed: int = 0
    stays: dict[str, int] = {}
    missing: tuple[str, ...] = ()
    dry_run: bool = False


class _Kept(msgspec.Struct):
    """Why an event stays as it is: nothing about the event itself."""

    why: str


_Result = Outcome | _Kept | Literal["valid"]


class Replay:
    """Replays what is kept in `directory`. `in_thread`: as for `Quarantine`."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        quarantine: Quarantine,
        aside: aside.Aside,
        endpoints: Iterable[Endpoint | PlainEndpoint],
        clock: Clock,
        directory: Path,
        now_us: Callable[[], int],
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._pipeline = pipeline
        self._quarantine = quarantine
        self._aside = aside
        self._endpoints = {one.path: one for one in endpoints if isinstance(one, Endpoint)}
        self._clock = clock
        self._directory = directory
        self._now_us = now_us
        self._in_thread = in_thread

    async def replay(
        self, arguments: dict[str, Any], tell: Callable[[int, int, str], object]
    ) -> dict[str, Any]:
        """Replay what `arguments` (`Arguments`) ask for; a `Report` as plain values.

        `tell` is told how far it is. Raises `StorageError` (`OrderFailed` for arguments that make
        no sense) or OSError when files cannot be read or written: what was done until then is done,
        and the same call may be repeated.
        """
        try:
            asked = msgspec.convert(arguments, Arguments)
        except msgspec.ValidationError as error:
            raise OrderFailed(f"not a choice of events: {error}") from None
        wanted = asidereader.Filter(
            ids=tuple(one.lower() for one in asked.ids),
            sites=asked.sites,
            reasons=asked.reasons,
            protocols=asked.protocols,
        )
        await self._quarantine.flush()
        ids: list[str] = await self._in_thread(asidereader.ids, self._directory, wanted)
        missing = tuple(sorted(set(wanted.ids) - set(ids)))
        report = Report(missing=missing, dry_run=asked.dry_run)
        for start in range(0, len(ids), _AT_ONCE):
            await self._replay_some(ids[start : start + _AT_ONCE], report, dry_run=asked.dry_run)
            tell(min(start + _AT_ONCE, len(ids)), len(ids), "events")
        return {name: getattr(report, name) for name in report.__struct_fields__}

    async def _replay_some(self, ids: Sequence[str], report: Report, *, dry_run: bool) -> None:
        wanted = asidereader.Filter(ids=tuple(ids))
        events: list[aside.Kept] = await self._in_thread(asidereader.read, self._directory, wanted)
        results = await asyncio.gather(*(self._one(kept, dry_run=dry_run) for kept in events))
        gone: list[str] = []
        stay: list[aside.Reason] = []
        stays = Counter(report.stays)
        for kept, result in zip(events, results, strict=True):
            report.seen += 1
            if isinstance(result, _Kept):
                stays[result.why] += 1
            elif not isinstance(result, Refusal):
                report.would_pass += result == "valid"
                report.accepted += result is Verdict.ACCEPTED
                report.duplicate += result is Verdict.DUPLICATE
                gone.append(kept.id)
            elif result.kind.keeps:
                stays[result.kind.code] += 1
                stay.append(_reason(kept, result))
            elif result.kind.retriable:
                stays[result.kind.code] += 1
            else:
                report.removed += 1
                gone.append(kept.id)
        report.stays = dict(stays)
        if not dry_run:
            await self._in_thread(self._aside.settle, gone, stay)
            self._quarantine.refresh()

    async def _one(self, kept: aside.Kept, *, dry_run: bool) -> _Result:
        endpoint = self._endpoints.get(kept.endpoint)
        access = self._pipeline.access
        site = access.sites.by_id(kept.site_id)
        if endpoint is None:
            return _Kept("unknown_endpoint")
        if site is None:
            return _Kept(UNKNOWN_SITE.code)
        if not site.active:
            return _Kept(INACTIVE_SITE.code)
        if site.croct_suspended and endpoint.credentials == "app":
            return _Kept(SUSPENDED.code)
        request = _request(kept, endpoint)
        batch = endpoint.decode(request)
        if isinstance(batch, Refusal):
            return batch
        if len(batch.items) != 1:
            return _Kept("several_events")
        if endpoint.check is not None:
            endpoint.check(batch, site)
        [item] = batch.items
        if isinstance(item, Refusal):
            return item
        self._clock.correct_all([item], request.now_us)
        if dry_run:
            return "valid"
        _mark(item, kept)
        # What a protocol reports as an address was masked, and a mask is nobody's address.
        item.client_address = None
        request.now_us = item.row.received_time = self._now_us()
        caller = Caller(
            head=Head(),
            address="",
            access=access,
            origin=kept.origin,
            key=access.sites.key_named(kept.key_id or ""),
            site=site,
        )
        return await self._pipeline.store_again(endpoint, request, caller, item, site)


def _request(kept: aside.Kept, endpoint: Endpoint) -> Request:
    """The request as it was, as far as it was kept; a batch has this one event."""
    headers = {} if kept.headers is None else _headers.decode(kept.headers)
    if kept.content_type is not None:
        headers["content-type"] = kept.content_type
    return Request(
        method=endpoint.method,
        path=endpoint.path,
        query="",
        headers=headers,
        body=rawbody.join(endpoint.shape, kept.envelope, kept.raw),
        now_us=kept.time,
    )


def _mark(item: Event, kept: aside.Kept) -> None:
    """Make the row of a replay tell where it comes from, and be the same one every time."""
    row = item.row
    row.flags = (*row.flags, REPLAYED_FLAG)
    if not row.event_id:
        row.event_id = kept.id
    if item.identity is None:
        item.identity = b"quarantine\0" + kept.id.encode()
    _add_context(row, {"id": kept.id, "received_time": kept.time // 1_000})


def _add_context(row: Row, origin: dict[str, object]) -> None:
    context = row.context
    if isinstance(context, dict):
        row.context = {**context, "quarantine": origin}
        return
    members: dict[str, Any] = {}
    if context is not None:
        members = dict(_members.decode(context))
    row.context = msgspec.Raw(_encoder.encode({**members, "quarantine": origin}))


def _reason(kept: aside.Kept, refusal: Refusal) -> aside.Reason:
    violations = keeping.violations_json(refusal.violations)
    return aside.Reason(
        kept.id,
        refusal.kind.code,
        refusal.message,
        None if violations is None else bytes(violations).decode(),
    )
