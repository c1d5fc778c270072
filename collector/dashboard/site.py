"""Every page of the dashboard, and who makes which.

A new page is a module with a class that has `routes`, a line here, and a row in `frame.PAGES`.
"""

from collector.admin import Route
from collector.admin_gate import Gate
from collector.dashboard.assets import Assets
from collector.dashboard.customevents import CustomEvents
from collector.dashboard.goals import Goals
from collector.dashboard.known import Known
from collector.dashboard.login import Login
from collector.dashboard.overview import Overview
from collector.dashboard.qrscans import QrScans
from collector.dashboard.reconciliation import Reconciliation
from collector.dashboard.revenue import Revenue
from collector.dashboard.users import Users
from collector.dashboard.visitor import Visitor


def routes(known: Known, gate: Gate) -> list[Route]:
    """The rows of the table that are the dashboard's."""
    owners = (
        Login(gate),
        Overview(known.api),
        Visitor(known),
        CustomEvents(known),
        Users(known),
        Goals(known),
        Revenue(known),
        QrScans(known),
        Reconciliation(known),
        Assets(),
    )
    return [route for owner in owners for route in owner.routes]
