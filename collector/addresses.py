"""Who sends a request: the client's address behind trusted proxies, and what an address stands for.

Rules that this module keeps:

1. What a header says is believed only as far as trusted proxies wrote it: from the right, up to the
   first address that is not one of theirs. What stands further left is not even looked at, so
   nothing that a client puts there changes what is found, whatever bytes it is.
2. One header is read, never two: a proxy that writes one of them often passes the other on as the
   client sent it.
3. Nothing raises; what cannot be read is no address, and the one before it counts.
4. Memory is bounded, whatever is sent.

Must not know limits, nor write an address anywhere.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, Literal

from collector.headers import Headers

ProxyHeader = Literal["auto", "x-forwarded-for", "forwarded"]

_X_FORWARDED_FOR: Final = "x-forwarded-for"
_FORWARDED: Final = "forwarded"
# Far more than a proxy takes as a Host: one that copies it into `Forwarded` puts that many of the
# client's bytes beside or behind `for`, and they must not push it out.
_HEADER_CHARS_MAX: Final = 65_536
# With port, brackets and zone; what is longer is not worth parsing.
_HOP_CHARS_MAX: Final = 128
# Longer values are read anew each time: what is remembered must not be as large as a client likes.
_CACHED_CHARS_MAX: Final = 256
_CACHED: Final = 4_096
# RFC 7239: token "=" ( token / quoted-string ). Ports and IPv6 want quotes, and often lack them.
_PAIR: Final = re.compile(
    r"\s*+(?:([!#$%&'*+.^_`|~0-9A-Za-z-]++)="
    r"(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s\";,]*+))\s*+)?(?:;|\Z)",
    re.ASCII | re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"


class AddressReader:
    """Finds the client's address: the peer's, or what trusted proxies say of it.

    `proxy_header`: which header they write; "auto": `X-Forwarded-For` where there is one, else
    `Forwarded`.
    """

    def __init__(self, trusted_proxies: Iterable[str], proxy_header: ProxyHeader = "auto") -> None:
        self._trusted = [ipaddress.ip_network(cidr, strict=False) for cidr in trusted_proxies]
        self._header_names = (
            (_X_FORWARDED_FOR, _FORWARDED) if proxy_header == "auto" else (proxy_header,)
        )
        self._is_trusted = lru_cache(_CACHED)(self._judge)
        self._behind_cached = lru_cache(_CACHED)(self._behind)

    def read(self, client: str, headers: Headers) -> str:
        """The address of the client, "" when the server does not know it.

        `client`: who is connected, address and port, as in a URL.
        """
        peer = peer_of(client)
        if not self._trusted or not self._is_trusted(peer):
            return peer
        for name in self._header_names:
            values = [value for field, value in headers.items() if field == name]
            if values:
                said = ",".join(values)
                is_short = len(said) <= _CACHED_CHARS_MAX
                return (self._behind_cached if is_short else self._behind)(peer, name, said)
        return peer

    def is_proxy(self, client: str) -> bool:
        """Whether who is connected is believed about whom it speaks for."""
        return bool(self._trusted) and self._is_trusted(peer_of(client))

    def _behind(self, peer: str, name: str, said: str) -> str:
        """The right-most address in the header that is not trusted, else the last one that is."""
        text = said[-_HEADER_CHARS_MAX:]
        # Of a value that was cut, the left-most member is half a member.
        is_whole = len(said) <= _HEADER_CHARS_MAX
        hops = _nodes(text, is_whole) if name == _FORWARDED else _members(text, is_whole)
        address = peer
        for hop in hops:
            found = _address(hop)
            if not found:
                break
            address = found
            if not self._is_trusted(address):
                break
        return address

    def _judge(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._trusted)


def peer_of(client: str) -> str:
    """The address in `client`, which is an address and a port as in a URL."""
    peer = client.rpartition(":")[0]
    return peer[1:-1] if peer.startswith("[") else peer


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def _members(text: str, is_whole: bool) -> Iterator[str]:
    """The members of `X-Forwarded-For`, right-most first; without the left-most if it was cut.

    One by one, because mostly the first is all that is looked at.
    """
    end = len(text)
    while (comma := text.rfind(",", 0, end)) >= 0:
        yield text[comma + 1 : end]
        end = comma
    if is_whole:
        yield text[:end]


def _nodes(text: str, is_whole: bool) -> Iterator[str]:
    """The nodes of the elements of `Forwarded`, likewise; "" where there is none to read."""
    return map(_node, _elements(text, is_whole))


def _elements(text: str, is_whole: bool) -> Iterator[str]:
    """The elements of `Forwarded` from the right; commas inside quotes do not separate.

    Read from the right, because what a trusted proxy added is well formed and a quote that a client
    left open further left must not swallow it. No part of the text is searched twice: a comma or
    quote that was found is kept until it has been passed.
    """
    end = at = comma = quote = len(text)
    while True:
        if comma >= at:
            comma = text.rfind(",", 0, at)
        if quote >= at:
            quote = text.rfind('"', 0, at)
        if quote > comma:
            at = _opening_quote(text, quote)
            if at < 0:
                return
            continue
        if comma < 0 and not is_whole:
            return
        yield text[comma + 1 : end]
        if comma < 0:
            return
        end = at = comma


def _opening_quote(text: str, closing: int) -> int:
    """Where the quoted text begins that ends at `closing`; below 0: nowhere."""
    at = text.rfind('"', 0, closing)
    while at >= 0:
        # Up to the next quote only, so that nothing is copied twice however many there are.
        before = text.rfind('"', 0, at)
        between = text[before + 1 : at]
        if (len(between) - len(between.rstrip("\\"))) % 2 == 0:
            return at
        at = before
    return -1


def _node(element: str) -> str:
    """The value of `for` in one element; "" without one, or when the element is malformed."""
    node, at = "", 0
    while at < len(element):
        match = _PAIR.match(element, at)
        if match is None:
            return ""
        if match[1] is not None and match[1].lower() == "for":
            node = match[3] if match[2] is None else _ESCAPED.sub(r"\1", match[2])
        at = match.end()
    return node


def _address(hop: str) -> str:
    """The address in one hop, without port, zone, brackets or quotes; "" if none."""
    text = hop.strip().strip('"')
    if len(text) > _HOP_CHARS_MAX:
        return ""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return ""


@lru_cache(maxsize=_CACHED)
def address_key(address: str) -> bytes:
    """Who an address stands for: itself, or its /64, which is what one IPv6 subscriber is given.

    4 bytes of an IPv4 address, also of one that is mapped into IPv6, or 8 bytes of a network; b""
    for what is no address at all.
    """
    try:
        return socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        pass
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return b""
    return packed[12:] if packed.startswith(_IPV4_MAPPED) else packed[:8]
