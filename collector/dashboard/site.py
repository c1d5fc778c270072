"""Every page of the dashboard, and who makes which.

A new page is a module with a class that has `routes`, a line here, and a row in `frame.PAGES`.
"""

from collector.admin import Route
from collector.admin_gate import Gate
from collector.dashboard.assets import Assets
from collector.dashboard.install import Deliver, Install
from collector.dashboard.known import Known
from collector.dashboard.login import Login
from collector.dashboard.origins import Origins
from collector.dashboard.overview import Overview
from collector.dashboard.receipt import Receipts
from collector.refused_origins import RefusedOrigins


def routes(known: Known, gate: Gate, *, refused: RefusedOrigins, deliver: Deliver) -> list[Route]:
    """The rows of the table that are the dashboard's.

    `refused`: what pages were refused; `deliver`: has the collector answer a request.
    """
    install = Install(known, deliver=deliver, is_secure=lambda visit: gate.is_secure(visit.asker))
    owners = (
        Login(gate),
        Overview(known.api),
        install,
        Origins(known, refused),
        Receipts(known),
        Assets(),
    )
    return [route for owner in owners for route in owner.routes]
