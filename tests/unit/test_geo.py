"""Where an address is, in whose words, and of which addresses nothing is said."""

import ipaddress
import logging
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.geo import NOWHERE, DatabaseLoader, Geo, Place, open_database, public_address
from collector.watched import Unusable, Watched
from storage import Files
from tests.support.geo import GEOLITE2, LAYOUTS, write_database

OSLO = Place("NO", "Oslo")
ADDRESS = "81.2.69.142"


def place(path: Path, address: str) -> Place:
    """The place of `address` in the database at `path`."""
    return geo(path).place(address)


def geo(path: Path, *, country_fallback: bool = True) -> Geo:
    """With the database at `path`, read once."""
    watched = Watched(path, DatabaseLoader(Files()).load, "the geo database")
    watched.start()
    return Geo(watched, country_fallback=country_fallback)


# --- layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_understood(tmp_path, layout):
    """Makers put country and city in different places."""
    path = write_database(tmp_path / "x.mmdb", {"81.2.69.0/24": LAYOUTS[layout]})
    assert place(path, ADDRESS) == OSLO


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"country": {"iso_code": "NO"}}, Place("NO", None)),
        ({"city": {"names": {"de": "Oslo"}}}, NOWHERE),
        ({"country": "Norway", "city": ""}, NOWHERE),
        ({"country": {"iso_code": "NOR"}, "city": "x" * 500}, Place(None, "x" * 128)),
        ({"country_code": 17, "country": ["NO"], "city": 5}, NOWHERE),
        ({"country": {"iso_code": {"a": "b"}}, "city": {"names": "Oslo"}}, NOWHERE),
        ({"continent": {"code": "EU"}}, NOWHERE),
    ],
)
def test_odd_records_give_what_they_hold(tmp_path, record, expected):
    """A member of an unexpected type is no place, and no error."""
    path = write_database(tmp_path / "x.mmdb", {"81.2.69.0/24": record})
    assert place(path, ADDRESS) == expected


def test_a_database_may_know_ipv4_only(tmp_path):
    """An IPv6 address is then nowhere, and no error."""
    path = write_database(tmp_path / "x.mmdb", {"81.2.69.0/24": GEOLITE2}, ip_version=4)
    found = geo(path)
    assert found.place(ADDRESS) == OSLO
    assert found.place("2a00:1450:4001:81b::200e") == NOWHERE
    assert found.place(f"::ffff:{ADDRESS}") == OSLO


# --- addresses


@pytest.mark.parametrize(
    "address",
    [
        *("10.1.2.3", "127.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "169.254.1.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1"),
        *("64:ff9b::5102:458e", "2002:5102:458e::1"),
        *("", "unknown", "81.2.69.142:443", " 81.2.69.142", "[2a00::1]", "81.2.69.142%eth0"),
        *("081.2.69.142", "81.2.69", "\ud800", "81.2.69.142\0", "2a00::1%eth0"),
    ],
)
def test_private_and_odd_addresses_are_nowhere(tmp_path, address):
    """Also when a database has an entry for every address there is."""
    path = write_database(tmp_path / "x.mmdb", {"0.0.0.0/0": GEOLITE2, "1000::/4": GEOLITE2})
    assert place(path, address) == NOWHERE
    assert Geo(None, country_fallback=True).place(address) == NOWHERE


@given(st.ip_addresses())
def test_public_is_what_the_standard_library_calls_global(address):
    """Told by our own tables, which are faster; where they differ the reason is known."""
    # Tunnels carry another address inside; nothing outside 2000::/3 is given to anybody.
    by_tables = public_address(str(address)) is not None
    is_v6 = isinstance(address, ipaddress.IPv6Address)
    mapped = address.ipv4_mapped if is_v6 else None
    known = mapped or address
    if not known.is_global or known.is_multicast:
        assert not by_tables
    elif isinstance(known, ipaddress.IPv4Address):
        # A few services of the protocol itself, which are nobody's visitors.
        assert by_tables or str(known).startswith(("192.0.0.", "192.88.99."))
    elif by_tables:
        assert known in ipaddress.ip_network("2000::/3")


@given(st.ip_addresses(v=6))
def test_one_address_has_one_canonical_form(address):
    """What is looked up does not depend on how the address was written."""
    forms = {public_address(str(address)), public_address(address.exploded)}
    assert len(forms | {public_address(str(address).upper())}) == 1


# --- sources


def test_without_a_database_the_country_is_that_of_registration():
    """A country and no city; NULL where that is switched off."""
    assert Geo(None, country_fallback=True).place("8.8.8.8") == Place("US", None)
    assert Geo(None, country_fallback=True).place("2A00:1450:4001::1").country_code == "IE"
    assert Geo(None, country_fallback=True).place("::ffff:8.8.8.8") == Place("US", None)
    assert Geo(None, country_fallback=False).place("8.8.8.8") == NOWHERE


def test_a_database_is_asked_alone(tmp_path):
    """What it does not know is not guessed from elsewhere, not even while it cannot be read."""
    path = write_database(tmp_path / "x.mmdb", {"81.2.69.0/24": GEOLITE2})
    assert place(path, "8.8.8.8") == NOWHERE
    (tmp_path / "bad.mmdb").write_bytes(b"no database")
    assert place(tmp_path / "bad.mmdb", "8.8.8.8") == NOWHERE


# --- files


@pytest.mark.parametrize("content", [b"", b"no database", b"\xab\xcd\xefMaxMind.com", bytes(4096)])
def test_what_is_no_database_is_told(tmp_path, content):
    """One reason, without a traceback."""
    (tmp_path / "x.mmdb").write_bytes(content)
    with pytest.raises(Unusable, match="no MaxMind DB file"):
        open_database(tmp_path / "x.mmdb")
    with pytest.raises(Unusable):
        DatabaseLoader(Files()).load(tmp_path / "x.mmdb")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_damaged_database_says_nothing_wrong(tmp_path, share):
    """Bytes turned in the middle: a place, another place or nowhere, but no error."""
    networks = {f"81.{n}.0.0/16": GEOLITE2 for n in range(40)}
    path = write_database(tmp_path / "x.mmdb", networks)
    data = bytearray(path.read_bytes())
    start = int(len(data) * share * 0.6)
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    try:
        database = open_database(path)
    except Unusable:
        return
    for n in range(60):
        assert isinstance(database.place(f"81.{n}.1.1"), Place)


def test_cutting_the_file_short_does_not_end_the_process(tmp_path):
    """It is mapped into memory: had it no copy, the next look-up would be a bus error."""
    path = write_database(
        tmp_path / "x.mmdb", {f"81.{n}.0.0/16": {"city": f"c{n}" * 50} for n in range(250)}
    )
    assert path.stat().st_size > 16_384
    found = geo(path)
    os.truncate(path, 0)
    assert found.place("81.249.1.1").city == ("c249" * 50)[:128]


def test_no_copy_is_left_behind(tmp_path, monkeypatch):
    """The copy has no name once it is open."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = write_database(tmp_path / "x.mmdb", {"81.2.69.0/24": GEOLITE2})
    assert place(path, ADDRESS) == OSLO
    assert list((tmp_path / "scratch").iterdir()) == []


def test_no_address_is_in_the_log_or_an_error(tmp_path, caplog):
    """Whatever goes wrong while it is looked up."""
    caplog.set_level(logging.DEBUG)
    path = write_database(tmp_path / "x.mmdb", {"81.2.69.0/24": GEOLITE2})
    found = geo(path)
    for address in (ADDRESS, "10.0.0.1", "odd"):
        found.place(address)
        assert address not in caplog.text
    assert ADDRESS not in repr(vars(found))


def test_the_age_is_that_of_the_data(tmp_path):
    """A copy of an old database is old."""
    path = write_database(tmp_path / "x.mmdb", {"81.2.69.0/24": GEOLITE2})
    copy = Path(shutil.copy(path, tmp_path / "y.mmdb"))
    os.utime(copy, (0, 0))
    assert abs(open_database(copy).built_s - time.time()) < 60
