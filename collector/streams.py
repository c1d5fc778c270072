"""Answers that do not end by themselves: server-sent events.

Rules that this module keeps:

1. There are only so many at a time, for each keeps a connection; the next one is refused.
2. A stream ends when whoever listens goes away or may listen no longer, and when the collector
   stops: the server waits for every answer, so that one which went on would hold up the stop.
3. Whoever listens and takes nothing is waited for a little while only; and no stream lasts longer
   than ten minutes, so that what waits on its way is bounded. Browsers come again.
4. Nothing new is said twice; after a while of nothing new a comment tells both sides, and whatever
   stands between them, that the other one is there.

Must not know what is told.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from collector.adapters.contract import Header, Response

AT_MOST: Final = 16
_EVERY_S: Final = 1.0
_STILL_HERE_S: Final = 10.0
_PATIENCE_S: Final = 10.0
_LIFE_S: Final = 600.0
_STILL_HERE: Final = b": still here\n\n"
# After a stream ended by itself, browsers come again after so many milliseconds.
_HELLO: Final = b"retry: 3000\n\n"

FIELDS: Final[Sequence[Header]] = (
    ("content-type", "text/event-stream"),
    # Proxies keep answers back until they are whole; nginx and its like heed this.
    ("x-accel-buffering", "no"),
)
# What is to be told now, as JSON; None: whoever listens may do so no longer.
Compose = Callable[[], bytes | None]


class Stream:
    """One answer that goes on. Whoever was given it calls `close`, whatever happens."""

    def __init__(self, owner: "Streams", compose: Compose) -> None:
        self._owner = owner
        self._compose = compose

    async def pieces(self, gone: "asyncio.Future[Any]") -> AsyncIterator[bytes]:
        """What to send, when it is to be sent; `gone` is done when nobody listens any more."""
        yield _HELLO
        told, silent_s, lived_s = b"", 0.0, 0.0
        while lived_s < _LIFE_S and not (gone.done() or self._owner.is_over):
            message = self._compose()
            if message is None:
                return
            if message != told:
                told, silent_s = message, 0.0
                yield b"data: %b\n\n" % message
            elif silent_s >= _STILL_HERE_S:
                silent_s = 0.0
                yield _STILL_HERE
            await self._owner.wait(gone)
            silent_s += self._owner.every_s
            lived_s += self._owner.every_s

    async def send_to(
        self, send: Callable[[bytes], Awaitable[object]], gone: "asyncio.Future[Any]"
    ) -> bool:
        """Have every piece sent; whether each was taken. Raises what `send` raises."""
        async for piece in self.pieces(gone):
            sending = asyncio.ensure_future(_sent(send, piece))
            try:
                if not await self._owner.is_taken(sending, gone):
                    return False
            finally:
                sending.cancel()
        return True

    def close(self) -> None:
        """Give its place back."""
        self._owner.closed(self)


async def _sent(send: Callable[[bytes], Awaitable[object]], piece: bytes) -> None:
    # What a server hands out to be awaited need be no coroutine.
    await send(piece)


class Streaming(Response):
    """The head of an answer, and the stream that is its body."""

    stream: Stream | None = None


class Streams:
    """Every stream there is. Made and used on one event loop."""

    def __init__(
        self,
        every_s: float = _EVERY_S,
        at_most: int = AT_MOST,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.every_s = every_s
        self._at_most = at_most
        self._patience_s = patience_s
        self._open: set[Stream] = set()
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether all of them are to end."""
        return self._over.is_set()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, compose: Compose) -> Stream | None:
        """A stream of what `compose` gives once every `every_s`; None when there are too many."""
        if self.is_over or len(self._open) >= self._at_most:
            return None
        stream = Stream(self, compose)
        self._open.add(stream)
        return stream

    def closed(self, stream: Stream) -> None:
        """`stream` has ended."""
        self._open.discard(stream)

    def end(self) -> None:
        """Have every stream end now, and no other begin."""
        self._over.set()

    async def wait(self, gone: "asyncio.Future[Any]") -> None:
        """Until the next message is due, all streams are to end, or `gone` is done."""
        await self._first_of({gone}, self.every_s)

    async def is_taken(self, sending: "asyncio.Future[None]", gone: "asyncio.Future[Any]") -> bool:
        """Whether a piece went out: waited for a while, not at the end, nor for who is gone.

        Raises what sending raised.
        """
        await self._first_of({sending, gone}, self._patience_s)
        if not sending.done():
            return False
        sending.result()
        return True

    async def _first_of(self, what: "set[asyncio.Future[Any]]", timeout_s: float) -> None:
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait(
                {over, *what}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            over.cancel()


def at_signals(loop: asyncio.AbstractEventLoop, do: Callable[[], None]) -> None:
    """Have `do` called on `loop` when this process is told to stop, besides what happens anyway.

    The server hears of signals through the loop, and then waits for every answer before it tells
    the application. The loop is woken by whatever handler a signal has, so that another one in the
    place of its own, which does nothing, takes nothing away from it.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if not callable(before):
            # Nobody waits for anything: the process just ends.
            continue

        def handle(found: int, frame: Any, before: Callable[..., Any] = before) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(do)
            before(found, frame)

        signal.signal(number, handle)
        signal.siginterrupt(number, False)
