"""Scanova requests for tests: events made from parts, endpoints by path, the golden exchanges."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from collector.adapters import scanova
from collector.adapters.contract import Endpoint, Request, Response
from collector.event import Batch, Event, Outcome, Row, Verdict
from collector.refusal import Refusal

GOLDEN: Final = Path(__file__).parent.parent / "golden" / "scanova"
ENDPOINTS: Final[dict[str, Endpoint]] = {row.path: row for row in scanova.ENDPOINTS}
SINGLE: Final = {"browser": "/ct", "server": "/server-events"}
BATCH: Final = {"browser": "/collect/batch", "server": "/server-events/batch"}
EVENT_ID: Final = "f9ac7db6-f900-4d8e-8918-c846834195a8"
SCAN_SESSION_ID: Final = "7ad26d4f-3181-4ef8-b6ca-b8f59499dd43"


def browser_event(**members: Any) -> dict[str, Any]:
    """The least of a browser event, or one with the members given (`...` leaves one out)."""
    return _merged({"site_id": "demo", "event_type": "click"}, members)


def server_event(**members: Any) -> dict[str, Any]:
    """The least of a server event, or one with the members given (`...` leaves one out)."""
    least = {"site_id": "demo", "event_name": "lead", "scan_session_id": SCAN_SESSION_ID}
    return _merged(least, members)


def event(source: str, **members: Any) -> dict[str, Any]:
    """The least of an event of `source`, or one with the members given."""
    return (browser_event if source == "browser" else server_event)(**members)


def _merged(least: dict[str, Any], members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**least, **members}.items() if value is not ...}


def request(path: str, body: Any = b"", **headers: str) -> Request:
    """A request with `body` as it is or as JSON; `x_api_key="k"` is the header X-API-Key."""
    return Request(
        method="POST",
        path=path,
        query=b"",
        headers={name.replace("_", "-"): text for name, text in headers.items()},
        body=body if isinstance(body, bytes) else msgspec.json.encode(body),
    )


def decode(path: str, body: Any, **headers: str) -> Batch | Refusal:
    """What the endpoint at `path` makes of `body`."""
    return ENDPOINTS[path].decode(request(path, body, **headers))


def row_of(source: str, body: Any = None, /, **members: Any) -> Row:
    """The row of a single event that must be accepted."""
    batch = decode(SINGLE[source], event(source, **members) if body is None else body)
    assert isinstance(batch, Batch), batch
    (item,) = batch.items
    assert isinstance(item, Event)
    return item.row


def refusal_of(source: str, body: Any = None, /, **members: Any) -> Refusal:
    """Why a single event is refused, which it must be."""
    refusal = decode(SINGLE[source], event(source, **members) if body is None else body)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def outcomes_of(batch: Batch) -> list[Outcome]:
    """The outcome of each item when all that could be stored is new."""
    return [i if isinstance(i, Refusal) else Verdict.ACCEPTED for i in batch.items]


def answer(path: str, body: Any) -> Response:
    """What is answered when every event that decodes is stored under its own id."""
    endpoint, asked = ENDPOINTS[path], request(path, body)
    batch = endpoint.decode(asked)
    if isinstance(batch, Refusal):
        return endpoint.refuse(asked, batch, None)
    return endpoint.respond(asked, batch, outcomes_of(batch), None)


def answer_json(response: Response) -> Any:
    """The body of an answer."""
    assert ("content-type", "application/json") in response.headers
    return msgspec.json.decode(response.body)


@cache
def exchanges() -> dict[str, dict[str, Any]]:
    """The golden exchanges by file name and place in the file."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(GOLDEN.glob("*.json")):
        document = msgspec.json.decode(path.read_bytes())
        assert document["name"] == path.stem
        for index, exchange in enumerate(document.get("exchanges", [document])):
            found[f"{path.stem}-{index}"] = exchange
    return found


def golden_request(exchange: dict[str, Any]) -> Request:
    """The request of a golden exchange, as an adapter gets it."""
    sent = exchange["request"]
    body = sent["body"]
    return Request(
        method=sent["method"],
        path=sent["path"],
        query=b"",
        headers={name.lower(): text for name, text in sent["headers"].items()},
        body=body.encode() if isinstance(body, str) else msgspec.json.encode(body),
    )
