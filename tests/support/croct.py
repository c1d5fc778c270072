"""Croct requests for tests: the golden exchanges as examples, and beacons made from parts."""

import copy
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from collector.adapters import croct
from collector.adapters.contract import Request, Response
from collector.event import Batch
from collector.refusal import INVALID_PAYLOAD, Refusal

GOLDEN: Final = Path(__file__).parent.parent / "golden" / "croct"
APP_ID: Final = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"
CLIENT_ID: Final = "2c9f0f4be1d34f7a8a6d5b1c0e9f7a63"
NOW_MS: Final = 1_760_000_100_000


@cache
def _exchanges() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(GOLDEN.glob("*.json")):
        text = path.read_bytes()
        for mark, number in (("now_ms", NOW_MS), ("now_ms-5000", NOW_MS - 5_000)):
            text = text.replace(f'"<{mark}>"'.encode(), str(number).encode())
        document = msgspec.json.decode(text)
        assert document["name"] == path.stem
        for index, exchange in enumerate(document.get("exchanges", [document])):
            found[f"{path.stem}-{index}"] = exchange
    return found


def exchanges(prefix: str = "") -> dict[str, dict[str, Any]]:
    """The golden exchanges whose file names begin with `prefix`, by name and place in the file."""
    return {name: e for name, e in copy.deepcopy(_exchanges()).items() if name.startswith(prefix)}


@cache
def _examples() -> dict[str, dict[str, Any]]:
    payloads = [e["request"]["body"]["payload"] for e in exchanges("type_").values()]
    return {payload["type"]: payload for payload in payloads}


def example_payloads() -> dict[str, dict[str, Any]]:
    """One good payload of each event type."""
    return copy.deepcopy(_examples())


def golden_request(exchange: dict[str, Any]) -> Request:
    """The request of a golden exchange, as an adapter gets it."""
    sent = exchange["request"]
    body = sent["body"]
    path, _, query = sent["path"].partition("?")
    return Request(
        method=sent["method"],
        path=path,
        query=query.encode(),
        headers={name.lower(): text for name, text in sent["headers"].items()},
        body=body.encode() if isinstance(body, str) else msgspec.json.encode(body),
        now_us=NOW_MS * 1_000,
    )


def beacon(payload: Any = None, context: Any = None, **members: Any) -> dict[str, Any]:
    """A good beacon, or one with the parts given."""
    return {
        "context": {"url": "https://example.com/"} if context is None else context,
        "payload": {"type": "nothingChanged", "sinceTime": 1} if payload is None else payload,
        "originalTime": NOW_MS - 1_000,
        "departureTime": NOW_MS,
        **members,
    }


def request(body: Any = None, query: bytes = b"", **headers: str | None) -> Request:
    """A good request, with the headers given (`x_app_id=None` leaves one out)."""
    sent: dict[str, str | None] = {
        "content_type": "application/json",
        "x_app_id": APP_ID,
        "x_client_id": CLIENT_ID,
        **headers,
    }
    return Request(
        method="POST",
        path="/client/web/track",
        query=query,
        headers={name.replace("_", "-"): text for name, text in sent.items() if text is not None},
        body=body if isinstance(body, bytes) else msgspec.json.encode(body or beacon()),
        now_us=NOW_MS * 1_000,
    )


def refusal(body: Any = None, **headers: str | None) -> Refusal:
    """Why a request is refused by its body."""
    answer = croct.decode(request(body, **headers))
    assert isinstance(answer, Refusal)
    return answer


def problem(response: Response) -> dict[str, Any]:
    """The problem document of an answer."""
    assert dict(response.headers)["content-type"] == "application/problem+json"
    document: dict[str, Any] = msgspec.json.decode(response.body)
    assert document["status"] == response.status
    return document


def faults(payload: Any = None, context: Any = None, **members: Any) -> dict[str, str]:
    """The rules that a beacon breaks: reason by pointer, {} when it is taken."""
    answer = croct.decode(request(beacon(payload, context, **members)))
    if isinstance(answer, Batch):
        return {}
    assert isinstance(answer, Refusal)
    assert answer.kind == INVALID_PAYLOAD
    assert answer.violations
    return {violation.path: violation.reason for violation in answer.violations}


def changed(kind: str, *path: str | int, to: Any = ...) -> Any:
    """The example of a type with the member at `path` set to `to`, or taken out."""
    payload = copy.deepcopy(_examples()[kind])
    node: Any = payload
    for step in path[:-1]:
        node = node[step]
    if to is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return payload


def pointer(*path: str | int) -> str:
    """The JSON pointer of a member of the payload."""
    return "".join(f"/{step}" for step in ("payload", *path))
