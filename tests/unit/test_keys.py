"""Keys and the block of configuration that lets one in."""

import hashlib
import re
import tomllib

import pytest
from click.testing import CliRunner

from collector import keys
from collector.cli import main
from collector.config_file import parse


def test_a_new_key_has_the_published_shape():
    """`zv_` and 43 letters and digits, never the same twice."""
    made = {keys.new_key() for _ in range(100)}

    assert len(made) == 100
    assert all(re.fullmatch(r"zv_[A-Za-z0-9]{43}", key) for key in made)
    assert re.fullmatch(r"zv_[A-Za-z0-9]{43}", keys.DEMO_KEY)


def test_the_block_lets_the_key_in_and_hides_it():
    """Appended to a configuration it works; the key itself is not in it."""
    key = keys.new_key()

    block = keys.toml_block(
        name="backend", key_text=key, site="shop", team="t", tier="pro", scope="site_access"
    )
    config = parse(f'[[sites]]\nid = "shop"\n\n{block}'.encode(), file="f", path=None)

    assert key not in block
    assert config.keys[0].sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert config.keys[0].tier == "pro"


def test_the_line_lets_the_admin_token_in_and_hides_it():
    """What `collector admin-token new` prints is a configuration; the token itself is not in it."""
    token = keys.new_admin_token()

    line = keys.admin_toml_line(token)
    config = parse(line.encode(), file="f", path=None)

    assert re.fullmatch(r"admin_[A-Za-z0-9]{43}", token)
    assert token != keys.new_admin_token()
    assert token not in line
    assert config.server.admin_token_sha256 == hashlib.sha256(token.encode()).hexdigest()


def test_the_command_prints_a_token_and_its_line():
    """Once each; together they fit."""
    printed = CliRunner().invoke(main, ["admin-token", "new"]).output

    (token,) = re.findall(r"admin_[A-Za-z0-9]{43}", printed)
    assert keys.admin_toml_line(token) in printed


def test_an_empty_member_is_left_out():
    """A full_access key has no site."""
    block = keys.toml_block(
        name="k", key_text="x", site="", team="t", tier="free", scope="full_access"
    )

    assert block.splitlines()[0] == "[[keys]]"
    assert "site" not in block


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "é\x7f", "x\x00", "]]\n[server]"])
def test_names_cannot_break_out_of_the_block(name):
    """Whatever the operator calls the key is quoted as TOML wants it."""
    block = keys.toml_block(
        name=name, key_text="x", site="s", team="t", tier="free", scope="site_access"
    )

    assert tomllib.loads(block)["keys"][0]["name"] == name


def test_an_unencodable_name_is_still_a_block():
    """Bytes of a terminal that are no text become question marks instead of an exception."""
    block = keys.toml_block(
        name="a\udcff", key_text="x", site="s", team="t", tier="free", scope="site_access"
    )

    assert tomllib.loads(block)["keys"][0]["name"] == "a?"
