"""Reading the configuration: what loads, what is refused, and in which words."""

import hashlib
from pathlib import Path

import msgspec
import msgspec.inspect as mi
import pytest

from collector import keys
from collector.config import DEFAULT_TIERS, Config, Tier
from collector.config_file import ConfigError, Fault, load, parse
from tests.support.config import APP_ID, DIGEST, KEY, SITE, fault, faults, read

# --- where settings come from


def test_built_in_example_is_used_without_a_file(tmp_path, monkeypatch):
    """With no file anywhere the packaged example counts, and data goes to the working directory."""
    monkeypatch.chdir(tmp_path)

    config = load(None)

    assert config.path is None
    assert config.storage.directory == tmp_path / "data"
    assert [site.id for site in config.sites] == ["demo"]


def test_config_toml_in_the_working_directory_is_found(tmp_path, monkeypatch):
    """Without --config, config.toml beside the operator is read."""
    (tmp_path / "config.toml").write_text("[server]\nport = 0\n")
    monkeypatch.chdir(tmp_path)

    config = load(None)

    assert config.server.port == 0
    assert config.path == tmp_path / "config.toml"


def test_a_config_toml_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    """A dangling config.toml is a fault, never a silent start with the published demo key."""
    (tmp_path / "config.toml").symlink_to(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=r"config\.toml: cannot be read: No such file"):
        load(None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone.toml", "No such file"), ("", "directory"), ("a\0b", "cannot be read")],
)
def test_an_unreadable_file_is_a_fault(tmp_path, name, reason):
    """Whatever the system says about the path is told in one line."""
    with pytest.raises(ConfigError, match=reason) as caught:
        load(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_paths_start_from_the_folder_of_the_file(tmp_path, monkeypatch):
    """Where the file lies counts, not where the operator stands."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "scans.csv").write_bytes(b"")
    (tmp_path / "etc" / "c.toml").write_text(
        '[storage]\ndirectory = "../rows"\n[enrich]\nscan_sessions = "../scans.csv"\n'
    )
    monkeypatch.chdir(tmp_path)

    config = load(Path("etc/c.toml"))

    assert config.storage.directory == tmp_path / "rows"
    assert config.enrich.scan_sessions == str(tmp_path / "scans.csv")
    assert config.path == tmp_path / "etc" / "c.toml"


def test_the_default_directory_is_beside_the_file(tmp_path):
    """A file that says nothing of storage still keeps its data in its own folder."""
    assert read("", tmp_path).storage.directory == tmp_path / "data"
    assert read("[storage]\n", tmp_path).storage.directory == tmp_path / "data"


def test_an_empty_file_gives_the_defaults():
    """Every setting has a default; only sites and keys must be listed."""
    config = read("")

    assert config == Config(storage=config.storage)


def test_a_byte_order_mark_is_ignored():
    """Some editors put one in front of every file they save."""
    assert read("\ufeff[server]\nport = 1\n").server.port == 1


# --- the packaged example


def test_example_says_what_the_structs_say():
    """Values in the example file are the defaults, so that copying it changes nothing."""
    config = load(None)
    plain = Config()

    assert config.server == plain.server
    assert config.limits == plain.limits
    assert config.time == plain.time
    assert config.enrich == plain.enrich
    assert config.tiers == DEFAULT_TIERS
    directory = plain.storage.directory
    assert msgspec.structs.replace(config.storage, directory=directory) == plain.storage


def _setting_names(kind: mi.Type) -> set[str]:
    match kind:
        case mi.StructType(fields=fields):
            inner = [_setting_names(field.type) for field in fields]
            return {field.name for field in fields}.union(*inner)
        case mi.VarTupleType(item_type=inner) | mi.DictType(value_type=inner):
            return _setting_names(inner)
        case mi.Metadata(type=inner):
            return _setting_names(inner)
    return set()


_ROOT = Path(__file__).parents[2]


def test_example_names_every_setting():
    """A new setting shows up where people look for it first."""
    text = (_ROOT / "config.example.toml").read_text()
    names = _setting_names(mi.type_info(Config)) - {"path"}

    assert len(names) > 40
    missing = [name for name in names if f"{name} = " not in text and f"[{name}" not in text]
    assert missing == []


def _plain(field: mi.Field) -> str:
    if field.required:
        return "none, must be given"
    value = sorted(field.default) if isinstance(field.default, frozenset) else field.default
    text = str(value) if isinstance(value, Path) else value
    written = msgspec.json.encode(text).decode()
    return f"`{written.replace(',', ', ')}`"


def _documented(kind: mi.Type) -> list[mi.Field]:
    """Settings that are values, from the sections inwards."""
    match kind:
        case mi.StructType(fields=fields):
            inner = [found for field in fields for found in _documented(field.type)]
            sections = mi.StructType | mi.DictType
            plain = [f for f in fields if not isinstance(f.type, sections)]
            return [f for f in plain if f.name not in {"sites", "keys", "path"}] + inner
        case mi.VarTupleType(item_type=inner) | mi.DictType(value_type=inner):
            return _documented(inner)
        case mi.Metadata(type=inner):
            return _documented(inner)
    return []


def test_manual_tells_every_setting_with_its_default():
    """The manual's tables cannot drift away from the structs."""
    lines = (_ROOT / "docs" / "CONFIG.md").read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| `")]
    told = [(row[1].strip(), row[4].strip()) for row in rows if len(row) == 7]

    expected = [(f"`{field.name}`", _plain(field)) for field in _documented(mi.type_info(Config))]

    assert len(expected) > 40
    assert sorted(told) == sorted(expected)


def test_example_at_the_top_is_the_packaged_one():
    """There is one example; the copy people see first is a link to it."""
    top = _ROOT / "config.example.toml"

    assert top.readlink() == Path("collector/config.example.toml")


def test_example_key_is_the_published_one():
    """The demo key's text works with the example, and the file warns about it."""
    (key,) = load(None).keys
    text = (_ROOT / "config.example.toml").read_text()

    assert key.sha256 == hashlib.sha256(keys.DEMO_KEY.encode()).hexdigest()
    assert len(keys.DEMO_KEY) == 46
    assert f" {keys.DEMO_KEY}. It is published" in text
    assert (key.team, key.site, key.scope, key.tier) == ("demo", "demo", "site_access", "pro")


def test_example_site_is_the_demo():
    """Everything that the first five minutes need is in the example."""
    (site,) = load(None).sites

    assert (site.id, site.team, site.tracking_code) == ("demo", "demo", "ZV_demo")
    assert site.croct_app_id == APP_ID
    assert site.allowed_domains == ("localhost", "127.0.0.1")
    assert site.goals == {"signup"}


# --- the file as such


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"a = \n", "line 1"),
        (b"a = 1\n\n[server\n", "line 3"),
        (b"a = 1\nb = [1,", "line 2"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"ok = 1\nbad = \xff\n", "not valid UTF-8 (at line 2)"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"9" * 5_000, "not valid TOML"),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(text, wanted):
    """A typo can be found without counting brackets by hand."""
    with pytest.raises(ConfigError) as caught:
        parse(text, file="config.toml", path=None)
    line = str(caught.value)
    assert line.startswith("config.toml: is n")
    assert wanted in line


def test_a_fault_is_one_line():
    """File, key and what is wrong; unprintable characters cannot break the line or the terminal."""
    told = Fault("config.toml", "storage.publish_interval_ms", "must be\nx\x1b[31m")

    assert str(told) == "config.toml: storage.publish_interval_ms: must be\\nx\\x1b[31m"
    assert str(Fault("config.toml", "", "gone")) == "config.toml: gone"


def test_the_line_of_the_manual():
    """The promised form, word for word."""
    line = fault("[storage]\npublish_interval_ms = 5\n")

    assert line == (
        "config.toml: storage.publish_interval_ms: must be between 100 and 3600000, not 5"
    )


def test_all_faults_are_told_at_once():
    """Nobody mends a file one fault at a time."""
    lines = faults(
        "[server]\nport = -1\nhots = 1\n[storage]\ndurability = 3\n[limits]\naddresses_max = 0\n"
        + SITE
        + KEY.replace("shop", "ship")
    )

    assert [line.split(": ")[1] for line in lines] == [
        "server.hots",
        "server.port",
        "storage.durability",
        "limits.addresses_max",
        "keys[0].site",
    ]


# --- names


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[storag]\n", "storag: is not a setting; did you mean storage?"),
        ("[server]\nprot = 1\n", "server.prot: is not a setting; did you mean port?"),
        (
            "[server]\nretention_days = 1\n",
            "server.retention_days: is not a setting here; did you mean storage.retention_days?",
        ),
        ("port = 1\n", "port: is not a setting here; did you mean server.port?"),
        ("[server]\nzzz = 1\n", "server.zzz: is not a setting"),
        (
            "[[sites]]\nid = 'a'\ngaols = []\n",
            "sites[0].gaols: is not a setting; did you mean goals?",
        ),
        ("path = 'x'\n", "path: is not a setting"),
        ('"a\\nb" = 1\n', 'config.toml: "a\\nb": is not a setting'),
    ],
)
def test_unknown_settings_are_refused_with_a_guess(text, wanted):
    """A misspelt limit must not silently be no limit."""
    assert fault(text).endswith(wanted)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[sites]]\n", "sites[0].id: is missing"),
        ("[tiers.gold]\n", "tiers.gold.requests_per_minute: is missing"),
        (SITE + f'[[keys]]\nname="k"\nsha256="{DIGEST}"\n', "keys[0].site: is missing: scope"),
        (SITE + 'croct_public_keys = [{id = ""}]\n', "croct_public_keys[0].pem: is missing"),
    ],
)
def test_what_must_be_said_is_asked_for(text, key):
    """Settings without a default are named when they are absent."""
    assert key in fault(text)


# --- types and ranges


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("server = 1", "server: must be a table, not a whole number"),
        ("[sites]", "sites: must be a list (write [[sites]]), not a table"),
        ("sites = [1]", "sites[0]: must be a table, not a whole number"),
        ("tiers = []", "tiers: must be a table, not a list"),
        ("tiers = {a = 1}", "tiers.a: must be a table, not a whole number"),
        ('[server]\nport = "1"', "server.port: must be a whole number, not text"),
        ("[server]\nport = 1.0", "server.port: must be a whole number, not a fraction"),
        ("[server]\nport = true", "server.port: must be a whole number, not a truth value"),
        ("[server]\nport = 65536", "server.port: must be between 0 and 65535, not 65536"),
        ("[server]\nhost = 1979-05-27", "server.host: must be text, not a date"),
        ("[server]\nhost = 07:32:00", "server.host: must be text, not a time"),
        ("[server]\ntrusted_proxies = '::1'", "trusted_proxies: must be a list, not text"),
        ("[[sites]]\nid='a'\nactive=1", "sites[0].active: must be true or false, not a whole"),
        ("[[sites]]\nid='a'\ngoals=[1]", "sites[0].goals[0]: must be text, not a whole number"),
        ("[[sites]]\nid='a'\ngoals=['']", "sites[0].goals[0]: must not be empty"),
        ("[[sites]]\nid=''", "sites[0].id: must not be empty"),
        ("[[sites]]\nid='a'\nteam=\"a\\u0000\"", "team: must not contain control characters"),
        ("[storage]\ndurability='fsync'", 'must be "os" or "sync", not "fsync"'),
        ("[server]\ninterface='wsgi'", 'must be "asgi" or "rsgi", not "wsgi"'),
        ("[storage]\ndurability=[]", 'must be "os" or "sync", not a list'),
        ("[storage]\nsegment_bytes_max=1048575", "must be at least 1048576, not 1048575"),
        ("[storage]\ndisk_free_bytes_min=-1", "must be at least 0, not -1"),
        ("[storage]\npublish_interval_ms=3600001", "between 100 and 3600000, not 3600001"),
        ("[storage]\npublish_interval_ms=99", "between 100 and 3600000, not 99"),
        ("[limits]\naddresses_max=9223372036854775808", "must be at most 9223372036854775807"),
        ("[limits]\naddresses_max=0x" + "f" * 99, "not a number of so many digits"),
        ("[storage]\ndirectory=''", "storage.directory: must not be empty"),
        ("[storage]\ndirectory=1", "storage.directory: must be text, not a whole number"),
        ('[storage]\ndirectory="a\\u0000"', "must be a path without control characters"),
        ("[server]\nhost='a b'", 'must be an address or a host name to listen on, not "a b"'),
        ("[server]\nadmin_token_sha256='abc'", "must be a SHA-256 in 64 hex digits, not 3"),
    ],
)
def test_wrong_values_are_told_with_what_is_right(text, wanted):
    """The message alone is enough to mend the setting."""
    assert wanted in fault(text)


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nport = 0",
        "[server]\nport = 65535",
        "[server]\nhost = '::'",
        "[server]\nhost = 'my_container'",
        "[storage]\npublish_interval_ms = 100",
        "[storage]\npublish_interval_ms = 3600000",
        "[storage]\nsegment_bytes_max = 1048576",
        "[storage]\ndisk_free_bytes_min = 9223372036854775807",
        "[storage]\nqueue_bytes_max = 4194304",
        "[limits]\nbrowser_requests_per_minute = 0",
        f"[server]\nadmin_token_sha256 = '{DIGEST}'",
        "sites = []",
    ],
)
def test_the_edges_of_ranges_are_allowed(text):
    """A range includes both its ends."""
    read(text)


# --- tiers


def test_tiers_of_any_name_are_added_and_known_ones_overridden():
    """What an override leaves out keeps its value, rather than becoming unlimited."""
    tiers = read(
        '[tiers.pro]\nrequests_per_minute = 99\n[tiers."big one"]\nrequests_per_minute = 0\n'
    ).tiers

    assert tiers["pro"] == Tier(requests_per_minute=99, requests_per_month=10_000)
    assert tiers["big one"] == Tier(requests_per_minute=0)
    assert tiers["free"] == DEFAULT_TIERS["free"]
    assert DEFAULT_TIERS["pro"].requests_per_minute == 30
