"""The shape of an adapter: what it is given, what it returns, and the row of the endpoint table.

An adapter is a set of pure functions from bytes to values and back. It never does I/O, reads a
clock, draws a random number or looks anything up: what it needs is handed in. Adapters import this
module, `event`, `refusal`, `decoding` and msgspec; never each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from collector.event import Batch, Outcome
from collector.headers import Headers
from collector.refusal import Kind, Refusal

Header = tuple[str, str]


class Request(msgspec.Struct, kw_only=True):
    """One HTTP request, as far as an adapter may know it.

    `body` is inflated and is empty in the head phase. `id` is a fresh UUID where the endpoint asks
    for one. `now_us` is the time of receipt: set when the head is in, set again in the turn in
    which the body is taken.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes = b""
    id: str = ""
    now_us: int = 0


class Response(msgspec.Struct):
    """Status, headers (what the server and `http.Cors` add is not among them) and body."""

    status: int
    headers: Sequence[Header]
    body: bytes = b""


class Head(msgspec.Struct, kw_only=True):
    """Credentials found in the head of a request; which are used is told by the endpoint."""

    key: str = ""
    app_id: str = ""
    client_id: str = ""
    token: str = ""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may still send: requests per minute, and per month where the tier limits it.

    `reset_s` and `month_reset_s` are Unix seconds. `limit` 0: no limit per minute;
    `month_limit` 0: none per month. How long to wait is told by a refusal.
    """

    limit: int
    remaining: int
    reset_s: int
    month_used: int = 0
    month_limit: int = 0
    month_reset_s: int = 0
    total_used: int = 0


class SiteRules(Protocol):
    """What an adapter may ask of the site that was authorised."""

    @property
    def goals(self) -> frozenset[str]:
        """Names of active goals."""

    @property
    def refuses_unknown(self) -> bool:
        """True: a beacon with a member that no schema knows is refused (`croct_strict`)."""


ReadHead = Callable[[Request], Head | Refusal]
Decode = Callable[[Request], Batch | Refusal]
Check = Callable[[Batch, SiteRules], None]
Respond = Callable[[Request, Batch, list[Outcome], Budget | None], Response]
Refuse = Callable[[Request, Refusal, Budget | None], Response]


def _never(_raw: bytes) -> bool:
    return False


class BodyShape(msgspec.Struct, frozen=True, kw_only=True):
    """Where in a body that is refused stands what must be known in order to keep it aside.

    Members by their names on the wire. `items`: the array of a batch, "" where the body is the
    event. `envelope`: what beside it an item needs to be decoded by itself; members, or members of
    members, each by its path. `site`: names the site, in the event or beside it; "" where the head
    does. `is_tracking_code`: in the terms of `Access.batch_site`. `identity`: the client's own id
    of the event. `consents`: values of `consent` with which an event may be kept. `gpc_refuses`:
    the protocol refuses whatever is sent with `Sec-GPC: 1`, on every site. `is_forbidden`: whether
    bytes must not be kept whatever they were refused for, because they hold what the protocol
    forbids to send.
    """

    items: str = ""
    envelope: tuple[tuple[str, ...], ...] = ()
    site: str = ""
    is_tracking_code: bool = False
    identity: str = ""
    consents: frozenset[str] = frozenset()
    gpc_refuses: bool = False
    is_forbidden: Callable[[bytes], bool] = _never


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What `/openapi.json` tells of an endpoint that its decoder and answers do not tell by type.

    `body`: what a body is decoded into, several types where it may be any of them. `rules`: by
    struct and member (`Item.ts`), what code checks behind the decoder, in JSON schema; a member
    with a rule for its type is required unless the rule allows null. `wider`: where the schema
    allows what is refused all the same, in words. `answers`: the type of the body of each success,
    None where it is no JSON. `error`: that of every refusal. `refusals`: reasons found in the
    contents of a request, beyond what every endpoint refuses. `item_refusals`: reasons that are
    told of single events inside a success, and no other way.
    """

    body: tuple[type[msgspec.Struct], ...] = ()
    rules: Mapping[str, Mapping[str, Any]] = {}
    wider: str = ""
    answers: Mapping[int, Any]
    error: Any
    refusals: tuple[Kind, ...] = ()
    item_refusals: tuple[Kind, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the endpoint table: where events come in, and the order of checks.

    `credentials`: "origin" (the body names the site, the Origin must be one of its domains), "key"
    (an API key in the head) or "app" (an application id in the head, Origin trusted if present).
    `limit_at`: "head" (before the body is read; the site's own limit once the body names the site,
    and of a key that reaches one site only, foreseen before) or "decoded" (only what is valid is
    throttled, by its sender's and its site's limit).
    `limit`: which budget is asked, and with it what is asked of an address alone: "browser" (of the
    address), "server" or "tier" (of the key, and first whether its address failed too often; these
    two go with `credentials` "key") or "application" (of a beacon's sender, once decoded; so it
    goes with "decoded"). `stores_duplicates`: a repeat is stored again, marked.
    `refusals_vary` False: what `refuse` answers depends on the refusal alone, so that an answer
    can be kept and given again.
    `shape`: how a body that is refused is read, for the quarantine.
    `check` is called with the authorised site and may replace items of the batch by refusals.
    `address_member`: the member of a body, at any depth, in which a sender reports the address of
    its visitor; "" where the protocol has none.
    `body_bytes_max` 0: the server's own limit. `wants_request_id`: `Request.id` is filled in.
    """

    path: str
    name: str
    protocol: str
    source: Literal["browser", "server"]
    credentials: Literal["origin", "key", "app"]
    limit_at: Literal["head", "decoded"]
    limit: Literal["browser", "server", "application", "tier"]
    stores_duplicates: bool
    read_head: ReadHead
    decode: Decode
    respond: Respond
    refuse: Refuse
    described: Described
    shape: BodyShape = BodyShape()
    check: Check | None = None
    address_member: str = ""
    body_bytes_max: int = 0
    wants_request_id: bool = False
    refusals_vary: bool = True
    method: str = "POST"


class PlainEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A route of a protocol that stores nothing (Croct's client id).

    It is answered only to origins that some site trusts; `answer` gets a fresh random UUID in
    32 hex digits. `allows_credentials`: its answers carry Access-Control-Allow-Credentials.
    """

    path: str
    name: str
    protocol: str
    answer: Callable[[Request, str], Response]
    refuse: Refuse
    described: Described
    allows_credentials: bool = False
    method: str = "GET"
