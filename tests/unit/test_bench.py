"""The pure parts of the load generator, and its loops against small servers on loopback."""

import asyncio
import random
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import history
from bench.corpus import Account, Traffic, templates
from bench.figures import Figure, latency_figures, percentile, ratio_of_medians, shown, table
from bench.fleet import merged
from bench.generator import Plan, Report, carry_out
from bench.http1 import ProtocolError, maybe_answer, request_head
from bench.options import Options, quick
from bench.rows import encoded_groups
from bench.target import sum_metric
from bench.template import Ids, Template, iso_slot, ms_slot
from collector.adapters import ENDPOINTS
from collector.adapters.contract import Endpoint, Head, Request
from collector.event import Batch, Event

ACCOUNT = Account(host="127.0.0.1:8000")
NOW_MS = 1_795_000_000_000
TRAFFIC: list[tuple[Traffic, int]] = [
    ("scanova", 1),
    ("croct", 1),
    ("zenovay", 100),
    ("zenovay", 1_000),
]


# --- figures


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    """Of 1 to 100, the p50 is 50 and the p99 is 99: values that were measured."""
    assert percentile(range(1, 101), share) == expected


@given(st.lists(st.integers(), min_size=1), st.floats(0.001, 1))
def test_percentile_covers_its_share(values: list[int], share: float) -> None:
    """At least the asked share of the values is not above the percentile."""
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 0.0), ([1], 1.1)])
def test_percentile_refuses_nonsense(values: list[int], share: float) -> None:
    """No percentile of nothing, none outside the scale."""
    with pytest.raises(ValueError, match=r"percentile|share"):
        percentile(values, share)


def test_ratio_ignores_one_bad_round() -> None:
    """A round spoilt by a neighbour does not move the ratio of medians."""
    assert ratio_of_medians([80, 81, 3], [100, 100, 7]) == pytest.approx(0.8)


@pytest.mark.parametrize(("measured", "floor"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_ratio_needs_both_sides(measured: list[float], floor: list[float]) -> None:
    """A ratio to nothing is an error, not a number."""
    with pytest.raises(ValueError, match=r"ratio|floor"):
        ratio_of_medians(measured, floor)


def test_latencies_are_told_in_milliseconds() -> None:
    """p50 and p99 of unordered microseconds, in milliseconds."""
    figures = latency_figures("ack", [3_000, 1_000, 2_000], "note")
    assert [(f.name, f.value, f.unit) for f in figures] == [
        ("ack_p50_ms", 2.0, "ms"),
        ("ack_p99_ms", 3.0, "ms"),
    ]


def test_table_lines_up() -> None:
    """Names left, values right, notes at the end, no trailing blanks."""
    lines = table([Figure("a", 12_345.6, "events/s", "note"), Figure("long_name", 0.5, "")])
    assert lines.splitlines() == [
        "a          12,346 events/s  note",
        "long_name   0.500",
    ]


@pytest.mark.parametrize(
    ("value", "expected"), [(1234.5, "1,234"), (2.345, "2.35"), (0.75, "0.750"), (0, "0.000")]
)
def test_numbers_are_shown_with_what_means_something(value: float, expected: str) -> None:
    """Three digits or the whole number."""
    assert shown(value) == expected


# --- HTTP

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-LENGTH:  5\r\n\r\n"


def test_an_answer_is_read_byte_by_byte() -> None:
    """Only with its last byte is an answer whole, wherever the network cut it."""
    whole = _HEAD + b"hello"
    for cut in range(len(whole)):
        assert maybe_answer(whole[:cut]) is None
    answer = maybe_answer(whole)
    assert answer is not None
    assert (answer.status, answer.body, answer.size) == (200, b"hello", len(whole))
    assert not answer.closes


def test_bytes_behind_an_answer_are_not_its_own() -> None:
    """`size` tells where the next answer begins."""
    answer = maybe_answer(_HEAD + b"hello" + _HEAD)
    assert answer is not None
    assert (answer.body, answer.size) == (b"hello", len(_HEAD) + 5)


def test_204_has_no_body_and_needs_no_length() -> None:
    """Croct's success ends with its head."""
    answer = maybe_answer(b"HTTP/1.1 204 No Content\r\nvary: Origin\r\n\r\n")
    assert answer is not None
    assert (answer.status, answer.body) == (204, b"")


def test_a_closing_answer_says_so() -> None:
    """`Connection: close` is noticed, in any case."""
    head = b"HTTP/1.1 503 Service Unavailable\r\nCONNECTION: Close\r\nContent-Length: 0\r\n\r\n"
    answer = maybe_answer(head)
    assert answer is not None
    assert answer.closes


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 70_000,
    ],
    ids=["chunked", "http10", "not-http", "endless"],
)
def test_what_is_not_understood_is_an_error(data: bytes) -> None:
    """A measurement never counts what it misread."""
    with pytest.raises(ProtocolError):
        maybe_answer(data)


def test_a_length_in_the_body_is_no_header() -> None:
    """Only the head says how long an answer is."""
    data = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n\r\ncontent-length: 3\r\nabc"
    with pytest.raises(ProtocolError, match="Content-Length"):
        maybe_answer(data)


def test_request_heads_end_where_the_body_begins() -> None:
    """Request line, headers, length, an empty line."""
    head = request_head("POST", "/ct", [("Host", "a:1")], 12)
    assert head == b"POST /ct HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\n\r\n"


# --- templates and ids


def test_ids_never_repeat_and_are_version_4() -> None:
    """50,000 ids are as many different UUIDs of version 4."""
    ids = Ids("0123abcd")
    made = [ids.next().decode() for _ in range(50_000)]
    assert len(set(made)) == len(made)
    for text in made[:100]:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_runs_do_not_share_ids() -> None:
    """Two generators side by side send different events."""
    first, second = Ids("00000001"), Ids("00000002")
    made = {first.next() for _ in range(1_000)} | {second.next() for _ in range(1_000)}
    assert len(made) == 2_000


@pytest.mark.parametrize("run", ["", "1234567", "1234567g", "123456789"])
def test_a_run_is_eight_hex_digits(run: str) -> None:
    """Anything else would make ids of another shape."""
    with pytest.raises(ValueError, match="hex"):
        Ids(run)


def test_stamping_keeps_the_length_and_the_milliseconds() -> None:
    """The second is put in, milliseconds stay, not a byte is added."""
    body = msgspec.json.encode({"a": ms_slot(7), "b": iso_slot(45), "id": str(uuid.UUID(int=1))})
    template = Template(b"", body)
    (stamped,) = template.stamped(NOW_MS)
    assert len(stamped) == len(body)
    found = msgspec.json.decode(stamped)
    assert found["a"] == NOW_MS - 1_000 + 7
    assert found["b"] == "2026-11-18T11:06:39.045Z"


# --- corpus


def _endpoint(path: str) -> Endpoint:
    found = next(endpoint for endpoint in ENDPOINTS if endpoint.path == path)
    assert isinstance(found, Endpoint)
    return found


def _request(data: bytes) -> Request:
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, path, _ = line.decode().split(" ")
    pairs = [one.decode().split(": ", 1) for one in lines]
    lower = {name.lower(): value for name, value in pairs}
    assert int(lower["content-length"]) == len(body)
    return Request(
        method=method, path=path, query=b"", headers=lower, body=body, now_us=NOW_MS * 1_000
    )


@pytest.mark.parametrize(("traffic", "size"), TRAFFIC)
def test_every_request_of_the_corpus_is_accepted(traffic: Traffic, size: int) -> None:
    """The real adapters take each head and each body, with as many events as it claims."""
    ids = Ids("00000000")
    for template in templates(traffic, size, ACCOUNT, seed=1):
        request = _request(ids.next().join(template.stamped(NOW_MS)))
        endpoint = _endpoint(request.path)
        assert isinstance(endpoint.read_head(request), Head)
        batch = endpoint.decode(request)
        assert isinstance(batch, Batch)
        assert len(batch.items) == template.events == size
        refused = [item for item in batch.items if not isinstance(item, Event)]
        assert refused == []


@pytest.mark.parametrize(("traffic", "size"), TRAFFIC)
def test_no_two_events_are_the_same(traffic: Traffic, size: int) -> None:
    """The same template with another id gives other events, and a batch has no repeats in it."""
    ids = Ids("00000000")
    cut = templates(traffic, size, ACCOUNT, seed=1)[0].stamped(NOW_MS)
    identities = set()
    for _ in range(3):
        request = _request(ids.next().join(cut))
        batch = _endpoint(request.path).decode(request)
        assert isinstance(batch, Batch)
        identities |= {item.identity for item in batch.items if isinstance(item, Event)}
    assert None not in identities
    assert len(identities) == 3 * size


@pytest.mark.parametrize(("traffic", "size"), TRAFFIC)
def test_the_seed_decides(traffic: Traffic, size: int) -> None:
    """Equal seeds give equal bytes, so that runs can be compared; others do not."""
    first = templates(traffic, size, ACCOUNT, seed=1)
    assert first == templates(traffic, size, ACCOUNT, seed=1)
    assert first != templates(traffic, size, ACCOUNT, seed=2)


def test_singles_have_the_size_of_real_ones() -> None:
    """Scanova singles are about 700 bytes."""
    bodies = [len(template.body) for template in templates("scanova", 1, ACCOUNT, seed=1)]
    assert 600 < sum(bodies) / len(bodies) < 800


def test_batches_mix_all_types() -> None:
    """A batch of 1,000 holds page views, events, identifications, goals and purchases."""
    body = templates("zenovay", 1_000, ACCOUNT, seed=1)[0].body
    found = set(re.findall(rb'"type":"([a-z]+)"', body))
    assert found == {b"pageview", b"event", b"identify", b"goal", b"purchase"}


def test_prepared_rows_are_all_different() -> None:
    """The segment for the flush holds as many lines as asked, each with an id of its own."""
    groups = list(encoded_groups(2_500, seed=1))
    assert [count for _, count in groups] == [1_000, 1_000, 500]
    found = [
        msgspec.json.decode(line)["event_id"] for lines, _ in groups for line in lines.splitlines()
    ]
    assert len(set(found)) == len(found) == 2_500


# --- the loops

Answer = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def _server(answer: Answer) -> AsyncIterator[int]:
    """A server that gives every whole request to `answer`; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"Content-Length: (\d+)", head)
                assert length is not None
                body = await reader.readexactly(int(length[1]))
                writer.write(await answer(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        # From Python 3.12 on, waiting for it to be closed waits for every connection.
        server.close()


def _carry_out(answer: Answer, **changes: Any) -> Report:
    async def go() -> Report:
        async with _server(answer) as port:
            settings: dict[str, Any] = {
                "address": "127.0.0.1",
                "port": port,
                "traffic": "scanova",
                "account": ACCOUNT,
                "run": "00000000",
                "connections": 2,
                "warm_up_s": 0.05,
                "seconds": 0.3,
            }
            return await carry_out(Plan(**{**settings, **changes}))

    return asyncio.run(go())


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_closed_loop_counts_every_answer_once() -> None:
    """What the server answered and what the report counts agree, and no body came twice."""
    bodies: list[bytes] = []

    async def answer(body: bytes) -> bytes:
        bodies.append(body)
        return _OK

    report = _carry_out(answer)
    assert report.statuses == {200: len(bodies)}
    assert report.accepted == len(bodies)
    assert 0 < report.events == report.requests == len(report.latencies_us) <= len(bodies)
    assert len(set(bodies)) == len(bodies)
    assert (report.failures, report.rejected) == (0, 0)
    assert report.cpu_share > 0


def test_refusals_are_not_acknowledged() -> None:
    """A 503 is counted as an answer, never as an event."""

    async def answer(_body: bytes) -> bytes:
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

    report = _carry_out(answer, connections=1)
    assert (report.events, report.accepted) == (0, 0)
    assert report.rejected == report.statuses[503] > 0


def test_verdicts_of_batches_are_added_up() -> None:
    """Accepted, repeated and rejected events of a batch are told apart."""

    async def answer(_body: bytes) -> bytes:
        text = b'{"acceptedCount":90,"dedupedCount":7,"rejectedCount":3,"errors":[]}'
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)

    report = _carry_out(answer, traffic="zenovay", size=100, requests_max=5, warm_up_s=0.0)
    assert (report.accepted, report.duplicate, report.rejected) == (450, 35, 15)


def test_a_bounded_plan_ends_when_it_is_spent() -> None:
    """`requests_max` requests are sent, not one more, and nobody waits for the clock."""

    async def answer(_body: bytes) -> bytes:
        return _OK

    report = _carry_out(answer, requests_max=7, seconds=30.0, warm_up_s=0.0)
    assert report.accepted == 7
    assert report.window_s < 5


def test_open_loop_latency_includes_waiting() -> None:
    """At 100 requests/s against 50/s of service, later requests wait longer, and it shows."""

    async def answer(_body: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return _OK

    report = _carry_out(answer, connections=1, rate=100.0, warm_up_s=0.0, seconds=0.6)
    assert max(report.latencies_us) > 5 * min(report.latencies_us)
    assert max(report.latencies_us) > 150_000


def test_open_loop_keeps_the_rate() -> None:
    """A server that could do more is asked only as often as told."""

    async def answer(_body: bytes) -> bytes:
        return _OK

    report = _carry_out(answer, rate=100.0, seconds=0.5)
    assert report.requests == pytest.approx(50, abs=10)


def test_duplicates_repeat_earlier_requests() -> None:
    """About the asked share of the requests was sent before, byte for byte."""
    bodies: list[bytes] = []

    async def answer(body: bytes) -> bytes:
        bodies.append(body)
        return _OK

    _carry_out(answer, duplicates=0.1, requests_max=1_000, seconds=30.0, warm_up_s=0.0)
    repeats = len(bodies) - len(set(bodies))
    assert len(bodies) == 1_000
    assert repeats == pytest.approx(94, abs=2)  # none until 64 requests are known


def test_a_server_that_talks_nonsense_ends_the_run() -> None:
    """No figures from a server that was not understood."""

    async def answer(_body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\n\r\n"

    with pytest.raises(RuntimeError, match="cannot be read"):
        _carry_out(answer)


def test_nothing_measured_is_an_error() -> None:
    """A report without a single answer would look like a very bad server."""

    async def answer(_body: bytes) -> bytes:
        await asyncio.sleep(0.5)
        return _OK

    with pytest.raises(RuntimeError, match="nothing was answered"):
        _carry_out(answer, seconds=0.1)


@pytest.mark.parametrize(
    "changes", [{"seconds": 61.0}, {"seconds": 0.0}, {"connections": 5_000}, {"duplicates": 1.0}]
)
def test_a_load_is_always_bounded(changes: dict[str, Any]) -> None:
    """No plan lasts longer than a minute or opens connections without end."""
    settings: dict[str, Any] = {
        "address": "127.0.0.1",
        "port": 1,
        "traffic": "croct",
        "account": ACCOUNT,
        "run": "00000000",
    }
    with pytest.raises(ValueError, match=r"most|connections|share"):
        Plan(**settings, **changes)


def test_reports_of_several_generators_add_up() -> None:
    """Counts and CPU are summed, latencies joined, the window is not."""
    one = Report(
        window_s=2.0,
        requests=10,
        events=10,
        latencies_us=[1, 2],
        cpu_s=0.5,
        accepted=12,
        statuses={200: 12},
    )
    both = merged([one, msgspec.structs.replace(one, statuses={200: 1, 503: 2}, rejected=2)])
    assert (both.requests, both.events, both.accepted, both.rejected) == (20, 20, 24, 2)
    assert both.latencies_us == [1, 2, 1, 2]
    assert both.statuses == {200: 13, 503: 2}
    assert (both.window_s, both.cpu_share) == (2.0, 0.5)


# --- the rest

_METRICS = """\
# HELP collector_events_total events
collector_events_total{site="a",protocol="croct",outcome="accepted",reason=""} 3
collector_events_total{site="a",protocol="croct",outcome="rejected",reason="x"} 4
collector_keys 17
collector_keys_forgotten_total 2
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("collector_events_total", 7),
        ('collector_events_total{site="a",protocol="croct",outcome="accepted"', 3),
        ("collector_keys", 17),
        ("collector_parts", 0),
    ],
)
def test_metrics_are_summed_by_name(name: str, expected: float) -> None:
    """A metric whose name another one begins with is not mixed up with it."""
    assert sum_metric(_METRICS, name) == expected


def test_history_is_one_line_per_run_and_names_no_machine(tmp_path: Path) -> None:
    """Two runs, two lines that can be read back; the host's name is in neither."""
    options = quick(Options(directory=tmp_path))
    path = tmp_path / "history.ndjson"
    for value in (1.0, 2.0):
        history.append(history.describe(options, [Figure("x", value, "s")]), path)
    lines = path.read_bytes().splitlines()
    runs = [msgspec.json.decode(line, type=history.Run) for line in lines]
    assert [run.figures for run in runs] == [{"x": 1.0}, {"x": 2.0}]
    assert runs[0].machine.cores > 0
    assert runs[0].machine.sync_ms > 0
    assert str(tmp_path) not in path.read_text()


@pytest.mark.end_to_end
def test_a_short_measurement_of_a_real_collector(tmp_path: Path) -> None:
    """The command starts a collector and the floor, loads both, checks the rows, cleans up."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.load", "beacons", "--no-history"),
            *("--seconds", "1", "--rounds", "1", "--connections", "4", "--duplicates", "0.05"),
            *("--directory", str(tmp_path)),
        ],
        cwd=Path(history.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("croct_singles_per_s", "croct_ack_p99_ms", "croct_ratio", "croct_floor_per_s"):
        assert re.search(rf"^{name} +[0-9.,]+", done.stdout, re.MULTILINE), done.stdout
    assert "refused" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_corpus_does_not_depend_on_global_randomness() -> None:
    """Seeding Python's own generator changes nothing."""
    random.seed(1)
    first = templates("croct", 1, ACCOUNT, seed=7)
    random.seed(2)
    assert templates("croct", 1, ACCOUNT, seed=7) == first
