"""Sends the demo's events and counts what was answered; keeps to the limits it is told.

Events wait in one outbox per channel: browser events and Zenovay's go in batches now and then, the
others one by one. A 429 or 503 makes its channel wait as long as the answer says, and the events
are sent again; nothing else is sent twice.
"""

import http.client
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec

from collector.demo_shop import Channel, Shop, Step

_TIMEOUT_S: Final = 10.0
_RETRY_AFTER_S: Final = 1.0
# Per channel; only a collector that refuses for long gets here, and further events are left out.
_WAITING_MAX: Final = 5_000


class Unreachable(Exception):
    """No collector answers at the URL; the message says what to do."""


class Tally(msgspec.Struct):
    """Counts of events; sent = accepted + duplicate + rejected + limited.

    `limited` were answered "later" and sent again; `waiting` were not sent (again) before the end.
    """

    sent: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    limited: int = 0
    waiting: int = 0


class _Way(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel is sent: `events_max` per request, at least `interval_s` apart.

    The intervals stay below the default limits: 100 requests a minute for browsers and 30 for
    Zenovay's tier "pro".
    """

    path: str
    events_max: int = 1
    interval_s: float = 0.0


_WAYS: Final[dict[Channel, _Way]] = {
    "scanova": _Way(path="/collect/batch", events_max=100, interval_s=1.0),
    "scanova server": _Way(path="/server-events"),
    "croct": _Way(path="/client/web/track"),
    "zenovay": _Way(path="/api/v1/events", events_max=1_000, interval_s=2.5),
}
_KEYED: Final = frozenset({"scanova server", "zenovay"})


class _Outbox(msgspec.Struct):
    """What waits in one channel: for its turn (ours), or because it was told to."""

    tally: Tally = msgspec.field(default_factory=Tally)
    waiting: deque[Step] = msgspec.field(default_factory=deque)
    turn_s: float = 0.0
    resume_s: float = 0.0
    first_refusal: str = ""


class _ScanovaCounts(msgspec.Struct):
    accepted: int
    duplicates: int
    rejected: int
    results: list[msgspec.Raw] = []


class _ZenovayCounts(msgspec.Struct, rename="camel"):
    accepted_count: int
    deduped_count: int
    rejected_count: int
    errors: list[msgspec.Raw] = []


class _Status(msgspec.Struct):
    status: str = ""


_scanova_counts: Final = msgspec.json.Decoder(_ScanovaCounts)
_zenovay_counts: Final = msgspec.json.Decoder(_ZenovayCounts)
_status: Final = msgspec.json.Decoder(_Status)
_encoder: Final = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer; `retry_after_s` as the header says, with a default."""

    status: int
    body: bytes
    retry_after_s: float = _RETRY_AFTER_S


class Sender:
    """One connection to a collector. A context manager."""

    def __init__(self, url: str, shop: Shop, key: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Unreachable(f"{url} is no URL: {error}") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Unreachable(f"{url} is no URL such as http://127.0.0.1:8000")
        is_secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        self._url = url
        self._prefix = parts.path.rstrip("/")
        self._connection = kind(parts.hostname, port, timeout=_TIMEOUT_S)
        self._shop = shop
        self._key = key
        self._client_ids: dict[str, str] = {}
        self._outboxes: dict[Channel, _Outbox] = {
            channel: _Outbox() for channel in _WAYS if not self._why_not(channel)
        }

    def __enter__(self) -> Self:
        self._request("GET", "/healthz", {}, b"")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    @property
    def remarks(self) -> Sequence[str]:
        """What will not be sent, and why."""
        return [
            f"left out: {channel}, {why}" for channel in _WAYS if (why := self._why_not(channel))
        ]

    def take(self, step: Step) -> None:
        """Put an event into its outbox; sent by the next `flush` that may."""
        outbox = self._outboxes.get(step.channel)
        if outbox is not None and len(outbox.waiting) < _WAITING_MAX:
            outbox.waiting.append(step)

    def flush(self, now_s: float) -> None:
        """Send what is due at `now_s`. Raises `Unreachable`."""
        for channel, outbox in self._outboxes.items():
            way = _WAYS[channel]
            while outbox.waiting and max(outbox.turn_s, outbox.resume_s) <= now_s:
                outbox.turn_s = now_s + way.interval_s
                self._send(channel, outbox, now_s)

    def finish(self, now_s: float) -> None:
        """Send what waits for its turn only; what was told to wait stays unsent."""
        for outbox in self._outboxes.values():
            outbox.turn_s = 0.0
        self.flush(now_s)
        for outbox in self._outboxes.values():
            outbox.tally.waiting = len(outbox.waiting)

    def tallies(self) -> dict[str, Tally]:
        """The counts by channel."""
        return {channel: outbox.tally for channel, outbox in self._outboxes.items()}

    def refusals(self) -> tuple[str, ...]:
        """The first refusal of each channel, in the collector's words."""
        return tuple(
            f"{channel}: {outbox.first_refusal}"
            for channel, outbox in self._outboxes.items()
            if outbox.first_refusal
        )

    def _why_not(self, channel: Channel) -> str:
        """Why nothing can be sent by `channel`, "" when it can."""
        if channel in _KEYED and not self._key:
            return "no API key is known (--key)"
        if channel == "zenovay" and not self._shop.tracking_code:
            return "the site has no tracking_code"
        if channel == "croct" and not self._shop.app_id:
            return "the site has no croct_app_id"
        return ""

    def _send(self, channel: Channel, outbox: _Outbox, now_s: float) -> None:
        """One request; its events leave the outbox unless they must wait."""
        count = min(len(outbox.waiting), _WAYS[channel].events_max)
        steps = [outbox.waiting[index] for index in range(count)]
        body = _encoder.encode(self._body(channel, steps))
        headers = self._headers(channel, steps[0])
        answer = self._request("POST", _WAYS[channel].path, headers, body)
        outbox.tally.sent += count
        if answer.status in {429, 503}:
            outbox.tally.limited += count
            outbox.resume_s = now_s + answer.retry_after_s
            return
        for _ in range(count):
            outbox.waiting.popleft()
        refusal = count_answer(channel, answer, count, outbox.tally)
        outbox.first_refusal = outbox.first_refusal or refusal

    def _body(self, channel: Channel, steps: list[Step]) -> object:
        if channel == "scanova":
            return {"events": [step.body for step in steps]}
        if channel == "zenovay":
            events = [step.body for step in steps]
            return {"trackingCode": self._shop.tracking_code, "events": events}
        return steps[0].body

    def _headers(self, channel: Channel, step: Step) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if channel == "zenovay":
            return {**headers, "Authorization": f"Bearer {self._key}"}
        if channel == "scanova server":
            return {**headers, "X-API-Key": self._key}
        headers |= {
            "Origin": self._shop.origin,
            "User-Agent": step.user_agent,
            "Accept-Language": step.language,
        }
        if channel == "croct":
            headers |= {
                "X-App-Id": self._shop.app_id,
                "X-Client-Id": self._client_id(step.visitor),
                "X-Client-Library": "Croct SDK JS v0.22.1",
            }
            if step.token:
                headers["X-Token"] = step.token
        return headers

    def _client_id(self, visitor: str) -> str:
        """Croct's id of the visitor: asked for once, as its SDK does."""
        if visitor not in self._client_ids:
            answer = self._request("GET", "/client/web/cid", {"Origin": self._shop.origin}, b"")
            text = answer.body.decode("latin-1")
            # Refused here, the beacon itself will say why.
            self._client_ids[visitor] = text if answer.status == 200 else visitor
        return self._client_ids[visitor]

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Send one request, once more when a kept connection had been closed meanwhile."""
        try:
            return self._try(method, path, headers, body)
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
        except OSError as error:
            raise self._nobody(error) from None
        try:
            return self._try(method, path, headers, body)
        except (http.client.HTTPException, OSError) as error:
            raise self._nobody(error) from None

    def _try(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        self._connection.request(method, self._prefix + path, body or None, headers)
        answer = self._connection.getresponse()
        text = answer.getheader("Retry-After", "")
        return Answer(
            answer.status, answer.read(), float(text) if text.isdigit() else _RETRY_AFTER_S
        )

    def _nobody(self, error: Exception) -> Unreachable:
        reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        return Unreachable(
            f"no collector answers on {self._url} ({reason}); start one: collector serve"
        )


def count_answer(channel: Channel, answer: Answer, count: int, tally: Tally) -> str:
    """Add the fate of `count` events to `tally`; returns why some were not taken, or ""."""
    if channel == "croct" and answer.status == 204:
        tally.accepted += count
        return ""
    if answer.status != 200:
        tally.rejected += count
        return f"{answer.status} {_excerpt(answer.body)}"
    try:
        if channel == "scanova":
            found = _scanova_counts.decode(answer.body)
            accepted, duplicate, rejected = found.accepted, found.duplicates, found.rejected
        elif channel == "zenovay":
            verdicts = _zenovay_counts.decode(answer.body)
            accepted, duplicate = verdicts.accepted_count, verdicts.deduped_count
            rejected = verdicts.rejected_count
        else:
            is_repeat = _status.decode(answer.body).status == "duplicate"
            accepted, duplicate, rejected = (0, 1, 0) if is_repeat else (1, 0, 0)
    except msgspec.DecodeError:
        tally.rejected += count
        return f"an answer that is not the collector's: {_excerpt(answer.body)}"
    tally.accepted += accepted
    tally.duplicate += duplicate
    tally.rejected += rejected
    return _excerpt(answer.body) if rejected else ""


def _excerpt(body: bytes) -> str:
    """The beginning of a body, fit for a terminal."""
    text = "".join(c if c.isprintable() else " " for c in body[:300].decode("utf-8", "replace"))
    return text.strip()
