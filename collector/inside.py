"""Builds what is for operators: the gate, the admin API, the dashboard, the pages of our own.

A part of the composition root (`service`), of which it gets what everybody shares.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Final

import msgspec

from collector import openapi
from collector.access import Access
from collector.adapters import ENDPOINTS
from collector.addresses import AddressReader
from collector.admin import Admin
from collector.admin_api import Api
from collector.admin_gate import Gate
from collector.admin_lookups import InThread, Lookups
from collector.admin_sessions import Sessions
from collector.admin_state import StateReader
from collector.admin_throttle import FailedLogins
from collector.beside import Beside
from collector.config import Config
from collector.dashboard import site as dashboard
from collector.dashboard.install import Deliver
from collector.dashboard.known import NEWEST, Known, Watch
from collector.http import BodyReader
from collector.metrics import Metrics
from collector.pages import Pages
from collector.periodic import Periodic
from collector.questions import Questions
from collector.rates import Rates
from collector.receipt import time_text
from collector.reload import Reload
from collector.streams import Streams
from storage import Files

# How often counters are looked at for what comes in a minute.
_SAMPLE_S: Final = 1.0
# For how long answers are told again, and how old what is told may be while another is looked for.
_AUDIT_S: Final = {"fresh_s": 15.0, "stale_s": 60.0}
# Whoever has sent an event and looks wants to see it.
_NEWEST_S: Final = {"fresh_s": 0.0, "stale_s": 5.0}
_STOCK_S: Final = {"fresh_s": 2.0, "stale_s": 60.0}


class Clocks(msgspec.Struct, frozen=True):
    """The clocks, in microseconds; another thread for a function; a pause of seconds on one."""

    now_us: Callable[[], int]
    monotonic_us: Callable[[], int]
    in_thread: InThread
    wait: Callable[[float], object]

    def today(self) -> date:
        """The date in UTC."""
        return datetime.fromtimestamp(self.now_us() / 1_000_000, UTC).date()


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
        deliver: Deliver,
        access: Callable[[], Access],
        clocks: Clocks,
    ) -> None:
        server = config.server
        gate = self._gate(config, addresses, clocks)
        state = StateReader(
            metrics,
            gauges,
            now=lambda: time_text(clocks.now_us()),
            trouble=trouble,
            configuration=reload.told,
        )
        lookups = Lookups(
            config.storage.directory, files, in_thread=clocks.in_thread, wait=clocks.wait
        )
        api = Api(state, lookups, today=clocks.today)
        self.questions = Questions(config, files, clocks.now_us)
        watch = self._watch(metrics, gauges["collector_unflushed_rows"], api, access, clocks)
        known = Known(
            api,
            self.questions.panels,
            watch,
            config=lambda: reload.in_force,
            now_us=clocks.now_us,
            today=clocks.today,
        )
        streams = Streams()
        offers = dashboard.Offers(metrics.origins, deliver)
        routes = [*api.routes, *dashboard.routes(known, gate, streams, offers)]
        self.admin = Admin(routes, gate=gate, bodies=bodies, streams=streams)
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

    def _gate(self, config: Config, addresses: AddressReader, clocks: Clocks) -> Gate:
        server, limits = config.server, config.limits
        self.failures = FailedLogins(limits.admin_failed_auth_per_minute, limits.addresses_max)
        return Gate(
            server.admin_token_sha256,
            addresses=addresses,
            sessions=Sessions(server.admin_session_ms),
            failures=self.failures,
            monotonic_us=clocks.monotonic_us,
        )

    def _watch(
        self,
        metrics: Metrics,
        unflushed: Callable[[], float],
        api: Api,
        access: Callable[[], Access],
        clocks: Clocks,
    ) -> Watch:
        rates = Rates(metrics, unflushed)

        async def sample() -> None:
            rates.sample(clocks.now_us())

        self._sampled = Periodic(sample, interval_s=_SAMPLE_S)
        now_us = clocks.now_us
        self._audit = Beside(lambda: api.audit(clocks.today()), **_AUDIT_S, now_us=now_us)
        self._newest = Beside(lambda: api.newest(NEWEST), **_NEWEST_S, now_us=now_us)
        self._stock = Beside(api.stock, **_STOCK_S, now_us=now_us)
        return Watch(
            rates,
            self._audit,
            self._newest,
            self._stock,
            budget=lambda key: access().budget(key, now_us()),
        )

    async def forget(self) -> None:
        """Have no page show from memory what was removed from the files."""
        self._newest.forget()
        await self.questions.panels.forget()

    async def give_up(self) -> None:
        """Answer no more questions of the dashboard, from now on; takes seconds at the most."""
        await self.questions.panels.stop()

    async def stop(self) -> None:
        """Give up the questions of the dashboard; their threads have ended when this returns."""
        self.admin.streams.end()
        await self._sampled.finish()
        for one in (self._audit, self._newest, self._stock):
            await one.stop()
        await self.questions.stop()
