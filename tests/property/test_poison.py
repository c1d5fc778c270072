"""Whatever JSON a client puts into the free-form part of an event: it is stored, or refused.

One row that DuckDB cannot read would hold up every row behind it, so nothing accepted may be poison
for the flush.
"""

import tempfile
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import layout
from tests.support.app import Collector, example, run, running
from tests.support.dialects import DIALECTS, Croct, Dialect, Scanova, Zenovay

_SPACE = st.sampled_from(["", " ", "\n", "\r\n", "\t"])
_ESCAPES = st.sampled_from(
    [
        r"\ud83d",
        r"\ud83d\ude00",
        r"\udc00",
        r"\u0000",
        r"\u2028",
        r"\\ud800",
        r"\"",
        r"\/",
        "é",
        "😀",
    ]
)
_STRINGS = st.lists(st.one_of(_ESCAPES, st.sampled_from(["a", " ", "commit", "{", "\x7f"]))).map(
    lambda parts: f'"{"".join(parts)}"'
)
_NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1e400", "-1E-400", "0.10", "-0", "1" * 50, "18446744073709551616", "1E5"]),
)
_SCALARS = st.one_of(_STRINGS, _NUMBERS, st.sampled_from(["true", "false", "null"]))


def _array(items: list[str], space: str) -> str:
    return f"[{space}{f',{space}'.join(items)}{space}]"


def _object(members: list[tuple[str, str]], space: str) -> str:
    return f"{{{space}{f',{space}'.join(f'{n}{space}:{v}' for n, v in members)}{space}}}"


_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.builds(_array, st.lists(inner, max_size=3), _SPACE),
        st.builds(_object, st.lists(st.tuples(_STRINGS, inner), max_size=3), _SPACE),
    ),
    max_leaves=6,
)
_OBJECTS = st.builds(_object, st.lists(st.tuples(_STRINGS, _VALUES), max_size=3), _SPACE)


def _body(dialect: Dialect, identity: str, free: str) -> tuple[str, dict[str, str], bytes]:
    """An event with `free`, JSON text, where the protocol lets the client say anything."""
    sent = dialect.event(identity)
    if isinstance(dialect, Zenovay):
        sent.body["events"][0]["props"] = {"name": "n", "free": "FREE"}
    elif isinstance(dialect, Croct):
        sent.body["payload"]["details"] = {"known": 1}
        sent.body["payload"]["new"] = "FREE"
    elif isinstance(dialect, Scanova):
        sent.body["metadata" if dialect.path == "/ct" else "properties"] = "FREE"
    data = msgspec.json.encode(sent.body).replace(b'"FREE"', free.encode())
    return sent.path, sent.headers, data


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(free=st.lists(_OBJECTS, min_size=5, max_size=15))
def test_nothing_accepted_is_poison(free: list[str]) -> None:
    """Every accepted event reaches Parquet; every refusal is a 4xx; there is no 500."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)

        async def play() -> int:
            async with running(directory, example(directory)) as collector:
                return await _send_all(collector, free)

        accepted = run(play())
        wal = directory / "data" / layout.WAL
        assert not list(wal.iterdir()), "the flush left a segment behind"
        assert accepted > 0


async def _send_all(collector: Collector, free: list[str]) -> int:
    accepted = 0
    for number, text in enumerate(free):
        for dialect in DIALECTS:
            path, headers, data = _body(dialect, f"{number}", text)
            answer = await collector.request("POST", path, headers=headers, body=data)
            assert answer.status < 500, (answer, data)
            accepted += dialect.is_success(answer.status, answer.body)
    assert len(collector.rows()) == accepted
    return accepted


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.one_of(st.binary(max_size=200), _VALUES.map(str.encode)), data=st.data())
def test_no_bytes_make_a_500(body: bytes, data: st.DataObject) -> None:
    """Any bytes at any endpoint are answered with less than 500."""
    dialect = data.draw(st.sampled_from(DIALECTS))
    path = data.draw(
        st.sampled_from([dialect.event("a").path, "/collect/batch", "/server-events/batch"])
    )
    headers = dialect.event("a").headers
    if data.draw(st.booleans()):
        headers["Content-Encoding"] = data.draw(st.sampled_from(["gzip", "deflate", "br", ""]))

    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with running(Path(folder), example(Path(folder))) as collector:
                answer = await collector.request("POST", path, headers=headers, body=body)
                assert answer.status < 500, answer

    run(play())
