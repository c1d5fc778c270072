"""Builds what is for operators: the gate, the admin API, the dashboard, the pages of our own.

A part of the composition root (`service`), of which it gets what everybody shares.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

import msgspec

from collector import openapi
from collector.adapters import ENDPOINTS
from collector.addresses import AddressReader
from collector.admin import Admin
from collector.admin_api import Api
from collector.admin_gate import Gate
from collector.admin_lookups import InThread, Lookups
from collector.admin_sessions import Sessions
from collector.admin_state import StateReader
from collector.admin_throttle import FailedLogins
from collector.config import Config
from collector.dashboard.assets import Assets
from collector.dashboard.login import Login
from collector.dashboard.overview import Overview
from collector.http import BodyReader
from collector.metrics import Metrics
from collector.pages import Pages
from collector.receipt import time_text
from collector.reload import Reload
from storage import Files


class Clocks(msgspec.Struct, frozen=True):
    """The clocks, in microseconds; another thread for a function; a pause of seconds on one."""

    now_us: Callable[[], int]
    monotonic_us: Callable[[], int]
    in_thread: InThread
    wait: Callable[[float], object]


class Inside:
    """`admin` answers what is below /admin and /dashboard, `pages` what programs ask for.

    `failures`: wrong admin tokens. `config` is that of the start: `reload.in_force` has the sites,
    keys, tiers and limits of now.
    """

    def __init__(
        self,
        config: Config,
        files: Files,
        *,
        metrics: Metrics,
        gauges: Mapping[str, Callable[[], float]],
        trouble: Callable[[], str],
        bodies: BodyReader,
        addresses: AddressReader,
        reload: Reload,
        clocks: Clocks,
    ) -> None:
        server, limits = config.server, config.limits
        self.failures = FailedLogins(limits.admin_failed_auth_per_minute, limits.addresses_max)
        gate = Gate(
            server.admin_token_sha256,
            addresses=addresses,
            sessions=Sessions(server.admin_session_ms),
            failures=self.failures,
            monotonic_us=clocks.monotonic_us,
        )

        def today() -> date:
            return datetime.fromtimestamp(clocks.now_us() / 1_000_000, UTC).date()

        state = StateReader(
            metrics,
            gauges,
            now=lambda: time_text(clocks.now_us()),
            trouble=trouble,
            configuration=reload.told,
        )
        lookups = Lookups(
            config.storage.directory,
            files,
            in_thread=clocks.in_thread,
            wait=clocks.wait,
        )
        api = Api(state, lookups, today=today)
        routes = [
            route for owner in (api, Login(gate), Overview(api), Assets()) for route in owner.routes
        ]
        self.admin = Admin(routes, gate=gate, bodies=bodies)
        subject = openapi.Subject(
            endpoints=ENDPOINTS,
            routes=routes,
            body_bytes_max=server.body_bytes_max,
            metrics_need_token=server.metrics_need_token,
        )
        self.pages = Pages(
            metrics,
            gauges,
            trouble=trouble,
            describe=lambda: openapi.describe(subject, clocks.now_us() // 1_000),
            gate=gate if server.metrics_need_token else None,
        )
