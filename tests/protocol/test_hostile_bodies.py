"""JSON that parsers disagree about, and bombs: every dialect, a real server, both fronts.

What is accepted is a row that becomes Parquet and means what was sent; everything else is told 4xx
in the dialect and leaves nothing behind.
"""

import json
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.conftest import serving
from tests.support.asking import (
    DIALECTS,
    accepted,
    ask,
    assert_accepted,
    assert_refused,
    assert_serves,
    post,
)
from tests.support.dialects import Dialect
from tests.support.process import CollectorProcess, wait_until

pytestmark = pytest.mark.end_to_end
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)

# A member that each dialect keeps as it was sent, and where a number of its own belongs.
_KEPT = {"scanova /ct": "metadata", "scanova /server-events": "properties"}

# Values of a member that is kept, and how they stand in Parquet: texts decoded, fractions as the
# doubles that they are, whole numbers of any length as they were sent.
TAKEN = {
    b"-0": "0",
    b"1e-400": "0.0",
    b"0." + b"1" * 4_000: "0.1111111111111111",
    b"1.50": "1.5",
    b"18446744073709551616": "18446744073709551616",
    b"9" * 4_000: "9" * 4_000,
    b'"\\u0000"': '"\\u0000"',
    b'"\x7f"': '"\x7f"',
    b'"\\u202e\\u2066"': '"\u202e\u2066"',
    '"\u202e\uffff\U0010ffff\U0001f600"'.encode(): '"\u202e\uffff\U0010ffff\U0001f600"',
    b'"\\u000a2026-11-26T00:00:00Z INFO forged"': '"\\n2026-11-26T00:00:00Z INFO forged"',
    b'{"":1,"\\u0000":2,"__proto__":{}}': '{"":1,"\\u0000":2,"__proto__":{}}',
    b'{"a":1,"a":2}': '{"a":1,"a":2}',
    b'{"commit":{"rows":1,"bytes":1,"xxh3":"0"}}': '{"commit":{"rows":1,"bytes":1,"xxh3":"0"}}',
    # A lone half of a surrogate pair is read as U+FFFD.
    b'"\\ud83d"': '"\ufffd"',
    b'"\\ude00"': '"\ufffd"',
    b'"\\ude00\\ud83d"': '"\ufffd\ufffd"',
    b'"\\ud83d\\u0041"': '"\ufffdA"',
}
REFUSED = [
    b"NaN",
    b"nan",
    b"Infinity",
    b"-Infinity",
    b"undefined",
    b"True",
    b"0x10",
    b"+1",
    b"01",
    b".5",
    b"5.",
    b"1e",
    b"'a'",
    b"1/*x*/",
    b"[1,]",
    b'{"a":1,}',
    b"{a:1}",
    b'"\\x41"',
    b'"\\u12"',
    b'"\\u{1f600}"',
    b'"a\0b"',
    b'"a\x01b"',
    b'"a\nb"',
    b'"a\tb"',
    b'"\xff"',
    b'"\xc0\xaf"',
    b'"\xc0\x80"',
    b'"\xe0\x80\xaf"',
    b'"\xed\xa0\xbd"',
    b'"\xed\xa0\xbd\xed\xb8\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xf8\x88\x80\x80\x80"',
    b'"\xe2\x82"',
    b"[" * 15_000 + b"]" * 15_000,
    b'{"a":' * 8_000 + b"1" + b"}" * 8_000,
    b"[" * 30_000,
]

Changed = Callable[[bytes], bytes]
BODIES: dict[str, Changed] = {
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda body: body.decode().encode("utf-16-le"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "UTF-7": lambda body: body.replace(b"{", b"+AHs-"),
    "EBCDIC": lambda body: body.decode().encode("cp500"),
    "two documents": lambda body: body + body,
    "two lines": lambda body: body + b"\n" + body,
    "something behind": lambda body: body + b"x",
    "NUL behind": lambda body: body + b"\0",
    "NUL in front": lambda body: b"\0" + body,
    "a form feed in front": lambda body: b"\x0c" + body,
    "a no-break space in front": lambda body: b"\xc2\xa0" + body,
    "a call": lambda body: b"track(" + body + b")",
    "a prefix against hijacking": lambda body: b")]}'\n" + body,
    "a record separator": lambda body: b"\x1e" + body,
    "the last byte missing": lambda body: body[:-1],
    "the first byte missing": lambda body: body[1:],
    "nothing": lambda _: b"",
    "blanks": lambda _: b" \t\r\n",
}
# JSON, but no object.
SHAPES: dict[str, Changed] = {
    "null": lambda _: b"null",
    "a number": lambda _: b"1",
    "true": lambda _: b"true",
    "a text": lambda body: json.dumps(body.decode()).encode(),
    "a list": lambda body: b"[" + body + b"]",
}


@pytest.fixture(scope="module", params=["rsgi", "asgi"])
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    """A collector that publishes what it takes within a moment."""
    server = {"interface": request.param, "body_bytes_max": 1_048_576}
    with serving(tmp_path_factory, "hostile", server=server) as process:
        yield process


def _with(dialect: Dialect, value: bytes) -> tuple[str, bytes]:
    """A good event in whose free-form member `x` stands `value`; what identifies it."""
    mark = uuid.uuid4().hex
    body = dialect.event(mark).body
    kind = dialect.name.split()[0]
    if kind == "croct":
        body["payload"]["x"] = "@@"
        body["originalTime"] = time.time_ns() // 1_000_000
    elif kind == "zenovay":
        body["events"][0]["props"] |= {"x": "@@", "mark": mark}
    else:
        body[_KEPT[dialect.name]] = {"x": "@@", "mark": mark}
    return mark, json.dumps(body).encode().replace(b'"@@"', value)


def _read(text: str) -> dict[str, Any]:
    """JSON whose numbers stay texts, however long they are."""
    document: dict[str, Any] = json.loads(text, parse_int=str, parse_float=str)
    return document


def _stored(collector: CollectorProcess) -> dict[str, str]:
    """The member `metadata` of every row by what identifies the event in it."""
    found = {}
    for row in collector.query("SELECT metadata::VARCHAR AS metadata FROM events"):
        text = row["metadata"]
        if text is not None:
            document = _read(text)
            found[document.get("mark") or document["name"]] = text
    return found


def test_what_is_taken_is_stored_as_it_was_sent(front: CollectorProcess) -> None:
    """Odd numbers, escapes, names that occur twice: in Parquet they mean the same."""
    sent: dict[str, str] = {}
    for dialect in DIALECTS:
        for value, text in TAKEN.items():
            mark, body = _with(dialect, value)
            sent[mark] = f'"x":{text}'
            assert_accepted(dialect, ask(front, post(dialect, body)))
    stored = _stored(front)
    for mark, text in sent.items():
        assert text in stored[mark]
    count = "SELECT count(*) AS rows FROM events"
    wait_until(
        lambda: (found := front.published(count)) and found[0]["rows"] >= len(sent),
        timeout_s=10,
        what="all of it is in Parquet",
    )


def test_numbers_that_no_double_holds(front: CollectorProcess) -> None:
    """Kept as they were sent, but in a beacon's payload, which is read in order to be compared."""
    for value in (b"1e400", b"-1e400", b"1e99999", b"9" * 5_000):
        for dialect in DIALECTS:
            answer = ask(front, post(dialect, _with(dialect, value)[1]))
            if dialect.name.startswith("croct"):
                assert_refused(dialect, answer, 400)
            else:
                assert_accepted(dialect, answer)


@pytest.mark.parametrize(
    "number", [b"9" * 100_000, b"1e400", b"-1", b"9223372036854775808", b"NaN"]
)
def test_numbers_where_a_number_belongs(front: CollectorProcess, number: bytes) -> None:
    """Too many digits, too large, none at all: told, in a typed member too; never a 500."""
    for dialect in DIALECTS:
        sent = dialect.event(uuid.uuid4().hex)
        kind = dialect.name.split()[0]
        if kind == "croct":
            sent.body["originalTime"] = "@@"
            status = 413 if len(number) > 65_536 else 400
        elif kind == "zenovay":
            sent.body["events"][0]["ts"] = "@@"
            status = 400 if number == b"NaN" else 200
        elif dialect.name == "scanova /ct":
            sent.body["device"] = {"screen_width": "@@"}
            status = 400 if number == b"NaN" else 422
        else:
            sent.body["conversion_value"] = {"amount": "@@", "currency": "eur"}
            status = 400 if number == b"NaN" else 422
        body = json.dumps(sent.body).encode().replace(b'"@@"', number)
        answer = ask(front, post(dialect, body))
        if status == 200:
            assert json.loads(answer.body)["errors"][0]["reason"] == "invalid_ts"
        else:
            assert_refused(dialect, answer, status)


@every_dialect
def test_what_is_no_json_is_refused(front: CollectorProcess, dialect: Dialect) -> None:
    """400 wherever it stands in the body, however deep; nothing of it is stored."""
    before = accepted(front)
    for value in REFUSED:
        assert_refused(dialect, ask(front, post(dialect, _with(dialect, value)[1])), 400)
    for change in BODIES.values():
        body = change(_with(dialect, b"1")[1])
        assert_refused(dialect, ask(front, post(dialect, body)), 400)
    for change in SHAPES.values():
        body = change(_with(dialect, b"1")[1])
        status = 422 if dialect.name.startswith("scanova") else 400
        assert_refused(dialect, ask(front, post(dialect, body)), status)
    assert accepted(front) == before


def test_a_hundred_thousand_levels(front: CollectorProcess) -> None:
    """Nesting costs its sender a 400, whatever stands around it; a beacon's body is too large."""
    for deep in (b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        for dialect in DIALECTS:
            _, body = _with(dialect, deep)
            for sent in (body, deep):
                status = 413 if dialect.name.startswith("croct") else 400
                assert_refused(dialect, ask(front, post(dialect, sent)), status)


def _mib(collector: CollectorProcess, kind: str) -> int:
    """Memory of its processes: `VmRSS` now, `VmHWM` the most that each ever had."""
    found = 0
    for pid in collector.pids:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        found += sum(int(line.split()[1]) for line in text.splitlines() if kind in line)
    return found // 1024


@cache
def _bombs() -> list[tuple[str, bytes, int]]:
    """Encoding, body, and the status that it deserves; the largest would be 800 MB, unpacked."""

    def packed(data: bytes, times: int, bits: int) -> bytes:
        stream = zlib.compressobj(9, wbits=bits)
        return b"".join(stream.compress(data) for _ in range(times)) + stream.flush()

    zeros = bytes(1_000_000)
    member = packed(zeros, 16, 31)
    return [
        ("gzip", packed(zeros, 64, 31), 413),
        ("deflate", packed(zeros, 64, 15), 413),
        ("deflate", packed(zeros, 64, -15), 413),
        ("gzip", member * 50, 413),
        ("gzip", packed(b"", 1, 31) * 63 + member, 413),
        ("gzip", packed(b"", 1, 31) * 64 + member, 400),
        ("gzip", packed(packed(zeros, 64, 31), 1, 31), 400),
        ("gzip", member + b"behind", 413),
        ("gzip", packed(b" ", 1_000, 31) + b"behind", 400),
        ("gzip", packed(b" ", 1_000, 31)[:-1], 400),
    ]


def test_bombs_take_no_more_than_the_limit(front: CollectorProcess) -> None:
    """By ratio, by size, in members, in layers: refused; 1 MiB is the limit, 40 MiB the most."""
    ask(front, post(DIALECTS[0], b" " * 1_000_000))
    before = _mib(front, "VmHWM")
    for dialect in DIALECTS:
        for encoding, bomb, status in _bombs():
            answer = ask(front, post(dialect, bomb, ("Content-Encoding", encoding)))
            # A beacon's limit is 64 KiB, so that some are too large before all else.
            is_beacon = dialect.name.startswith("croct")
            assert_refused(dialect, answer, max(status, answer.status) if is_beacon else status)
    assert _mib(front, "VmHWM") - before < 40
    assert_serves(front)


def test_hostile_bodies_leave_no_memory_behind(front: CollectorProcess) -> None:
    """Of 45 bodies of a megabyte, after a first 15, less than fifty MiB stay resident."""
    mib = 1_000_000
    bodies = [
        b"[" * mib,
        b'{"events":[' + b"{}," * (mib // 4) + b"{}]}",
        b'{"a":' * (mib // 5),
        b'"' + b"\\u0041" * (mib // 7) + b'"',
        b'{"events":[' + b"1," * (mib // 3) + b"1]}",
    ]
    residents = []
    for _ in range(4):
        for body in bodies * 3:
            # Where nobody shows a key, what cannot be read is not kept in quarantine either.
            assert 400 <= ask(front, post(DIALECTS[0], body)).status < 500
        residents.append(_mib(front, "VmRSS"))
    assert residents[-1] - residents[0] < 50
    assert_serves(front)
