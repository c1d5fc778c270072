"""Bodies, encodings and heads of answers, without a socket."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.http import BodyReader, Cors, Disconnected, body_length, inflate
from collector.refusal import (
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    MALFORMED_BODY,
    UNSUPPORTED_ENCODING,
    Refusal,
)
from tests.support.app import gzipped
from tests.support.fronts import Exchange
from tests.support.headers import Unreadable

CHUNKED = {"transfer-encoding": "chunked"}


class Closed(Exception):
    """What this server raises when a client went away."""


class Stuck(Exchange):
    """Sends its pieces, then nothing more; or, with an error, goes away."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        super().__init__([*pieces, b""])
        self.error = error

    async def _piece(self) -> bytes:
        if len(self.pieces) > 1:
            return await super()._piece()
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        raise AssertionError


class World:
    """A reader of bodies and its clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.bodies = BodyReader(timeout_ms=1_000, monotonic_s=lambda: self.now_s, closed=Closed)

    async def read(
        self, body: Exchange, headers: dict[str, str], bytes_max: int = 100
    ) -> bytes | Refusal:
        """Read it."""
        return await self.bodies.read(body, headers, bytes_max, body_length(headers))


def _run(play: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await play(world)
        assert world.bodies._reading == {}
        assert world.bodies._overdue == set()

    asyncio.run(asyncio.wait_for(main(), 30))


def _kind(found: bytes | Refusal) -> object:
    return found.kind if isinstance(found, Refusal) else found


def _announced(*pieces: bytes) -> tuple[Exchange, dict[str, str]]:
    return Exchange(pieces), {"content-length": str(sum(map(len, pieces)))}


@given(data=st.binary(max_size=2_000), limit=st.integers(0, 3_000))
def test_inflate_never_exceeds_the_limit(data: bytes, limit: int) -> None:
    """What was compressed comes back whole, or is refused when it is larger than the limit."""
    for encoding, encode in (("gzip", gzipped), ("deflate", zlib.compress)):
        result = inflate(encode(data), encoding, limit)
        if len(data) <= limit:
            assert result == data
        else:
            assert isinstance(result, Refusal)
            assert result.kind is BODY_TOO_LARGE


@given(data=st.binary(max_size=300), encoding=st.sampled_from(["gzip", "deflate", "x-gzip"]))
def test_inflate_of_anything(data: bytes, encoding: str) -> None:
    """Any bytes inflate or are refused; never an exception."""
    assert isinstance(inflate(data, encoding, 10_000), bytes | Refusal)


def test_several_members_and_truncation() -> None:
    """A gzip file of several members is one body; one that ends early is malformed."""
    assert inflate(gzipped(b"one") + gzipped(b"two"), "gzip", 10) == b"onetwo"
    cut = inflate(gzipped(b"x" * 1_000)[:-9], "gzip", 10_000)
    assert isinstance(cut, Refusal)
    assert cut.kind is MALFORMED_BODY


# --- reading


def test_a_body_is_read_up_to_its_limit() -> None:
    """Announced or in pieces: what is as long as allowed is taken, one byte more is refused."""

    async def play(world: World) -> None:
        for pieces in ([b"x" * 100], [b"x" * 50, b"", b"x" * 50], [b""]):
            whole = b"".join(pieces)
            assert await world.read(*_announced(*pieces)) == whole
            assert await world.read(Exchange(pieces), CHUNKED) == whole
        for pieces in ([b"x" * 101], [b"x" * 60, b"y" * 60, b"z"]):
            for body, headers in (_announced(*pieces), (Exchange(pieces), CHUNKED)):
                assert _kind(await world.read(body, headers)) is BODY_TOO_LARGE
                assert body.pieces == [], "taken in, so that the client reads the answer"

    _run(play)


def test_a_body_without_end_is_cut_off() -> None:
    """What is far too large is not taken in; nor is what is sent only when it is asked for."""

    async def play(world: World) -> None:
        mebibyte = b"x" * 1_048_576
        body = Exchange([mebibyte] * 100)
        assert _kind(await world.read(body, CHUNKED)) is BODY_TOO_LARGE
        assert 30 <= len(body.pieces) <= 40
        for headers in ({"content-length": "9" * 5_000}, {"content-length": "101", "expect": "x"}):
            body = Exchange([mebibyte])
            assert _kind(await world.read(body, headers)) is BODY_TOO_LARGE
            assert len(body.pieces) == 1

    _run(play)


@pytest.mark.parametrize("headers", [{"content-length": "9"}, CHUNKED])
def test_slow_body_is_given_up(headers: dict[str, str]) -> None:
    """A body that is overdue is refused, and not before; the task lives on to answer."""

    async def play(world: World) -> None:
        reading = asyncio.create_task(world.read(Stuck(b"{"), headers))
        await asyncio.sleep(0)
        for now_s, is_over in ((0.5, False), (0.999, False), (1.0, True)):
            world.now_s = now_s
            world.bodies.sweep()
            world.bodies.sweep()
            for _ in range(5):
                await asyncio.sleep(0)
            assert reading.done() == is_over
        assert _kind(await reading) is BODY_TOO_SLOW

    _run(play)


def test_pieces_do_not_give_more_time() -> None:
    """The time is that of the whole body, however steadily its bytes drop in."""

    async def play(world: World) -> None:
        class Dropping(Stuck):
            async def _piece(self) -> bytes:
                world.now_s += 0.3
                world.bodies.sweep()
                return await super()._piece()

        assert _kind(await world.read(Dropping(*[b"x"] * 50), CHUNKED)) is BODY_TOO_SLOW

    _run(play)


@pytest.mark.parametrize("headers", [{"content-length": "9"}, CHUNKED])
def test_a_server_that_stops_is_not_a_slow_client(headers: dict[str, str]) -> None:
    """Its own cancellation passes through."""

    async def play(world: World) -> None:
        reading = asyncio.create_task(world.read(Stuck(b"{"), headers))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    _run(play)


@pytest.mark.parametrize("error", [Closed(), Disconnected()])
@pytest.mark.parametrize("headers", [{"content-length": "9"}, CHUNKED])
def test_disconnect_is_told_apart(headers: dict[str, str], error: Exception) -> None:
    """A client that went away is not answered, whichever way the server says so."""

    async def play(world: World) -> None:
        with pytest.raises(Disconnected):
            await world.read(Stuck(b"{", error=error), headers)
        await world.bodies.discard(Stuck(b"{", error=error), headers)

    _run(play)


def test_a_fault_of_ours_is_no_disconnect() -> None:
    """Any other exception goes on to where faults are told."""

    async def play(world: World) -> None:
        with pytest.raises(RuntimeError):
            await world.read(Stuck(error=RuntimeError("a bug")), CHUNKED)

    _run(play)


def test_what_is_not_wanted_is_taken_in() -> None:
    """Where there is a body; where there is none nothing is waited for."""

    async def play(world: World) -> None:
        for headers in ({}, {"content-length": "0"}, {"content-length": "9", "expect": "x"}):
            await world.bodies.discard(Stuck(), headers)
        for headers in ({"content-length": "9"}, CHUNKED):
            body = Exchange([b"x" * 5, b"y" * 4])
            await world.bodies.discard(body, headers)
            assert body.pieces == []

    _run(play)


def test_compressed_bodies() -> None:
    """The limit holds before and after; what is no known encoding is refused, readable or not."""

    async def play(world: World) -> None:
        for encoding, data, expected in (
            ("gzip", gzipped(b"x" * 100), b"x" * 100),
            (" GZIP ", gzipped(b"x"), b"x"),
            ("identity", b"x", b"x"),
            ("gzip", gzipped(b"x" * 101), BODY_TOO_LARGE),
            ("gzip", b"x", MALFORMED_BODY),
            ("br", b"x", UNSUPPORTED_ENCODING),
        ):
            body, headers = _announced(data)
            found = await world.read(body, headers | {"content-encoding": encoding})
            assert _kind(found) == expected
        body, headers = _announced(b"x")
        unreadable = Unreadable({"content-encoding"}, headers)
        assert _kind(await world.read(body, unreadable)) is UNSUPPORTED_ENCODING

    _run(play)


# --- CORS


def test_later_askers_are_told_the_same_as_the_first() -> None:
    """Each his own origin; credentials only where they are allowed."""
    cors = Cors()
    for origin in ("http://a", "http://b", "http://a", "x" * 5_000, "x" * 5_000):
        fields = cors.fields({"origin": origin})
        assert list(fields) == list(Cors().fields({"origin": origin}))
        told = dict(fields)
        assert (told["access-control-allow-origin"], told["vary"]) == (origin, "Origin")
        more = cors.fields({"origin": origin}, allows_credentials=True)
        assert [*fields, ("access-control-allow-credentials", "true")] == list(more)
    assert len(cors.fields({"origin": "http://a"})) == 3, "what is kept was not added to"
    assert list(cors.fields({})) == list(Cors().fields({}, allows_credentials=True)) == []
    assert list(cors.fields(Unreadable({"origin"}, {}))) == []


def test_what_is_kept_of_origins_is_bounded() -> None:
    """However many origins ask, and however long they are, few and short ones are kept."""
    cors = Cors()
    for number in range(1_000):
        cors.fields({"origin": f"http://{number}.example.com"})
        cors.fields({"origin": f"http://{number}.example.com" + "x" * 1_000})
        assert len(cors._kept) <= 64
    assert max(map(len, cors._kept)) <= 128
