"""Who may import what: the arrows between the rooms of the house."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.house.source import Fault, Import, Module, is_within

PRODUCT: Final = ("collector", "storage")
_ADAPTERS: Final = "collector.adapters"

# What adapters may know of the house; siblings of the same protocol come on top.
ADAPTERS_KNOW: Final = frozenset(
    {
        "collector.adapters.contract",
        "collector.adapters.decoding",
        "collector.event",
        "collector.headers",
        "collector.refusal",
        "collector.currencies",
    }
)
# Without I/O, clock or chance (`calls` watches over the rest of datetime and uuid).
PURE: Final = frozenset(
    {
        "collections.abc",
        "datetime",
        "functools",
        "itertools",
        "math",
        "msgspec",
        "re",
        "types",
        "typing",
        "urllib.parse",
        "uuid",
    }
)

# Module: where it may be imported, and why nowhere else.
ONLY_IN: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "granian": (frozenset({"collector/supervisor.py"}), "the server is started in one place"),
    "duckdb": (
        frozenset(
            {
                "storage/parquet.py",
                "storage/query.py",
                "storage/compactor.py",
                "storage/flusher.py",  # its exception class only
                "storage/scans.py",
                "storage/aside.py",
                "storage/asidereader.py",
                "storage/census.py",
                "storage/find.py",
                "storage/deadline.py",  # to interrupt what takes too long
                "storage/latest.py",
                "storage/rollcall.py",
            }
        ),
        "DuckDB stays behind a few doors, so that its versions can be changed",
    ),
    "xxhash": (
        frozenset({"storage/segment.py", "storage/keyindex.py", "storage/keyrun.py"}),
        "a checksum is part of a file format",
    ),
    "ua_parser": (
        frozenset({"collector/agents.py"}),
        "one cache in front of it, and the parser in Rust only",
    ),
    "is_crawler": (frozenset({"collector/agents.py"}), "see ua_parser"),
    "maxminddb": (
        frozenset({"collector/geo.py"}),
        "a file that is mapped into memory must not change: it is copied there",
    ),
    "iptocc": (frozenset({"collector/geo.py"}), "one place decides where an address is"),
    "numpy": (
        frozenset(
            {
                *(
                    f"storage/key{name}.py"
                    for name in ("filter", "index", "merge", "recovery", "run", "tasks")
                ),
                "storage/segment.py",  # to look for all lines at once
                "storage/rollcall.py",  # numbers of millions of rows
                "collector/prove/ledger.py",  # what is known of millions of events
                "collector/prove/comparing.py",
            }
        ),
        "arrays are how keys are sorted and filtered; a request is not an array",
    ),
    "time": (
        frozenset(
            {
                "collector/service.py",
                "collector/asking/child.py",  # a process by itself
                "collector/logs.py",  # to write log times in UTC
                "collector/preflight.py",  # to wait for a lock, before there is a worker
                "collector/demo.py",  # a client, not the collector
                # the same, and it measures how long a collector takes to start
                "collector/cli_prove.py",
                *(
                    f"collector/prove/{name}.py"
                    for name in ("child", "disturbing", "load", "trial")
                ),
            }
        ),
        "time is passed in, so that tests can set it",
    ),
    "threading": (
        frozenset(
            {
                "storage/upkeep.py",
                "collector/asking/child.py",  # reads on while it answers, and ends with that
                "collector/asking/session.py",  # a timer, which ends with the question
                "collector/cli.py",
                "collector/cli_audit.py",
                "collector/cli_backup.py",  # to wait between two looks
                "collector/cli_lake.py",  # to be told of Ctrl-C
                "collector/cli_keys.py",  # to wait for an answer
                "collector/prove/ledger.py",  # a lock only
                "collector/prove/load.py",  # clients of another process, and it stops them
                "storage/aside.py",
                "storage/datefolders.py",  # a lock only
                "storage/deadline.py",  # a timer, which ends with the look-up
                "storage/query.py",
            }
        ),
        "threads live where somebody stops them",
    ),
    "concurrent.futures": (
        frozenset(
            {
                "collector/questions.py",  # they wait for the dashboard's questions
                "storage/commit.py",
                "storage/partkeeper.py",
                "storage/upkeep.py",
            }
        ),
        "see threading",
    ),
    "multiprocessing": (frozenset({"collector/supervisor.py"}), "see granian"),
    "asyncio": (
        frozenset(
            {
                "collector/asgi.py",
                "collector/beside.py",  # a page waits for what is asked beside, for a moment
                "collector/dashboard/lake.py",  # what it waits for, at once
                "collector/dashboard/overview.py",  # the same
                "collector/dashboard/realtime.py",  # the same
                "collector/edge.py",
                "collector/http.py",
                "collector/orders.py",
                "collector/pace.py",  # refusals wait for their turn
                "collector/questions.py",  # see concurrent.futures
                "collector/panels.py",  # pages wait for answers, for a moment
                "collector/periodic.py",
                "collector/quarantine.py",  # who waits for a refused event to be on disk
                "collector/replay.py",
                "collector/rsgi.py",
                "collector/running.py",  # one order, from its start to its end
                "collector/service.py",
                "collector/streams.py",  # answers that go on
                "collector/turns.py",
                "storage/byhand.py",
                "storage/commit.py",
                "storage/store.py",
            }
        ),
        "waiting is the business of the edge and of the commit queue",
    ),
    "shutil": (frozenset({"storage/scratch.py"}), "one door to the disk"),
    "tempfile": (frozenset({"storage/scratch.py"}), "one door to the disk"),
    "fcntl": (
        frozenset({"storage/scratch.py", "storage/system.py"}),
        "one door to the disk",
    ),
    "secrets": (
        frozenset(
            {
                "collector/admin_sessions.py",
                "collector/keys.py",
                "collector/salt.py",
                "collector/demo.py",
            }
        ),
        "chance is drawn where something secret or unique is made",
    ),
    "random": (
        frozenset(
            {
                "collector/ids.py",
                "collector/demo.py",
                "collector/demo_visitors.py",
                *(f"collector/prove/{name}.py" for name in ("load", "proof", "trial")),
            }
        ),
        "ids come from collector/ids.py; only the demonstration and the proof play dice",
    ),
}

NEVER: Final[Mapping[str, str]] = {
    "json": "build a typed msgspec decoder once per module",
    "pickle": "never a format that runs what it reads",
    "marshal": "never a format that runs what it reads",
    "shelve": "never a format that runs what it reads",
    "requests": "the standard http.client does",
    "unittest": "tests live in tests/",
    "pytest": "tests live in tests/",
    "tests": "the product does not know its tests",
    "bench": "the product does not know its benchmarks",
    "pdb": "left over",
}


def _within(imports: Iterable[Import], package: str) -> Iterator[Import]:
    return (one for one in imports if is_within(one.target, package))


def storage_looks_down_only(module: Module) -> Iterator[Fault]:
    """The engine knows nothing of HTTP or protocols."""
    if is_within(module.name, "storage"):
        for one in _within(module.imports, "collector"):
            yield module.fault(one.line, f"storage must not import {one.target}")


def surface_of_storage_only(module: Module, exported: Iterable[str]) -> Iterator[Fault]:
    """The collector uses what `storage/__init__.py` exports: `from storage import X`."""
    names = set(exported)
    if not is_within(module.name, "collector"):
        return
    for one in _within(module.imports, "storage"):
        name = one.target.removeprefix("storage").removeprefix(".")
        if one.module != "storage" or name not in names:
            yield module.fault(one.line, f"{one.target} is not what storage/__init__.py exports")


def protocol_of(name: str) -> str:
    """The protocol an adapter module belongs to: what stands before the first underscore."""
    return name.removeprefix(f"{_ADAPTERS}.").split("_")[0]


def adapters_are_islands(module: Module, protocols: Iterable[str]) -> Iterator[Fault]:
    """An adapter knows the contract and its own siblings, never another protocol, nothing impure.

    Shared modules of the folder (contract, decoding) know no protocol at all.
    """
    if not is_within(module.name, _ADAPTERS) or module.is_package:
        return
    known = set(protocols)
    mine = protocol_of(module.name)
    for one in module.imports:
        targets = {one.module, one.target}
        if targets & (PURE | ADAPTERS_KNOW):
            continue
        sibling = one.target if one.module == _ADAPTERS else one.module
        if mine in known and is_within(sibling, _ADAPTERS) and protocol_of(sibling) == mine:
            continue
        yield module.fault(one.line, f"an adapter must not import {one.target}")


def only_where_allowed(
    module: Module, table: Mapping[str, tuple[frozenset[str], str]] = ONLY_IN
) -> Iterator[Fault]:
    """Some modules have a home; everybody else asks there."""
    for name, (homes, reason) in table.items():
        if module.path in homes:
            continue
        for one in _within(module.imports, name):
            yield module.fault(one.line, f"{name} is imported elsewhere only: {reason}")


def never_imported(module: Module) -> Iterator[Fault]:
    """Some modules have no place in the product."""
    for name, instead in NEVER.items():
        for one in _within(module.imports, name):
            yield module.fault(one.line, f"{name} is not used here: {instead}")


def nothing_undeclared(module: Module, declared: Iterable[str]) -> Iterator[Fault]:
    """Every import is ours, of the standard library, or a dependency that is declared."""
    known = {*declared, *sys.stdlib_module_names, *PRODUCT}
    for one in module.imports:
        if one.target.split(".")[0] not in known:
            yield module.fault(one.line, f"{one.module} is no declared dependency")


def used_homes(modules: Iterable[Module]) -> dict[str, set[str]]:
    """Per module of `ONLY_IN`, the files that do import it."""
    used: dict[str, set[str]] = {name: set() for name in ONLY_IN}
    for module in modules:
        for name, files in used.items():
            if any(_within(module.imports, name)):
                files.add(module.path)
    return used


def graph(modules: Iterable[Module]) -> dict[str, set[str]]:
    """Which of `modules` each imports, by name; a package's surface counts as its `__init__`."""
    by_name = {module.name: module for module in modules}
    edges: dict[str, set[str]] = {}
    for name, module in by_name.items():
        found = set()
        for one in module.imports:
            best = one.target if one.target in by_name else one.module
            if best in by_name and best != name:
                found.add(best)
        edges[name] = found
    return edges


def cycles(modules: Iterable[Module]) -> list[str]:
    """Modules that import each other, directly or around a corner.

    The arrow from a package's `__init__` to its own modules does not count: it is the surface.
    """
    listed = list(modules)
    edges = graph(listed)
    for package in (module.name for module in listed if module.is_package):
        for name in edges:
            if is_within(name, package) and name != package:
                edges[name].discard(package)
    found = []
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for other in sorted(edges[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())
    return found


def unreferenced(modules: Iterable[Module], roots: Iterable[str]) -> list[str]:
    """Modules that nothing leads to, from `roots` on. Importing a module runs its packages too."""
    listed = list(modules)
    edges = graph(listed)
    reached: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in reached or name not in edges:
            continue
        reached.add(name)
        waiting += [*edges[name], *(name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1))]
    return sorted(edges.keys() - reached)
