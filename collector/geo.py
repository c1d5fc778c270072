"""Country and city of an address, before the address is forgotten.

Owns the layouts of `.mmdb` files (GeoLite2 and DB-IP, IPinfo, ip-location-db), which addresses can
have a place at all, and the order of sources: the configured database alone where there is one,
else the country in which the address was registered. Must not remember an address, nor put one into
a log or an exception.
"""

import ipaddress
import re
import socket
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import iptocc
import maxminddb
import msgspec

from collector.watched import Unusable, Watched
from storage import Files

_CITY_CHARS_MAX: Final = 128
_COUNTRY: Final = re.compile("[A-Za-z]{2}")
_IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
_COPY: Final = "geo.mmdb"


class Place(msgspec.Struct, frozen=True, gc=False):
    """Two capital letters of ISO 3166-1, and a name in English; None where not known."""

    country_code: str | None = None
    city: str | None = None


NOWHERE: Final = Place()


class Database:
    """An open `.mmdb` file. `built_s`: when its maker says that it was made, Unix seconds."""

    def __init__(self, reader: maxminddb.Reader) -> None:
        self._reader = reader
        metadata = reader.metadata()
        self._has_ipv6 = metadata.ip_version == 6
        self.built_s = metadata.build_epoch

    def place(self, address: str) -> Place:
        """The place of a public address in its canonical text; nowhere if it has none."""
        if not self._has_ipv6 and ":" in address:
            return NOWHERE
        try:
            record = self._reader.get(address)
        except (maxminddb.InvalidDatabaseError, ValueError):
            # Damage in the middle of a file shows only where it is read.
            return NOWHERE
        return _place(record) if isinstance(record, dict) else NOWHERE


def open_database(path: Path) -> Database:
    """Open the file at `path`, which must not be written to as long as the database is in use.

    Raises `Unusable` or OSError.
    """
    try:
        return Database(maxminddb.open_database(path, maxminddb.MODE_MMAP_EXT))
    except (maxminddb.InvalidDatabaseError, ValueError):
        raise Unusable("it is no MaxMind DB file, or a damaged one") from None


class DatabaseLoader:
    """Opens a private copy of a database file.

    The file is mapped into memory, and who cuts a mapped file short ends the process that has it
    mapped. The copy has no name any more once it is open, and goes with the database.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def load(self, path: Path) -> Database:
        """A database with the content of `path`. Raises `Unusable` or OSError."""
        with self._files.scratch() as folder:
            copy = folder / _COPY
            self._files.copy(path, copy)
            return open_database(copy)


class Geo:
    """Finds places. `database`: None when none is configured.

    With a database nothing else is asked, also where it has no entry: a report must not mix two
    sources that disagree for one address in twenty. `country_fallback`: whether, without one, the
    country of registration is taken.
    """

    def __init__(self, database: Watched[Database] | None, *, country_fallback: bool) -> None:
        self._database = database
        self._country_fallback = country_fallback

    def place(self, address: str) -> Place:
        """The place of `address`; nowhere for what is no address, or none of the public internet.

        An IPv4 address inside IPv6 is that IPv4 address; a zone (`%eth0`) makes an address private.
        """
        public = public_address(address)
        if public is None:
            return NOWHERE
        if self._database is not None:
            database = self._database.value
            return NOWHERE if database is None else database.place(public)
        return registered(public) if self._country_fallback else NOWHERE


# As many as there are countries.
_COUNTRIES: Final[dict[str | None, Place]] = {None: NOWHERE}


def registered(address: str) -> Place:
    """The country whose registry entry the address is in, which need not be where it is used."""
    code = iptocc.country_code(address)
    place = _COUNTRIES.get(code)
    if place is None:
        place = _COUNTRIES[code] = Place(_country(code))
    return place


# --- records


def _place(record: Mapping[str, object]) -> Place:
    country = record.get("country")
    code = _country(record.get("country_code"))
    if code is None:
        code = _country(country.get("iso_code") if isinstance(country, dict) else country)
    city = record.get("city")
    if isinstance(city, dict):
        names = city.get("names")
        city = names.get("en") if isinstance(names, dict) else None
    name = city[:_CITY_CHARS_MAX] if isinstance(city, str) and city else None
    return Place(code, name)


def _country(value: object) -> str | None:
    if isinstance(value, str) and _COUNTRY.fullmatch(value):
        return value.upper()
    return None


# --- addresses

# IANA's registries of special-purpose addresses: what is not globally reachable, and multicast.
_SPECIAL_IPV4: Final = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
)
# Within 2000::/3, outside of which nothing is global unicast.
_SPECIAL_IPV6: Final = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
_GLOBAL_UNICAST: Final = 0b001


def _starts_and_ends(networks: tuple[str, ...]) -> tuple[list[int], list[int]]:
    ranges = sorted(
        (int(network[0]), int(network[-1])) for network in map(ipaddress.ip_network, networks)
    )
    return [start for start, _ in ranges], [end for _, end in ranges]


_IPV4_STARTS, _IPV4_ENDS = _starts_and_ends(_SPECIAL_IPV4)
_IPV6_STARTS, _IPV6_ENDS = _starts_and_ends(_SPECIAL_IPV6)


# By the first two bytes of an IPv4 address: whether any of those addresses is special.
_IS_MIXED: Final = bytearray(1 << 16)
for _start, _end in zip(_IPV4_STARTS, _IPV4_ENDS, strict=True):
    _prefixes = slice(_start >> 16, (_end >> 16) + 1)
    _IS_MIXED[_prefixes] = b"\1" * (_prefixes.stop - _prefixes.start)


def public_address(text: str) -> str | None:
    """`text` in its canonical form, None unless it is an address of the public internet."""
    try:
        packed = socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        pass
    else:
        # Of IPv4 it takes one spelling only.
        if _IS_MIXED[packed[0] << 8 | packed[1]]:
            number = int.from_bytes(packed)
            return None if _is_within(number, _IPV4_STARTS, _IPV4_ENDS) else text
        return text
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
    if packed.startswith(_IPV4_MAPPED):
        return public_address(socket.inet_ntop(socket.AF_INET, packed[12:]))
    number = int.from_bytes(packed)
    is_public = packed[0] >> 5 == _GLOBAL_UNICAST and not _is_within(
        number, _IPV6_STARTS, _IPV6_ENDS
    )
    return socket.inet_ntop(socket.AF_INET6, packed) if is_public else None


def _is_within(number: int, starts: list[int], ends: list[int]) -> bool:
    index = bisect_right(starts, number) - 1
    return index >= 0 and number <= ends[index]
