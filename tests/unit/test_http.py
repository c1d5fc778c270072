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
    OVERLOADED,
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


# --- room for all bodies together


class Crowd(World):
    """A reader with room for 1,000 bytes at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.inflates = True
        self.bodies = BodyReader(
            timeout_ms=10_000,
            monotonic_s=lambda: self.now_s,
            closed=Closed,
            reading_bytes_max=1_000,
            refuses_inflation=lambda: None if self.inflates else REFUSED,
        )

    def begin(self, size: int, *, chunked: bool = False) -> "asyncio.Task[bytes | Refusal]":
        """Begin to read a body that never ends."""
        headers = CHUNKED if chunked else {"content-length": str(size)}
        return asyncio.ensure_future(self.read(Stuck(b"x" * size), headers, 2_000))


REFUSED = Refusal(OVERLOADED, "no")


def _run_crowd(play: Callable[[Crowd], Awaitable[None]]) -> None:
    async def main() -> None:
        await play(Crowd())

    asyncio.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_newcomer_is_refused_where_there_is_no_room(is_chunked: bool) -> None:
    """503 while all others are quick; their bytes are given back when they are read."""

    async def play(world: Crowd) -> None:
        held = [world.begin(400), world.begin(500)]
        await asyncio.sleep(0.01)
        assert world.bodies.reading_bytes == 900
        body = Exchange([b"y" * 200, b""])
        headers = CHUNKED if is_chunked else {"content-length": "200"}
        found = await world.read(body, headers, 2_000)
        assert isinstance(found, Refusal)
        assert found.kind is OVERLOADED
        assert found.retry_after_s > 0
        assert body.pieces in ([], [b""])
        small = Exchange([b"y" * 100, b""])
        assert await world.read(small, {"content-length": "100"}, 2_000) == b"y" * 100
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert world.bodies.reading_bytes == 0

    _run_crowd(play)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_largest_slow_body_makes_room(is_chunked: bool) -> None:
    """Who has been sending for a second gives way, and no more of them than needed."""

    async def play(world: Crowd) -> None:
        slow = [world.begin(size, chunked=is_chunked) for size in (200, 500, 290)]
        await asyncio.sleep(0.01)
        world.now_s += 2.0
        quick = world.begin(400)
        await asyncio.sleep(0.01)
        assert [task.done() for task in slow] == [False, True, False]
        assert _kind(slow[1].result()) is BODY_TOO_SLOW
        assert not quick.done()
        assert world.bodies.reading_bytes == 890
        for task in (quick, slow[0], slow[2]):
            task.cancel()
        await asyncio.gather(quick, *slow, return_exceptions=True)
        assert world.bodies.reading_bytes == 0

    _run_crowd(play)


def test_a_body_is_not_inflated_where_that_is_refused() -> None:
    """Nothing is made larger when there is too much work; what is not compressed is read."""

    async def play(world: Crowd) -> None:
        world.inflates = False
        packed = gzipped(b"z" * 500)
        headers = {"content-length": str(len(packed)), "content-encoding": "gzip"}
        assert await world.read(Exchange([packed, b""]), headers, 2_000) is REFUSED
        plain = {"content-length": "3"}
        assert await world.read(Exchange([b"abc", b""]), plain, 2_000) == b"abc"
        world.inflates = True
        assert await world.read(Exchange([packed, b""]), headers, 2_000) == b"z" * 500

    _run_crowd(play)
