"""The pure parts of the load generator, and its loops against small servers on loopback."""

import re
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import history
from bench.corpus import Account, Traffic
from bench.figures import Figure, latency_figures, percentile, ratio_of_medians, shown, table
from bench.http1 import ProtocolError, maybe_answer, request_head
from bench.options import Options, quick
from bench.target import sum_metric
from bench.template import Ids, Template, iso_slot, ms_slot

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


def test_chunks_are_put_together_byte_by_byte() -> None:
    """Wherever the network cut it, with extensions and sizes in either case."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    whole = head + b"5;a=b\r\nhello\r\n0C\r\n, chunk\r\n\r\n!\r\n0\r\n\r\n"
    for cut in range(len(whole)):
        assert maybe_answer(whole[:cut]) is None
    answer = maybe_answer(whole + _HEAD)
    assert answer is not None
    assert (answer.body, answer.size) == (b"hello, chunk\r\n\r\n!", len(whole))


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
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 70_000,
    ],
    ids=["no-size", "wrong-size", "coding", "too-long", "http10", "not-http", "endless"],
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
