"""Answers that go on: what is told, to how many, and when it ends."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from collector.streams import Stream, Streams, at_signals


class Listener:
    """Takes the pieces of a stream, one after the other."""

    def __init__(self, stream: Stream) -> None:
        self.gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pieces: AsyncIterator[bytes] = stream.pieces(self.gone)

    async def next(self) -> bytes:
        """The next piece, b"" after the last one."""
        try:
            return await asyncio.wait_for(anext(self._pieces), 10)
        except StopAsyncIteration:
            return b""


def test_what_is_new_is_told_once() -> None:
    """A message when something changed; a comment when nothing has for a while."""
    told = [b"1", b"1", b"2", *[b"2"] * 12, b"3"]

    async def play() -> list[bytes]:
        streams = Streams(every_s=0.001)
        streams.every_s = 1.0  # what is counted as having passed
        stream = streams.begin(lambda: told.pop(0) if told else None)
        assert stream is not None

        async def at_once(_gone: object) -> None:
            await asyncio.sleep(0)

        streams.wait = at_once  # type: ignore[method-assign]
        listener = Listener(stream)
        found = [await listener.next()]
        while found[-1]:
            found.append(await listener.next())
        return found[1:-1]

    found = asyncio.run(play())
    assert found == [b"data: 1\n\n", b"data: 2\n\n", b": still here\n\n", b"data: 3\n\n"]


def test_a_stream_ends_when_nobody_listens() -> None:
    """Without waiting for the next message."""

    async def play() -> None:
        streams = Streams(every_s=1_000)
        stream = streams.begin(lambda: b"x")
        assert stream is not None
        listener = Listener(stream)
        assert [await listener.next(), await listener.next()] == [
            b"retry: 3000\n\n",
            b"data: x\n\n",
        ]
        listener.gone.set_result(None)
        assert await listener.next() == b""

    asyncio.run(play())


def test_a_stop_ends_every_stream() -> None:
    """At once, and no other begins."""

    async def play() -> None:
        streams = Streams(every_s=1_000)
        found = [streams.begin(lambda: b"x") for _ in range(2)]
        listeners = [Listener(one) for one in found if one is not None]
        for one in listeners:
            await one.next()
            await one.next()
        streams.end()
        assert [await one.next() for one in listeners] == [b"", b""]
        assert streams.begin(lambda: b"x") is None

    asyncio.run(play())


def test_there_are_only_so_many() -> None:
    """The next one is refused until one of them has ended."""

    async def play() -> None:
        streams = Streams(at_most=1)
        first = streams.begin(lambda: b"x")
        assert first is not None
        assert streams.begin(lambda: b"x") is None
        first.close()
        assert streams.begin(lambda: b"x") is not None

    asyncio.run(play())


def test_whoever_takes_nothing_is_not_waited_for() -> None:
    """For a while; and not at all when the collector stops, or when nobody is there any more."""

    async def stand_still(_piece: bytes) -> None:
        await asyncio.Event().wait()

    async def play(end: str) -> None:
        streams = Streams(patience_s=0.01 if end == "patience" else 1_000)
        stream = streams.begin(lambda: b"x")
        assert stream is not None
        gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sending = asyncio.ensure_future(stream.send_to(stand_still, gone))
        await asyncio.sleep(0.01)
        if end == "stop":
            streams.end()
        elif end == "gone":
            gone.set_result(None)
        assert not await asyncio.wait_for(sending, 10)

    for end in ("patience", "stop", "gone"):
        asyncio.run(play(end))


def test_no_stream_goes_on_for_ever() -> None:
    """After ten minutes its reader comes again: what waits on its way is bounded by that, too."""
    numbers = itertools.count()
    sent: list[bytes] = []

    async def take(piece: bytes) -> None:
        sent.append(piece)

    async def play() -> None:
        streams = Streams(every_s=200.0)  # what is counted as having passed
        stream = streams.begin(lambda: b"%d" % next(numbers))
        assert stream is not None

        async def at_once(_gone: object) -> None:
            await asyncio.sleep(0)

        streams.wait = at_once  # type: ignore[method-assign]
        assert await stream.send_to(take, asyncio.get_running_loop().create_future())

    asyncio.run(asyncio.wait_for(play(), 10))
    assert sent[1:] == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


def test_what_sending_raises_is_told() -> None:
    """A connection that is closed ends the stream; who sends knows what it means."""

    async def fail(_piece: bytes) -> None:
        raise ConnectionResetError

    async def play() -> None:
        stream = Streams().begin(lambda: b"x")
        assert stream is not None
        with pytest.raises(ConnectionResetError):
            await stream.send_to(fail, asyncio.get_running_loop().create_future())

    asyncio.run(play())


def test_a_signal_is_heard_besides_what_happens_anyway() -> None:
    """The loop's own handler and ours are both called."""
    heard: list[str] = []

    async def play() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, heard.append, "the server")
        at_signals(loop, lambda: heard.append("we"))
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(200):
            if len(heard) == 2:
                break
            await asyncio.sleep(0.01)
        loop.remove_signal_handler(signal.SIGTERM)

    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        asyncio.run(play())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert sorted(heard) == ["the server", "we"]
