"""One body per endpoint that a collector with the example configuration takes.

Times are those of the moment: two of the protocols refuse what is a day off. A test sends them all.
"""

from collections.abc import Mapping
from typing import Any, Final

_MS_PER_S: Final = 1_000


def examples(now_ms: int) -> Mapping[str, Any]:
    """Bodies by the name of their endpoint."""
    page = "http://localhost/pricing"
    browser = {
        "site_id": "demo",
        "event_type": "cta_click",
        "event_id": "f9ac7db6-f900-4d8e-8918-c846834195a8",
        "scan_session_id": "0b6f0c3e-6f0a-4c55-9d0c-0d9f3c1b7a52",
        "page_url": page,
        "device": {"language": "de-DE", "screen_width": 390, "screen_height": 844},
        "metadata": {"section": "pricing"},
        "consent": "granted",
    }
    server = {
        "site_id": "demo",
        "event_name": "purchase",
        "event_id": "6a5c1b0e-9d1f-4f7a-8a6d-2c9f0f4be1d3",
        "scan_session_id": "0b6f0c3e-6f0a-4c55-9d0c-0d9f3c1b7a52",
        "conversion_value": {"amount": 49.5, "currency": "EUR"},
        "properties": {"plan": "yearly"},
    }
    return {
        "scanova_ct": browser,
        "scanova_collect": browser,
        "scanova_collect_batch": {"events": [browser]},
        "scanova_server_events": server,
        "scanova_server_events_batch": {"events": [server]},
        "croct_track": {
            "originalTime": now_ms,
            "departureTime": now_ms,
            "context": {"url": page, "timeZone": "Europe/Berlin"},
            "payload": {"type": "goalCompleted", "goalId": "newsletter"},
        },
        "zenovay_events": {
            "trackingCode": "ZV_demo",
            "events": [
                {
                    "type": "purchase",
                    "ts": now_ms // _MS_PER_S * _MS_PER_S,
                    "props": {"amount": 49.5, "currency": "EUR"},
                    "idempotencyKey": "order-1",
                }
            ],
        },
    }
