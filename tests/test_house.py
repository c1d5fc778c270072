"""The rules of this house, applied to this repository. The rules themselves are in `house/`."""

import ast
import socket
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache

import msgspec
import pytest

import storage
from collector.config import Config, Enrich, Key, Limits, Server, Site, Storage
from tests.house import calls, imports, shape, words
from tests.house.source import ROOT, Fault, Module, modules, stale, tracked

PROTOCOLS = ("croct", "scanova", "zenovay")
ENTRIES = {
    "collector.cli": "the command `collector`",
    "collector.__main__": "`python -m collector`",
    "collector.logs": "named by the logging configuration it returns itself",
    "storage": "the surface of the engine",
}


@cache
def product() -> list[Module]:
    """What is installed."""
    return modules(*imports.PRODUCT)


@cache
def everything() -> list[Module]:
    """What is written in Python, tests and benchmarks too."""
    return modules(*imports.PRODUCT, "bench", "binary", "tests")


# They have to spell what they forbid.
ABOUT_WORDS = {"tests/house/words.py", "tests/unit/test_house_words.py"}


@cache
def texts() -> dict[str, str]:
    """Every text file by its path."""
    found = {}
    for path in set(tracked()) - ABOUT_WORDS:
        data = (ROOT / path).read_bytes()
        if b"\0" not in data:
            found[path] = data.decode("utf-8", "replace")
    return found


def _tell(faults: Iterable[object]) -> None:
    found = [str(fault) for fault in faults]
    assert not found, f"{len(found)} faults:\n" + "\n".join(found)


@cache
def settings() -> frozenset[str]:
    """The names of all settings."""
    tables = (Config, Server, Storage, Limits, Enrich, Site, Key)
    return frozenset(field.name for table in tables for field in msgspec.structs.fields(table))


@cache
def declared() -> frozenset[str]:
    """Import names of the dependencies in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {name.split(">")[0].split("[")[0].strip() for name in project["dependencies"]}
    return frozenset(name.replace("-", "_") for name in names - {"pyjwt"} | {"jwt"})


OF_THE_PRODUCT: list[Callable[[Module], Iterator[Fault]]] = [
    imports.storage_looks_down_only,
    imports.only_where_allowed,
    imports.never_imported,
    calls.one_door_to_the_disk,
    calls.clock_is_passed_in,
    calls.chance_has_a_home,
    calls.typed_decoders_only,
    calls.decoders_are_built_once,
    calls.catches_by_name,
    calls.asserts_say_why,
    calls.one_composition_root,
    calls.nothing_left_over,
    shape.public_things_are_explained,
    shape.annotations_are_complete,
]
OF_EVERYTHING: list[Callable[[Module], Iterator[Fault]]] = [
    shape.not_too_large,
    shape.modules_are_explained,
]


@pytest.mark.parametrize("rule", OF_THE_PRODUCT, ids=lambda rule: rule.__name__)
def test_product(rule: Callable[[Module], Iterator[Fault]]) -> None:
    """What is installed keeps the rule."""
    _tell(fault for module in product() for fault in rule(module))


@pytest.mark.parametrize("rule", OF_EVERYTHING, ids=lambda rule: rule.__name__)
def test_everything(rule: Callable[[Module], Iterator[Fault]]) -> None:
    """What is written here keeps the rule, tests and benchmarks too."""
    _tell(fault for module in everything() for fault in rule(module))


def test_something_is_looked_at() -> None:
    """The rules do see the product, the tests and the benchmarks."""
    folders = [module.path.split("/")[0] for module in everything()]
    assert min(folders.count(name) for name in ("collector", "storage", "bench", "tests")) >= 10
    assert {"README.md", "pyproject.toml", "requirements.lock"} <= texts().keys()


def test_the_collector_sees_the_surface_of_storage_only() -> None:
    """`from storage import X`, where X is exported."""
    _tell(f for m in product() for f in imports.surface_of_storage_only(m, storage.__all__))


def test_adapters_are_islands() -> None:
    """One protocol knows nothing of another, and no adapter of the rest of the house."""
    _tell(f for m in product() for f in imports.adapters_are_islands(m, PROTOCOLS))


def test_nothing_undeclared_is_imported() -> None:
    """Whatever is imported is ours, of the standard library, or declared in pyproject.toml."""
    _tell(f for m in product() for f in imports.nothing_undeclared(m, declared()))


def test_every_dependency_is_used() -> None:
    """Nothing is declared that nobody imports; what only DuckDB or the server load is named."""
    loaded_by_others = {"pytz", "uvloop"}
    used = {one.target.split(".")[0] for module in product() for one in module.imports}
    assert declared() - used == loaded_by_others


def test_the_way_of_an_event_names_no_protocol() -> None:
    """A fourth protocol is an adapter and its rows in the table; nothing else has to change."""
    paths = {module.path for module in product()}
    assert paths >= calls.NAMES_NO_PROTOCOL
    _tell(f for m in product() for f in calls.names_no_protocol(m, PROTOCOLS, settings()))


def test_no_module_imports_itself_around_a_corner() -> None:
    """The arrows between modules form no circle."""
    _tell(imports.cycles(product()))


def test_no_module_is_forgotten() -> None:
    """Every module of the product is reached from a command."""
    _tell(imports.unreferenced(product(), ENTRIES))


def test_no_test_support_is_forgotten() -> None:
    """What tests share is used by a test."""
    listed = everything()
    roots = [module.name for module in listed if _is_run_by_itself(module)]
    forgotten = imports.unreferenced(listed, [*roots, *ENTRIES])
    _tell(name for name in forgotten if not name.startswith("bench") or "." in name)


def _is_run_by_itself(module: Module) -> bool:
    name = module.name.rsplit(".", 1)[-1]
    return (
        name.startswith("test_")
        or name == "conftest"
        or any(
            isinstance(node, ast.If) and "__main__" in ast.dump(node.test)
            for node in module.tree.body
        )
    )


def test_every_test_says_what_it_promises() -> None:
    """The docstrings of the tests, read one after the other, are what the collector promises."""
    tests = [module for module in everything() if module.path.startswith("tests/")]
    _tell(fault for module in tests for fault in shape.tests_state_their_promise(module))
    _tell(shape.names_are_not_repeated(tests))


@pytest.mark.parametrize(
    "rule",
    [words.no_markers, words.sources_can_be_looked_up, words.no_registries],
    ids=lambda rule: rule.__name__,
)
def test_words(rule: Callable[[str, str], Iterator[Fault]]) -> None:
    """No file of the repository holds words that do not belong in it."""
    _tell(fault for path, text in texts().items() for fault in rule(path, text))


def test_every_page_that_is_named_exists() -> None:
    """No text sends its reader to a page that is not there."""
    _tell(f for path, text in texts().items() for f in words.pages_exist(path, text, texts()))


def test_no_file_names_this_machine() -> None:
    """The repository was written nowhere in particular."""
    hosts = [socket.gethostname()]
    _tell(f for path, text in texts().items() for f in words.no_machine(path, text, hosts))


def test_exceptions_are_needed() -> None:
    """Nothing is allowed that nobody does any more."""
    by_path = {module.path: module for module in product()}
    for name, files in imports.used_homes(product()).items():
        homes = {path for path in imports.ONLY_IN[name][0] if path in by_path}
        assert homes == files, f"{name}: {sorted(homes - files)} need no exception"
    catching = [
        path
        for path, module in by_path.items()
        if list(calls.catches_by_name(Module(f"other/{path}", module.text)))
    ]
    assert stale(calls.CATCHES_ALL, catching) == []
    assert calls.OPENS_FOR_WRITING.keys() <= by_path.keys()
