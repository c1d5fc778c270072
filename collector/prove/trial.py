"""One collector on one data directory, with all that is known of it: load, ledger, roll call."""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from collector import auditor
from collector.prove.channels import TAG_CHARS, Maker, Request
from collector.prove.child import Collector
from collector.prove.comparing import compare, stored
from collector.prove.ledger import Ledger
from collector.prove.load import Client, Load, repeat
from collector.prove.place import Place
from collector.prove.report import NAMED_MAX, Account, Report
from storage import Files, rollcall

# Below what four bytes hold, and 2 GB of ledger.
_EVENTS_MAX: Final = 1_000_000_000
# Requests that were answered, kept to be sent once more in a later round.
_KEPT_MAX: Final = 32
_REPEATED: Final = 2
# Of requests whose answer was lost; the others stay as they are.
_REPEATED_SHARE: Final = 0.75


class Trial:
    """`directory`: the data of `place`, as this process sees it. A context manager.

    However the block is left, neither clients nor collector go on.
    """

    def __init__(
        self,
        place: Place,
        directory: Path,
        report: Report,
        chance: random.Random,
        *,
        prefix: Sequence[str] = (),
    ) -> None:
        files = Files()
        tag = f"{chance.getrandbits(4 * TAG_CHARS):0{TAG_CHARS}x}"
        self.chance = chance
        self.report = report
        self.account = Account()
        self.ledger = Ledger(_EVENTS_MAX)
        self.collector = Collector(place, files, prefix)
        self.directory = directory
        self.recoveries_s: list[float] = []
        self._files = files
        self._maker = Maker(tag, place.key)
        self.load = Load(place.port, self.ledger, self._maker, seed=chance.getrandbits(64))
        self._roll_call = rollcall.RollCall(directory, files, tag)
        self._unanswered: list[Request] = []
        self._answered: list[Request] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end_load()
        self.collector.kill()
        self._roll_call.__exit__()

    def end_load(self) -> None:
        """Stop the clients, and take over what they know."""
        sent = self.load.stop()
        self._unanswered += sent.unanswered
        self._answered += sent.answered
        self.report.bytes_sent += sent.bytes
        self.report.answered_later += sent.refused_later
        for one in sent.surprises:
            self.report.fault(f"unexpected answer: {one}")

    def restart(self) -> None:
        """Have the collector take events again. Raises `NotReady`."""
        if not self.collector.is_running:
            self.collector.start()
        self.recoveries_s.append(self.collector.wait_ready())

    def check(self, *, anew: bool = False) -> None:
        """Compare every event with every row; `anew`: read also the files that were read before.

        What is not as it must be goes into the report. Raises `StorageError` or OSError.
        """
        roll = self._roll_call.take(anew=anew)
        compared = compare(self.ledger, roll)
        self.account.sent = self.ledger.sent
        self.account.acknowledged = self.ledger.acknowledged
        self.account.compared = compared
        self.account.files, self.account.bytes = roll.parts, roll.bytes
        self.account.unreadable = [f"{one.path}: {one.reason}" for one in roll.unreadable]

    @property
    def is_sound(self) -> bool:
        """Whether the last check found everything as it must be."""
        found = self.account.compared
        wrong = found and (found.lost or found.doubled or found.strange)
        return not wrong and not self.account.unreadable

    def audit(self) -> None:
        """Have received and stored compared as `collector audit` does; raises as `check` does."""
        lines = auditor.examine(self.directory, self._files, wait=time.sleep)
        difference = sum(abs(line.difference) for line in lines)
        if difference:
            self.report.fault(f"audit: {difference:,} events unaccounted for")
        else:
            self.report.audits += 1

    def name_wrong(self) -> None:
        """Put the ids of events that are lost or doubled into the report."""
        found = self.account.compared
        if found is not None:
            for numbers, ids in (
                (found.lost, self.report.ids_lost),
                (found.doubled, self.report.ids_doubled),
            ):
                ids += [self._maker.identity(number) for number in numbers[:NAMED_MAX]]

    def send_again(self) -> None:
        """Send requests whose answer was lost, and some that were answered, once more.

        A repeat must be called one exactly if its first copy is there.
        """
        unanswered, self._unanswered = self._unanswered, []
        chosen = [one for one in unanswered if self.chance.random() < _REPEATED_SHARE]
        self.chance.shuffle(self._answered)
        del self._answered[_KEPT_MAX:]
        client = Client(self.collector.place.port)
        try:
            for request in [*chosen, *self._answered[:_REPEATED]]:
                self._send_again(client, request)
        finally:
            client.close()

    def _send_again(self, client: Client, request: Request) -> None:
        assert self.account.compared is not None, "checked before"
        held = stored(self.account.compared.copies, request.first, request.count)
        if held not in {0, request.count}:
            self.report.fault(
                f"of one request {held} of {request.count} events were stored: "
                f"{self._maker.identity(request.first)}"
            )
        answer, said = repeat(client, self.ledger, request)
        self.report.repeated += request.count
        if answer is None or answer.verdict == "later":
            self._unanswered.append(request)
        elif answer.verdict == "refused":
            self.report.fault(f"unexpected answer to a repeat: {said}")
        elif answer.repeats not in {None, held}:
            self.report.fault(
                f"{held} of {request.count} events sent once more were stored, and "
                f"{answer.repeats} called repeats: {self._maker.identity(request.first)}"
            )
