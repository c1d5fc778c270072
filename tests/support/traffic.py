"""Three weeks of three small sites, always the same: what the queries of a page are shown with.

A shop (Scanova in the browser, its back end reports purchases through Zenovay), a restaurant with
QR codes on its tables (Scanova), an application that reports through Zenovay only. Only
`random.random` is used of the generator: its sequence is promised to stay the same.
"""

import random
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from storage import Row
from tests.support.lake import DataDirectory

FIRST_DAY: Final = date(2026, 11, 2)  # a Monday
DAYS: Final = 21
_T = TypeVar("_T")

_AGENTS: Final = [
    *[("mobile", "Mobile Safari", "iOS")] * 4,
    *[("mobile", "Chrome Mobile", "Android")] * 3,
    *[("desktop", "Chrome", "Windows")] * 3,
    *[("desktop", "Safari", "Mac OS X")] * 2,
    ("desktop", "Firefox", "Linux"),
    ("tablet", "Mobile Safari", "iOS"),
]
_COUNTRIES: Final = [*["DE"] * 6, *["FR"] * 3, *["US"] * 3, "CH", "IN", None]
_REFERRERS: Final = [
    *[None] * 4,
    *["https://www.google.com/", "https://www.google.com/search"] * 2,
    *("https://www.instagram.com/p/x", "https://news.example/shoes?page=2"),
]
_PRODUCTS: Final = [*["trail-shoes"] * 4, *["rain-jacket"] * 2, "head-torch"]
_PRICES: Final = {"trail-shoes": 129.9, "rain-jacket": 89.0, "head-torch": 34.5}


class _Writer:
    """Collects rows; draws everything from one sequence."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._rng = random.Random(2026)

    def below(self, limit: int) -> int:
        return int(self._rng.random() * limit)

    def chance(self, share: float) -> bool:
        return self._rng.random() < share

    def choose(self, choices: Sequence[_T]) -> _T:
        return choices[self.below(len(choices))]

    def add(self, moment: datetime, **members: object) -> None:
        """One row that arrived a quarter of a second after it happened."""
        number = len(self.rows) + 1
        time_us = int(moment.timestamp()) * 1_000_000
        known: dict[str, object] = {
            "event_id": str(uuid.UUID(int=number)),
            "event_time": time_us,
            "received_time": time_us + 250_000,
            "protocol": "scanova",
            "source": "browser",
            "dedup_key": f"{number:032x}",
        }
        self.rows.append(Row(**(known | members)))  # type: ignore[arg-type]

    def moment(self, day: int) -> datetime:
        """Some time of that day, late enough for a whole visit before midnight."""
        start = datetime.combine(FIRST_DAY, datetime.min.time(), UTC)
        return start + timedelta(days=day, seconds=6 * 3600 + self.below(15 * 3600))


def _shop(out: _Writer) -> None:
    """Visits that end in a purchase now and then."""
    session = order = 0
    for number in range(1, 91):
        device, browser, system = out.choose(_AGENTS)
        who = {
            "site_id": "shop",
            "visitor_id": f"visitor-{number:03d}",
            "device_type": device,
            "browser_family": browser,
            "os_family": system,
            "country_code": out.choose(_COUNTRIES),
            "consent": "granted",
            "flags": ("bot",) if number % 30 == 0 else ("gpc",) if number % 18 == 0 else (),
        }
        day = out.below(DAYS)
        while day < DAYS:
            session += 1
            order = _visit(
                out, day, order, referrer=out.choose(_REFERRERS), session=session, who=who
            )
            day += 2 + out.below(18)


def _visit(
    out: _Writer,
    day: int,
    order: int,
    *,
    referrer: str | None,
    session: int,
    who: dict[str, object],
) -> int:
    """One visit to the shop; returns the number of the latest order."""
    now = out.moment(day)
    seen = {**who, "session_id": f"session-{session:03d}"}
    product = out.choose(_PRODUCTS)
    for path in ["/", f"/products/{product}", "/checkout"]:
        page = {"page_url": f"https://shop.example{path}", "referrer": referrer}
        out.add(now, **seen, **page, event_type="pageview")
        referrer = f"https://shop.example{path}"
        now += timedelta(seconds=20 + out.below(100))
        if path == f"/products/{product}":
            if out.chance(0.5):
                return order
            out.add(now, **seen, **page, event_type="add_to_cart", metadata={"sku": product})
            now += timedelta(seconds=5 + out.below(30))
        if out.chance(0.3):
            return order
    order += 1
    sold = {
        "conversion_value": _PRICES[product],
        "conversion_currency": "USD" if who["country_code"] == "US" else "EUR",
    }
    metadata = {"order_id": f"order-{order:03d}"}
    # Some browsers block what follows the payment; the back end always tells.
    if out.chance(0.85):
        out.add(now, **seen, event_type="purchase", metadata=metadata, **sold)
        if out.chance(0.1):
            again = now + timedelta(seconds=3)
            out.add(again, **seen, event_type="purchase", metadata=metadata, **sold, is_duplicate=1)
    provider = out.choose(["stripe", "stripe", "paypal"])
    out.add(
        now + timedelta(seconds=2),
        site_id="shop",
        protocol="zenovay",
        source="server",
        event_type="purchase",
        visitor_id=who["visitor_id"],
        key_id="backend",
        metadata={**metadata, "payment_provider": provider, "status": "succeeded"},
        **sold,
    )
    return order


def _restaurant(out: _Writer) -> None:
    """Guests who scan the code on their table, look at the menu, and order."""
    for number in range(1, 61):
        now = out.moment(out.below(DAYS))
        scan = {
            "site_id": "menu",
            "scan_session_id": f"scan-{number:03d}",
            "qr_code_id": f"table-{1 + out.below(4)}",
        }
        for page in ["/menu", "/menu/drinks"][: 1 + out.below(2)]:
            out.add(
                now,
                **scan,
                event_type="pageview",
                visitor_id=f"guest-{number:03d}",
                session_id=f"meal-{number:03d}",
                page_url=f"https://menu.example{page}",
                device_type="mobile",
                browser_family="Mobile Safari",
                os_family="iOS",
                country_code="DE",
            )
            now += timedelta(seconds=40 + out.below(200))
        if out.chance(0.4):
            out.add(
                now,
                site_id="menu",
                source="server",
                event_type="conversion",
                event_name="purchase",
                scan_session_id=scan["scan_session_id"],
                conversion_value=12.5 + out.below(30),
                conversion_currency="EUR",
                key_id="backend",
            )


def _application(out: _Writer) -> None:
    """Users of an application, some of whom sign up."""
    for number in range(1, 41):
        day = out.below(DAYS)
        now = out.moment(day)
        who = {
            "site_id": "app",
            "protocol": "zenovay",
            "source": "server",
            "visitor_id": f"user-{number:03d}",
            "session_id": f"login-{number:03d}",
            "key_id": "backend",
        }
        out.add(now, **who, event_type="pageview", page_url="https://app.example/")
        if out.chance(0.45):
            now += timedelta(minutes=1 + out.below(9))
            out.add(now, **who, event_type="goal", event_name="signup")
            if out.chance(0.4):
                now += timedelta(minutes=1 + out.below(9))
                out.add(now, **who, event_type="goal", event_name="invite", flags=("late",))


def make_traffic(path: Path) -> DataDirectory:
    """A data directory with the rows of all three sites; those of the last day are in the log."""
    out = _Writer()
    for site in (_shop, _restaurant, _application):
        site(out)
    by_day: dict[date, list[Row]] = defaultdict(list)
    for row in out.rows:
        by_day[datetime.fromtimestamp(row.received_time / 1e6, UTC).date()].append(row)
    data = DataDirectory(path)
    *published, last = sorted(by_day)
    for number, day in enumerate(published, 1):
        data.publish(number, number, *by_day[day], day=day)
    data.append(len(by_day), *by_day[last], day=last)
    return data
