"""Our end of the process that answers questions: started when one is asked, ended when idle.

A `panels.Session`, called on the thread of its lane, which waits for the answer there and holds
nobody up meanwhile.
"""

import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from collector.asking import messages
from collector.asking.messages import Ask, End, Progress, Trouble
from collector.panels import Found, Question
from collector.program import ANSWER, own_command, own_environment
from storage import Deadline, Files, StorageError

# What a process has to stop when it is told to, before it is killed.
_STOP_S: Final = 5.0


class AskingFailed(Exception):
    """A fault of ours in the process that answers; its message says where."""


class AskingSession:
    """A process over `directory`, with `memory_mb` for DuckDB. From one thread.

    `priority`: `server.dashboard_priority`.
    """

    def __init__(self, directory: Path, files: Files, *, memory_mb: int, priority: str) -> None:
        self._command = [*own_command(), ANSWER, str(directory), str(memory_mb), priority]
        self._files = files
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._killer: threading.Timer | None = None

    def ask(
        self, question: Question, deadline: Deadline, progress: Callable[[float], None], /
    ) -> Found:
        """See `panels.Session`."""
        deadline.check()
        process = self._started()
        self._number += 1
        try:
            # First of all: what was asked has to be answered, or the next one gets that answer.
            with deadline.over(self):
                messages.send(_input(process), Ask(self._number, question))
                reply = self._reply(process, progress)
        except (EOFError, OSError, msgspec.DecodeError) as error:
            self.close()
            deadline.check()
            ended = _how_ended(process.returncode)
            raise StorageError(f"the process that answers questions {ended}: {error}") from None
        except BaseException:
            # What it says from now on would be taken for the answer to the next question.
            self.close()
            raise
        finally:
            self._spare()
        if isinstance(reply, Trouble):
            if reply.is_given_up:
                deadline.check()
            raise AskingFailed(reply.why) if reply.is_bug else StorageError(reply.why)
        return reply.found

    def interrupt(self) -> None:
        """Have the question that is asked given up; from another thread, see `Deadline`."""
        process = self._process
        if process is not None:
            self._killer = threading.Timer(_STOP_S, process.kill)
            self._killer.daemon = True
            self._killer.start()
            # It may have ended: whoever waits for its answer is told so.
            with suppress(OSError):
                messages.send(_input(process), End(self._number))

    def close(self) -> None:
        """See `panels.Session`: the process ends, and all that it held is given back."""
        process, self._process = self._process, None
        if process is None:
            return
        # What was not read yet cannot be written where it has ended.
        with suppress(OSError):
            _input(process).close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _output(process).close()
        if process.returncode:
            # It could not remove what it had copied of the log.
            self._files.clear_scratch()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=own_environment(),
            )
        return self._process

    def _reply(
        self, process: "subprocess.Popen[bytes]", progress: Callable[[float], None]
    ) -> messages.Answer | Trouble:
        while isinstance(reply := messages.replied(_output(process)), Progress):
            progress(reply.share)
        return reply

    def _spare(self) -> None:
        """It has answered: it need not be killed."""
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None


def _input(process: "subprocess.Popen[bytes]") -> BinaryIO:
    return cast("BinaryIO", process.stdin)


def _output(process: "subprocess.Popen[bytes]") -> BinaryIO:
    return cast("BinaryIO", process.stdout)


def _how_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
