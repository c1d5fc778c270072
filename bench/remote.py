"""Load on a collector that runs already, at any URL. What it stored cannot be checked from here.

A load generator pointed at the wrong host is an attack. So anything but this machine needs the
caller's word, and every load is bounded in time and in requests, wherever it goes.
"""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench.corpus import Account, Traffic
from bench.figures import Figure, latency_figures
from bench.fleet import drive, fresh_run
from bench.options import Options
from bench.plan import Plan
from bench.throughput import BATCH_CONNECTIONS, WARM_UP_S

_PORTS: Final = {"http": 80, "https": 443}
# Who asks for fewer wants all of them measured.
_WARM_UP_REQUESTS: Final = 10_000


class NotAllowed(ValueError):
    """The URL cannot be used, or may not be."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running collector is, and as whom to send.

    `ca_file`: PEM of the authorities that its certificate comes from, "" for the system's. `rate`
    in requests per second, 0 for as fast as answers come. `requests_max` in all, per measurement.
    """

    address: str
    port: int
    account: Account
    tls: bool = False
    ca_file: str = ""
    rate: float = 0.0
    requests_max: int = 1_000_000


def target(
    url: str,
    account: dict[str, str],
    *,
    has_permission: bool = False,
    ca_file: str = "",
    rate: float = 0.0,
    requests_max: int = 1_000_000,
) -> Target:
    """The target at `url`: `http` or `https`, any host and port, perhaps a path before the API's.

    `account` holds members of `Account`; empty ones keep their defaults. Raises `NotAllowed`.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise NotAllowed(f"{url} is no URL: {error}") from None
    if not port or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise NotAllowed("a URL looks like this: https://host:port/prefix")
    if not has_permission and not is_loopback(parts.hostname):
        raise NotAllowed(
            f"{parts.hostname} is not this machine: load it only if it is yours, or with its "
            "owner's consent, and say so with --with-permission"
        )
    host = parts.netloc if parts.port else parts.netloc.rstrip(":")
    where = Account(host=host, prefix=parts.path.rstrip("/"))
    chosen = {name: value for name, value in account.items() if value}
    return Target(
        address=parts.hostname,
        port=port,
        account=msgspec.structs.replace(where, **chosen),
        tls=parts.scheme == "https",
        ca_file=ca_file,
        rate=rate,
        requests_max=requests_max,
    )


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine: a name is looked up nowhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def remote(traffic: Traffic, size: int, to: Target, options: Options) -> list[Figure]:
    """Events per second and latencies, and how busy the generator was. Raises `LoadFailed`."""
    connections = BATCH_CONNECTIONS.get(size, options.connections)
    plan = Plan(
        address=to.address,
        port=to.port,
        traffic=traffic,
        account=to.account,
        run=fresh_run(),
        size=size,
        connections=connections,
        warm_up_s=WARM_UP_S if to.requests_max > _WARM_UP_REQUESTS else 0.0,
        seconds=options.seconds,
        rate=to.rate,
        duplicates=options.duplicates,
        requests_max=to.requests_max,
        seed=options.seed,
        tls=to.tls,
        ca_file=to.ca_file,
    )
    report = drive(plan, options.processes)
    name = f"{traffic}_{size}"
    how = f"fixed rate, {to.rate:,.0f}/s" if to.rate else f"{connections} connections"
    refused = report.rejected + report.failures
    return [
        Figure(f"{name}_events_per_s", report.events / report.window_s, "events/s"),
        *latency_figures(f"{name}_ack", report.latencies_us, how),
        Figure(f"{name}_generator_cpu", report.cpu_share, "cores"),
        Figure(f"{name}_generator_lag_p99_ms", report.lag_p99_ms, "ms", "1 to 2 is its timer"),
        Figure(f"{name}_refused", refused, "events", f"answers by status: {report.statuses}"),
    ]
