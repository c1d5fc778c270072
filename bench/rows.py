"""Rows as the collector makes them, without a collector: for measuring the storage alone."""

import random
import time
import uuid
from collections.abc import Iterator
from typing import Final

from bench.corpus import Account, templates
from bench.template import Ids
from collector.adapters import zenovay
from collector.adapters.contract import Request
from collector.event import Batch, Event, Row
from storage import encode

GROUP_ROWS: Final = 1_000
_ROWS_PER_SESSION: Final = 5


def encoded_groups(rows: int, seed: int) -> Iterator[tuple[bytes, int]]:
    """`rows` different rows as groups of encoded lines, each with its count.

    They are the corpus' Zenovay batches, decoded by the real adapter, with the server facts that
    the pipeline fills in; ids and keys are random, because those are what compresses worst.
    """
    rng = random.Random(seed)
    now_us = time.time_ns() // 1_000
    prepared = [_complete(batch) for batch in _decoded(now_us, seed)]
    made, session = 0, ""
    while made < rows:
        group = prepared[made // GROUP_ROWS % len(prepared)][: rows - made]
        for row in group:
            row.event_id = _uuid(rng)
            row.dedup_key = f"{rng.getrandbits(128):032x}"
            row.idempotency_key = f"{row.event_type}-{row.event_id}"
            if made % _ROWS_PER_SESSION == 0:
                session = _uuid(rng)
            row.session_id = row.visitor_id = session
            row.received_time = row.event_time = now_us + made
            made += 1
        yield encode(group), len(group)


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _decoded(now_us: int, seed: int) -> list[Batch]:
    batches = []
    ids = Ids("f1005000")
    for template in templates("zenovay", GROUP_ROWS, Account(host="localhost"), seed):
        request = ids.next().join(template.stamped(now_us // 1_000))
        body = request.partition(b"\r\n\r\n")[2]
        batch = zenovay.decode(
            Request(method="POST", path="", query=b"", headers={}, body=body, now_us=now_us)
        )
        assert isinstance(batch, Batch), "the corpus is valid"
        batches.append(batch)
    return batches


def _complete(batch: Batch) -> list[Row]:
    rows = []
    for item in batch.items:
        assert isinstance(item, Event), "the corpus is valid"
        row = item.row
        row.site_id, row.protocol, row.source = "bench", "zenovay", "server"
        row.key_id = "bench"
        row.ip_hash = f"{random.Random(row.visitor_id).getrandbits(256):064x}"
        rows.append(row)
    return rows
