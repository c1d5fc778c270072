"""The process that answers questions: one after the other, with a DuckDB session that it keeps.

`main` is what it runs. It reads what it is asked from its standard input, and ends with that:
when the collector lets go of it, however it dies. Of the data directory it only reads, and removes
summaries that cannot be read.
"""

import os
import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from collector.asking import messages
from collector.asking.messages import Ask, Trouble
from collector.panel_session import LakeSession
from storage import Deadline, Files, StorageError, TookTooLong, give_way

# The one that asks says when it is over.
_FOREVER_S: Final = 1e9
# Added to what the kernel thinks of us when memory is short: we end before the collector does.
_END_FIRST: Final = "500"
_SCORE: Final = Path("/proc/self/oom_score_adj")
_NICE_IDLE: Final = 19
# A tenth of what the event loop gets where both want all of a processor.
_NICE_LOW: Final = 10


def main(directory: str, memory_mb: str, priority: str) -> None:
    """Answer questions over the data directory until standard input ends.

    `priority`: `server.dashboard_priority`.
    """
    # What a terminal or a service manager tells all processes is meant for the collector, which
    # lets go of us when it is done.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _give_way(is_idle=priority == "idle")
    session = LakeSession(Path(directory), Files(), _now_us, memory_mb=int(memory_mb))
    try:
        with suppress(BrokenPipeError):
            Answerer(session, sys.stdin.buffer, sys.stdout.buffer).run()
    finally:
        # What it copied goes; memory need not be cleared up. A thread may still be reading.
        session.close()
        os._exit(0)


def _now_us() -> int:
    return time.time_ns() // 1_000


def _give_way(*, is_idle: bool) -> None:
    """Take what nobody else wants of the memory, and of the processor, or else little of it."""
    give_way(_NICE_IDLE if is_idle else _NICE_LOW)
    if sys.platform == "linux":
        if is_idle:
            with suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with suppress(OSError), _SCORE.open("w") as score:
            score.write(_END_FIRST)


class Answerer:
    """Answers what `asked` says, on `replies`, by `session`; reads on meanwhile."""

    def __init__(self, session: LakeSession, asked: BinaryIO, replies: BinaryIO) -> None:
        self._session = session
        self._asked = asked
        self._replies = replies
        self._waiting: queue.SimpleQueue[tuple[Ask, Deadline] | None] = queue.SimpleQueue()
        self._deadlines: dict[int, Deadline] = {}
        self._ended = 0
        # The share done is told from another thread.
        self._replying = threading.Lock()

    def run(self) -> None:
        """Until there is no more to read. Raises `BrokenPipeError` when nobody reads the answer."""
        threading.Thread(target=self._read, name="asked", daemon=True).start()
        while (asked := self._waiting.get()) is not None:
            ask, deadline = asked
            self._write(self._answer(ask, deadline))
            del self._deadlines[ask.number]

    def _read(self) -> None:
        """Take note of what is said, until it ends: then nobody waits for anything any more."""
        try:
            while True:
                message = messages.said(self._asked)
                if isinstance(message, Ask):
                    deadline = self._deadlines[message.number] = Deadline(_FOREVER_S)
                    # The end may come first: it is said from another thread.
                    if message.number <= self._ended:
                        deadline.end()
                    self._waiting.put((message, deadline))
                else:
                    self._ended = message.number
                    begun = self._deadlines.get(message.number)
                    if begun is not None:
                        begun.end()
        except EOFError:
            pass
        finally:
            # Whatever it was: nobody can ask any more, nor say that he does not wait.
            for deadline in list(self._deadlines.values()):
                deadline.end()
            self._waiting.put(None)

    def _answer(self, ask: Ask, deadline: Deadline) -> bytes:
        try:
            found = self._session.ask(ask.question, deadline, self._progressed)
            return messages.encoded(messages.answer(found))
        except TookTooLong as error:
            trouble = Trouble(str(error), is_given_up=True)
        except (StorageError, OSError) as error:
            trouble = Trouble(str(error))
        except Exception as bug:  # noqa: BLE001 it is raised again where it can be logged
            trouble = Trouble("".join(traceback.format_exception(bug)), is_bug=True)
        return messages.encoded(trouble)

    def _progressed(self, share: float) -> None:
        with suppress(BrokenPipeError):
            self._write(messages.encoded(messages.Progress(share)))

    def _write(self, message: bytes) -> None:
        with self._replying:
            self._replies.write(message)
            self._replies.flush()
