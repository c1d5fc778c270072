"""Small geo databases, in the layouts that their makers use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mmdb_writer import MMDBWriter
from netaddr import IPSet

# Each says Oslo in Norway.
LAYOUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "geolite2": {
        "country": {"iso_code": "NO", "names": {"en": "Norway"}},
        "city": {"names": {"de": "Christiania", "en": "Oslo"}},
    },
    "ipinfo": {"country": "NO", "city": "Oslo", "region": "Oslo"},
    "ipinfo_lite": {"country": "Norway", "country_code": "NO", "city": "Oslo"},
    "ip_location_db": {"country_code": "no", "city": "Oslo"},
}
GEOLITE2: Final = LAYOUTS["geolite2"]


def write_database(
    path: Path, records: Mapping[str, Mapping[str, Any]], *, ip_version: int = 6
) -> Path:
    """A database at `path` with a record per network."""
    writer = MMDBWriter(
        ip_version=ip_version, ipv4_compatible=ip_version == 6, database_type="Test-City"
    )
    for network, record in records.items():
        writer.insert_network(IPSet([network]), dict(record))
    writer.to_db_file(str(path))
    return path
