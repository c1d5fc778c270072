"""One log line per request, for those who ask for it (`server.log_requests`); else not even made.

Tells method, path, status, time, size and endpoint; of an answer that goes on, when it began. Never
the query, the sender's address, header fields or a body; and a path or method only if it is one of
ours, because whatever else stands there is the sender's own text.
"""

import logging
from typing import Final

from collector.edge import Answer, Edge, Scope
from collector.http import Body
from collector.streams import Stream

_log: Final = logging.getLogger("collector.requests")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNKNOWN: Final = "-"


class LoggingEdge(Edge):
    """An edge that tells of every request that it answered."""

    async def answer(self, scope: Scope, body: Body) -> Answer:
        """See `Edge`."""
        started_s = self._monotonic_s()
        status, headers, content = await super().answer(scope, body)
        endpoint = self.name_of(scope.method, scope.path)
        _log.info(
            "request",
            extra={
                "fields": {
                    "method": scope.method if scope.method in _METHODS else _UNKNOWN,
                    "path": scope.path if self.knows(scope.path) else _UNKNOWN,
                    "status": status,
                    "ms": round((self._monotonic_s() - started_s) * 1e3, 1),
                    "bytes": 0 if isinstance(content, Stream) else len(content),
                    "endpoint": endpoint,
                }
            },
        )
        return status, headers, content
