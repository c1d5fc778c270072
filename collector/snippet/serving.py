"""`/s.js` over HTTP: the script, small, in two encodings, and whether its reader has it already.

Everybody may have it, on every page. Must not know who asks.
"""

import gzip
import re
from hashlib import sha256
from importlib.resources import files
from typing import Final

from collector.adapters.contract import Header, Response
from collector.admin_gate import Asker
from collector.snippet.shorten import shorten

# What a new version takes to reach every visitor, and how often each of them asks.
_MAX_AGE_S: Final = 4 * 3600
_HEADERS: Final[list[Header]] = [
    ("cache-control", f"public, max-age={_MAX_AGE_S}"),
    ("vary", "accept-encoding"),
    # Pages of any origin run it, also those that isolate themselves or ask for its integrity.
    ("access-control-allow-origin", "*"),
    ("cross-origin-resource-policy", "cross-origin"),
    ("x-content-type-options", "nosniff"),
]
_TYPE: Final = ("content-type", "text/javascript; charset=utf-8")
_GZIP: Final = ("content-encoding", "gzip")
_TAG: Final = re.compile(r'"[^"]*"')
_WEIGHT: Final = re.compile(r"\s*q\s*=\s*0(?:\.0{0,3})?\s*", re.IGNORECASE)


class Snippet:
    """The script, read and made small once."""

    def __init__(self) -> None:
        source = files("collector.snippet").joinpath("s.js").read_text(encoding="utf-8")
        self._script = shorten(source).encode()
        self._packed = gzip.compress(self._script, 9, mtime=0)
        self._tag = sha256(self._script).hexdigest()[:32]

    def page(self, asker: Asker) -> Response:
        """200 with the script, or 304 to whoever names it in `If-None-Match`."""
        is_packed = takes_gzip(asker.headers.get("accept-encoding", ""))
        # Bytes that differ have tags that differ.
        tag = f'"{self._tag}-gzip"' if is_packed else f'"{self._tag}"'
        headers = [("etag", tag), *_HEADERS]
        if names_tag(asker.headers.get("if-none-match", ""), tag):
            return Response(304, headers)
        headers.append(_TYPE)
        if is_packed:
            return Response(200, [*headers, _GZIP], self._packed)
        return Response(200, headers, self._script)


def takes_gzip(accepted: str) -> bool:
    """Whether whoever sends this `Accept-Encoding` can read gzip; "" can read nothing but text."""
    weights = {}
    for part in accepted.split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip().lower()] = _WEIGHT.fullmatch(weight) is None
    named = [weights[name] for name in ("gzip", "x-gzip") if name in weights]
    return any(named) if named else weights.get("*", False)


def names_tag(wanted: str, tag: str) -> bool:
    """Whether an `If-None-Match` names `tag`, be it as a weak one, as proxies make of it."""
    return wanted.strip() == "*" or tag in _TAG.findall(wanted)
