"""What a page that is open is told once a second: the same numbers that it was made with.

`texts` and `minutes` are named as the page names its elements (`data-live`, see live.js). From
memory only, so that a page that stays open costs the files nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from collector.adapters.contract import Response
from collector.admin import Failure, Route, Visit, stream
from collector.admin_gate import Gate, Grant
from collector.streams import Streams

PATH: Final = "/admin/v1/stream"
_encoder: Final = msgspec.json.Encoder()


class Told(msgspec.Struct):
    """Texts by name; numbers of the last 60 minutes by name, one list for each series."""

    texts: Mapping[str, str]
    minutes: Mapping[str, Sequence[Sequence[int]]]


class LiveNumbers:
    """Tells `read()` to whoever may listen, for as long as they may."""

    def __init__(self, gate: Gate, streams: Streams, read: Callable[[], Told]) -> None:
        self._gate = gate
        self._streams = streams
        self._read = read

    @property
    def routes(self) -> Sequence[Route]:
        """The row of the table."""
        return (
            Route(
                path=PATH,
                name="admin_stream",
                kind="stream",
                summary="Numbers of the overview, as server-sent events while they change",
                answer=self._answer,
                answers={200: None, 503: Failure},
            ),
        )

    async def _answer(self, visit: Visit) -> Response:
        def compose() -> bytes | None:
            # A session that ended meanwhile listens no longer.
            if not isinstance(self._gate.judge(visit.asker), Grant):
                return None
            return _encoder.encode(self._read())

        return stream(self._streams.begin(compose))
