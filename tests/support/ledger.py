"""Clients that write down what was acknowledged, and send again what was not, as real ones do."""

import http.client
import random
import threading
import time
import uuid
from typing import Any

import msgspec

from collector.keys import DEMO_KEY

_TIMEOUT_S = 5.0


class Ledger:
    """What the collector promised: idempotency keys and event ids of acknowledged events."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.sent: set[str] = set()
        self.surprises: list[str] = []
        self._lock = threading.Lock()

    def acknowledge(self, ids: list[str]) -> None:
        """Note a success answer."""
        with self._lock:
            self.acknowledged.update(ids)

    def send(self, ids: list[str]) -> None:
        """Note what leaves for the collector."""
        with self._lock:
            self.sent.update(ids)


class Client(threading.Thread):
    """Sends batches to one endpoint until stopped; keeps a batch until it is acknowledged.

    `pause_s`: after each, so that what has been sent does not depend on how long a test takes.
    """

    def __init__(
        self, port: int, ledger: Ledger, seed: int, kind: str, *, pause_s: float = 0.0
    ) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._ledger = ledger
        self._random = random.Random(seed)
        makers = {"zenovay": self._zenovay, "scanova": self._scanova, "croct": self._croct}
        self._make = makers[kind]
        self._pause_s = pause_s
        self._stop_it = threading.Event()

    def finish(self) -> None:
        """Stop after the request under way."""
        self._stop_it.set()
        self.join()

    def run(self) -> None:
        """Until `finish`."""
        while not self._stop_it.is_set():
            ids, path, headers, body = self._make()
            self._ledger.send(ids)
            while not self._post(ids, path, headers, body) and not self._stop_it.wait(0.02):
                pass
            if self._pause_s:
                self._stop_it.wait(self._pause_s)

    def _post(self, ids: list[str], path: str, headers: dict[str, str], body: Any) -> bool:
        """True when the batch is done with."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", path, msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if answer.status in {200, 204}:
            self._ledger.acknowledge(ids)
            return True
        if answer.status != 503:
            self._ledger.surprises.append(f"{path}: {answer.status} {data[:200]!r}")
        return answer.status != 503

    def _zenovay(self) -> tuple[list[str], str, dict[str, str], Any]:
        ids = [uuid.uuid4().hex for _ in range(self._random.randint(1, 50))]
        events = [
            {
                "type": "event",
                "ts": time.time_ns() // 1_000_000,
                "props": {"name": "round", "pad": "x" * self._random.randint(0, 400)},
                "idempotencyKey": one,
            }
            for one in ids
        ]
        headers = {"Authorization": f"Bearer {DEMO_KEY}"}
        return ids, "/api/v1/events", headers, {"trackingCode": "ZV_demo", "events": events}

    def _scanova(self) -> tuple[list[str], str, dict[str, str], Any]:
        one = str(uuid.uuid4())
        body = {"site_id": "demo", "event_type": "cta_click", "event_id": one}
        return [one], "/ct", {"Origin": "http://localhost"}, body

    def _croct(self) -> tuple[list[str], str, dict[str, str], Any]:
        one = uuid.uuid4().hex
        now_ms = time.time_ns() // 1_000_000
        body = {
            "context": {"url": "https://example.com/", "tabId": str(uuid.uuid4())},
            "payload": {"type": "eventOccurred", "name": one},
            "originalTime": now_ms,
            "departureTime": now_ms,
        }
        headers = {
            "Origin": "http://localhost",
            "Content-Type": "application/json",
            "X-App-Id": "7e9d59a9-e4b3-45d4-b1c7-48287f1e5e8a",
            "X-Client-Id": uuid.uuid4().hex,
        }
        return [one], "/client/web/track", headers, body


# Where each protocol keeps the id that the ledger knows.
STORED_ID = (
    "CASE protocol WHEN 'zenovay' THEN idempotency_key WHEN 'croct' THEN event_name "
    "ELSE event_id::VARCHAR END"
)
