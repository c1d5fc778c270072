"""The way of events from body to disk in memory: real turns, index and group commit, no files.

The test decides what the disk and the index do, and when.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from collector.access import Access, Caller
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint, Request, Response
from collector.book import Book, read_day
from collector.config import Config
from collector.facts import Facts
from collector.keys import DEMO_KEY
from collector.marks import Marker
from collector.metrics import Metrics
from collector.normalise import Clock
from collector.pipeline import Pipeline
from collector.privacy import AddressHasher
from collector.ratelimit import Limiter
from collector.salt import DailySalt
from collector.sites import Sites
from collector.sources import Sources
from collector.tally import Counts
from collector.turns import Turns
from storage import ColdKeys, Commit, Files, KeyIndex, QueueFull, StorageError, Unavailable, day_of
from storage.commit import GroupCommit
from tests.support.app import example
from tests.support.rows import NOW_US

Row = dict[str, Any]
_ROUTES = {one.path: one for one in ENDPOINTS if isinstance(one, Endpoint)}
_ADDRESS = "203.0.113.9"
_decode_row = msgspec.json.Decoder(Row)


class Log:
    """Takes groups, or fails as it is told."""

    def __init__(self) -> None:
        self.error: StorageError | None = None
        self.groups: list[list[Row]] = []

    def commit(self, _day: date, lines: bytes, rows: int) -> int:
        """See `storage.wal.Wal`."""
        if self.error is not None:
            raise self.error
        self.groups.append([_decode_row.decode(line) for line in lines.splitlines()])
        assert len(self.groups[-1]) == rows
        return 1


class Index(KeyIndex):
    """Lacks blocks of some keys until they were read, and cannot read others at all."""

    def __init__(self) -> None:
        super().__init__(keys_max=100_000)
        self.cold: set[bytes] = set()
        self.damaged: set[bytes] = set()
        self.asked: list[list[bytes]] = []

    def seen(
        self, keys: Sequence[bytes], now_us: int, *, waits: bool = False
    ) -> list[bool] | ColdKeys:
        """See `KeyIndex`."""
        self.asked.append(list(keys))
        if not self.damaged.isdisjoint(keys):
            raise Unavailable("a run is damaged")
        if not waits and not self.cold.isdisjoint(keys):
            return ColdKeys([])
        return super().seen(keys, now_us, waits=waits)


class Disk:
    """What turns need of a store. `is_held`: what is submitted waits for `release`."""

    def __init__(self) -> None:
        self.keys = Index()
        self.log = Log()
        self.is_full = False
        self.warmed = 0
        # Set: whoever waits for the disk to read keys goes on.
        self.warmth = asyncio.Event()
        self.warmth.set()
        self.queue = GroupCommit(
            self.log,  # type: ignore[arg-type]
            queue_bytes_max=1 << 30,
            monotonic_s=lambda: 0.0,
            on_failure=lambda _error: None,
        )

    def submit(self, lines: bytes, rows: int, now_us: int) -> Commit:
        """See `Store`."""
        if self.is_full:
            raise QueueFull("too many bytes wait to be written")
        return self.queue.submit(lines, rows, day_of(now_us))

    async def warm(self, _cold: ColdKeys) -> None:
        """See `Store`."""
        self.warmed += 1
        await self.warmth.wait()
        self.keys.cold.clear()

    def hold(self) -> None:
        """Let what is submitted from now on wait."""
        self.queue._is_writing = True

    def release(self) -> None:
        """Write what waits."""
        self.queue._is_writing = False
        self.queue._drain()

    def read_state(self, _name: str) -> None:
        """There is no salt yet."""

    def write_state(self, _name: str, _data: bytes) -> None:
        """It is kept nowhere."""

    def keep_state(self, _prefix: str, _name: str) -> None:
        """There is nothing to remove."""


class _Quarantine:
    """Keeps nothing."""

    def keep_items(self, *_: object) -> None:
        """See `Quarantine`."""

    def keep_body(self, *_: object) -> None:
        """See `Quarantine`."""


class Sent(msgspec.Struct):
    """One request on its way."""

    endpoint: Endpoint
    request: Request
    caller: Caller
    body: bytes


class World:
    """The pipeline of one collector; make it where a loop runs."""

    def __init__(self, directory: Path, config: Config | None = None) -> None:
        config = config or example(directory)
        self.now_us = NOW_US
        self.disk = Disk()
        self.book = Book(lambda _day: None)
        self.metrics = Metrics()
        limiter = Limiter(config.limits, config.tiers, config.sites)
        self.access = Access(Sites(config), limiter, monotonic_us=lambda: 1_000_000)
        facts = Facts(
            hasher=AddressHasher(),
            salt=DailySalt(self.disk),  # type: ignore[arg-type]
            sources=Sources(config.enrich, Files()),
            marker=Marker(config.sites, copies_max=config.enrich.replay_copies_max),
        )
        counts = Counts(self.book, self.metrics)
        self.turns = Turns(
            store=self.disk,  # type: ignore[arg-type]
            clock=Clock(config.time),
            facts=facts,
            counts=counts,
            now_us=lambda: self.now_us,
        )
        self.pipeline = Pipeline(
            access=self.access,
            turns=self.turns,
            counts=counts,
            now_us=lambda: self.now_us,
            quarantine=_Quarantine(),  # type: ignore[arg-type]
        )

    # --- asking

    def batch(self, *identities: str, filler: str = "") -> Sent:
        """Events of which repeats are not stored (a batch, with a key); "!" at its head: broken."""
        events = [
            {
                "type": "event",
                "ts": self.now_us // 1_000 if identity[0] != "!" else 1,
                "props": {"name": "turn", "filler": filler},
                "idempotencyKey": identity,
            }
            for identity in identities
        ]
        body = {"trackingCode": "ZV_demo", "events": events}
        return self.sent("/api/v1/events", {"authorization": f"Bearer {DEMO_KEY}"}, body)

    def single(self, identity: str) -> Sent:
        """An event of which repeats are stored (of a browser)."""
        body = {
            "site_id": "demo",
            "event_type": "purchase",
            "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, identity)),
            "scan_session_id": str(uuid.UUID(int=7)),
        }
        return self.sent("/ct", {"origin": "http://localhost"}, body)

    def sent(self, path: str, headers: dict[str, str], body: object) -> Sent:
        """A request that was admitted."""
        endpoint = _ROUTES[path]
        request = Request(
            method="POST", path=path, query="", headers=headers, id=str(uuid.UUID(int=1))
        )
        caller = self.pipeline.admit(endpoint, request, _ADDRESS)
        assert isinstance(caller, Caller), caller
        return Sent(endpoint, request, caller, msgspec.json.encode(body))

    async def answer(self, sent: Sent) -> Response:
        """Have it answered."""
        return await self.pipeline.ingest(sent.endpoint, sent.request, sent.caller, sent.body)

    async def answers(self, *sent: Sent) -> list[Response | BaseException]:
        """Have all answered in the same turn, but for those too large for it."""
        tasks = [asyncio.ensure_future(self.answer(one)) for one in sent]
        return await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Let everything happen that does not wait for the test."""
        for _ in range(20):
            await asyncio.sleep(0)

    # --- what is true

    @property
    def rows(self) -> list[Row]:
        """What is on disk, in order."""
        return [row for group in self.disk.log.groups for row in group]

    def stored(self) -> Counter[str]:
        """How many rows that are no repeats there are of each key."""
        return Counter(row["dedup_key"] for row in self.rows if not row.get("is_duplicate"))

    def book_of(self) -> Counter[str]:
        """All counts; asserts that they balance, and that stored ones are the rows on disk."""
        self.book.seal(1, day_of(self.now_us))
        found: Counter[str] = Counter()
        for data in self.book.dump()[0].values():
            for entries in read_day(data).hours.values():
                for entry in entries:
                    found["received"] += entry.received
                    found["stored"] += entry.stored
                    found["repeats"] += entry.repeats
                    found["duplicates"] += entry.duplicates
                    found["refused"] += sum(entry.rejected.values())
                    found["refused"] += sum(entry.dropped.values())
        balance = found["stored"] + found["repeats"] + found["duplicates"] + found["refused"]
        assert found["received"] == balance, found
        assert found["stored"] == self.stored().total()
        assert found["stored"] + found["repeats"] == len(self.rows)
        return +found

    def assert_at_rest(self) -> None:
        """Nothing is under way, and the index knows the keys of the rows and no others."""
        assert list(self.turns._flights) == []
        assert not self.turns._waiting
        known = {row["dedup_key"] for row in self.rows}
        assert set(self.stored().values()) <= {1}
        assert {key.hex() for key in self.disk.keys.active.table} == known


def verdicts(answer: Response | BaseException) -> tuple[int, int] | int:
    """Of a batch that was taken: accepted, and repeats; else the status."""
    assert isinstance(answer, Response), answer
    if answer.status != 200:
        return answer.status
    told = msgspec.json.decode(answer.body)
    return told["acceptedCount"], told["dedupedCount"]


__all__ = ["Disk", "Sent", "World", "verdicts"]
