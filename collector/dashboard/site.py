"""Every page of the dashboard, and who makes which.

A new page is a module with a class that has `routes`, a line here, and a row in `frame.PAGES`.
"""

from collections.abc import Sequence
from typing import Protocol

from collector.admin import Route
from collector.admin_gate import Gate
from collector.admin_stream import LiveNumbers
from collector.dashboard.apikeys import ApiKeys
from collector.dashboard.assets import Assets
from collector.dashboard.customevents import CustomEvents
from collector.dashboard.goals import Goals
from collector.dashboard.known import Known
from collector.dashboard.lake import LakePage
from collector.dashboard.login import Login
from collector.dashboard.overview import Overview
from collector.dashboard.qrscans import QrScans
from collector.dashboard.realtime import RealTime
from collector.dashboard.reconciliation import Reconciliation
from collector.dashboard.revenue import Revenue
from collector.dashboard.tops import SUBJECTS, Tops
from collector.dashboard.users import Users
from collector.dashboard.visitor import Visitor
from collector.streams import Streams


class Owner(Protocol):
    """Somebody who has rows of the table."""

    @property
    def routes(self) -> Sequence[Route]:
        """These rows."""


def routes(known: Known, gate: Gate, streams: Streams) -> list[Route]:
    """The rows of the table that are the dashboard's."""
    overview = Overview(known)
    owners: tuple[Owner, ...] = (
        Login(gate),
        overview,
        LiveNumbers(gate, streams, overview.live),
        RealTime(known),
        *(Tops(known, subject) for subject in SUBJECTS),
        Visitor(known),
        CustomEvents(known),
        Users(known),
        Goals(known),
        Revenue(known),
        QrScans(known),
        Reconciliation(known),
        ApiKeys(known),
        LakePage(known),
        Assets(),
    )
    return [route for owner in owners for route in owner.routes]
