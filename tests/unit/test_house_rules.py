"""Every rule about code is broken, and kept by something that looks like breaking it."""

from collections.abc import Callable, Iterator

import pytest

from tests.house import calls, imports, shape
from tests.house.source import Fault, Module, dotted, modules, stale, tracked

PROTOCOLS = ("croct", "scanova", "zenovay")
CORE = "collector/pipeline.py"
Rule = Callable[[Module], Iterator[Fault]]


def _surface(module: Module) -> Iterator[Fault]:
    return imports.surface_of_storage_only(module, ["Store", "tail"])


def _islands(module: Module) -> Iterator[Fault]:
    return imports.adapters_are_islands(module, PROTOCOLS)


def _declared(module: Module) -> Iterator[Fault]:
    return imports.nothing_undeclared(module, ["msgspec"])


def _protocols(module: Module) -> Iterator[Fault]:
    return calls.names_no_protocol(module, PROTOCOLS, ["croct_suspended"])


def _sizes(module: Module) -> Iterator[Fault]:
    limit = shape.Sizes(file_lines=6, function_lines=3, parameters=2, line_chars=40)
    return shape.not_too_large(module, limit)


BROKEN: list[tuple[Rule, str, str]] = [
    (imports.storage_looks_down_only, "storage/x.py", "import collector.event"),
    (imports.storage_looks_down_only, "storage/x.py", "from collector import event"),
    (imports.storage_looks_down_only, "storage/x.py", "def f():\n    from collector import event"),
    (_surface, CORE, "from storage.store import Store"),
    (_surface, CORE, "import storage"),
    (_surface, CORE, "import storage.tail"),
    (_surface, CORE, "from storage import wal"),
    (_islands, "collector/adapters/croct.py", "from collector.adapters import zenovay"),
    (_islands, "collector/adapters/croct.py", "from collector.adapters.scanova_events import x"),
    (_islands, "collector/adapters/croct_events.py", "from . import zenovay"),
    (_islands, "collector/adapters/croct.py", "from collector.sites import Sites"),
    (_islands, "collector/adapters/croct.py", "import os"),
    (_islands, "collector/adapters/croct.py", "import duckdb"),
    (_islands, "collector/adapters/decoding.py", "from collector.adapters import croct"),
    (_islands, "collector/adapters/decoding.py", "from collector.adapters.decoding_fast import x"),
    (imports.only_where_allowed, CORE, "import granian"),
    (imports.only_where_allowed, CORE, "from granian.http import HTTP1Settings"),
    (imports.only_where_allowed, "storage/segment.py", "import duckdb"),
    (imports.only_where_allowed, "storage/commit.py", "import xxhash"),
    (imports.only_where_allowed, CORE, "import time"),
    (imports.only_where_allowed, CORE, "from time import monotonic"),
    (imports.only_where_allowed, "collector/http.py", "import threading"),
    (imports.only_where_allowed, CORE, "from concurrent.futures import ThreadPoolExecutor"),
    (imports.only_where_allowed, "storage/wal.py", "import shutil"),
    (imports.never_imported, CORE, "import json"),
    (imports.never_imported, CORE, "from json import loads"),
    (imports.never_imported, CORE, "from tests.support import app"),
    (_declared, CORE, "import numpy.linalg"),
    (calls.one_door_to_the_disk, CORE, "import os\nos.fsync(1)"),
    (calls.one_door_to_the_disk, CORE, "import os\nos.replace(a, b)"),
    (calls.one_door_to_the_disk, "storage/files.py", "import os\nos.fsync(1)"),
    (calls.one_door_to_the_disk, "storage/files.py", "path.unlink()"),
    (calls.one_door_to_the_disk, CORE, "self.unlink(path)"),
    (calls.one_door_to_the_disk, CORE, "path.replace(other)"),
    (calls.one_door_to_the_disk, CORE, "path.rename(other)"),
    (calls.one_door_to_the_disk, CORE, "f().unlink()"),
    (calls.one_door_to_the_disk, CORE, "path.write_text('x')"),
    (calls.one_door_to_the_disk, CORE, "open(path, 'ab')"),
    (calls.one_door_to_the_disk, CORE, "open(path, mode='w')"),
    (calls.one_door_to_the_disk, CORE, "open(path, mode)"),
    (calls.one_door_to_the_disk, CORE, "path.open('r+b')"),
    (calls.one_door_to_the_disk, CORE, "path.open(mode='x')"),
    (calls.clock_is_passed_in, CORE, "datetime.now(UTC)"),
    (calls.clock_is_passed_in, CORE, "datetime.datetime.utcnow()"),
    (calls.clock_is_passed_in, CORE, "date.today()"),
    (calls.chance_has_a_home, CORE, "uuid.uuid4()"),
    (calls.chance_has_a_home, CORE, "os.urandom(16)"),
    (calls.typed_decoders_only, CORE, "msgspec.json.decode(body)"),
    (calls.typed_decoders_only, CORE, "def f():\n    msgspec.json.encode(body)"),
    (calls.decoders_are_built_once, CORE, "def f():\n    msgspec.json.Decoder(T).decode(b)"),
    (calls.catches_by_name, CORE, "try:\n    f()\nexcept Exception:\n    pass"),
    (calls.catches_by_name, CORE, "try:\n    f()\nexcept:\n    raise"),
    (calls.catches_by_name, CORE, "try:\n    f()\nexcept (OSError, BaseException):\n    raise"),
    (calls.catches_by_name, "collector/asgi.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (
        calls.catches_by_name,
        "collector/asgi.py",
        "try:\n    f()\nexcept Exception:  # noqa: BLE001\n    pass",
    ),
    (calls.asserts_say_why, "collector/adapters/croct.py", "assert body"),
    (
        calls.one_composition_root,
        CORE,
        "from collector.metrics import Metrics\ndef f():\n    Metrics()",
    ),
    (calls.one_composition_root, CORE, "from collector import metrics as m\nm.Metrics()"),
    (calls.one_composition_root, CORE, "from storage import Store\nStore.open(settings)"),
    (calls.nothing_left_over, CORE, "print('here')"),
    (calls.nothing_left_over, CORE, "breakpoint()"),
    (_protocols, CORE, "if endpoint.protocol == 'croct':\n    pass"),
    (_protocols, CORE, "from collector.adapters import zenovay"),
    (_protocols, CORE, "croct_limit = 3"),
    (_protocols, CORE, "x = b'ScaNova'"),
    (_protocols, CORE, "def answer_zenovay():\n    pass"),
    (_sizes, CORE, "\n" * 7),
    (_sizes, CORE, "def f():\n    a\n    b\n    c"),
    (_sizes, CORE, "def f(a, b, c): ..."),
    (_sizes, CORE, "class A:\n    def f(self, a, b, c): ..."),
    (_sizes, CORE, "x = '" + "x" * 50 + "'"),
    (shape.modules_are_explained, CORE, "x = 1"),
    (shape.public_things_are_explained, CORE, "def f(): ..."),
    (shape.public_things_are_explained, CORE, "class A:\n    '''Doc.'''\n    def f(self): ..."),
    (shape.public_things_are_explained, CORE, "class A: ..."),
    (shape.tests_state_their_promise, "tests/test_x.py", "def test_x(): ..."),
    (shape.tests_state_their_promise, "tests/test_x.py", "def test_x():\n    '''half a sent'''"),
    (shape.tests_state_their_promise, "tests/test_x.py", "class T:\n    def test_x(self): ..."),
    (shape.annotations_are_complete, CORE, "def f(a) -> int: ..."),
    (shape.annotations_are_complete, CORE, "def f(*, a) -> int: ..."),
    (shape.annotations_are_complete, CORE, "def f(*a: int, **b) -> int: ..."),
    (shape.annotations_are_complete, CORE, "def f(a: int): ..."),
    (shape.annotations_are_complete, CORE, "class A:\n    def f(self, a) -> int: ..."),
]

KEPT: list[tuple[Rule, str, str]] = [
    (imports.storage_looks_down_only, "storage/x.py", "from storage import wal\nimport collectors"),
    (imports.storage_looks_down_only, CORE, "import collector.event"),
    (_surface, CORE, "from storage import Store, tail"),
    (_surface, "storage/x.py", "from storage.wal import Wal"),
    (
        _islands,
        "collector/adapters/croct.py",
        "from collector.adapters import croct_events, decoding",
    ),
    (_islands, "collector/adapters/croct.py", "from collector.adapters.croct_events import x"),
    (_islands, "collector/adapters/croct.py", "from collector.adapters.contract import Request"),
    (_islands, "collector/adapters/croct.py", "import re, msgspec\nfrom urllib.parse import quote"),
    (_islands, "collector/adapters/__init__.py", "from collector.adapters import croct, zenovay"),
    (imports.only_where_allowed, "collector/service.py", "import time"),
    (imports.only_where_allowed, "storage/query.py", "import duckdb, threading"),
    (imports.never_imported, CORE, "import msgspec.json"),
    (_declared, CORE, "import os, msgspec.json\nfrom collector import http\nimport storage"),
    (calls.one_door_to_the_disk, "storage/system.py", "import os\nos.fsync(1)"),
    (calls.one_door_to_the_disk, "storage/files.py", "self.unlink(path)"),
    (calls.one_door_to_the_disk, CORE, "text.replace('a', 'b')"),
    (calls.one_door_to_the_disk, CORE, "msgspec.structs.replace(row, a=1)"),
    (calls.one_door_to_the_disk, CORE, "open(path)\npath.open('rb')\nopen(path, 'rb')"),
    (calls.one_door_to_the_disk, CORE, "Store.open(settings, Files())\nos.close(1)\nunlink(x)"),
    (calls.one_door_to_the_disk, "collector/cli.py", "click.open_file(path, 'wb')"),
    (calls.clock_is_passed_in, CORE, "datetime.fromtimestamp(1, UTC)\nclock.now()"),
    (calls.clock_is_passed_in, "collector/service.py", "datetime.now(UTC)"),
    (calls.chance_has_a_home, CORE, "uuid.UUID(text)\nuuid4()"),
    (calls.typed_decoders_only, CORE, "_d = msgspec.json.Decoder(T)\n_d.decode(body)"),
    (calls.decoders_are_built_once, CORE, "_d = msgspec.json.Decoder(T)"),
    (
        calls.decoders_are_built_once,
        CORE,
        "class A:\n    def __init__(self):\n        self.d = msgspec.json.Decoder(T)",
    ),
    (calls.catches_by_name, CORE, "try:\n    f()\nexcept (OSError, ValueError):\n    pass"),
    (
        calls.catches_by_name,
        "collector/asgi.py",
        "try:\n    f()\nexcept Exception:  # noqa: BLE001 it is told\n    pass",
    ),
    (calls.catches_by_name, "collector/asgi.py", "try:\n    f()\nexcept Exception:\n    raise"),
    (calls.asserts_say_why, "collector/adapters/croct.py", "assert x, 'we checked'"),
    (calls.asserts_say_why, CORE, "assert x"),
    (calls.one_composition_root, "collector/service.py", "Pipeline()"),
    (calls.one_composition_root, "collector/adapters/x.py", "class BodyReader: ...\nBodyReader()"),
    (calls.nothing_left_over, CORE, "click.echo('x')\nself.print('x')"),
    (_protocols, CORE, "'''Croct says so.'''\nx = site.croct_suspended  # zenovay too"),
    (_protocols, "collector/adapters/croct.py", "x = 'croct'"),
    (_sizes, CORE, "def f(a, b, *, c, d):\n    a\n    b"),
    (_sizes, CORE, "class A:\n    def f(self, a, b): ..."),
    (_sizes, CORE, "x = '" + "x" * 30 + "'  # noqa: S608 (for some reason or other)"),
    (shape.modules_are_explained, CORE, "'''What it owns.'''"),
    (shape.public_things_are_explained, CORE, "def _f(): ...\nclass _A:\n    def f(self): ..."),
    (shape.public_things_are_explained, CORE, "def _f():\n    def g(): ..."),
    (shape.tests_state_their_promise, "tests/test_x.py", "def test_x():\n    '''It holds.'''"),
    (shape.tests_state_their_promise, "tests/test_x.py", "def helper(): ..."),
    (
        shape.annotations_are_complete,
        CORE,
        "class A:\n    def f(self, a: int, *b: int) -> int: ...",
    ),
]


def _name(value: object) -> str | None:
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN, ids=_name)
def test_broken(rule: Rule, path: str, text: str) -> None:
    """What breaks the rule is found, in its file and line."""
    faults = list(rule(Module(path, text)))
    assert faults
    for fault in faults:
        assert fault.path == path
        assert 1 <= fault.line <= text.count("\n") + 1
        assert str(fault).startswith(f"{path}:{fault.line}: ")


@pytest.mark.parametrize(("rule", "path", "text"), KEPT, ids=_name)
def test_kept(rule: Rule, path: str, text: str) -> None:
    """What only looks like breaking the rule is let pass."""
    assert list(rule(Module(path, text))) == []


def test_every_rule_is_broken_and_kept_here() -> None:
    """A rule that is never broken could as well not exist."""
    broken, kept = {rule for rule, _, _ in BROKEN}, {rule for rule, _, _ in KEPT}
    assert broken == kept
    written = {
        function
        for owner in (imports, calls, shape)
        for name, function in vars(owner).items()
        if getattr(function, "__module__", "") == owner.__name__
        and function.__annotations__.get("return") == Iterator[Fault]
        and not name.startswith("_")
    }
    stand_ins = {
        imports.surface_of_storage_only,
        imports.adapters_are_islands,
        imports.nothing_undeclared,
        calls.names_no_protocol,
        shape.not_too_large,
        shape.names_are_not_repeated,  # below
    }
    assert written - stand_ins == broken - {_surface, _islands, _declared, _protocols, _sizes}


# --- rules about many modules


def _modules(**texts: str) -> list[Module]:
    return [
        Module(f"{name.replace('__', '/')}.py".replace("/init", "/__init__"), text)
        for name, text in texts.items()
    ]


def test_cycles_are_found_around_corners() -> None:
    """Three modules in a circle are a circle; two that share a third are none."""
    circle = _modules(p__a="import p.b", p__b="from p import c", p__c="from p.a import x")
    assert imports.cycles(circle) == ["p.a -> p.b -> p.c -> p.a"]
    tree = _modules(p__a="import p.b, p.c", p__b="import p.c", p__c="import os")
    assert imports.cycles(tree) == []


def test_surface_of_a_package_is_no_cycle() -> None:
    """A package's `__init__` imports its modules, which import each other through it."""
    package = _modules(p__init="from p import a, b", p__a="from p import b", p__b="")
    assert imports.cycles(package) == []


def test_unreferenced_modules_are_found() -> None:
    """What nothing leads to from the roots is forgotten; packages on the way are not."""
    package = _modules(
        p__init="",
        p__cli="from p.q import a",
        p__q__init="from p.q import b",
        p__q__a="",
        p__q__b="",
    )
    assert imports.unreferenced(package, ["p.cli"]) == []
    assert imports.unreferenced([*package, Module("p/lost.py", "import p.cli")], ["p.cli"]) == [
        "p.lost"
    ]


def test_hidden_tests_are_found() -> None:
    """Of two tests of one name only the second runs."""
    twice = Module("tests/test_x.py", "def test_a(): ...\ndef test_a(): ...")
    assert [fault.line for fault in shape.names_are_not_repeated([twice])] == [2]
    apart = "def test_a(): ...\nclass A:\n    def test_a(self): ..."
    assert list(shape.names_are_not_repeated([Module("tests/test_x.py", apart)])) == []


def test_stale_exceptions_are_found() -> None:
    """An exception that nobody needs is told."""
    assert stale({"a.py": "why", "b.py": "why"}, ["a.py", "c.py"]) == ["b.py"]
    used = imports.used_homes([Module("collector/x.py", "import time")])
    assert used["time"] == {"collector/x.py"}
    assert used["duckdb"] == set()


# --- what the rules look at


def test_imports_are_resolved() -> None:
    """Relative imports become absolute; a name knows where it comes from."""
    module = Module("a/b/c.py", "from . import d\nfrom ..e import f as g\nimport h.i as j")
    assert [(one.target, one.bound) for one in module.imports] == [
        ("a.b.d", "d"),
        ("a.e.f", "g"),
        ("h.i", "j"),
    ]
    package = Module("a/b/__init__.py", "from . import d")
    assert (package.name, package.imports[0].target) == ("a.b", "a.b.d")
    assert module.meant("g.h") == "a.e.f.h"
    assert module.meant("mine") == "a.b.c.mine"


def test_dotted_names() -> None:
    """What is called is told by its name, as far as it has one."""
    module = Module("a.py", "a.b.c()\nf().g()\nx[0].h()\n(lambda: 1)()")
    assert sorted(name for _, name in module.calls()) == ["", ".g", ".h", "a.b.c", "f"]
    assert dotted(module.tree.body[0]) == ""


def test_tracked_files() -> None:
    """The repository's own files are seen, what is installed or made is not."""
    found = tracked()
    assert {"pyproject.toml", "collector/cli.py", "tests/test_house.py"} <= set(found)
    assert not [path for path in found if "node_modules/" in path or path.startswith(".venv/")]
    assert [module.path for module in modules("storage") if module.name == "storage"] == [
        "storage/__init__.py"
    ]
