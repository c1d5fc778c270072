"""Who may write to which site: every rule, in its order, with its reason."""

import timeit

import msgspec
import pytest

from collector import keys
from collector.config import Config, Key, Site
from collector.refusal import (
    INACTIVE_SITE,
    ORIGIN_REFUSED,
    SITE_FORBIDDEN,
    UNKNOWN_APP,
    UNKNOWN_KEY,
    UNKNOWN_SITE,
    Kind,
    Refusal,
)
from collector.sites import Sites

KEY_TEXT = "zv_" + "a" * 43

SHOP = Site(
    id="shop",
    team="t",
    tracking_code="ZV_shop",
    croct_app_id="app-shop",
    allowed_domains=("shop.com", "*.shop.org"),
)
BLOG = Site(id="blog", team="t", tracking_code="ZV_blog", allowed_domains=("blog.com",))
OTHER = Site(id="other", team="u", tracking_code="ZV_other", croct_app_id="app-other")
LONE = Site(id="lone", tracking_code="ZV_lone")
CLOSED = Site(
    id="closed",
    team="t",
    active=False,
    tracking_code="ZV_closed",
    croct_app_id="app-closed",
    allowed_domains=("closed.com",),
)

ONE = Key(name="one", sha256=keys.digest(KEY_TEXT), site="shop")
ON_CLOSED = Key(name="on-closed", sha256="c" * 64, site="closed")
ALL = Key(name="all", sha256="a" * 64, team="t", scope="full_access")
TEAMLESS = Key(name="teamless", sha256="b" * 64, scope="full_access")

SITES = Sites(Config(sites=(SHOP, BLOG, OTHER, LONE, CLOSED), keys=(ONE, ON_CLOSED, ALL, TEAMLESS)))


def _why(found: object) -> Kind:
    assert isinstance(found, Refusal)
    return found.kind


def test_sites_are_found_by_each_of_their_names():
    """One site, three protocols; an empty name is no name."""
    assert SITES.by_id("shop") is SHOP
    assert SITES.by_app_id("app-shop") is SHOP
    assert SITES.by_tracking_code("ZV_shop") is SHOP
    assert SITES.by_id("closed") is CLOSED
    assert SITES.by_id("") is None
    assert SITES.by_app_id("") is None
    assert SITES.by_tracking_code("") is None


@pytest.mark.parametrize(
    ("site_id", "host", "kind"),
    [
        ("nope", "shop.com", UNKNOWN_SITE),
        ("", "", UNKNOWN_SITE),
        ("closed", "closed.com", INACTIVE_SITE),
        ("closed", "evil.net", INACTIVE_SITE),
        ("shop", "evil.net", ORIGIN_REFUSED),
        ("shop", "blog.com", ORIGIN_REFUSED),
        ("shop", "shop.org", ORIGIN_REFUSED),
        ("shop", "", ORIGIN_REFUSED),
        ("lone", "shop.com", ORIGIN_REFUSED),
    ],
)
def test_browsers_are_refused_in_order(site_id, host, kind):
    """Unknown before inactive before the origin."""
    assert _why(SITES.browser_site(site_id, host)) is kind


@pytest.mark.parametrize("host", ["shop.com", "www.shop.org", "a.b.shop.org"])
def test_browsers_on_allowed_domains_get_their_site(host):
    """Exact hosts and subdomains of a wildcard."""
    assert SITES.browser_site("shop", host) is SHOP


def test_a_key_is_known_by_its_text_only():
    """The digest in the configuration opens nothing."""
    assert SITES.key_holder(KEY_TEXT) is ONE
    assert SITES.key(KEY_TEXT) is ONE
    for text in ("", ONE.sha256, KEY_TEXT + "a", KEY_TEXT.upper(), "\ud800", "é" * 10_000):
        assert SITES.key(text) is None
        assert _why(SITES.key_holder(text)) is UNKNOWN_KEY


@pytest.mark.parametrize(
    ("key", "site_id", "found"),
    [
        (ONE, "shop", SHOP),
        (ONE, "blog", SITE_FORBIDDEN),
        (ONE, "nope", SITE_FORBIDDEN),
        (ONE, "", SITE_FORBIDDEN),
        (ONE, "closed", SITE_FORBIDDEN),
        (ON_CLOSED, "closed", INACTIVE_SITE),
        (ALL, "shop", SHOP),
        (ALL, "blog", BLOG),
        (ALL, "closed", INACTIVE_SITE),
        (ALL, "other", SITE_FORBIDDEN),
        (ALL, "lone", SITE_FORBIDDEN),
        (ALL, "nope", SITE_FORBIDDEN),
        (TEAMLESS, "lone", SITE_FORBIDDEN),
    ],
)
def test_keys_reach_their_site_or_their_team(key, site_id, found):
    """A full_access key reaches its whole team; an unknown site is told like one out of reach."""
    result = SITES.key_site(key, site_id)

    assert (result if isinstance(found, Site) else _why(result)) is found


@pytest.mark.parametrize(
    ("key", "code", "found"),
    [
        (ONE, "ZV_shop", SHOP),
        (ONE, "ZV_blog", SITE_FORBIDDEN),
        (ONE, "ZV_nope", SITE_FORBIDDEN),
        (ONE, "", SITE_FORBIDDEN),
        (ON_CLOSED, "ZV_closed", INACTIVE_SITE),
        (ALL, "ZV_blog", BLOG),
        (ALL, "ZV_other", SITE_FORBIDDEN),
        (ALL, "ZV_nope", UNKNOWN_SITE),
        (ALL, "", UNKNOWN_SITE),
        (ALL, "ZV_closed", INACTIVE_SITE),
        (TEAMLESS, "ZV_lone", SITE_FORBIDDEN),
    ],
)
def test_tracking_codes_are_reached_likewise(key, code, found):
    """Only a key that may see all sites is told that a code does not exist."""
    result = SITES.key_tracking_code(key, code)

    assert (result if isinstance(found, Site) else _why(result)) is found


@pytest.mark.parametrize(
    ("app_id", "host", "found"),
    [
        ("app-shop", "shop.com", SHOP),
        ("app-shop", None, SHOP),
        ("app-shop", "", ORIGIN_REFUSED),
        ("app-shop", "evil.net", ORIGIN_REFUSED),
        ("app-other", "shop.com", ORIGIN_REFUSED),
        ("app-closed", "evil.net", INACTIVE_SITE),
        ("app-closed", None, INACTIVE_SITE),
        ("app-nope", None, UNKNOWN_APP),
        ("", None, UNKNOWN_APP),
    ],
)
def test_applications_trust_origins_and_servers(app_id, host, found):
    """No origin at all is a server; `null` or an unreadable one is not."""
    result = SITES.application(app_id, host)

    assert (result if isinstance(found, Site) else _why(result)) is found


def test_an_origin_is_trusted_when_some_active_application_does():
    """Sites that are no Croct application, or switched off, vouch for nobody."""
    assert SITES.any_trusts("shop.com")
    assert SITES.any_trusts("www.shop.org")
    assert not SITES.any_trusts("blog.com")
    assert not SITES.any_trusts("closed.com")
    assert not SITES.any_trusts("")
    assert not Sites(Config()).any_trusts("shop.com")


def test_refusals_name_the_field_and_echo_nothing():
    """What the client sent is neither repeated nor needed to mend it."""
    told = [
        (SITES.browser_site("<b>", "x"), "site_id"),
        (SITES.browser_site("closed", "x"), "site_id"),
        (SITES.browser_site("shop", "<b>"), "origin is not one of the site's allowed domains"),
        (SITES.key_holder("<b>"), "API key"),
        (SITES.key_site(ONE, "<b>"), "site_id"),
        (SITES.key_tracking_code(ONE, "<b>"), "trackingCode"),
        (SITES.key_tracking_code(ALL, "<b>"), "trackingCode"),
        (SITES.application("<b>", None), "X-App-Id"),
        (SITES.application("app-shop", "<b>"), "origin"),
    ]
    for refusal, field in told:
        assert isinstance(refusal, Refusal)
        assert field in refusal.message
        assert "<b>" not in refusal.message


def test_a_check_costs_well_under_what_an_event_costs():
    """Thousands of allowed domains do not slow an event down; bound generous for busy machines."""
    domains = tuple(f"d{n}.com" for n in range(5_000))
    many = Sites(Config(sites=(msgspec.structs.replace(SHOP, allowed_domains=domains),)))

    seconds = min(timeit.repeat(lambda: many.browser_site("shop", "d4999.com"), number=1_000))

    assert seconds / 1_000 < 20e-6
