"""The load: clients that keep their connections, and write down what they were promised.

A request that was answered "later" is sent again at once, as its sender would. One whose answer was
lost is kept, to be sent again when there is a collector. Threads of this process; `stop` ends them.
"""

import http.client
import random
import threading
import time
from typing import Final

import msgspec

from collector.prove.channels import CHANNELS, Answer, Channel, Maker, Request, read_answer
from collector.prove.ledger import Ledger

_TIMEOUT_S: Final = 10.0
_LATER_S: Final = 0.02
_PAD_CHARS_MAX: Final = 300
# Connections of each channel: many events come in batches, many requests do not.
_CONNECTIONS: Final = {"zenovay": 2}
# Requests whose answer came, kept per client to be sent once more.
_KEPT: Final = 2


class Sent(msgspec.Struct):
    """What came of a load. `surprises`: answers that are neither a success nor "later"."""

    unanswered: list[Request] = []
    answered: list[Request] = []
    surprises: list[str] = []
    refused_later: int = 0
    bytes: int = 0


class Client:
    """One connection to the collector at `port`, made anew whenever it breaks."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def post(self, request: Request) -> tuple[Answer | None, str]:
        """Send `request`; None when no answer came, and what an answer said in short."""
        try:
            self._connection.request("POST", request.channel.path, request.body, request.headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None, ""
        answer = read_answer(request, response.status, body)
        return answer, f"{request.channel.path}: {response.status} {body[:200]!r}"


class Load:
    """Clients of all channels at once, from `start` until `stop`.

    `batched_max`: events that are sent in batches at most; single ones go on.
    """

    def __init__(self, port: int, ledger: Ledger, maker: Maker, *, seed: int) -> None:
        self._port = port
        self._ledger = ledger
        self._maker = maker
        self._chance = random.Random(seed)  # noqa: S311  when and how much, no secret
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sent: list[Sent] = []
        self._batched_end = 0

    def start(self, batched_max: int) -> None:
        """Begin to send."""
        self._stop.clear()
        self._batched_end = self._ledger.sent + batched_max
        self._sent = []
        for channel in CHANNELS:
            for _ in range(_CONNECTIONS.get(channel.name, 1)):
                sent = Sent()
                chance = random.Random(self._chance.getrandbits(64))  # noqa: S311  as above
                thread = threading.Thread(
                    target=self._run, args=(channel, sent, chance), daemon=True
                )
                self._sent.append(sent)
                self._threads.append(thread)
                thread.start()

    def stop(self) -> Sent:
        """Stop after the requests under way; what came of all since `start`."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:  # else it was interrupted before it began
                thread.join()
        self._threads = []
        every, self._sent = self._sent, []
        return Sent(
            unanswered=[one for sent in every for one in sent.unanswered],
            answered=[one for sent in every for one in sent.answered],
            surprises=[one for sent in every for one in sent.surprises],
            refused_later=sum(sent.refused_later for sent in every),
            bytes=sum(sent.bytes for sent in every),
        )

    @property
    def refused_later(self) -> int:
        """How many answers were "later" so far."""
        return sum(sent.refused_later for sent in self._sent)

    def _run(self, channel: Channel, sent: Sent, chance: random.Random) -> None:
        client = Client(self._port)
        try:
            while not self._stop.is_set():
                request = self._maybe_request(channel, chance)
                if request is None:
                    self._stop.wait(_LATER_S)
                elif not self._send(client, request, sent):
                    # Nobody listens: wait a little for the next to make sense.
                    self._stop.wait(_LATER_S)
        finally:
            client.close()

    def _maybe_request(self, channel: Channel, chance: random.Random) -> Request | None:
        count = chance.randint((channel.events + 1) // 2, channel.events)
        if count > 1 and self._ledger.sent + count > self._batched_end:
            return None
        first = self._ledger.take(count)
        if first is None:
            return None
        now_ms = time.time_ns() // 1_000_000
        return self._maker.make(channel, first, count, now_ms, chance.randint(0, _PAD_CHARS_MAX))

    def _send(self, client: Client, request: Request, sent: Sent) -> bool:
        """Send until there is an answer that decides; False when none came."""
        sent.bytes += len(request.body)
        is_again = False
        while True:
            answer, said = client.post(request)
            if answer is None:
                sent.unanswered.append(request)
                return False
            if answer.verdict == "stored":
                acknowledge(self._ledger, request, answer)
                sent.answered = [*sent.answered[1 - _KEPT :], request]
                # "Later" does not say that nothing was stored: then all of it may be a repeat.
                if answer.repeats not in {None, 0, request.count if is_again else 0}:
                    sent.surprises.append(f"{said}, of events sent for the first time")
                return True
            if answer.verdict == "refused":
                sent.surprises.append(said)
                return True
            is_again = True
            sent.refused_later += 1
            self._ledger.send_again(request.first, request.count)
            if self._stop.wait(_LATER_S):
                sent.unanswered.append(request)
                return False


def acknowledge(ledger: Ledger, request: Request, answer: Answer) -> None:
    """Note a success in `ledger`, and marked repeats where the answer says that there are."""
    are_marked = request.channel.stores_repeats and answer.repeats == request.count
    ledger.acknowledge(request.first, request.count, are_marked=are_marked)


def repeat(client: Client, ledger: Ledger, request: Request) -> tuple[Answer | None, str]:
    """Send `request` once more, and note what is answered: the same as of `Client.post`."""
    ledger.send_again(request.first, request.count)
    answer, said = client.post(request)
    if answer is not None and answer.verdict == "stored":
        acknowledge(ledger, request, answer)
    return answer, said
