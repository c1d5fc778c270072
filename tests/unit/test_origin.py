"""Hosts of Origin and Referer headers, and which lists of domains name them."""

import pytest

from collector.origin import host_allowed, host_name, origin_host, request_host, split_patterns


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"https://example.com", "example.com"),
        (b"http://example.com:8080", "example.com"),
        (b"HTTPS://Example.COM", "example.com"),
        (b"https://example.com.", "example.com"),
        (b"https://example.com:", "example.com"),
        (b"https://example.com/a/b?c=d#e", "example.com"),
        (b"https://example.com?c=https://evil.net/", "example.com"),
        (b"https://example.com#@evil.net", "example.com"),
        (b"http://localhost:3000", "localhost"),
        (b"http://127.0.0.1:3000", "127.0.0.1"),
        (b"http://[::1]:3000", "::1"),
        (b"http://[2001:DB8:0::1]/", "2001:db8::1"),
        (b"https://a_b.example.com", "a_b.example.com"),
        (b"https://xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
    ],
)
def test_the_host_is_found(value, host):
    """Scheme, case, port, path and a trailing dot do not matter."""
    assert origin_host(value) == host


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"https://good.com@evil.net/", "evil.net"),
        (b"https://good.com:80@evil.net", "evil.net"),
        (b"https://a@good.com@evil.net", "evil.net"),
        (b"https://evil.net?@good.com", "evil.net"),
        (b"https://evil.net#@good.com/", "evil.net"),
        (b"https://evil.net/@good.com", "evil.net"),
        (b"https://evil.net\\@good.com", ""),
        (b"https://good.com\\.evil.net", ""),
        (b"https://good.com%2f.evil.net", ""),
        (b"https://[good.com]", ""),
        (b"https://[::1]good.com", ""),
    ],
)
def test_tricks_name_the_host_a_browser_would_ask_or_none(value, host):
    """What looks like the good host to a careless reader is not it."""
    assert origin_host(value) == host


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"example.com",
        b"//example.com",
        b"https:",
        b"https://",
        b"https:///example.com",
        b"https://.",
        b"https://..",
        b"https://a..b",
        b"https://-a.com",
        b"https://a b.com",
        b"https://:80",
        b"https://a.com:x",
        b"https://a.com:65536",
        b"https://a.com:123456",
        b"https://a.com https://b.com",
        b"https://a.com, https://b.com",
        b"https://a.com,https://b.com",
        b"https://a.com/\thttps://b.com",
        b"https://a.com\n",
        b"https://1.2.3",
        b"https://1.2.3.256",
        b"https://01.2.3.4",
        b"https://0x7f.1",
        b"https://[::1",
        b"https://[::1%25eth0]",
        b"https://[1.2.3.4]x",
        b"https://\xff.com",
        b"https://" + b"a" * 64 + b".com",
        b"https://" + b"a." * 127 + b"com",
        b"https://" + b"a@" * 2_000 + b"a.com",
        b"file:///etc/passwd",
        b"chrome-extension://abcdef",
        b"capacitor://localhost",
        b"ftp://example.com",
        b"javascript:alert(1)",
        "http\u017f://example.com".encode(),
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
    assert origin_host(b"https://" + name.encode()) == host


def test_origin_decides_alone():
    """`Referer` counts only when there is no `Origin` at all, not even `null`."""
    referer = b"https://good.com/page"

    assert request_host({b"origin": b"https://a.com", b"referer": referer}) == "a.com"
    assert request_host({b"origin": b"null", b"referer": referer}) == ""
    assert request_host({b"origin": b"", b"referer": referer}) == ""
    assert request_host({b"referer": referer}) == "good.com"
    assert request_host({b"referer": b"about:blank"}) == ""
    assert request_host({b"host": b"a.com"}) is None


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
