"""Bodies, addresses and encodings, without a socket."""

import asyncio
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.http import AddressReader, BodyReader, Disconnected, inflate
from collector.refusal import BODY_TOO_LARGE, BODY_TOO_SLOW, MALFORMED_BODY, Refusal
from tests.support.app import gzipped


def _scope(peer: str, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (peer, 1), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7, 10.2.3.4"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7:5555"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::7]:5555"], "2001:db8::7"),
        ("10.0.0.1", ["198.51.100.7, garbage"], "10.0.0.1"),
        ("10.0.0.1", ["10.9.9.9"], "10.9.9.9"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["198.51.100.7"], "198.51.100.7"),
    ],
)
def test_address_through_trusted_proxies(peer: str, forwarded: list[str], expected: str) -> None:
    """The right-most address that is not trusted; what an untrusted peer says is not read."""
    reader = AddressReader(["10.0.0.0/8", "fd00::/8"])
    assert reader.read(_scope(peer, *forwarded)) == expected


def test_no_trusted_proxies_means_no_headers_are_believed() -> None:
    """The default believes nobody."""
    assert AddressReader([]).read(_scope("127.0.0.1", "6.6.6.6")) == "127.0.0.1"
    assert AddressReader(["10.0.0.0/8"]).read({"client": None, "headers": []}) == ""


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
