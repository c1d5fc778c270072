"""Builds what is for operators: the gate, the admin API, the dashboard, the pages of our own.

A part of the composition root (`service`), of which it gets what everybody shares.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
from collector.dashboard import site as dashboard
from collector.dashboard.install import Deliver
from collector.dashboard.known import Known
from collector.http import BodyReader
from collector.metrics import Metrics
from collector.pages import Pages
from collector.panel_session import LakeSession
from collector.panels import Panels
from collector.receipt import time_text
from storage import Files, give_way


class Clocks(msgspec.Struct, frozen=True):
    """The clocks, in microseconds; another thread for a function; a pause of seconds on one."""

    now_us: Callable[[], int]
    monotonic_us: Callable[[], int]
    in_thread: InThread
    wait: Callable[[float], object]


class Inside:
    """`admin` answers what is below /admin and /dashboard, `pages` what programs ask for."""

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
        deliver: Deliver,
        clocks: Clocks,
    ) -> None:
        server, limits = config.server, config.limits
        gate = Gate(
            server.admin_token_sha256,
            addresses=addresses,
            sessions=Sessions(server.admin_session_ms),
            failures=FailedLogins(limits.admin_failed_auth_per_minute, limits.addresses_max),
            monotonic_us=clocks.monotonic_us,
        )

        def today() -> date:
            return datetime.fromtimestamp(clocks.now_us() / 1_000_000, UTC).date()

        state = StateReader(
            metrics, gauges, now=lambda: time_text(clocks.now_us()), trouble=trouble
        )
        lookups = Lookups(
            config.storage.directory, files, in_thread=clocks.in_thread, wait=clocks.wait
        )
        api = Api(state, lookups, today=today)
        # One question at a time, on a thread that gives way.
        questions = ThreadPoolExecutor(1, "questions", initializer=give_way)
        self._questions = questions
        self._panels = Panels(
            LakeSession(config.storage.directory, files, clocks.now_us),
            run=lambda ask: asyncio.get_running_loop().run_in_executor(questions, ask),
            now_us=clocks.now_us,
        )
        known = Known(api, self._panels, config=lambda: config, now_us=clocks.now_us, today=today)
        routes = [
            *api.routes,
            *dashboard.routes(known, gate, refused=metrics.origins, deliver=deliver),
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

    async def stop(self) -> None:
        """Give up the questions of the dashboard; their thread has ended when this returns."""
        await self._panels.stop()
        await asyncio.to_thread(self._questions.shutdown)
