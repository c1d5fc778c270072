"""Who may see the admin pages: whoever shows the token, has a session, or sits at the machine.

Rules that this module keeps:

1. Without a token only a direct connection from the machine itself is let in, and only by a name of
   the machine itself (`Host`), or another site could have a browser ask here under its own name.
   What came through a proxy, or looks like it, is not direct, whatever the proxy says of it.
2. Whatever a browser says of where a request comes from is heeded: another site may lead a browser
   here, and nothing else.
3. A request that changes something is let in only if it was made by a page of ours: the browser
   says so, and the form holds what only such a page was given. A bearer token needs neither: no
   browser adds one by itself.
4. A token is compared in constant time, by its digest, and wrong ones are throttled before they are
   looked at. A session that is open is not throttled: failures of others lock nobody out.
5. What cannot be read does not count as absent: it is refused.

Must not know what a page shows. Never logs or repeats what was sent.
"""

import hmac
import logging
import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from collector.addresses import AddressReader, is_loopback, peer_of
from collector.admin_sessions import Sessions
from collector.admin_throttle import FailedLogins
from collector.headers import Headers
from collector.keys import digest

_log: Final = logging.getLogger("collector")

COOKIE: Final = "collector_session"
# Browsers take a cookie of such a name only over TLS, for this host and every path.
SECURE_COOKIE: Final = f"__Host-{COOKIE}"
_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_TOKEN_CHARS_MAX: Final = 512
# One of these means that somebody is in between. Asked for by name, because of a field that cannot
# be read no more is known than that it is there.
_FORWARDING: Final = (
    *(f"x-forwarded-{what}" for what in ("for", "host", "proto", "port", "server", "by", "prefix")),
    *("x-forwarded", "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip"),
    *("true-client-ip", "cf-connecting-ip", "fastly-client-ip", "x-original-host"),
)
# What is not one of these is older; servers do not agree on how to write 1.0.
_MODERN: Final = frozenset({"1.1", "2", "2.0"})
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::\d{1,5})?", re.IGNORECASE)
_HTTPS: Final = re.compile(r'(?:^|;)\s*proto\s*=\s*"?https"?\s*(?:;|$)', re.IGNORECASE)

By = Literal["loopback", "token", "session"]
# "off": there is no token, so that nobody else is ever let in.
Why = Literal["off", "unknown", "throttled", "foreign", "forged"]


class Asker(Protocol):
    """The head of a request; see `edge.Scope`."""

    @property
    def client(self) -> str:
        """Who is connected: address and port, as in a URL."""

    @property
    def http_version(self) -> str:
        """Such as "1.1"."""

    @property
    def headers(self) -> Headers:
        """All header fields."""


class Grant(msgspec.Struct, frozen=True):
    """Somebody who may come in, and by what. `session`: the id of the session, if it is that."""

    by: By
    session: str = ""


class Denial(msgspec.Struct, frozen=True):
    """Somebody who may not. `retry_after_s`: when a token is looked at again, if throttled."""

    why: Why
    retry_after_s: int = 0


class Gate:
    """Judges requests to the admin pages. `token_sha256` "": only the machine itself."""

    def __init__(
        self,
        token_sha256: str,
        *,
        addresses: AddressReader,
        sessions: Sessions,
        failures: FailedLogins,
        monotonic_us: Callable[[], int],
    ) -> None:
        self._token_sha256 = token_sha256
        self._addresses = addresses
        self._failures = failures
        self._monotonic_us = monotonic_us
        self.sessions = sessions

    @property
    def has_token(self) -> bool:
        """Whether anybody can log in."""
        return bool(self._token_sha256)

    def judge(self, asker: Asker) -> Grant | Denial:
        """Say by what `asker` may come in, or why not."""
        headers = asker.headers
        if "authorization" in headers:
            match = _BEARER.fullmatch((headers.get("authorization") or "").strip())
            denial = self.try_token(asker, match[1] if match else "")
            return denial or Grant("token")
        session = self.session_of(asker)
        if session and self.sessions.is_open(session, self._monotonic_us()):
            return Grant("session", session)
        if self.is_local(asker):
            return Grant("loopback")
        return Denial("unknown" if self.has_token else "off")

    def try_token(self, asker: Asker, token: str) -> Denial | None:
        """Compare a token with the configured one; None when it is that."""
        if not self.has_token:
            return Denial("off")
        now_us = self._monotonic_us()
        address = self._addresses.read(asker.client, asker.headers)
        wait_s = self._failures.wait_s(address, now_us)
        if wait_s:
            return Denial("throttled", wait_s)
        # Of a text that is far too long a piece is hashed, which is as wrong.
        found = digest(token[:_TOKEN_CHARS_MAX])
        if hmac.compare_digest(found, self._token_sha256) and len(token) <= _TOKEN_CHARS_MAX:
            return None
        self._failures.failed(address, now_us)
        _log.warning("admin: a wrong token was refused")
        return Denial("unknown")

    def log_in(self) -> str:
        """Begin a session for who has shown the token; its id."""
        return self.sessions.open(self._monotonic_us())

    # --- where a request comes from

    def is_local(self, asker: Asker) -> bool:
        """Whether it is a direct request from this machine, to this machine by name."""
        headers = asker.headers
        if not is_loopback(peer_of(asker.client)) or self._addresses.is_proxy(asker.client):
            return False
        # Proxies that are set up to say nothing of themselves mostly speak an older HTTP.
        if asker.http_version not in _MODERN:
            return False
        if any(name in headers for name in _FORWARDING):
            return False
        hosts = [value for name, value in headers.items() if name == "host"]
        return len(hosts) == 1 and _is_own_name(hosts[0])

    def is_secure(self, asker: Asker) -> bool:
        """Whether the client speaks TLS with a trusted proxy, by what that proxy says."""
        if not self._addresses.is_proxy(asker.client):
            return False
        headers = asker.headers
        said = headers.get("x-forwarded-proto")
        if said is not None:
            return said.rpartition(",")[2].strip().lower() == "https"
        forwarded = headers.get("forwarded") or ""
        return bool(_HTTPS.search(forwarded.rpartition(",")[2]))

    def session_of(self, asker: Asker) -> str:
        """The id in the cookie that fits how the client is connected; "" without one."""
        name = SECURE_COOKIE if self.is_secure(asker) else COOKIE
        for member in (asker.headers.get("cookie") or "").split(";"):
            key, _, value = member.strip().partition("=")
            if key == name:
                return value
        return ""

    def cookie(self, asker: Asker, session: str) -> str:
        """The field that gives a browser its session, or takes it away ("")."""
        is_secure = self.is_secure(asker)
        name = SECURE_COOKIE if is_secure else COOKIE
        life_s = self.sessions.life_s if session else 0
        # No browser sends it to another site's page, nor shows it to a script.
        return (
            f"{name}={session}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict"
            f"{'; Secure' if is_secure else ''}"
        )


def is_foreign(headers: Headers, *, may_lead_here: bool) -> bool:
    """Whether a browser says that another site makes this request.

    `may_lead_here`: a link on another site may open the page, as a page and in no frame.
    """
    if "sec-fetch-site" in headers:
        # Set by the browser, out of reach of any script; it holds behind any proxy, too.
        if headers.get("sec-fetch-site") in {"same-origin", "none"}:
            return False
        is_visit = (
            headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        )
        return not (may_lead_here and is_visit)
    return "origin" in headers and not _is_same_origin(headers)


def is_own_form(headers: Headers) -> bool:
    """Whether a browser says that a page of this very origin makes this request."""
    if "sec-fetch-site" in headers:
        return headers.get("sec-fetch-site") == "same-origin"
    return "origin" in headers and _is_same_origin(headers)


def _is_same_origin(headers: Headers) -> bool:
    """Whether host and port of `Origin` are those of `Host`; the scheme is a proxy's business."""
    host = headers.get("host")
    origin = headers.get("origin")
    if not host or not origin:
        return False
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _is_own_name(host: str) -> bool:
    """Whether a `Host` names this machine and no domain that anybody could own."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
