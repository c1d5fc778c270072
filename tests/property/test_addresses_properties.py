"""Whatever a client puts into the headers of proxies, it is found at the address it came from."""

import ipaddress
from typing import Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.addresses import AddressReader, address_key
from collector.headers import Headers
from tests.support.headers import Fields

Style = Literal["x-forwarded-for", "forwarded"]

PROXIES = ["10.0.0.0/8", "fd00::/8"]
READERS = {
    "x-forwarded-for": [AddressReader(PROXIES), AddressReader(PROXIES, "x-forwarded-for")],
    # "auto" would believe a client's own X-Forwarded-For here: hence the setting.
    "forwarded": [AddressReader(PROXIES, "forwarded")],
}

# What a header may hold: no line breaks, else it would be two. Pieces of the grammar come often.
PIECES = st.sampled_from(
    [b'"', b"\\", b",", b";", b"=", b"for=", b'for="', b"6.6.6.6", b"10.6.6.6", b" ", b"\xff"]
)
SAID = st.lists(
    st.one_of(
        PIECES, st.binary(max_size=6).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b""))
    ),
    max_size=12,
).map(b"".join)
PUBLIC = st.one_of(
    st.ip_addresses(network="198.51.0.0/16"), st.ip_addresses(network="2001:db8::/32")
).map(str)
PRIVATE = st.one_of(st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fd00::/8")).map(
    str
)


@st.composite
def elements(draw: st.DrawFn, address: str) -> bytes:
    """One element of `Forwarded`, as well-behaved proxies write them."""
    node = f"[{address}]" if ":" in address else address
    port = draw(st.sampled_from(["", ":80"]))
    quoted = ":" in address or bool(port) or draw(st.booleans())
    pairs = [f'{draw(st.sampled_from(["for", "For", "FOR"]))}="{node}{port}"'] if quoted else []
    pairs = pairs or [f"for={node}"]
    for other in draw(st.lists(st.sampled_from(["proto", "by", "host", "x"]), max_size=3)):
        text = draw(st.text('ab ,;="\\', max_size=6))
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        pairs.append(f'{other}="{escaped}"')
    return ";".join(draw(st.permutations(pairs))).encode()


@st.composite
def journeys(draw: st.DrawFn, style: Style) -> tuple[str, str, list[bytes]]:
    """A client's address, the peer we see, and the header's values as they arrive.

    The client says what it likes; then each trusted proxy of a row adds whom it saw, on the last
    line or on one of its own.
    """
    client = draw(PUBLIC)
    values = draw(st.lists(SAID, max_size=2))
    sender = client
    for proxy in draw(st.lists(PRIVATE, min_size=1, max_size=3)):
        added = sender.encode() if style == "x-forwarded-for" else draw(elements(sender))
        if values and draw(st.booleans()):
            values[-1] += draw(st.sampled_from([b",", b", ", b" , "])) + added
        else:
            values.append(added)
        sender = proxy
    return client, sender, values


def scope(
    peer: str, style: Style, values: list[bytes], *others: tuple[bytes, bytes]
) -> tuple[str, Headers]:
    """What the front hands over: bytes that are no UTF-8 are replaced."""
    headers = [*others, *((style.encode(), value) for value in values)]
    pairs = [(name.decode(), value.decode("utf-8", "replace")) for name, value in headers]
    return f"[{peer}]:1" if ":" in peer else f"{peer}:1", Fields(pairs)


@settings(max_examples=400, deadline=None)
@given(journey=journeys("x-forwarded-for"), other=st.lists(SAID, max_size=2))
def test_x_forwarded_for_cannot_be_spoofed(
    journey: tuple[str, str, list[bytes]], other: list[bytes]
) -> None:
    """Any bytes in either header: the address is the one that the outermost proxy saw."""
    client, peer, values = journey
    others = [(b"forwarded", value) for value in other]
    for reader in READERS["x-forwarded-for"]:
        assert reader.read(*scope(peer, "x-forwarded-for", values, *others)) == client


@settings(max_examples=600, deadline=None)
@given(journey=journeys("forwarded"), other=st.lists(SAID, max_size=2))
@example(journey=("198.51.0.1", "10.0.0.0", [b'for="\\', b"for=198.51.0.1"]), other=[b"6.6.6.6"])
def test_forwarded_cannot_be_spoofed(
    journey: tuple[str, str, list[bytes]], other: list[bytes]
) -> None:
    """Any bytes in either header: the address is the one that the outermost proxy saw."""
    client, peer, values = journey
    others = [(b"x-forwarded-for", value) for value in other]
    for reader in READERS["forwarded"]:
        assert reader.read(*scope(peer, "forwarded", values, *others)) == client
    without = scope(peer, "forwarded", values)
    assert AddressReader(PROXIES).read(*without) == client, "auto, where the other is not there"


@settings(max_examples=300, deadline=None)
@given(peer=PUBLIC, both=st.tuples(st.lists(SAID), st.lists(SAID)))
def test_an_untrusted_peer_is_not_listened_to(
    peer: str, both: tuple[list[bytes], list[bytes]]
) -> None:
    """From anybody else headers change nothing."""
    others = [(b"forwarded", value) for value in both[1]]
    for readers in READERS.values():
        for reader in readers:
            assert reader.read(*scope(peer, "x-forwarded-for", both[0], *others)) == peer


@settings(max_examples=400, deadline=None)
@given(peer=PRIVATE, style=st.sampled_from(["x-forwarded-for", "forwarded"]), said=st.lists(SAID))
def test_nothing_raises_and_what_is_found_is_an_address(
    peer: str, style: Style, said: list[bytes]
) -> None:
    """Whatever trusted peers say, the answer is an address in its usual spelling."""
    for reader in READERS[style]:
        found = reader.read(*scope(peer, style, said))
        assert str(ipaddress.ip_address(found)) == found


@given(st.one_of(st.ip_addresses().map(str), st.text(max_size=20)))
def test_the_key_of_an_address_is_what_the_library_says(address: str) -> None:
    """The short way to parse an address finds the same as Python's own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        assert address_key(address) == b""
        return
    if isinstance(parsed, ipaddress.IPv6Address):
        expected = parsed.ipv4_mapped.packed if parsed.ipv4_mapped else parsed.packed[:8]
    else:
        expected = parsed.packed
    assert address_key(address) == expected
