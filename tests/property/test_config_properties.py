"""Whatever a configuration file holds: settings that keep every rule, or faults, nothing else."""

import datetime as dt
from pathlib import Path

import msgspec
import msgspec.inspect as mi
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector import keys
from collector.config import Config
from collector.config_file import EXAMPLE_FILE, ConfigError, Fault, load, parse
from tests.support.config import APP_ID, DIGEST

_few = settings(max_examples=200, deadline=None)
_EXAMPLE = (Path(__file__).parents[2] / "collector" / EXAMPLE_FILE).read_bytes()


def _names(kind: mi.Type) -> set[str]:
    match kind:
        case mi.StructType(fields=fields):
            return {f.name for f in fields}.union(*(_names(f.type) for f in fields))
        case mi.VarTupleType(item_type=inner) | mi.DictType(value_type=inner):
            return _names(inner)
    return set()


_KEYS = st.sampled_from(sorted(_names(mi.type_info(Config)))) | st.text(max_size=5)
_WORDS = st.sampled_from(
    [
        "demo",
        "site_access",
        "full_access",
        "pro",
        "sync",
        "reject",
        "a.b",
        "*.c.d",
        "10.0.0.0/8",
        "data",
        "/dev/null",
        "zv_x",
        "",
        APP_ID,
        DIGEST,
        "-----BEGIN PUBLIC KEY-----",
        "\x00",
        "\x85",
        "\u2028",
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _WORDS
    | st.text(max_size=12)
    | st.just(dt.date(2026, 1, 1))
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)
_SECTIONS = st.sampled_from(
    ["server", "storage", "limits", "tiers", "time", "enrich", "sites", "keys"]
)


def _toml(value: object) -> str:
    """`value` as TOML on one line; keys and texts as basic strings."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case bool():
            return str(value).lower()
        case str():
            text = value.encode("utf-8", "replace").decode()
            return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
        case dt.date():
            return value.isoformat()
        case int() | float():
            return str(value)
    return '"none"'


def _reads(text: bytes) -> Config | list[Fault]:
    """The settings, or the faults after checking that they are lines an operator can read."""
    try:
        return parse(text, file="config.toml", path=None)
    except ConfigError as error:
        faults = error.faults
    lines = [str(fault) for fault in faults]
    assert lines
    assert all(line.startswith("config.toml: ") for line in lines)
    assert all(line.isprintable() for line in lines)
    return faults


@_few
@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbf")
@example(b"[" * 5_000)
@example(b"a." * 5_000 + b"b = 1")
@example(b"a = " + b"{a = " * 3_000)
def test_any_bytes_load_or_are_told(text):
    """No bytes raise anything but the documented error."""
    _reads(text)


@_few
@given(st.integers(0, len(_EXAMPLE) - 1), st.binary(max_size=3), st.integers(0, 40))
def test_any_damage_to_a_good_file_loads_or_is_told(start, inserted, removed):
    """A slip of the hand anywhere in the example raises nothing undocumented."""
    _reads(_EXAMPLE[:start] + inserted + _EXAMPLE[start + removed :])


@_few
@given(st.dictionaries(_SECTIONS, _VALUES, max_size=5))
def test_any_document_loads_or_is_told(document):
    """Any values of any type under any setting: settings that hold, or faults."""
    text = "\n".join(f"{_toml(name)} = {_toml(value)}" for name, value in document.items())

    config = _reads(text.encode())

    if isinstance(config, Config):
        assert config.storage.directory.is_absolute()
        assert config.storage.queue_bytes_max >= config.server.body_bytes_max
        room = config.overload.reading_bytes_max
        assert room == 0 or room >= config.server.body_bytes_max
        assert len({site.id for site in config.sites}) == len(config.sites)
        assert all(key.tier in config.tiers for key in config.keys)


@_few
@given(st.text(max_size=20))
def test_any_path_is_told_when_it_cannot_be_read(name):
    """A path that no system call takes is a fault of the file like any other."""
    with pytest.raises(ConfigError) as caught:
        load(Path("/nonexistent") / name.replace("/", "_"))

    assert str(caught.value).isprintable()


@_few
@given(st.text(min_size=1), st.text(max_size=60))
def test_a_block_of_keys_new_is_toml_whatever_the_name(name, key_text):
    """The block is accepted, or its name is what is told to be wrong."""
    block = keys.toml_block(
        name=name, key_text=key_text, site="s", team="", tier="free", scope="site_access"
    )

    found = _reads(f'[[sites]]\nid = "s"\n{block}'.encode())

    if not isinstance(found, Config):
        assert [fault.key for fault in found] == ["keys[0].name"]
