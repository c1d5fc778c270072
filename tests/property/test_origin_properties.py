"""Whatever a header holds: no exception, and no host that the list of domains does not name."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.origin import host_allowed, host_name, origin_host, request_host, split_patterns

_LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
_HOSTS = st.lists(_LABELS, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "com"]))
_JUNK = st.text(max_size=20) | st.sampled_from(
    ["@", ":", "\\", "/", "?", "#", ".", "%2e", "[", "]", " ", ",", "\x00", "null"]
)
_DOMAINS = split_patterns(["good.com", "*.good.org"])
_few = settings(max_examples=200, deadline=None)


def _is_named(host: str) -> bool:
    labels = host.split(".")
    return host == "good.com" or (labels[-2:] == ["good", "org"] and len(labels) > 2)


@_few
@given(st.text(max_size=200) | st.text().map(lambda text: "https://" + text))
@example("https://" + "a:" * 500)
@example("https://" + "@" * 1_000)
def test_reading_never_raises_and_gives_one_spelling(value):
    """Any text gives a host in its one spelling, or nothing."""
    host = origin_host(value)

    assert host == host.lower()
    assert host.isascii()
    assert host == "" or host_name(host) == host
    assert request_host({"origin": value}) == host


@_few
@given(_HOSTS, st.integers(0, 65_535), st.booleans(), st.text(alphabet="abc/?#@:.", max_size=9))
def test_a_well_formed_value_gives_its_host(host, port, is_upper, path):
    """Case, port and path never hide the host."""
    text = f"https://{host.upper() if is_upper else host}:{port}/{path}"

    assert origin_host(text) == host


@_few
@given(_JUNK, st.sampled_from(["good.com", "www.good.org"]), _JUNK, _HOSTS, _JUNK)
def test_a_good_host_inside_another_never_lets_it_in(before, good, between, evil, after):
    """Put the good name before, after or within: what is let in is a name that is on the list."""
    for value in (
        "https://" + before + good + between + evil + after,
        "https://" + before + evil + between + good + after,
        "https://" + good + before + "@" + evil + between + after,
    ):
        host = origin_host(value)
        if host_allowed(host, *_DOMAINS):
            assert _is_named(host)


@_few
@given(_HOSTS)
def test_prefixes_and_suffixes_of_a_domain_never_match(host):
    """Only a whole label makes a subdomain, and the apex is none."""
    exact, suffixes = split_patterns([f"*.{host}"])

    assert not host_allowed(host, exact, suffixes)
    assert not host_allowed(f"x{host}", exact, suffixes)
    assert not host_allowed(f"{host}.evil.net", exact, suffixes)
    assert not host_allowed(f"a.{host}x", exact, suffixes)
    assert host_allowed(f"a.{host}", exact, suffixes)
    assert host_allowed(f"a.b.{host}", exact, suffixes)


@_few
@given(st.text())
def test_a_name_has_one_spelling(text):
    """What `host_name` returns it returns again, so configuration and requests agree."""
    host = host_name(text)

    assert host_name(host) == host
    assert host.isascii()
