"""The client's address behind proxies, and what an address stands for."""

import timeit
from functools import partial

import pytest

from collector.addresses import AddressReader, address_key
from collector.headers import Headers
from tests.support.headers import Fields

PROXIES = ["10.0.0.0/8", "fd00::/8"]


def scope(peer: str, *headers: tuple[str, str]) -> tuple[str, Headers]:
    """What the server hands over; `headers` in the order in which they came."""
    return f"[{peer}]:1" if ":" in peer else f"{peer}:1", Fields([("host", "x"), *headers])


def x_forwarded_for(*values: str) -> list[tuple[str, str]]:
    """One header of that name per value."""
    return [("x-forwarded-for", value) for value in values]


def forwarded(*values: str) -> list[tuple[str, str]]:
    """One header of that name per value."""
    return [("forwarded", value) for value in values]


@pytest.mark.parametrize(
    ("peer", "said", "expected"),
    [
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7, 10.2.3.4"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7:5555"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::7]:5555"], "2001:db8::7"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["198.51.100.7, garbage"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, "], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, garbage, 10.9.9.9"], "10.9.9.9"),
        ("10.0.0.1", ["10.9.9.9"], "10.9.9.9"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["198.51.100.7"], "198.51.100.7"),
    ],
)
def test_x_forwarded_for_through_trusted_proxies(peer: str, said: list[str], expected: str) -> None:
    """The right-most address that is not trusted; what an untrusted peer says is not read."""
    assert AddressReader(PROXIES).read(*scope(peer, *x_forwarded_for(*said))) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["for=198.51.100.7"], "198.51.100.7"),
        (["For=198.51.100.7"], "198.51.100.7"),
        (["for=198.51.100.7;proto=https;by=10.0.0.1"], "198.51.100.7"),
        (["by=10.0.0.1 ; FOR=198.51.100.7 ; host=example.com"], "198.51.100.7"),
        (["proto=https;;for=198.51.100.7;"], "198.51.100.7"),
        (['for="[2001:db8::1]:8080"'], "2001:db8::1"),
        (['for="[2001:DB8::1]"'], "2001:db8::1"),
        (['for="198.51.100.7:4711"'], "198.51.100.7"),
        (["for=198.51.100.7:4711"], "198.51.100.7"),
        (['for="198.51\\.100.7"'], "198.51.100.7"),
        (["for=6.6.6.6, for=198.51.100.7"], "198.51.100.7"),
        (["for=6.6.6.6", "for=198.51.100.7"], "198.51.100.7"),
        (["for=6.6.6.6, for=198.51.100.7, for=10.2.3.4;by=10.0.0.1"], "198.51.100.7"),
        # Commas, semicolons and escaped quotes inside quotes separate nothing.
        (['for=198.51.100.7;host="a,b;for=6.6.6.6"'], "198.51.100.7"),
        (['host="\\", for=6.6.6.6, \\"";for=198.51.100.7'], "198.51.100.7"),
        (['for=6.6.6.6, host="a\\\\";for=198.51.100.7'], "198.51.100.7"),
        # Quotes that a client left open do not swallow what the proxy added.
        (['for="6.6.6.6, for=198.51.100.7'], "198.51.100.7"),
        (['for="6.6.6.6', 'for="198.51.100.7"'], "198.51.100.7"),
        (['"""\\", for="198.51.100.7";proto=https'], "198.51.100.7"),
        # Who hides his client hides him from us: the last address that is known counts.
        (["for=unknown"], "10.0.0.1"),
        (["for=_hidden"], "10.0.0.1"),
        (['for="_SEVKISEK:80"'], "10.0.0.1"),
        (["for=6.6.6.6, for=unknown, for=10.2.3.4"], "10.2.3.4"),
        # Neither is an element read that has no address, or that is malformed.
        (["for=6.6.6.6, proto=https"], "10.0.0.1"),
        (["for=6.6.6.6, "], "10.0.0.1"),
        (["for = 198.51.100.7"], "10.0.0.1"),
        (["for=6.6.6.6, for=198.51.100.7 proto=https"], "10.0.0.1"),
        (['for="198.51.100.7'], "10.0.0.1"),
        (["198.51.100.7"], "10.0.0.1"),
        ([""], "10.0.0.1"),
    ],
)
def test_forwarded_through_trusted_proxies(said: list[str], expected: str) -> None:
    """RFC 7239, read from the right; the same with either setting that reads it."""
    asked = scope("10.0.0.1", *forwarded(*said))
    assert AddressReader(PROXIES, "forwarded").read(*asked) == expected
    assert AddressReader(PROXIES).read(*asked) == expected
    assert AddressReader(PROXIES, "x-forwarded-for").read(*asked) == "10.0.0.1"
    untrusted = scope("203.0.113.9", *forwarded(*said))
    assert AddressReader(PROXIES).read(*untrusted) == "203.0.113.9"


def test_a_proxy_that_writes_one_header_passes_the_other_on() -> None:
    """Where both are there, `auto` believes X-Forwarded-For; `forwarded` only the other one."""
    client = [*forwarded("for=6.6.6.6"), *x_forwarded_for("198.51.100.7")]
    for asked in (scope("10.0.0.1", *client), scope("10.0.0.1", *client[::-1])):
        assert AddressReader(PROXIES).read(*asked) == "198.51.100.7"
        assert AddressReader(PROXIES, "x-forwarded-for").read(*asked) == "198.51.100.7"
        assert AddressReader(PROXIES, "forwarded").read(*asked) == "6.6.6.6"
    empty = scope("10.0.0.1", *forwarded("for=6.6.6.6"), *x_forwarded_for(""))
    assert AddressReader(PROXIES).read(*empty) == "10.0.0.1", "an empty header is there too"


def test_no_trusted_proxies_means_no_headers_are_believed() -> None:
    """The default believes nobody."""
    said = [*x_forwarded_for("6.6.6.6"), *forwarded("for=6.6.6.6")]
    assert AddressReader([]).read(*scope("127.0.0.1", *said)) == "127.0.0.1"
    assert AddressReader(["10.0.0.0/8"]).read("", {}) == ""
    assert AddressReader(["0.0.0.0/0"]).read(*scope("no address", *said)) == "no address"


@pytest.mark.parametrize("filler", ["6.6.6.6, ", "for=6.6.6.6, ", '"', '\\"', ",", " ", "a=b;"])
def test_headers_of_any_length_cost_little_and_change_nothing(filler: str) -> None:
    """Of a long header the end is read; what a client put in front of it is not even parsed."""
    for header in (x_forwarded_for, forwarded):
        added = "198.51.100.7" if header is x_forwarded_for else "for=198.51.100.7"
        asked = scope("10.0.0.1", *header(filler * 20_000 + ", " + added))
        assert AddressReader(PROXIES).read(*asked) == "198.51.100.7"
        # Nothing but the client's own: nobody trusted wrote it, and still nothing breaks.
        AddressReader(PROXIES).read(*scope("10.0.0.1", *header(filler * 20_000)))


@pytest.mark.parametrize("host", ["a" * 3_000, "a," * 1_500, '\\"' * 1_500, "\\\\" * 30_000])
@pytest.mark.parametrize("order", ['for=198.51.100.7;host="{}"', 'host="{}";for=198.51.100.7'])
@pytest.mark.parametrize("client", ["", "for=6.6.6.6, ", 'for=6.6.6.6;host=", '])
def test_a_long_host_does_not_push_the_client_out(client: str, order: str, host: str) -> None:
    """A proxy that copies the client's Host into `Forwarded` is not taken for the client."""
    said = client + order.format(host)
    for reader in (AddressReader(PROXIES, "forwarded"), AddressReader(PROXIES)):
        assert reader.read(*scope("10.0.0.1", *forwarded(said))) == "198.51.100.7"
        through = said + f', for=10.2.3.4;host="{host[:3_000]}"'
        assert reader.read(*scope("10.0.0.1", *forwarded(through))) == "198.51.100.7"


@pytest.mark.parametrize("filler", ['"', '\\"', '"a"', "\\", ",", '",', "for=10.0.0.1;", "1", ":"])
def test_reading_takes_time_in_proportion_to_the_header(filler: str) -> None:
    """A header without a proxy's own words costs some milliseconds, not its length squared."""
    for header in (x_forwarded_for, forwarded):
        for opening in ("", '"'):
            asked = scope("10.0.0.1", *header(filler * (65_000 // len(filler)) + opening))
            seconds = timeit.repeat(
                partial(AddressReader(PROXIES).read, *asked), number=1, repeat=3
            )
            assert min(seconds) < 1  # the square would take minutes


def test_half_an_address_is_none() -> None:
    """Where a long row of trusted proxies is cut off, the address at the cut is not taken."""
    row = ", ".join(["6.123.123.123", *["10.100.100.10"] * 5_000])
    for blanks in range(15):  # wherever the cut falls
        asked = scope("10.0.0.1", *x_forwarded_for(row + " " * blanks))
        assert AddressReader(PROXIES).read(*asked) == "10.100.100.10"
    row = ", ".join(["for=6.123.123.123", *["for=10.100.100.10"] * 4_000])
    for blanks in range(19):
        asked = scope("10.0.0.1", *forwarded(row + " " * blanks))
        assert AddressReader(PROXIES).read(*asked) == "10.100.100.10"


def test_what_is_remembered_is_bounded() -> None:
    """However many headers come, and however long they are, a few thousand short ones are kept."""
    reader = AddressReader(PROXIES)
    hops = [f"198.{number >> 8}.{number & 255}.7" for number in range(6_000)]
    for hop in hops:
        assert reader.read(*scope("10.0.0.1", *x_forwarded_for("x" * 300 + "," + hop))) == hop
    assert reader._behind_cached.cache_info().currsize == 0
    for hop in hops:
        assert reader.read(*scope("10.0.0.1", *x_forwarded_for(hop))) == hop
    for cache in (reader._behind_cached, reader._is_trusted, address_key):
        assert cache.cache_info().currsize <= 4_096


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.42", "cb00712a"),
        ("::ffff:203.0.113.42", "cb00712a"),
        ("::FFFF:cb00:712a", "cb00712a"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:DB8:1:2:ffff::1", "20010db800010002"),
        ("2001:db8:1:3::1", "20010db800010003"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("::1", "0000000000000000"),
        ("", ""),
        ("not an address", ""),
        ("1.2.3.4:80", ""),
        ("01.2.3.4", ""),
        ("1.2.3.4\0", ""),
        ("\u0661.2.3.4", ""),
        ("2001:db8::\ud800", ""),
    ],
)
def test_an_address_stands_for_one_subscriber(address: str, key: str) -> None:
    """IPv6 is limited by /64, mapped IPv4 is IPv4, and nonsense shares one bucket.

    IPv4 and IPv6 cannot be mixed up: one is 4 bytes, the other 8.
    """
    assert address_key(address).hex() == key
