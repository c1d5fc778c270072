"""What the collector itself knows of an event: the server facts of a row, up to its last column.

Fills in site, key, ids, address hash, place, device, QR code and our own remarks, and applies the
rules of privacy last, so that nothing filled in escapes them. Here the client's address is seen for
the last time. Must not know a protocol, do I/O, or judge whether an event is accepted.
"""

from collections.abc import Iterable
from typing import Final

from collector.access import Caller
from collector.adapters.contract import Request
from collector.agents import NOBODY, Agent
from collector.config import Site
from collector.event import Event, Row
from collector.geo import NOWHERE, Place
from collector.headers import Headers
from collector.hints import read as read_hints
from collector.ids import uuid7, uuid7s
from collector.marks import AHEAD_US_MAX, EARLIEST_US, Marker
from collector.privacy import WITHHELD, AddressHasher, apply, gpc_sent
from collector.refusal import Refusal
from collector.salt import DailySalt
from collector.sources import Sources
from storage import make_key, make_scope

# As much of the header as any adapter keeps.
_AGENT_CHARS_MAX: Final = 1_024
_NO_RULES: Final[frozenset[str]] = frozenset()


class Facts:
    """Completes rows."""

    def __init__(
        self,
        *,
        hasher: AddressHasher,
        salt: DailySalt,
        sources: Sources,
        marker: Marker,
    ) -> None:
        self._hasher = hasher
        self._salt = salt
        self._sources = sources
        self._agents = sources.agents
        self._geo = sources.geo
        self._marker = marker
        self._scopes: dict[tuple[str, str], bytes] = {}  # as many as sites times protocols

    def complete(
        self,
        protocol: str,
        request: Request,
        caller: Caller,
        items: "list[Event | Refusal]",
        sites: "list[Site | None]",
    ) -> "tuple[list[Row], list[bytes | None]]":
        """Fill in the rows of events with a site; these, and the keys that tell repeats."""
        now_us = request.now_us
        headers = request.headers
        is_gpc = gpc_sent(headers)
        key_id = caller.key.name if caller.key else None
        codes = self._sources.codes
        place = NOWHERE
        # Most events of a batch have one address, one agent and one site.
        last_client: str | None = ""
        last_text: str | None = None
        last_site = ""
        ip_hash, scope = None, b""
        agent, fired = NOBODY, _NO_RULES
        rows: list[Row] = []
        keys: list[bytes | None] = []
        fresh_ids = iter(uuid7s(now_us, len(items)) if len(items) > 1 else ())
        latest_us = now_us + AHEAD_US_MAX
        for item, site in zip(items, sites, strict=True):
            if site is None or isinstance(item, Refusal):
                continue
            row = item.row
            row.site_id = site.id
            row.key_id = key_id
            if not row.event_id:
                row.event_id = next(fresh_ids, None) or uuid7(now_us)
            client = item.client_address if row.source == "server" else caller.address
            if client is not last_client or ip_hash is None:
                last_client = client
                ip_hash, place = self._origin(client, now_us)
            row.ip_hash = ip_hash
            if place is not NOWHERE:
                _fill_place(row, place)
            if codes is not None and row.scan_session_id is not None and row.qr_code_id is None:
                row.qr_code_id = codes.get(row.scan_session_id)
            text = row.user_agent
            if text is not last_text:
                last_text = text
                agent = NOBODY if text is None else self._read_agent(text, row.source, headers)
                fired = agent.fired
            if agent is not NOBODY:
                _fill_agent(row, agent)
            if fired or item.webdriver or not EARLIEST_US <= row.event_time <= latest_us:
                self._marker.mark(row, fired, is_automated=item.webdriver)
            if site.id != last_site:
                last_site, scope = site.id, self._scope(protocol, site.id)
            key = None if item.identity is None else make_key(scope, item.identity)
            row.dedup_key = None if key is None else key.hex()
            if is_gpc or row.consent in WITHHELD:
                apply(row, gpc=is_gpc, honour_gpc=site.honour_gpc)
            keys.append(key)
            rows.append(row)
        return rows, keys

    def mark_repeats(
        self, rows: list[Row], keys: list[bytes | None], are_repeats: list[bool]
    ) -> None:
        """Mark the rows that are repeats, which are about to be stored all the same."""
        for row, key, is_repeat in zip(rows, keys, are_repeats, strict=True):
            if is_repeat:
                row.is_duplicate = 1
                if key is not None:
                    self._marker.mark_repeat(row, key)

    def adopt(self, sites: Iterable[Site]) -> None:
        """Mark rows by the rules of `sites` from now on; see `Marker.adopt`."""
        self._marker.adopt(sites)

    def forget_past_days(self, now_us: int) -> None:
        """Have nothing left of a salt whose day is over; once a second, traffic or not."""
        if self._salt.expire(now_us):
            self._hasher.forget()

    def _origin(self, client: str | None, now_us: int) -> tuple[str, Place]:
        ip_hash = self._hasher.hash(client, self._salt.of(now_us))
        return ip_hash, self._geo.place(client) if client else NOWHERE

    def _read_agent(self, text: str, source: str, headers: Headers) -> Agent:
        """What the agent of a row says of its sender.

        A back end's own agent says nothing of the visitor; client hints come with every request of
        a browser, and say nothing of an agent that the page reported of another one.
        """
        is_own = text == headers.get("user-agent", "").strip()[:_AGENT_CHARS_MAX]
        if source == "server":
            return NOBODY if is_own else self._agents.read(text)
        return self._agents.read(text, read_hints(headers) if is_own else None)

    def _scope(self, protocol: str, site_id: str) -> bytes:
        """Within what an identity means something: protocol and site."""
        names = (protocol, site_id)
        scope = self._scopes.get(names)
        if scope is None:
            scope = self._scopes[names] = make_scope(*(name.encode() for name in names))
        return scope


def _fill_agent(row: Row, agent: Agent) -> None:
    """What the sender said of the device itself stands."""
    row.device_type = row.device_type or agent.device_type
    row.browser_family = row.browser_family or agent.browser_family
    row.os_family = row.os_family or agent.os_family
    if agent.flags:
        row.flags += agent.flags


def _fill_place(row: Row, place: Place) -> None:
    """A country that the sender gave stands, and takes no city from elsewhere."""
    if row.country_code is None:
        row.country_code = place.country_code
    if row.city is None and row.country_code == place.country_code:
        row.city = place.city
