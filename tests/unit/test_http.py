"""Bodies, encodings and heads of answers, without a socket."""

import asyncio
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.adapters.contract import Response
from collector.http import BodyReader, Disconnected, inflate, start
from collector.refusal import BODY_TOO_LARGE, BODY_TOO_SLOW, MALFORMED_BODY, Refusal
from tests.support.app import gzipped


@given(data=st.binary(max_size=2_000), limit=st.integers(0, 3_000))
def test_inflate_never_exceeds_the_limit(data: bytes, limit: int) -> None:
    """What was compressed comes back whole, or is refused when it is larger than the limit."""
    for encoding, encode in ((b"gzip", gzipped), (b"deflate", zlib.compress)):
        result = inflate(encode(data), encoding, limit)
        if len(data) <= limit:
            assert result == data
        else:
            assert isinstance(result, Refusal)
            assert result.kind is BODY_TOO_LARGE


@given(data=st.binary(max_size=300), encoding=st.sampled_from([b"gzip", b"deflate", b"x-gzip"]))
def test_inflate_of_anything(data: bytes, encoding: bytes) -> None:
    """Any bytes inflate or are refused; never an exception."""
    assert isinstance(inflate(data, encoding, 10_000), bytes | Refusal)


def test_several_members_and_truncation() -> None:
    """A gzip file of several members is one body; one that ends early is malformed."""
    assert inflate(gzipped(b"one") + gzipped(b"two"), b"gzip", 10) == b"onetwo"
    cut = inflate(gzipped(b"x" * 1_000)[:-9], b"gzip", 10_000)
    assert isinstance(cut, Refusal)
    assert cut.kind is MALFORMED_BODY


def test_slow_body_is_given_up() -> None:
    """A body that is overdue is refused; the task lives on to answer."""

    async def play() -> None:
        now = [0.0]
        reader = BodyReader(timeout_ms=1_000, monotonic_s=lambda: now[0])
        never = asyncio.get_running_loop().create_future()

        async def receive() -> dict[str, Any]:
            return await never

        reading = asyncio.create_task(reader.read(receive, {}, 100))
        await asyncio.sleep(0)
        reader.sweep()
        await asyncio.sleep(0)
        assert not reading.done()
        now[0] = 2.0
        reader.sweep()
        refusal = await reading
        assert isinstance(refusal, Refusal)
        assert refusal.kind is BODY_TOO_SLOW
        assert reader._reading == {}
        assert reader._overdue == set()

    asyncio.run(play())


def test_an_answer_that_is_kept_goes_out_as_if_it_were_made_anew() -> None:
    """Its head is the same for the first and for every later asker, each with his own origin."""
    plain = Response(429, [(b"retry-after", b"1")], b"no")
    kept = Response(429, [(b"retry-after", b"1")], b"no", starts={})
    for origin in (b"http://a", b"http://b", None, b"http://a", b"x" * 5_000):
        assert start(kept, origin) == start(plain, origin)
    assert plain.headers == kept.headers == [(b"retry-after", b"1")]


def test_what_is_kept_of_an_answer_is_bounded() -> None:
    """However many origins ask, and however long they are, few and short ones are kept."""
    kept = Response(429, [], b"no", starts={})
    for number in range(1_000):
        start(kept, b"http://%d.example.com" % number)
        start(kept, b"http://%d.example.com" % number + b"x" * 1_000)
    assert kept.starts is not None
    assert len(kept.starts) <= 64
    assert max(len(origin or b"") for origin in kept.starts) <= 128


def test_disconnect_is_told_apart() -> None:
    """A client that went away is not answered."""

    async def play() -> None:
        reader = BodyReader(timeout_ms=1_000, monotonic_s=lambda: 0.0)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        with pytest.raises(Disconnected):
            await reader.read(receive, {}, 100)
        assert reader._reading == {}

    asyncio.run(play())
