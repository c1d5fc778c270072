"""Every setting: its type, unit, range, default and reason. The values only.

Names are a contract (docs/CONFIG.md). A limit carries its unit in its name. `0` switches a limit
off, for every limit. A new setting is one line here and one row in docs/CONFIG.md: `config_reader`
reads whatever it finds in these structs. What a text must look like is told by a kind (`Meta` with
`extra`), whose rule is in `config_values`; relations between settings are in `config_relations`.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

# Ten years: far beyond any use, and small enough that microseconds stay within 64 bits.
_SPAN_MS_MAX: Final = 315_360_000_000

Allowance = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
# Requests at once; 0: one minute's allowance.
Burst = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
SpanMs = Annotated[int, Meta(ge=0, le=_SPAN_MS_MAX)]
Bytes = Annotated[int, Meta(ge=0)]
# What must hold something to be of use; there is no "off".
Capacity = Annotated[int, Meta(ge=1)]
# Kinds of text. The default of a setting is always allowed, whatever its kind asks.
Name = Annotated[str, Meta(extra={"kind": "name"})]
Sha256 = Annotated[str, Meta(extra={"kind": "sha256"})]
Day = Annotated[str, Meta(extra={"kind": "day"})]
Uuid = Annotated[str, Meta(extra={"kind": "uuid"})]
ListenHost = Annotated[str, Meta(extra={"kind": "listen_host"})]
Network = Annotated[str, Meta(extra={"kind": "network"})]
DomainPattern = Annotated[str, Meta(extra={"kind": "domain_pattern"})]
# A file that must exist when the setting is not empty; absolute once read.
FilePath = Annotated[str, Meta(extra={"kind": "file"})]
MmdbPath = Annotated[str, Meta(extra={"kind": "mmdb"})]
PublicKeyPem = Annotated[str, Meta(extra={"kind": "public_key_pem"})]


FraudRule = Literal[
    "crawler", "headless", "webdriver", "http_client", "impossible_time", "replay_storm"
]


ShedName = Literal[
    "browser",
    "server",
    "croct_track",
    "scanova_collect",
    "scanova_collect_batch",
    "scanova_ct",
    "scanova_server_events",
    "scanova_server_events_batch",
    "zenovay_events",
]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen and whom to believe."""

    host: ListenHost = "127.0.0.1"
    # 0: any free port.
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    # How granian hands requests over: "rsgi" costs less, "asgi" knows header values beyond ASCII.
    interface: Literal["rsgi", "asgi"] = "rsgi"
    # Believed about the client address; nobody else's X-Forwarded-For or Forwarded is.
    trusted_proxies: tuple[Network, ...] = ()
    # "auto": X-Forwarded-For where there is one, because a proxy that writes it passes on what a
    # client says in Forwarded.
    proxy_header: Literal["auto", "x-forwarded-for", "forwarded"] = "auto"
    # One Zenovay batch of 1,000 events of 4 KB; larger bodies only cost memory per connection.
    body_bytes_max: Capacity = 4_194_304
    # A phone on a bad line sends 4 MB within this; a slow-body attacker is cut off.
    body_timeout_ms: Annotated[int, Meta(ge=10, le=600_000)] = 15_000
    # About 10 KB of memory each; the limit of open files may allow fewer.
    connections_max: Capacity = 16_384
    # How long a stop waits for requests in flight before it answers the rest with 503.
    stop_timeout_ms: Annotated[int, Meta(ge=0, le=600_000)] = 5_000
    # Empty: dashboard and admin API answer on loopback only.
    admin_token_sha256: Sha256 = ""
    # Of the processes that count for the dashboard. "idle": what is left of the processors, which
    # may be nothing for minutes; "low": a small share in any case, which intake then lacks.
    dashboard_priority: Literal["idle", "low"] = "idle"
    # A working day: who forgets to log out is not logged in tomorrow.
    admin_session_ms: Annotated[int, Meta(ge=60_000, le=_SPAN_MS_MAX)] = 43_200_000
    # Prometheus asks without credentials unless it is told some.
    metrics_need_token: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # "json": one object per line, for what collects logs.
    log_format: Literal["text", "json"] = "text"
    # A line costs about as much as a small event; paths, never queries or addresses.
    log_requests: bool = False


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how rows are kept."""

    directory: Path = Path("data")
    # "os" loses what the kernel had not written yet when the power goes.
    durability: Literal["sync", "os"] = "sync"
    # Shorter: fresher files, more of them to join. Longer: a reader of the files waits.
    publish_interval_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 5_000
    # Below 1 MiB a busy collector makes files faster than it can join them.
    segment_bytes_max: Annotated[int, Meta(ge=1_048_576)] = 67_108_864
    # Rows waiting to be written; beyond it 503. Never below server.body_bytes_max.
    queue_bytes_max: Capacity = 67_108_864
    # Below it 503, so that what was acknowledged can still be turned into files.
    disk_free_bytes_min: Bytes = 268_435_456
    # 0: for ever.
    retention_days: Annotated[int, Meta(ge=0, le=36_500)] = 0
    # Refused events kept aside, per site; beyond it they are not kept. 0: none is.
    quarantine_bytes_max: Bytes = 67_108_864
    # 0: until they are replayed or removed.
    quarantine_days: Annotated[int, Meta(ge=0, le=36_500)] = 30
    # Parts of the open date that wait until they are joined: each time, a reader who has just
    # listed its folder has to ask again.
    join_parts_min: Annotated[int, Meta(ge=2, le=100_000)] = 100
    # About 2 bytes of memory and 25 of disk each; beyond it the oldest keys are forgotten, counted
    # and logged.
    keys_max: Capacity = 1_000_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Token buckets: a rate per minute, and how many requests may come at once."""

    browser_requests_per_minute: Allowance = 100
    browser_burst: Burst = 0
    server_requests_per_minute: Allowance = 1_000
    server_burst: Burst = 0
    croct_requests_per_minute: Allowance = 0
    croct_burst: Burst = 0
    failed_auth_per_minute: Allowance = 30
    failed_auth_burst: Burst = 0
    # Wrong admin tokens per client address; ten times as many of all together.
    admin_failed_auth_per_minute: Allowance = 10
    # Buckets kept at a time and limit, about 150 bytes each; only full buckets are forgotten.
    addresses_max: Capacity = 100_000


class Overload(msgspec.Struct, frozen=True, kw_only=True):
    """Who is refused with 503 when more comes than can be answered in time."""

    # How long requests wait on average before others are refused; what one group's sync takes
    # comes on top. Shorter: quicker answers, but pauses of the machine refuse somebody.
    delay_target_ms: Annotated[int, Meta(ge=0, le=10_000)] = 60
    # Endpoints, by name or by who uses them: these are refused first, the others only when they
    # are too much by themselves. A back end's events are sales; it also retries less patiently.
    shed_first: tuple[ShedName, ...] = ("browser",)
    # Refusals for overload leave at a twentieth of the pace of acceptances, because clients that
    # come again at once would take all the time; none is held back longer. 0: none is at all.
    refusal_wait_ms_max: Annotated[int, Meta(ge=0, le=60_000)] = 5_000
    # Bodies that are being received; beyond it, slow ones are given up. Never below
    # server.body_bytes_max.
    reading_bytes_max: Bytes = 67_108_864


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Zenovay's limits per key."""

    requests_per_minute: Allowance
    burst: Burst = 0
    requests_per_month: Allowance = 0
    allowed: bool = True


class Enrich(msgspec.Struct, frozen=True, kw_only=True):
    """Sources of what the client did not say."""

    geo_database: MmdbPath = ""
    # Without a database: the country in which the address is registered.
    country_fallback: bool = True
    scan_sessions: FilePath = ""
    # Clients are told to try 5 times; beyond this many repeats of one event it is a storm. 0: off.
    replay_copies_max: Allowance = 10


class Time(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as late and as a wrong clock."""

    late_after_ms: SpanMs = 86_400_000
    clock_skew_ms_max: SpanMs = 60_000


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """An ES256 public key; with `id` it answers to the `kid` of that API key only."""

    pem: PublicKeyPem
    id: Uuid = ""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One site; the same site may be reached through all three protocols."""

    id: Name
    team: Name = ""
    active: bool = True
    # All senders together.
    requests_per_minute: Allowance = 0
    burst: Burst = 0
    # Exact host names, or `*.example.com` for its subdomains of any depth.
    allowed_domains: tuple[DomainPattern, ...] = ()
    goals: frozenset[Name] = frozenset()
    honour_gpc: bool = False
    # -1: as storage.retention_days; 0: for ever.
    retention_days: Annotated[int, Meta(ge=-1, le=36_500)] = -1
    # Which of our own rules set is_fraud (collector/marks.py). Browser tests and scripts are not
    # fraud by themselves, so headless browsers and HTTP libraries are left out.
    fraud_rules: tuple[FraudRule, ...] = ("crawler", "impossible_time", "replay_storm")
    tracking_code: Name = ""
    croct_app_id: Uuid = ""
    croct_require_signed_tokens: bool = False
    croct_suspended: Literal[
        "", "tracking_and_personalization_suspended", "bot_personalization_blocked"
    ] = ""
    # Texts or files in the configuration; always PEM texts once read.
    croct_public_keys: tuple[Annotated[PublicKey, Meta(extra={"kind": "public_key"})], ...] = ()
    croct_strict: bool = False
    croct_late: Literal["keep", "drop"] = "keep"
    croct_invalid: Literal["reject", "quarantine"] = "reject"

    @property
    def refuses_unknown(self) -> bool:
        """Whether a beacon with a member that no schema knows is refused."""
        return self.croct_strict

    @property
    def quarantines_invalid(self) -> bool:
        """Whether an invalid Croct payload is answered with 204 and kept aside."""
        return self.croct_invalid == "quarantine"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key, known by its SHA-256 only (64 lower-case hex digits)."""

    name: Name
    sha256: Sha256
    team: Name = ""
    site: Name = ""
    scope: Literal["site_access", "full_access"] = "site_access"
    tier: Name = "free"
    # Day it was made, as `collector keys new --write` notes it; only shown.
    created: Day = ""


DEFAULT_TIERS: Final = {
    "free": Tier(requests_per_minute=10, requests_per_month=1_000),
    "pro": Tier(requests_per_minute=30, requests_per_month=10_000),
    "scale": Tier(requests_per_minute=60, requests_per_month=100_000),
    "enterprise": Tier(requests_per_minute=120, requests_per_month=1_000_000),
}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one collector. `path`: the file read, absolute; None for built-in values."""

    server: Server = Server()
    storage: Storage = Storage()
    limits: Limits = Limits()
    overload: Overload = Overload()
    time: Time = Time()
    enrich: Enrich = Enrich()
    tiers: dict[str, Tier] = msgspec.field(default_factory=lambda: dict(DEFAULT_TIERS))
    sites: tuple[Site, ...] = ()
    keys: tuple[Key, ...] = ()
    path: Path | None = None
