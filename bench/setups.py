"""Configurations of the collectors that are measured: one struct in, TOML out. Pure."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from bench.corpus import Account

# Large enough never to be reached: what a limit costs is measured, not what it refuses.
_NEVER: Final = 1_000_000_000
_encoder: Final = msgspec.json.Encoder()

Value = str | int | bool | Sequence[str]
Table = Mapping[str, Value]


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ between collectors under measurement; the defaults are a newcomer's.

    `checks`: "usual" is what everybody gets, without limits; "all" has every limit counting,
    consent signals honoured and `geo_database` asked; "none" has all switched off that the
    configuration can switch off. The latter two believe `X-Forwarded-For` from this machine.
    `sites`: so many in all, each with a key, a tracking code and an application of its own.
    """

    durability: Literal["sync", "os"] = "sync"
    publish_interval_ms: int = 5_000
    segment_bytes_max: int = 1 << 26
    join_parts_min: int = 100
    checks: Literal["usual", "all", "none"] = "usual"
    geo_database: str = ""
    sites: int = 1
    dashboard_priority: Literal["idle", "low"] = "idle"


def text(account: Account, port: int, setup: Setup) -> str:
    """A configuration in TOML for a collector on `port` that lets `account` in.

    The folder of its data is `data` beside it.
    """
    limit = _NEVER if setup.checks == "all" else 0
    sites = [account, *map(neighbour, range(1, setup.sites))]
    tables: dict[str, Table] = {
        "server": {
            "host": "127.0.0.1",
            "port": port,
            "log_level": "warning",
            "dashboard_priority": setup.dashboard_priority,
            "trusted_proxies": [] if setup.checks == "usual" else ["127.0.0.1/32"],
        },
        "storage": {
            "directory": "data",
            "durability": setup.durability,
            "publish_interval_ms": setup.publish_interval_ms,
            "segment_bytes_max": setup.segment_bytes_max,
            "join_parts_min": setup.join_parts_min,
        },
        "limits": {
            "browser_requests_per_minute": limit,
            "server_requests_per_minute": limit,
            "croct_requests_per_minute": limit,
            "failed_auth_per_minute": limit,
        },
        "tiers.unlimited": {"requests_per_minute": limit, "requests_per_month": limit},
        "enrich": _enrich(setup),
    }
    lines = [line for name, table in tables.items() for line in (f"[{name}]", *_members(table))]
    for one in sites:
        lines += ["[[sites]]", *_members(_site(one, limit, setup))]
    for one in sites:
        lines += ["[[keys]]", *_members(_key(one))]
    return "\n".join(lines) + "\n"


def neighbour(number: int) -> Account:
    """Another site than the one that is measured, with everything of its own."""
    return Account(
        host="localhost",
        site=f"neighbour-{number}",
        key=f"zv_neighbour{number:034d}",
        tracking_code=f"ZV_neighbour{number}",
        app_id=str(uuid.UUID(int=number, version=4)),
    )


def _enrich(setup: Setup) -> Table:
    if setup.checks == "none":
        return {"country_fallback": False, "replay_copies_max": 0}
    return {"geo_database": setup.geo_database}


def _site(account: Account, limit: int, setup: Setup) -> Table:
    site: dict[str, Value] = {
        "id": account.site,
        "team": "bench",
        "allowed_domains": ["localhost"],
        "goals": ["signup"],
        "tracking_code": account.tracking_code,
        "croct_app_id": account.app_id,
        "requests_per_minute": limit,
        "honour_gpc": setup.checks == "all",
    }
    if setup.checks == "none":
        site["fraud_rules"] = []
    return site


def _key(account: Account) -> Table:
    return {
        "name": account.site,
        "sha256": hashlib.sha256(account.key.encode()).hexdigest(),
        "team": "bench",
        "site": account.site,
        "scope": "site_access",
        "tier": "unlimited",
    }


def _members(table: Table) -> list[str]:
    """What JSON writes of texts, numbers, truth values and lists of texts is TOML as well."""
    return [f"{name} = {_encoder.encode(value).decode()}" for name, value in table.items()]
