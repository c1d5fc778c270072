"""Where a proof takes place: the private folder, its configuration, the disk below it."""

import os
import socket
from pathlib import Path
from typing import Final, Literal

import msgspec

from collector import ids, keys
from collector.prove.channels import APP_ID, DOMAIN, SITE, TRACKING_CODE
from storage import Files

Durability = Literal["sync", "os"]
DATA: Final = "data"
_MOUNTS: Final = Path("/proc/self/mountinfo")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A collector's own folder, port and key. `directory`: its data; `config`: its settings."""

    folder: Path
    directory: Path
    config: Path
    port: int
    key: str


class Disk(msgspec.Struct, frozen=True):
    """What holds a folder, as the kernel names it; "" where it does not say."""

    file_system: str
    device: str
    options: str


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def make_folder(below: Path, now_us: int, files: Files) -> Path:
    """A new folder below `below`, for one run. Raises OSError."""
    folder = below / f"collector-prove-{ids.uuid7(now_us)}"
    files.make_folder(folder)
    return folder


def furnish(
    folder: Path,
    files: Files,
    *,
    port: int,
    durability: Durability,
    directory: Path | None = None,
    free_bytes_min: int = 0,
) -> Place:
    """Make `folder` and write the configuration of a private collector there. Raises OSError.

    No limits, so that nothing but the disk refuses events; files often, so that a kill meets all
    that is done to them. Everything else is as by default.
    """
    files.make_folder(folder)
    key = keys.new_key()
    place = Place(
        folder=folder,
        directory=directory or folder / DATA,
        config=folder / "config.toml",
        port=port,
        key=key,
    )
    files.replace(place.config, _settings(place, durability, free_bytes_min).encode())
    return place


def _settings(place: Place, durability: Durability, free_bytes_min: int) -> str:
    shared = keys.toml_block(
        name="proof", key_text=place.key, site=SITE, team="", tier="proof", scope="site_access"
    )
    return f"""\
[server]
host = "127.0.0.1"
port = {place.port}
[storage]
directory = {keys.quoted(str(place.directory))}
durability = "{durability}"
publish_interval_ms = 200
segment_bytes_max = 4194304
join_parts_min = 20
disk_free_bytes_min = {free_bytes_min}
[limits]
browser_requests_per_minute = 0
server_requests_per_minute = 0
croct_requests_per_minute = 0
failed_auth_per_minute = 0
[tiers.proof]
requests_per_minute = 0
requests_per_month = 0
[[sites]]
id = "{SITE}"
allowed_domains = ["{DOMAIN}"]
tracking_code = "{TRACKING_CODE}"
croct_app_id = "{APP_ID}"
{shared}"""


def disk_of(folder: Path, mounts: Path = _MOUNTS) -> Disk:
    """The file system that holds `folder`: of several mounts one above the other the last."""
    path = folder.resolve()
    status = path.stat()
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    best: tuple[int, Disk] | None = None
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        # number parent major:minor root point options... - type source super-options
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        point = Path(fields[4].replace("\\040", " "))
        if not path.is_relative_to(point):
            continue
        # Some file systems (btrfs, overlay) show files another device than the mount's.
        rank = 2 * len(point.parts) + (fields[2] == number)
        if best is None or rank >= best[0]:
            best = rank, Disk(kinds[0], kinds[1], fields[5])
    return best[1] if best else Disk("", "", "")


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
