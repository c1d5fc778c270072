"""Takes over what earlier versions kept in quarantine: one JSON file per body, beacons only.

Interrupted, it goes on at the next start: an event that is in a Parquet file already is not put
there again, and a JSON file goes only when its event is on disk.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from collector.adapters.contract import Endpoint, PlainEndpoint
from storage import SmallFiles, aside, asidereader

_log: Final = logging.getLogger("collector")
_ENDING: Final = ".json"
_AT_ONCE: Final = 500


class _Old(msgspec.Struct):
    """One file: `body` as text, or in base64 where it is not UTF-8. `time` in microseconds."""

    time: int
    site: str
    endpoint: str
    reason: str
    message: str
    violations: msgspec.Raw = msgspec.Raw(b"null")
    body: str | None = None
    body_base64: bytes | None = None


_decoder: Final = msgspec.json.Decoder(_Old)


def take_over(
    folder: SmallFiles,
    into: aside.Aside,
    endpoints: Iterable[Endpoint | PlainEndpoint],
    *,
    mask: Callable[[Endpoint, bytes], bytes],
    bytes_max: int,
) -> int:
    """Put the events of JSON files into Parquet, up to `bytes_max` per site; how many.

    What cannot be read or has no room stays where it is, and is told. Raises `StorageError` or
    OSError.
    """
    names = [name for name in folder.names() if name.endswith(_ENDING)]
    if not names:
        return 0
    known = {one.path: one for one in endpoints if isinstance(one, Endpoint)}
    ids, used = into.ids(), into.sizes()
    taken, left = 0, 0
    for chunk in _chunks(names):
        events: list[aside.Kept] = []
        done: list[str] = []
        for name in chunk:
            kept = _maybe_kept(name, folder.read(name), known, mask)
            if kept is None or used.get(kept.site_id, 0) + aside.size_of(kept) > bytes_max:
                left += 1
                continue
            done.append(name)
            if kept.id not in ids:
                used[kept.site_id] = used.get(kept.site_id, 0) + aside.size_of(kept)
                events.append(kept)
        if events:
            into.add(events)
            into.join()
        for name in done:
            folder.remove(name)
        taken += len(events)
    if left:
        _log.warning("quarantine: %d JSON files of an earlier version stay as they are", left)
    return taken


def _chunks(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def _maybe_kept(
    name: str,
    data: bytes | None,
    known: dict[str, Endpoint],
    mask: Callable[[Endpoint, bytes], bytes],
) -> aside.Kept | None:
    """The event of one file, None when it cannot be told."""
    try:
        old = _decoder.decode(data or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    endpoint = known.get(old.endpoint)
    one = name.removesuffix(_ENDING)
    if endpoint is None or not asidereader.is_id(one):
        return None
    body = old.body_base64 if old.body is None else old.body.encode()
    return aside.Kept(
        id=one,
        time=old.time,
        site_id=old.site,
        protocol=endpoint.protocol,
        source=endpoint.source,
        endpoint=old.endpoint,
        reason=old.reason,
        message=old.message,
        violations=None if bytes(old.violations) == b"null" else msgspec.Raw(bytes(old.violations)),
        content_type="application/json",  # what else was refused before its body was looked at
        raw=mask(endpoint, body or b""),
    )
