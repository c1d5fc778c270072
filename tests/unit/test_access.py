"""What an endpoint's row decides: which limit is asked of an address before anything is read."""

import msgspec
import pytest

from collector.access import Access
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint
from collector.config import Config, Limits
from collector.ratelimit import Limiter
from collector.sites import Sites

START = 10**12
ROWS = [row for row in ENDPOINTS if isinstance(row, Endpoint)]


@pytest.mark.parametrize(
    ("limit", "codes"),
    [
        ("browser", ["", "rate_limited"]),
        ("server", ["auth_throttled", "auth_throttled"]),
        ("tier", ["auth_throttled", "auth_throttled"]),
        ("application", ["", ""]),
    ],
)
@pytest.mark.parametrize("endpoint", ROWS, ids=lambda e: e.name)
def test_the_limit_of_a_row_says_what_is_asked_of_an_address(
    endpoint: Endpoint, limit: str, codes: list[str]
) -> None:
    """By the column `limit` and nothing else of the row."""
    limits = Limits(browser_requests_per_minute=1, failed_auth_per_minute=1)
    limiter = Limiter(limits, {}, [])
    limiter.failed_auth("192.0.2.1", START)
    access = Access(Sites(Config()), limiter, monotonic_us=lambda: START)
    row = msgspec.structs.replace(endpoint, limit=limit)
    refusals = [access.address_refusal(row, "192.0.2.1") for _ in range(2)]
    assert [refusal.kind.code if refusal else "" for refusal in refusals] == codes


def test_rows_agree_with_themselves() -> None:
    """Limits of keys belong to rows with keys; the limit of beacons to what is decoded first."""
    for row in ROWS:
        assert (row.limit in {"server", "tier"}) == (row.credentials == "key"), row.name
        assert (row.limit == "application") == (row.limit_at == "decoded"), row.name
