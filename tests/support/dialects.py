"""One event in each protocol's clothes, and how each protocol says what became of it."""

import time
import uuid
from typing import Any

import msgspec

from collector.keys import DEMO_KEY

APP_ID = "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a"


class Sent(msgspec.Struct):
    """One request; `body` is JSON to be."""

    path: str
    headers: dict[str, str]
    body: Any


class Dialect:
    """How one endpoint is spoken to; the contract suite runs over all of them."""

    name: str
    origin = False  # is a browser endpoint
    stores_duplicates = False

    def event(self, identity: str) -> Sent:
        """A valid event that is the same as others with this `identity`."""
        raise NotImplementedError

    def broken(self, identity: str) -> Sent:
        """The same, but with contents that must be refused."""
        raise NotImplementedError

    def is_success(self, status: int, body: bytes) -> bool:
        """Whether the event is said to be safe, new or not."""
        raise NotImplementedError

    def code_of(self, status: int, body: bytes) -> Any:
        """The error of a refusal, found where this dialect keeps it; raises if it is not there."""
        raise NotImplementedError


class Scanova(Dialect):
    """Browser singles."""

    name = "scanova /ct"
    origin = True
    stores_duplicates = True
    path = "/ct"
    member = "event_type"

    def _headers(self) -> dict[str, str]:
        return {"Origin": "http://localhost", "Content-Type": "application/json"}

    def event(self, identity: str) -> Sent:
        """See Dialect."""
        event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, identity))
        body = {
            "site_id": "demo",
            self.member: "purchase",
            "event_id": event_id,
            "scan_session_id": str(uuid.UUID(int=7)),
        }
        return Sent(self.path, self._headers(), body)

    def broken(self, identity: str) -> Sent:
        """See Dialect."""
        sent = self.event(identity)
        sent.body["visitor_id"] = "not a uuid"
        return sent

    def is_success(self, status: int, body: bytes) -> bool:
        """See Dialect."""
        return status == 200 and "event_id" in msgspec.json.decode(body)

    def code_of(self, status: int, body: bytes) -> Any:
        """See Dialect."""
        assert status >= 400
        detail = msgspec.json.decode(body)["detail"]
        assert isinstance(detail, str | list)
        assert detail
        return detail


class ScanovaServer(Scanova):
    """Server singles."""

    name = "scanova /server-events"
    origin = False
    path = "/server-events"
    member = "event_name"

    def _headers(self) -> dict[str, str]:
        return {"X-API-Key": DEMO_KEY, "Content-Type": "application/json"}


class Croct(Dialect):
    """Beacons."""

    name = "croct /client/web/track"
    origin = True

    def event(self, identity: str) -> Sent:
        """See Dialect."""
        now_ms = time.time_ns() // 1_000_000
        body = {
            "context": {"url": "https://example.com/", "tabId": str(uuid.UUID(int=9))},
            "payload": {"type": "eventOccurred", "name": identity},
            "originalTime": 1_795_000_000_000,
            "departureTime": now_ms,
        }
        headers = {
            "Origin": "http://localhost",
            "Content-Type": "application/json",
            "X-App-Id": APP_ID,
            "X-Client-Id": uuid.UUID(int=5).hex,
        }
        return Sent("/client/web/track", headers, body)

    def broken(self, identity: str) -> Sent:
        """See Dialect."""
        sent = self.event(identity)
        del sent.body["context"]["url"]
        return sent

    def is_success(self, status: int, body: bytes) -> bool:
        """See Dialect."""
        return status == 204 and body == b""

    def code_of(self, status: int, body: bytes) -> Any:
        """See Dialect."""
        problem = msgspec.json.decode(body)
        assert problem["status"] == status
        assert problem["type"].startswith("https://croct.help/")
        return problem["type"]


class Zenovay(Dialect):
    """Batches of one."""

    name = "zenovay /api/v1/events"

    def event(self, identity: str) -> Sent:
        """See Dialect."""
        event = {
            "type": "event",
            "ts": time.time_ns() // 1_000_000,
            "props": {"name": "contract"},
            "idempotencyKey": identity,
        }
        headers = {"Authorization": f"Bearer {DEMO_KEY}"}
        return Sent("/api/v1/events", headers, {"trackingCode": "ZV_demo", "events": [event]})

    def broken(self, identity: str) -> Sent:
        """See Dialect."""
        sent = self.event(identity)
        sent.body["events"][0]["ts"] = 1
        return sent

    def is_success(self, status: int, body: bytes) -> bool:
        """See Dialect."""
        if status != 200:
            return False
        verdict = msgspec.json.decode(body)
        return bool(verdict["acceptedCount"] + verdict["dedupedCount"] == 1)

    def code_of(self, status: int, body: bytes) -> Any:
        """See Dialect."""
        answer = msgspec.json.decode(body)
        if status == 200:
            return answer["errors"][0]["reason"]
        assert answer["success"] is False
        return answer["error"]["code"]


DIALECTS = [Scanova(), ScanovaServer(), Croct(), Zenovay()]
