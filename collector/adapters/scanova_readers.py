"""From bytes to one Scanova event: a typed decode, and what to say when it fails.

Owns how a member of a wrong type is found. Must not know whether an event came alone or in a batch.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from collector.adapters import decoding
from collector.adapters import scanova_events as events
from collector.adapters import scanova_faults as faults
from collector.adapters.scanova_events import Sender
from collector.event import Event
from collector.refusal import Refusal

I = TypeVar("I", bound=msgspec.Struct)  # noqa: E741  # I as in item

_ABSENT: Final = msgspec.Raw(b"")


class Reader(Generic[I]):
    """Reads the events of one source: their shape, what they must have, how they are judged."""

    def __init__(
        self,
        shape: type[I],
        required: tuple[str, ...],
        judge: Callable[[I, Sender], Event | Refusal],
    ) -> None:
        self.shape = shape
        self.judge = judge
        self._decoder = msgspec.json.Decoder(shape)
        self._decode = self._decoder.decode
        self._faults = _FaultFinder(shape, required)

    def read(self, body: bytes, sender: Sender) -> Event | Refusal:
        """Decode and judge one event; the path of a refusal begins inside it.

        Raises `decoding.Malformed`.
        """
        if not body.isascii():
            decoding.check_encoding(body)
        try:
            item = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._read_again(body, sender)
        return self.judge(item, sender)

    def _read_again(self, body: bytes, sender: Sender) -> Event | Refusal:
        """Read what did not decode at once: mended where it can be, else why it is refused."""
        try:
            item = decoding.decode(self._decoder, body)
        except msgspec.ValidationError:
            return self._faults.find(body)
        return self.judge(item, sender)


class _FaultFinder:
    """Finds out why an object does not decode as `shape`: what is missing, else the first member,
    in the order of `shape`, that is of a wrong type.
    """

    def __init__(self, shape: type[msgspec.Struct], required: tuple[str, ...] = ()) -> None:
        fields = msgspec.structs.fields(shape)
        # Only what is known of is kept of an object, however many members it has.
        raw = msgspec.defstruct("Raw", [(field.name, msgspec.Raw, _ABSENT) for field in fields])
        self._members = msgspec.json.Decoder(raw)
        self._required = required
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            field.name: msgspec.json.Decoder(field.type) for field in fields
        }
        self._nested = {
            name: _FaultFinder(events.NESTED[name])
            for name in self._decoders
            if name in events.NESTED
        }

    def find(self, body: bytes, *path: str) -> Refusal:
        """What is wrong with `body`, which stands at `path`. Raises `decoding.Malformed`."""
        try:
            members = decoding.decode(self._members, body)
        except msgspec.ValidationError:
            decoding.check(body)
            return faults.at(faults.NOT_AN_OBJECT, *path)
        raws = {name: bytes(getattr(members, name)) for name in self._decoders}
        missing = [name for name in self._required if raws[name] in (b"", b"null")]
        if missing:
            return faults.missing(*missing)
        for name, decoder in self._decoders.items():
            if not raws[name]:
                continue
            try:
                decoding.decode(decoder, raws[name])
            except msgspec.ValidationError:
                if name in self._nested:
                    return self._nested[name].find(raws[name], *path, name)
                return faults.at(faults.BY_TYPE.get(name, faults.NOT_TEXT), *path, name)
        return faults.at(faults.REPEATED, *path)


BROWSER: Final = Reader(events.BrowserItem, events.BROWSER_REQUIRED, events.judge_browser)
SERVER: Final = Reader(events.ServerItem, events.SERVER_REQUIRED, events.judge_server)
