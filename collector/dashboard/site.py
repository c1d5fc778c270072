"""Every page of the dashboard, and who makes which.

A new page is a module with a class that has `routes`, a line here, and a row in `frame.PAGES`.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from collector.admin import Route
from collector.admin_gate import Gate
from collector.admin_stream import LiveNumbers
from collector.dashboard.apikeys import ApiKeys
from collector.dashboard.assets import Assets
from collector.dashboard.customevents import CustomEvents
from collector.dashboard.goals import Goals
from collector.dashboard.install import Deliver, Install
from collector.dashboard.known import Known
from collector.dashboard.lake import LakePage
from collector.dashboard.login import Login
from collector.dashboard.origins import Origins
from collector.dashboard.overview import Overview
from collector.dashboard.qrscans import QrScans
from collector.dashboard.realtime import RealTime
from collector.dashboard.receipt import Receipts
from collector.dashboard.reconciliation import Reconciliation
from collector.dashboard.revenue import Revenue
from collector.dashboard.tops import SUBJECTS, Tops
from collector.dashboard.users import Users
from collector.dashboard.visitor import Visitor
from collector.refused_origins import RefusedOrigins
from collector.streams import Streams


class Owner(Protocol):
    """Somebody who has rows of the table."""

    @property
    def routes(self) -> Sequence[Route]:
        """These rows."""


class Offers(msgspec.Struct, frozen=True):
    """What only some pages are given: what was refused, and who answers a request of ours."""

    refused: RefusedOrigins
    deliver: Deliver


def routes(known: Known, gate: Gate, streams: Streams, offers: Offers) -> list[Route]:
    """The rows of the table that are the dashboard's."""
    install = Install(
        known, deliver=offers.deliver, is_secure=lambda visit: gate.is_secure(visit.asker)
    )
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
        install,
        Origins(known, offers.refused),
        Receipts(known),
        Assets(),
    )
    return [route for owner in owners for route in owner.routes]
