"""The host behind an `Origin` or `Referer` header, and whether a list of domains names it.

Owns the one spelling of a host name that the configuration and the requests share: lower case,
ASCII (punycode), no port, no trailing dot. Nothing here raises, does I/O or knows a site. Whatever
could be read in two ways is read as no host at all (""), which no list of domains ever names.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from collector.headers import Headers

# Scheme, user info, "[v6]" or name, port. No backslash anywhere: browsers take it for a slash,
# other readers do not, and the difference is a classic way to show one host and mean another.
_AUTHORITY: Final = re.compile(
    r"https?://(?:[^@\[\]\\]*@)*(?:\[([0-9a-f:.]+)\]|([^@:\[\]\\]+))(?::([0-9]{0,5}))?",
    re.ASCII | re.IGNORECASE,
)
_END_OF_AUTHORITY: Final = re.compile(r"[/?#]")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NAME_LENGTH_MAX: Final = 253
_PORT_MAX: Final = 65_535
# Scheme, a name of 253 characters in up to four bytes each, and a port; nothing longer is real.
_AUTHORITY_CHARS_MAX: Final = 1_100
_CACHED_AUTHORITIES: Final = 4_096
_LONGEST_SCHEME: Final = len("https://")
# Other characters that end a label (UTS 46): ideographic full stops.
_DOTS: Final = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})


def origin_host(value: str) -> str:
    """The host that an `Origin` or `Referer` value names, "" when it names none for certain.

    Lower case, punycode, without port, user info, trailing dot and the brackets of IPv6. `null`,
    several values, other schemes than http and https, and anything malformed give "".
    """
    end = value.find("/", _LONGEST_SCHEME)
    # What follows the authority must not be kept in the cache: a Referer may hold personal data.
    authority = value if end < 0 else value[:end]
    if len(authority) > _AUTHORITY_CHARS_MAX or " " in value or "\t" in value:
        return ""
    return _authority_host(authority)


def request_host(headers: Headers) -> str | None:
    """The host a request says it comes from; `headers` has lower-case names.

    `Origin` decides alone when it is there, even as `null` (then ""); `Referer` counts only without
    it. A field that is there and cannot be read gives "", too. None: the request says nothing, as
    servers do.
    """
    if "origin" in headers:
        return origin_host(headers.get("origin", ""))
    if "referer" in headers:
        return origin_host(headers.get("referer", ""))
    return None


def host_allowed(host: str, exact: frozenset[str], suffixes: tuple[str, ...]) -> bool:
    """Whether `host`, as `origin_host` gives it, is in `exact` or ends with one of `suffixes`.

    A suffix begins with a dot (".example.com" for `*.example.com`), so that it names subdomains of
    any depth, neither the apex nor a name that merely ends alike.
    """
    return host in exact or (host.endswith(suffixes) and host[0] != ".")


def split_patterns(patterns: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Allowed domains as `host_allowed` wants them: exact hosts, and suffixes for `*.host`."""
    exact, suffixes = set(), set()
    for pattern in patterns:
        if pattern.startswith("*."):
            suffixes.add(pattern[1:])
        else:
            exact.add(pattern)
    return frozenset(exact), tuple(sorted(suffixes))


def host_name(text: str) -> str:
    """The one spelling of a host name or IP address (IPv6 without brackets), "" when it is neither.

    Names in other scripts become punycode the way browsers do it (UTS 46, non-transitional; joiners
    are not supported).
    """
    if len(text) > _AUTHORITY_CHARS_MAX:
        return ""
    if ":" in text:
        return _ip_address(text)
    text = text.lower() if text.isascii() else _ascii_name(text)
    text = text.removesuffix(".")
    labels = text.split(".")
    if len(text) > _NAME_LENGTH_MAX or not all(map(_LABEL.fullmatch, labels)):
        return ""
    # Browsers read a name that ends in a number as an IPv4 address; so it must be one.
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        return _ip_address(text)
    return text


@lru_cache(maxsize=_CACHED_AUTHORITIES)
def _authority_host(authority: str) -> str:
    """`origin_host` of a value cut behind its authority (cut at "/" only, so far)."""
    slashes = authority.find("//") + 2
    end = _END_OF_AUTHORITY.search(authority, slashes)
    text = authority[: end.start() if end else None]
    match = _AUTHORITY.fullmatch(text)
    if match is None or int(match[3] or 0) > _PORT_MAX:
        return ""
    return _ip_address(match[1]) if match[1] else host_name(match[2])


def _ip_address(text: str) -> str:
    # A zone ("%eth0") names an interface of this machine, which no origin can mean.
    if "%" in text:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _ascii_name(text: str) -> str:
    """Punycode of a name in any script, "" when a character cannot be part of a name."""
    mapped = unicodedata.normalize("NFKC", text.translate(_DOTS))
    # One by one, because str.lower() reads a sigma at the end of a word differently.
    mapped = unicodedata.normalize("NFKC", "".join(map(str.lower, mapped)))
    labels = [_ascii_label(label) for label in mapped.split(".")]
    return ".".join(labels)


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    if unicodedata.category(label[0])[0] == "M":
        return "!"
    if not all(c == "-" or unicodedata.category(c)[0] in "LMN" for c in label):
        return "!"
    return "xn--" + label.encode("punycode").decode("ascii")
