"""Relations between settings: each broken one is told once, by its key."""

import pytest

from tests.support.config import APP_ID, DIGEST, KEY, SITE, fault, faults, read


def test_a_queue_must_hold_a_body():
    """The broken relation is named with both numbers."""
    line = fault("[server]\nbody_bytes_max = 11\n[storage]\nqueue_bytes_max = 10\n")

    assert line.endswith(
        "storage.queue_bytes_max: must be at least server.body_bytes_max (11), not 10"
    )


def test_what_is_received_must_hold_a_body():
    """As the queue; without the limit there is nothing to hold."""
    line = fault("[server]\nbody_bytes_max = 11\n[overload]\nreading_bytes_max = 10\n")
    assert "overload.reading_bytes_max: must be 0 or at least server.body_bytes_max (11)" in line
    read("[server]\nbody_bytes_max = 11\n[overload]\nreading_bytes_max = 0\n")
    read("[server]\nbody_bytes_max = 11\n[overload]\nreading_bytes_max = 11\n")


def test_a_relation_with_a_value_at_fault_is_not_judged():
    """One mistake is told once; its default is not compared with anything."""
    body = "[overload]\nreading_bytes_max = 0\n[server]\nbody_bytes_max = 99999999999\n"
    line = fault(f"{body}[storage]\nqueue_bytes_max = 'x'\n")
    assert "queue_bytes_max: must be a whole number" in line
    fault(f"{body}[storage]\nqueue_bytes_max = 0\n")
    fault("[server]\nbody_bytes_max = 11\n[overload]\nreading_bytes_max = -1\n")
    fault("[server]\nbody_bytes_max = 'x'\n[overload]\nreading_bytes_max = 10\n")
    fault("tiers = 1\n" + SITE + KEY + 'tier = "gold"\n')
    fault("tiers = {gold = 1}\n" + SITE + KEY + 'tier = "gold"\n')
    fault(SITE.replace('"shop"', '""') + KEY)
    fault(SITE.replace('"t"', "1") + KEY + 'team = "other"\n')
    fault("sites = 1\n" + KEY)
    fault("sites = [1]\n" + KEY)
    fault(SITE + KEY.replace('"shop"', "1"))
    fault(SITE + KEY + "tier = 1\n")
    fault(SITE + KEY + "scope = 1\n")
    fault("keys = [1]\n" + SITE)


@pytest.mark.parametrize(
    ("member", "value"), [("id", "b"), ("tracking_code", "b"), ("croct_app_id", APP_ID)]
)
def test_sites_share_no_name(member, value):
    """Two sites that answer to one name would take each other's events."""
    ids = ("x", "y")
    tables = [
        {"id": name, "tracking_code": f"c{name}", "croct_app_id": "", member: value} for name in ids
    ]
    text = "".join(
        "[[sites]]\n" + "".join(f"{name} = '{said}'\n" for name, said in table.items())
        for table in tables
    )

    assert f"sites[1].{member}: repeats sites[0].{member}; each" in fault(text)


def test_an_application_id_is_the_same_in_any_spelling():
    """Two spellings of one UUID are one application."""
    other = APP_ID.replace("-", "").upper()
    text = SITE + f"croct_app_id = '{APP_ID}'\n[[sites]]\nid = 'b'\ncroct_app_id = '{other}'\n"

    assert "sites[1].croct_app_id: repeats" in fault(text)
    assert read(SITE + f"croct_app_id = '{other}'\n").sites[0].croct_app_id == APP_ID


def test_keys_share_no_name_and_no_text():
    """A name tells which key sent an event; a digest tells who may."""
    first, second = faults(SITE + KEY + KEY.replace(DIGEST, DIGEST.upper()))

    assert first.endswith("keys[1].name: repeats keys[0].name; each must have its own")
    assert second.endswith("keys[1].sha256: repeats keys[0].sha256; each must have its own")


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ('tier = "gold"', 'keys[0].tier: names no tier: there is "enterprise", "free", "pro"'),
        ('tier = "prro"', 'names no tier: "prro" is not known; did you mean pro?'),
        ('team = "u"', 'keys[0].team: must be the team of its site, "t", not "u"'),
        ('scope = "full_access"', "keys[0].team: is missing: scope"),
        ('scope = "full_access"\nteam = "u"', 'keys[0].team: is the team of no site: there is "t"'),
    ],
)
def test_keys_must_reach_something(extra, wanted):
    """A key that opens nothing is a mistake, found before a back end finds it."""
    assert wanted in fault(SITE + KEY + extra + "\n")


def test_a_key_for_an_unknown_site_is_a_fault():
    """The nearest site is proposed."""
    line = fault(SITE + KEY.replace('site = "shop"', 'site = "shops"'))

    assert line.endswith('keys[0].site: names no site: "shops" is not known; did you mean shop?')
    assert fault(KEY).endswith("names no site: there is none")


@pytest.mark.parametrize(
    "extra",
    ['team = "t"', 'scope = "full_access"\nteam = "t"', 'tier = "enterprise"', "", 'team = ""'],
)
def test_keys_that_reach_something_are_allowed(extra):
    """Team and site agree, or only one of them is said."""
    assert read(SITE + KEY + extra + "\n").keys[0].name == "k"
