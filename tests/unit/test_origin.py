"""Hosts of Origin and Referer headers, and which lists of domains name them."""

import pytest

from collector.origin import host_allowed, host_name, origin_host, request_host, split_patterns
from tests.support.headers import Unreadable


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("https://example.com", "example.com"),
        ("http://example.com:8080", "example.com"),
        ("HTTPS://Example.COM", "example.com"),
        ("https://example.com.", "example.com"),
        ("https://example.com:", "example.com"),
        ("https://example.com/a/b?c=d#e", "example.com"),
        ("https://example.com?c=https://evil.net/", "example.com"),
        ("https://example.com#@evil.net", "example.com"),
        ("http://localhost:3000", "localhost"),
        ("http://127.0.0.1:3000", "127.0.0.1"),
        ("http://[::1]:3000", "::1"),
        ("http://[2001:DB8:0::1]/", "2001:db8::1"),
        ("https://a_b.example.com", "a_b.example.com"),
        ("https://xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
    ],
)
def test_the_host_is_found(value, host):
    """Scheme, case, port, path and a trailing dot do not matter."""
    assert origin_host(value) == host


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("https://good.com@evil.net/", "evil.net"),
        ("https://good.com:80@evil.net", "evil.net"),
        ("https://a@good.com@evil.net", "evil.net"),
        ("https://evil.net?@good.com", "evil.net"),
        ("https://evil.net#@good.com/", "evil.net"),
        ("https://evil.net/@good.com", "evil.net"),
        ("https://evil.net\\@good.com", ""),
        ("https://good.com\\.evil.net", ""),
        ("https://good.com%2f.evil.net", ""),
        ("https://[good.com]", ""),
        ("https://[::1]good.com", ""),
    ],
)
def test_tricks_name_the_host_a_browser_would_ask_or_none(value, host):
    """What looks like the good host to a careless reader is not it."""
    assert origin_host(value) == host


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "example.com",
        "//example.com",
        "https:",
        "https://",
        "https:///example.com",
        "https://.",
        "https://..",
        "https://a..",
        "https://-a.com",
        "https://a b.com",
        "https://:80",
        "https://a.com:x",
        "https://a.com:65536",
        "https://a.com:123456",
        "https://a.com https://b.com",
        "https://a.com, https://b.com",
        "https://a.com,https://b.com",
        "https://a.com/\thttps://b.com",
        "https://a.com\n",
        "https://1.2.3",
        "https://1.2.3.256",
        "https://01.2.3.4",
        "https://0x7f.1",
        "https://[::1",
        "https://[::1%25eth0]",
        "https://[1.2.3.4]x",
        "https://\ufffd.com",
        "https://" + "a" * 64 + ".com",
        "https://" + "a." * 127 + "com",
        "https://" + "a@" * 2_000 + "a.com",
        "file:///etc/passwd",
        "chrome-extension://abcdef",
        "capacitor://localhost",
        "ftp://example.com",
        "javascript:alert(1)",
        "http\u017f://example.com",
    ],
)
def test_what_names_no_host_for_certain_is_empty(value):
    """Garbage, other schemes and several values are no host, so no list of domains names them."""
    assert origin_host(value) == ""


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("München.de", "xn--mnchen-3ya.de"),
        ("STRASSE.de", "strasse.de"),
        ("straße.de", "xn--strae-oqa.de"),
        ("ΣΊΣΥΦΟΣ.gr", "xn--kxa6akbbkh.gr"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("\uff45xample\uff0ecom", "example.com"),
        ("bu\u0308cher.at", "xn--bcher-kva.at"),
        ("bücher.at.", "xn--bcher-kva.at"),
        ("a\u00adb.com", ""),
        ("a\u200db.com", ""),
        ("\u0308a.com", ""),
        ("a℀b.com", ""),
        ("💩.la", ""),
        ("ä" * 64 + ".de", ""),
        ("ä" * 100_000, ""),
    ],
)
def test_names_in_other_scripts(name, host):
    """Unicode gives the punycode that browsers send, or nothing; also in a header."""
    assert host_name(name) == host
    assert origin_host("https://" + name) == host


def test_origin_decides_alone():
    """`Referer` counts only when there is no `Origin` at all, not even `null`."""
    referer = "https://good.com/page"

    assert request_host({"origin": "https://a.com", "referer": referer}) == "a.com"
    assert request_host({"origin": "null", "referer": referer}) == ""
    assert request_host({"origin": "", "referer": referer}) == ""
    assert request_host({"referer": referer}) == "good.com"
    assert request_host({"referer": "about:blank"}) == ""
    assert request_host({"host": "a.com"}) is None


def test_what_cannot_be_read_is_no_host() -> None:
    """Not even that of `Referer`, where `Origin` is there and has no value."""
    referer = {"referer": "https://good.com/page"}

    assert request_host(Unreadable({"origin"}, referer)) == ""
    assert request_host(Unreadable({"referer"}, {})) == ""


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("shop.com", True),
        ("www.shop.com", False),
        ("example.com", False),
        ("www.example.com", True),
        ("a.b.example.com", True),
        ("badexample.com", False),
        ("example.com.evil.net", False),
        (".example.com", False),
        ("shop.com.", False),
        ("", False),
    ],
)
def test_domains_name_hosts_exactly_or_their_subdomains(host, is_allowed):
    """Exact hosts, and `*.` for any depth of subdomain but not the apex."""
    exact, suffixes = split_patterns(["shop.com", "*.example.com"])

    assert host_allowed(host, exact, suffixes) is is_allowed


def test_no_domains_name_no_host():
    """A site without allowed domains is reached by no browser."""
    assert not host_allowed("a.com", *split_patterns([]))
    assert not host_allowed("", *split_patterns([]))
