"""What every endpoint that takes events promises, whatever its dialect. One suite for all."""

import asyncio
import errno
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from storage import Files
from tests.support.app import (
    Answer,
    Collector,
    example,
    gzipped,
    run,
    running,
    with_site,
    with_storage,
)
from tests.support.dialects import DIALECTS, Croct, Dialect, Sent, Zenovay
from tests.support.rows import make_lines

pytestmark = pytest.mark.usefixtures("each_front")
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)


class FailingFiles(Files):
    """Fails writes of the log on demand, and can be slow."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.before_write: Callable[[], None] = lambda: None

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """See Files."""
        self.before_write()
        if self.error is not None:
            raise OSError(self.error, "as the test wants it")
        super().write(descriptor, data, offset)


async def _send(collector: Collector, sent: Sent, **changes: str) -> Answer:
    return await collector.request(
        "POST", sent.path, headers=sent.headers | changes, body=sent.body
    )


def _new_rows(collector: Collector) -> list[dict[str, object]]:
    return [row for row in collector.rows() if not row["is_duplicate"]]


@every_dialect
def test_accepted_once_and_a_repeat_is_harmless(dialect: Dialect, tmp_path: Path) -> None:
    """The same event twice: two successes, one event; marked or left out, never counted twice."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for _ in range(2):
                answer = await _send(collector, dialect.event("a"))
                assert dialect.is_success(answer.status, answer.body), answer
            assert len(_new_rows(collector)) == 1
            assert len(collector.rows()) == (2 if dialect.stores_duplicates else 1)

    run(play())


@every_dialect
def test_copies_in_flight_at_once(dialect: Dialect, tmp_path: Path) -> None:
    """64 copies at the same moment: every one is told it is safe, one event is stored."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            answers = await asyncio.gather(
                *(_send(collector, dialect.event("a")) for _ in range(64))
            )
            assert all(dialect.is_success(a.status, a.body) for a in answers)
            assert len(_new_rows(collector)) == 1

    run(play())


@every_dialect
def test_copy_of_an_event_whose_commit_fails(dialect: Dialect, tmp_path: Path) -> None:
    """A failed commit acknowledges nobody, also not the copies that waited; a retry is accepted."""

    async def play() -> None:
        files = FailingFiles()
        async with running(tmp_path, files=files) as collector:
            files.error = errno.ENOSPC
            answers = await asyncio.gather(
                *(_send(collector, dialect.event("a")) for _ in range(8))
            )
            for answer in answers:
                assert answer.status == 503
                assert int(answer.headers["retry-after"]) > 0
                assert dialect.code_of(answer.status, answer.body)
            ready = await collector.request("GET", "/readyz")
            assert ready.status == 503
            assert collector.rows() == []
            files.error = None
            await asyncio.sleep(1.2)
            assert (await collector.request("GET", "/readyz")).status == 200
            answer = await _send(collector, dialect.event("a"))
            assert dialect.is_success(answer.status, answer.body)
            row = _new_rows(collector)
            assert len(row) == 1
            assert len(collector.rows()) == 1, "the retry is not called a duplicate"

    run(play())


@every_dialect
def test_refused_event_does_not_use_up_its_identity(dialect: Dialect, tmp_path: Path) -> None:
    """After a refusal the corrected event with the same identity is new."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            answer = await _send(collector, dialect.broken("a"))
            assert not dialect.is_success(answer.status, answer.body)
            assert dialect.code_of(answer.status, answer.body)
            assert collector.rows() == []
            answer = await _send(collector, dialect.event("a"))
            assert dialect.is_success(answer.status, answer.body)
            assert len(_new_rows(collector)) == 1

    run(play())


@every_dialect
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b"1e999",
    ],
)
def test_malformed_body(dialect: Dialect, body: bytes, tmp_path: Path) -> None:
    """What is no event is a 4xx in the dialect, never a 500, and nothing is stored."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            sent = dialect.event("a")
            answer = await collector.request("POST", sent.path, headers=sent.headers, body=body)
            assert 400 <= answer.status < 500, answer
            assert dialect.code_of(answer.status, answer.body)
            assert collector.rows() == []

    run(play())


@every_dialect
@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzipped),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", lambda data: data),
        ("GZIP", gzipped),
    ],
)
def test_compressed_body(
    dialect: Dialect, encoding: str, encode: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """A compressed body is the body; chunks do not matter."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            sent = dialect.event("a")
            data = encode(msgspec.json.encode(sent.body))
            headers = sent.headers | {"Content-Encoding": encoding}
            answer = await collector.request(
                "POST", sent.path, headers=headers, body=data, chunks=5
            )
            assert dialect.is_success(answer.status, answer.body), answer
            assert len(collector.rows()) == 1

    run(play())


@every_dialect
def test_too_large_and_bombs(dialect: Dialect, tmp_path: Path) -> None:
    """413 in the dialect: by length, by chunks, and by what a small body inflates to."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            sent = dialect.event("a")
            big = b'{"a":"' + b"x" * 5_000_000 + b'"}'
            attempts = [
                (big, {"Content-Length": str(len(big))}, 1),
                (big, {}, 50),
                (gzipped(big), {"Content-Encoding": "gzip"}, 1),
            ]
            for body, headers, chunks in attempts:
                answer = await collector.request(
                    "POST", sent.path, headers=sent.headers | headers, body=body, chunks=chunks
                )
                assert answer.status == 413
                assert dialect.code_of(answer.status, answer.body)

    run(play())


@every_dialect
def test_every_answer_to_an_origin_carries_cors(dialect: Dialect, tmp_path: Path) -> None:
    """Success or refusal, the origin is echoed; a browser could not read it otherwise."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            sent, broken = dialect.event("a"), dialect.broken("b")
            for origin in ("http://localhost", "https://evil.example"):
                for method, one in (("POST", sent), ("POST", broken), ("GET", sent), ("PUT", sent)):
                    answer = await collector.request(
                        method, one.path, headers=one.headers | {"Origin": origin}, body=one.body
                    )
                    assert answer.headers["access-control-allow-origin"] == origin
                    assert "Origin" in answer.headers["vary"]
                    assert "access-control-allow-credentials" not in answer.headers

    run(play())


@every_dialect
def test_untrusted_origin(dialect: Dialect, tmp_path: Path) -> None:
    """Browser endpoints refuse origins that are not the site's; back ends are not asked."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for origin in ("https://evil.example", "null", "https://localhost.evil.example"):
                answer = await _send(collector, dialect.event(origin), Origin=origin)
                if dialect.origin:
                    assert answer.status == 403
                    assert dialect.code_of(answer.status, answer.body)
                else:
                    assert dialect.is_success(answer.status, answer.body)
            assert len(collector.rows()) == (0 if dialect.origin else 3)

    run(play())


@every_dialect
def test_inactive_site(dialect: Dialect, tmp_path: Path) -> None:
    """A site that was switched off takes nothing, and says so with a permanent status."""

    async def play() -> None:
        config = with_site(example(tmp_path), active=False)
        async with running(tmp_path, config) as collector:
            answer = await _send(collector, dialect.event("a"))
            assert answer.status in {400, 401, 403}
            assert dialect.code_of(answer.status, answer.body)
            assert collector.rows() == []

    run(play())


@every_dialect
def test_no_room_on_disk(dialect: Dialect, tmp_path: Path) -> None:
    """Below disk_free_bytes_min: 503 to what is valid, the usual refusal to what is not."""

    async def play() -> None:
        config = with_storage(example(tmp_path), disk_free_bytes_min=2**62)
        async with running(tmp_path, config) as collector:
            assert (await collector.request("GET", "/healthz")).status == 200
            assert (await collector.request("GET", "/readyz")).status == 503
            answer = await _send(collector, dialect.event("a"))
            assert answer.status == 503
            assert "retry-after" in answer.headers
            answer = await _send(collector, dialect.broken("a"))
            assert answer.status in {200, 400, 422}

    run(play())


@every_dialect
def test_queue_full(dialect: Dialect, tmp_path: Path) -> None:
    """More than queue_bytes_max waiting: 503 with Retry-After, nothing of it is stored."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            store = collector.service._store
            commit = store._commit
            commit._queue_bytes_max = 1
            commit._is_writing = True  # so that what is submitted waits
            now_us = time.time_ns() // 1_000
            store.submit(make_lines(1, received_time=now_us), 1, now_us)
            answers = []
            for identities in ("a", "abca"):
                sending = [_send(collector, dialect.event(identity)) for identity in identities]
                answers += await asyncio.gather(*sending)
            commit._is_writing = False
            commit._drain()
            for answer in answers:
                assert answer.status == 503
                assert answer.headers["retry-after"] == "1"
                assert dialect.code_of(answer.status, answer.body)
            assert len(collector.rows()) == 1
            again = await _send(collector, dialect.event("a"))
            assert dialect.is_success(again.status, again.body)
            assert len(collector.rows("SELECT * FROM events WHERE is_duplicate = 0")) == 2

    run(play())


@every_dialect
def test_stopping(dialect: Dialect, tmp_path: Path) -> None:
    """A request that comes too late is told to come back, in its dialect."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            collector.edge.is_stopping = True
            answer = await _send(collector, dialect.event("a"))
            assert answer.status == 503
            assert "retry-after" in answer.headers
            assert dialect.code_of(answer.status, answer.body)

    run(play())


@every_dialect
def test_rate_limit(dialect: Dialect, tmp_path: Path) -> None:
    """Over the limit: 429 with Retry-After in the dialect; another caller is not affected."""

    async def play() -> None:
        config = example(tmp_path)
        limits = msgspec.structs.replace(
            config.limits,
            browser_requests_per_minute=3,
            server_requests_per_minute=3,
            croct_requests_per_minute=3,
        )
        pro = msgspec.structs.replace(config.tiers["pro"], requests_per_minute=3)
        config = msgspec.structs.replace(config, limits=limits, tiers={"pro": pro})
        async with running(tmp_path, config) as collector:
            answers = [await _send(collector, dialect.event(str(n))) for n in range(4)]
            assert [dialect.is_success(a.status, a.body) for a in answers] == [True] * 3 + [False]
            assert answers[3].status == 429
            assert 1 <= int(answers[3].headers["retry-after"]) <= 20
            assert dialect.code_of(429, answers[3].body)
            assert len(collector.rows()) == 3
            if dialect.origin:
                sent = dialect.event("other")
                other = await collector.request(
                    "POST", sent.path, headers=sent.headers, body=sent.body, address="198.51.100.7"
                )
                assert dialect.is_success(other.status, other.body)

    run(play())


def test_croct_validates_before_it_throttles(tmp_path: Path) -> None:
    """A beacon that can never succeed is told so even over the limit, or it would be retried."""

    async def play() -> None:
        config = example(tmp_path)
        limits = msgspec.structs.replace(config.limits, croct_requests_per_minute=1)
        async with running(tmp_path, msgspec.structs.replace(config, limits=limits)) as collector:
            dialect = Croct()
            assert (await _send(collector, dialect.event("a"))).status == 204
            assert (await _send(collector, dialect.broken("b"))).status == 400
            assert (await _send(collector, dialect.event("b"))).status == 429

    run(play())


def test_zenovay_limits_before_it_reads_the_body(tmp_path: Path) -> None:
    """A request over the limit is refused although its body is nonsense."""

    async def play() -> None:
        config = example(tmp_path)
        pro = msgspec.structs.replace(config.tiers["pro"], requests_per_minute=1)
        async with running(
            tmp_path, msgspec.structs.replace(config, tiers={"pro": pro})
        ) as collector:
            sent = Zenovay().event("a")
            assert (await _send(collector, sent)).status == 200
            answer = await collector.request(
                "POST", sent.path, headers=sent.headers, body=b"nonsense"
            )
            assert answer.status == 429

    run(play())


def test_failed_authentication_is_throttled(tmp_path: Path) -> None:
    """Keys cannot be guessed at line rate; another address is not affected."""

    async def play() -> None:
        config = example(tmp_path)
        limits = msgspec.structs.replace(config.limits, failed_auth_per_minute=3)
        async with running(tmp_path, msgspec.structs.replace(config, limits=limits)) as collector:
            sent = Zenovay().event("a")
            wrong = sent.headers | {"Authorization": "Bearer zv_wrong"}
            statuses = [
                (
                    await collector.request(
                        "POST", sent.path, headers=wrong, body=sent.body, address="198.51.100.7"
                    )
                ).status
                for _ in range(5)
            ]
            assert statuses == [401, 401, 401, 429, 429]
            assert (await _send(collector, sent)).status == 200

    run(play())


@every_dialect
def test_every_event_is_counted(dialect: Dialect, tmp_path: Path) -> None:
    """received = stored + duplicate + rejected + dropped, by the metrics."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            for identity in ("a", "a", "b"):
                await _send(collector, dialect.event(identity))
            await _send(collector, dialect.broken("c"))
            counts: dict[str, int] = {}
            for (_, _, outcome, _), count in collector.service._metrics.events.items():
                counts[outcome] = counts.get(outcome, 0) + count
            assert counts == {"accepted": 2, "duplicate": 1, "rejected": 1}
            page = await collector.request("GET", "/metrics")
            assert b'outcome="accepted"' in page.body

    run(play())


@every_dialect
def test_no_address_and_no_key_reach_a_file(dialect: Dialect, tmp_path: Path) -> None:
    """Neither the client's address nor an API key is anywhere below the data directory."""

    async def play() -> None:
        async with running(tmp_path) as collector:
            sent = dialect.event("a")
            if isinstance(dialect, Zenovay):
                sent.body["serverContext"] = {"clientIp": "203.0.113.9"}
            await _send(collector, sent)
            assert len(collector.rows()) == 1
            hashed = collector.rows()[0]["ip_hash"]
            assert (hashed == "unknown") == (dialect.name == "scanova /server-events")
        secrets = [b"203.0.113.9", sent.headers.get("X-API-Key", "zv_demo0").encode()]
        for path in tmp_path.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not any(secret in data for secret in secrets), path

    run(play())


def test_late_beacons_are_dropped_where_configured(tmp_path: Path) -> None:
    """Too late for a site that drops such beacons: 204 all the same, not stored, counted."""

    async def play() -> None:
        config = with_site(example(tmp_path), croct_late="drop")
        async with running(tmp_path, config) as collector:
            on_time, late = Croct().event("a"), Croct().event("b")
            on_time.body["originalTime"] = on_time.body["departureTime"]
            late.body["originalTime"] = late.body["departureTime"] - 86_400_001 - 60_000
            for sent in (on_time, late):
                answer = await _send(collector, sent)
                assert (answer.status, answer.body) == (204, b"")
            assert [row["event_name"] for row in collector.rows()] == ["a"]
            counted = collector.service._metrics.events
            assert counted["demo", "croct", "dropped", "late"] == 1

    run(play())


def test_tier_that_may_not_send(tmp_path: Path) -> None:
    """A tier can be switched off, as the vendor did with its free one."""

    async def play() -> None:
        config = example(tmp_path)
        pro = msgspec.structs.replace(config.tiers["pro"], allowed=False)
        async with running(
            tmp_path, msgspec.structs.replace(config, tiers={"pro": pro})
        ) as collector:
            answer = await _send(collector, Zenovay().event("a"))
            assert answer.status == 403
            assert Zenovay().code_of(answer.status, answer.body) == "API_PAID_PLAN_REQUIRED"
            assert collector.rows() == []

    run(play())


@pytest.mark.parametrize(
    ("place", "pointer"),
    [
        (("payload",), "/payload/novelty"),
        (("payload", "cart"), "/payload/cart/novelty"),
        (("payload", "cart", "items", 0, "product"), "/payload/cart/items/0/product/novelty"),
        (("context",), ""),
        ((), ""),
    ],
)
def test_strict_site_refuses_unknown_members(
    place: tuple[str | int, ...], pointer: str, tmp_path: Path
) -> None:
    """With croct_strict a member that no schema knows is a 400 that names it, limit or not."""
    product = {"productId": "1", "name": "Cup", "displayPrice": 3}
    item = {"index": 0, "product": product, "quantity": 1, "total": 3}
    cart = {"currency": "EUR", "items": [item], "total": 3, "lastUpdateTime": 1_795_000_000_000}

    def beacon(identity: str) -> Sent:
        sent = Croct().event(identity)
        sent.body["payload"] = {"type": "cartViewed", "cart": cart}
        return msgspec.convert(msgspec.to_builtins(sent), Sent)

    def with_novelty() -> Sent:
        sent = beacon("b")
        target = sent.body
        for step in place:
            target = target[step]
        target["novelty"] = 1
        return sent

    async def play() -> None:
        config = example(tmp_path)
        limits = msgspec.structs.replace(config.limits, croct_requests_per_minute=1)
        config = with_site(msgspec.structs.replace(config, limits=limits), croct_strict=True)
        async with running(tmp_path, config) as collector:
            assert (await _send(collector, beacon("a"))).status == 204
            answer = await _send(collector, with_novelty())
            assert answer.status == 400
            assert [v.get("path", "") for v in answer.json["violations"]] == [pointer]
            assert len(collector.rows()) == 1
        async with running(tmp_path / "tolerant") as collector:
            assert (await _send(collector, with_novelty())).status == 204

    run(play())


@every_dialect
@pytest.mark.parametrize("step", ["address_refusal", "head", "item_site", "batch_refused"])
def test_a_bug_of_ours_is_a_500_that_can_be_retried(
    dialect: Dialect, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it strikes: told in the dialect, nothing stored, and the next one goes on."""

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    async def play() -> None:
        async with running(tmp_path) as collector:
            with monkeypatch.context() as patch:
                patch.setattr(collector.edge._pipeline.access, step, fails)
                answer = await _send(collector, dialect.event("a"))
            if not dialect.is_success(answer.status, answer.body):  # it takes that step
                assert answer.status == 500
                assert dialect.code_of(500, answer.body)
                assert collector.rows() == []
                answer = await _send(collector, dialect.event("a"))
            assert dialect.is_success(answer.status, answer.body)
            assert len(_new_rows(collector)) == 1

    run(play())
