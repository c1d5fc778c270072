"""HTTP/1.1 over a bare socket, for requests that no client library would send.

Owns the reading of answers: one at a time, so that pipelined ones stay apart. Whatever should not
happen (a reset, an answer cut short, no answer in time) is an exception. Must not know a protocol
of ours, nor mend what the caller wants to send.
"""

import re
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

_CHUNK_BYTES = 16_384


class RawAnswer(NamedTuple):
    """What came back: header names in lower case, in order, repeated ones kept."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for field, value in self.fields if field == name]

    def one(self, name: str) -> str | None:
        """The value of a header that must not be repeated; None when it is absent."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class Wire:
    """One connection to 127.0.0.1; every wait ends with TimeoutError after `timeout_s`."""

    def __init__(self, port: int, *, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        """Nothing more to do: it is connected."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever the other side thinks of it."""
        self._reader.close()
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(b"".join(parts))

    def finish_sending(self) -> None:
        """Close our half: nothing more is sent, answers are still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, has_body: bool = True) -> RawAnswer:
        """Read one answer; `has_body` False for the answer to HEAD.

        Raises ConnectionResetError, EOFError when it is cut short, ValueError when it is not HTTP.
        """
        line = self._line()
        if not (match := re.fullmatch(rb"HTTP/1\.[01] (\d{3}) ?[^\r\n]*", line)):
            raise ValueError(f"not a status line: {line!r}")
        status = int(match[1])
        fields = []
        while line := self._line():
            name, colon, value = line.partition(b":")
            if not colon or name != name.strip():
                raise ValueError(f"not a header: {line!r}")
            fields.append((name.decode("ascii").lower(), value.strip().decode("latin-1")))
        answer = RawAnswer(status, fields, b"")
        if not has_body or status in {204, 304} or status < 200:
            return answer
        return answer._replace(body=self._body(answer))

    def is_open(self, *, wait_s: float = 0.05) -> bool:
        """Whether the server still keeps the connection, after `wait_s` without a request."""
        self.socket.settimeout(wait_s)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False

    def _body(self, answer: RawAnswer) -> bytes:
        length, coding = answer.one("content-length"), answer.one("transfer-encoding")
        if coding is not None:
            if (length, coding) != (None, "chunked"):
                raise ValueError(f"two lengths: {answer.fields}")
            body = b""
            while size := int(self._line(), 16):
                body += self._exactly(size)
                self._line()
            self._line()
            return body
        if length is None:
            raise ValueError(f"no length: {answer.fields}")
        return self._exactly(int(length))

    def _line(self) -> bytes:
        line = self._reader.readline(65_536)
        if not line.endswith(b"\r\n"):
            raise EOFError(f"the answer ends after {line!r}")
        return line[:-2]

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise EOFError(f"the body ends after {len(data)} of {size} bytes")
        return data


def head(
    method: str,
    path: bytes | str,
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """The head of a request, with Host; the caller says how long the body is."""
    target = path if isinstance(path, bytes) else path.encode()
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: 127.0.0.1"]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
    return b"\r\n".join([*lines, b"", b""])


def request(
    method: str, path: bytes | str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
) -> bytes:
    """A request with a Content-Length."""
    return head(method, path, [*headers, ("Content-Length", str(len(body)))]) + body


def chunked(body: bytes, size: int = _CHUNK_BYTES) -> bytes:
    """`body` as chunks of `size` bytes; goes with `Transfer-Encoding: chunked`."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def dribble(wire: Wire, data: bytes, *, seconds: float, pieces: int) -> None:
    """Send `data` in equal `pieces` over `seconds`; stops when the other side is gone."""
    step = -(-len(data) // pieces)
    for at in range(0, len(data), step):
        try:
            wire.send(data[at : at + step])
        except (BrokenPipeError, ConnectionResetError):
            return
        time.sleep(seconds / pieces)
