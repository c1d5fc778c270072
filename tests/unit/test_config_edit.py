"""Keys put into and taken out of a file's text: what else it says and looks like stays."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import config_edit
from collector.config_edit import NotEditable
from collector.config_file import ConfigError
from collector.keys import toml_block

PATH = Path("/nowhere/config.toml")
SITE = b'# ours\n[[sites]]   # one\nid = "demo"\nteam = "demo"\n'


def block(name: str, site: str = "demo") -> str:
    """A key of that name."""
    return toml_block(
        name=name, key_text=name, site=site, team="demo", tier="pro", scope="site_access"
    )


def names(data: bytes) -> list[str]:
    """The keys that the file has."""
    return [key.name for key in config_edit.read(PATH, data).keys]


@pytest.mark.parametrize(
    "text", [SITE, SITE.rstrip(), SITE + b"\n\n", SITE.replace(b"\n", b"\r\n")]
)
def test_a_key_is_added_behind_all_else(text: bytes) -> None:
    """Not a byte of what was there changes; the lines end as the others do."""
    found = config_edit.with_key(PATH, text, block("a"))
    assert found.startswith(text)
    assert names(found) == ["a"]
    added = found.removeprefix(SITE.replace(b"\n", b"\r\n"))
    assert added.count(b"\n") == added.count(b"\r\n") or b"\r" not in text
    again = config_edit.with_key(PATH, found, block("b"))
    assert names(again) == ["a", "b"]
    assert config_edit.without_key(PATH, again, "b").rstrip() == found.rstrip()


def test_a_key_that_makes_the_file_faulty_is_not_added() -> None:
    """A name that is taken, a site that does not exist: told as `check` would."""
    text = config_edit.with_key(PATH, SITE, block("a"))
    with pytest.raises(ConfigError, match=r"keys\[1\]\.name"):
        config_edit.with_key(PATH, text, block("a"))
    with pytest.raises(ConfigError, match="names no site"):
        config_edit.with_key(PATH, text, block("b", site="nowhere"))
    with pytest.raises(ConfigError):
        config_edit.with_key(PATH, b"[x", block("a"))


def test_a_key_is_taken_out_and_comments_stay() -> None:
    """What stands above it, between it and the next table, and behind the last one."""
    a, b = block("a").encode(), block("b").encode()
    text = SITE + b"\n# of a\n" + a + b"# still a?\n\n# of b\n" + b + b"# the end\n"
    found = config_edit.without_key(PATH, text, "a")
    assert names(found) == ["b"]
    for comment in (b"# of a", b"# still a?", b"# of b", b"# the end", b"# ours"):
        assert comment in found
    found = config_edit.without_key(PATH, found, "b")
    assert names(found) == []
    assert b"# the end" in found
    with pytest.raises(KeyError):
        config_edit.without_key(PATH, found, "b")


def test_tables_between_keys_stay() -> None:
    """The order of tables is the writer's own."""
    text = block("a").encode() + b"\n" + SITE + b"\n" + block("b").encode()
    assert config_edit.without_key(PATH, text, "a") == SITE + b"\n" + block("b").encode()
    assert config_edit.without_key(PATH, text, "b") == block("a").encode() + b"\n" + SITE


@pytest.mark.parametrize(
    "text",
    [
        SITE.replace(
            b"# ours\n", b"keys = [{name = 'a', sha256 = '" + b"a" * 64 + b"', site = 'demo'}]\n"
        ),
        SITE + b'goals = ["""\\\n[[keys]] #"""]\n' + block("a").encode(),
        SITE
        + b"[tiers.'[x']\nrequests_per_minute = 1\n"
        + block("a").encode().replace(b'"pro"', b'"""\\\n[x"""'),
    ],
)
def test_what_is_not_understood_is_left_alone(text: bytes) -> None:
    """One list, what looks like a header inside a text: said, not guessed."""
    assert names(text) == ["a"]
    with pytest.raises(NotEditable):
        config_edit.without_key(PATH, text, "a")
    if text.startswith(b"keys"):
        with pytest.raises(NotEditable):
            config_edit.with_key(PATH, text, block("b"))


_PIECES = st.lists(
    st.sampled_from([SITE, b"[limits]\nserver_burst = 3\n", b"# a word\n", b"\n"])
    | st.integers(0, 3).map(lambda n: block(f"k{n}").encode()),
    max_size=8,
)


@given(_PIECES, st.integers(0, 3))
def test_whatever_the_file_only_the_key_goes(pieces: list[bytes], number: int) -> None:
    """All other keys, sites and limits are the same, and every comment is there."""
    text, name = b"".join(pieces), f"k{number}"
    try:
        before = config_edit.read(PATH, text)
    except ConfigError:
        return
    if name not in [key.name for key in before.keys]:
        return
    found = config_edit.without_key(PATH, text, name)
    after = config_edit.read(PATH, found)
    assert after.keys == tuple(key for key in before.keys if key.name != name)
    assert (after.sites, after.limits) == (before.sites, before.limits)
    assert found.count(b"# a word") == text.count(b"# a word")
