"""Every setting: its type, unit, default and reason. The values only; `config_file` reads them.

Names are a contract (docs/CONFIG.md). A limit carries its unit in its name. `0` switches a limit
off, for every limit. Relations between settings are checked by `config_file.check`.
"""

from pathlib import Path
from typing import Literal

import msgspec


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen and whom to believe."""

    host: str = "127.0.0.1"
    port: int = 8000
    trusted_proxies: tuple[str, ...] = ()
    # One Zenovay batch of 1,000 events of 4 KB; larger bodies only cost memory per connection.
    body_bytes_max: int = 4_194_304
    # A phone on a bad line sends 4 MB within this; a slow-body attacker is cut off.
    body_timeout_ms: int = 15_000
    # How long a stop waits for requests in flight before it answers the rest with 503.
    stop_timeout_ms: int = 5_000
    admin_token_sha256: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how rows are kept."""

    directory: Path = Path("data")
    durability: Literal["sync", "os"] = "sync"
    publish_interval_ms: int = 5_000
    segment_bytes_max: int = 67_108_864
    queue_bytes_max: int = 67_108_864
    disk_free_bytes_min: int = 268_435_456
    retention_days: int = 0
    # About 130 bytes each in memory; beyond it the oldest keys are forgotten, counted and logged.
    keys_max: int = 5_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Requests per minute; token buckets whose capacity is one minute's allowance."""

    browser_requests_per_minute: int = 100
    server_requests_per_minute: int = 1_000
    croct_requests_per_minute: int = 0
    failed_auth_per_minute: int = 30
    # Buckets kept at a time, about 150 bytes each; full buckets are dropped first.
    addresses_max: int = 200_000


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Zenovay's limits per key."""

    requests_per_minute: int
    requests_per_month: int = 0


class Enrich(msgspec.Struct, frozen=True, kw_only=True):
    """Sources of what the client did not say."""

    geo_database: str = ""
    scan_sessions: str = ""


class Time(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as late and as a wrong clock."""

    late_after_ms: int = 86_400_000
    clock_skew_ms_max: int = 60_000


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """An ES256 public key; with `id` it answers to the `kid` of that API key only."""

    pem: str
    id: str = ""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One site; the same site may be reached through all three protocols."""

    id: str
    team: str = ""
    active: bool = True
    allowed_domains: tuple[str, ...] = ()
    goals: frozenset[str] = frozenset()
    honour_gpc: bool = False
    tracking_code: str = ""
    croct_app_id: str = ""
    croct_require_signed_tokens: bool = False
    croct_suspended: Literal[
        "", "tracking_and_personalization_suspended", "bot_personalization_blocked"
    ] = ""
    # Texts or files in the configuration; always PEM texts once read.
    croct_public_keys: tuple[PublicKey, ...] = ()
    croct_invalid: Literal["reject", "quarantine"] = "reject"

    @property
    def quarantines_invalid(self) -> bool:
        """Whether an invalid Croct payload is answered with 204 and kept aside."""
        return self.croct_invalid == "quarantine"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key, known by its SHA-256 only (64 lower-case hex digits)."""

    name: str
    sha256: str
    team: str = ""
    site: str = ""
    scope: Literal["site_access", "full_access"] = "site_access"
    tier: str = "free"


DEFAULT_TIERS = {
    "free": Tier(requests_per_minute=10, requests_per_month=1_000),
    "pro": Tier(requests_per_minute=30, requests_per_month=10_000),
    "scale": Tier(requests_per_minute=60, requests_per_month=100_000),
    "enterprise": Tier(requests_per_minute=120, requests_per_month=1_000_000),
}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one collector. `path` is the file read, None for the built-in values."""

    server: Server = Server()
    storage: Storage = Storage()
    limits: Limits = Limits()
    time: Time = Time()
    enrich: Enrich = Enrich()
    tiers: dict[str, Tier] = msgspec.field(default_factory=lambda: dict(DEFAULT_TIERS))
    sites: tuple[Site, ...] = ()
    keys: tuple[Key, ...] = ()
    path: Path | None = None
