"""The collector's own pages, which programs ask for: health, metrics, the API, the pages' script.

They ask for no credentials; metrics may be put behind the admin token. Must not know how any of it
is measured, and does nothing that waits.
"""

from collections.abc import Callable, Mapping
from typing import Final

from collector.adapters.contract import Response
from collector.admin import failure
from collector.admin_gate import Asker, Gate, Grant, is_foreign
from collector.metrics import Metrics
from collector.snippet.serving import Snippet

_TEXT: Final = ("content-type", "text/plain; charset=utf-8")
_PROMETHEUS: Final = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
_OPENAPI: Final = ("content-type", "application/json")
_BEARER: Final = ("www-authenticate", "Bearer")

HEALTH: Final = "/healthz"
READINESS: Final = "/readyz"
METRICS: Final = "/metrics"
OPENAPI: Final = "/openapi.json"
SNIPPET: Final = "/s.js"
# What says itself which pages may read it. Metrics: none of another origin, though an operator has
# it open, for they name sites, and tell how much traffic these have. The script: all.
WITHOUT_CORS: Final = frozenset({METRICS, SNIPPET})

Page = Callable[[Asker], Response]


class Pages:
    """Built from `trouble`, why no events are taken ("" when they are), and what the rest tells.

    `describe` makes the document; it is called once.
    """

    def __init__(
        self,
        metrics: Metrics,
        gauges: Mapping[str, Callable[[], float]],
        *,
        trouble: Callable[[], str],
        describe: Callable[[], bytes],
        gate: Gate | None,
    ) -> None:
        """`gate`: who may see the metrics; None: everybody."""
        self._metrics = metrics
        self._gauges = gauges
        self._trouble = trouble
        self._describe = describe
        self._gate = gate
        self._snippet = Snippet()
        self._document = b""

    @property
    def by_path(self) -> Mapping[str, Page]:
        """The pages by their paths."""
        return {
            HEALTH: lambda _asker: _text(200, "ok"),
            READINESS: self._readiness,
            METRICS: self._metrics_page,
            OPENAPI: self._openapi,
            SNIPPET: self._snippet.page,
        }

    def _readiness(self, _asker: Asker) -> Response:
        trouble = self._trouble()
        return _text(503, trouble) if trouble else _text(200, "ready")

    def _metrics_page(self, asker: Asker) -> Response:
        gate = self._gate
        if gate is not None and (
            is_foreign(asker.headers, may_lead_here=False)
            or not isinstance(gate.judge(asker), Grant)
        ):
            response = failure(401, "show the admin token: Authorization: Bearer ...")
            return Response(401, [*response.headers, _BEARER], response.body)
        return Response(200, [_PROMETHEUS], self._metrics.render(self._gauges))

    def _openapi(self, _asker: Asker) -> Response:
        if not self._document:
            self._document = self._describe()
        return Response(200, [_OPENAPI], self._document)


def _text(status: int, line: str) -> Response:
    return Response(status, [_TEXT], f"{line}\n".encode())
