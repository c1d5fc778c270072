"""What must not be called, and where it may be after all; what must not be caught or named."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.house.source import Fault, Function, Module, dotted, is_within, parents

# --- the disk

# What composes them, and itself calls nothing but these, is `COMPOSES`.
DISK: Final = "storage/system.py"
COMPOSES: Final = "storage/files.py"
DISK_CALLS_IN: Final[Mapping[str, str]] = {
    DISK: "one method for each call",
    "storage/scratch.py": "private folders outside the data directory",
}
_DISK_CALLS: Final = frozenset(
    f"os.{name}"
    for name in (
        *("fsync", "fdatasync", "sync", "rename", "renames", "replace", "unlink", "remove"),
        *("removedirs", "rmdir", "mkdir", "makedirs", "open", "write", "pwrite", "pwritev"),
        *("writev", "truncate", "ftruncate", "link", "symlink", "posix_fallocate", "sendfile"),
        *("copy_file_range", "splice", "mkfifo", "mknod", "chmod", "chown", "utime", "setxattr"),
        *("fdopen", "statvfs", "fstatvfs", "pread", "preadv", "read", "readv"),
    )
)
_PATH_METHODS: Final = frozenset(
    (
        *("write_text", "write_bytes", "unlink", "rmdir", "touch", "mkdir", "rename"),
        *("hardlink_to", "symlink_to", "chmod", "lchmod"),
    )
)
_OPENERS: Final = frozenset({"open", "io.open", "click.open_file"})
_WRITING: Final = re.compile("[wax+]")
# Writes that are no part of the data: what a command was asked to write, and where.
OPENS_FOR_WRITING: Final[Mapping[str, str]] = {
    "collector/cli.py": "collector query --output writes the file its user names",
    "collector/asking/child.py": "tells the kernel whom to end first when memory is short",
}


def one_door_to_the_disk(module: Module) -> Iterator[Fault]:
    """Forcing to disk, renaming, deleting, opening for write: in `storage/system.py` only."""
    if module.path in DISK_CALLS_IN:
        return
    for call, name in module.calls():
        last = name.rpartition(".")[2]
        # What `Files` is made of are methods of its own.
        is_own = module.path == COMPOSES and name == f"self.{last}"
        if name in _DISK_CALLS or (last in _PATH_METHODS and "." in name and not is_own):
            yield module.fault(call, f"{name}: only {DISK} asks the system for this")
        elif last == "replace" and len(call.args) == 1 and not call.keywords:
            yield module.fault(call, f"{name}: looks like Path.replace; only {DISK} renames")
        elif (
            last in {"open", "open_file"}
            and module.path not in OPENS_FOR_WRITING
            and _opens_for_writing(call, name)
        ):
            yield module.fault(call, f"{name}: only {DISK} opens for writing")


def _opens_for_writing(call: ast.Call, name: str) -> bool:
    """Whether a literal mode says so. An opener of ours (`Store.open`) has no mode."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[1:2] if name in _OPENERS else call.args[:1]
    for mode in modes:
        if isinstance(mode, ast.Constant):
            if isinstance(mode.value, str) and _WRITING.search(mode.value):
                return True
        elif name in _OPENERS:
            return True
    return False


# --- time and chance

_CLOCKS: Final = frozenset({"now", "utcnow", "today"})
_CLOCK_OWNERS: Final = frozenset({"datetime", "date", "datetime.datetime", "datetime.date"})
_CHANCE: Final = frozenset({"os.urandom", "uuid.uuid1", "uuid.uuid4", "os.getrandom"})
CLOCKS_IN: Final = "collector/service.py"
CHANCE_IN: Final = "collector/ids.py"


def clock_is_passed_in(module: Module) -> Iterator[Fault]:
    """`datetime.now` and its like are read in `collector/service.py` and passed on."""
    if module.path == CLOCKS_IN:
        return
    for call, name in module.calls():
        owner, _, method = name.rpartition(".")
        if method in _CLOCKS and owner in _CLOCK_OWNERS:
            yield module.fault(call, f"{name}: time is passed in by {CLOCKS_IN}")


def chance_has_a_home(module: Module) -> Iterator[Fault]:
    """Random ids are made in `collector/ids.py`."""
    if module.path == CHANCE_IN:
        return
    for call, name in module.calls():
        if name in _CHANCE:
            yield module.fault(call, f"{name}: ids come from {CHANCE_IN}")


# --- JSON

_CONVERTERS: Final = frozenset({"msgspec.json.decode", "msgspec.json.encode"})
_BUILDERS: Final = frozenset({"msgspec.json.Decoder", "msgspec.json.Encoder"})


def typed_decoders_only(module: Module) -> Iterator[Fault]:
    """No top-level decode or encode: they build their machinery at every call."""
    for call, name in module.calls():
        if name in _CONVERTERS:
            yield module.fault(call, f"{name}: build a decoder or encoder once")


def decoders_are_built_once(module: Module) -> Iterator[Fault]:
    """Decoders and encoders are made when a module is loaded or an object is, never per call."""
    for call, name in module.calls():
        if name in _BUILDERS:
            inside = [node.name for node in parents(call) if isinstance(node, Function)]
            if inside and inside[0] != "__init__":
                yield module.fault(call, f"{name} in {inside[0]}: build it once")


# --- errors

CATCHES_ALL: Final[Mapping[str, str]] = {
    "collector/asgi.py": "a failed start must be told",
    "collector/asking/child.py": "a bug is told where it can be logged, and the process goes on",
    "collector/asking/session.py": "an answer that was not read ends with its process",
    "collector/edge.py": "a bug of ours becomes a logged 500",
    "collector/periodic.py": "one failed turn must not be the last: it tells, and goes on",
    "collector/rsgi.py": "a failed start must be told",
    "collector/turns.py": "those who wait must be told; a fault in one request is not the others'",
    "storage/store.py": "what was opened is closed before the error goes on",
    "storage/upkeep.py": "nobody would miss a thread that ended: it tells, and tries again",
}
_ALL: Final = frozenset({"Exception", "BaseException"})
_REASON: Final = re.compile(r"# noqa: BLE001 \S.*")


def catches_by_name(module: Module) -> Iterator[Fault]:
    """`except Exception` only where listed, and then with a reason in the line or raised again."""
    lines = module.text.splitlines()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if not any(
            kind is None or dotted(kind) in {"Exception", "BaseException"} for kind in kinds
        ):
            continue
        is_raised_again = any(
            isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node)
        )
        if module.path not in CATCHES_ALL:
            yield module.fault(node, "catches everything: name the error")
        elif not is_raised_again and not _REASON.search(lines[node.lineno - 1]):
            yield module.fault(node, "catches everything without saying why (# noqa: BLE001 why)")


def asserts_say_why(module: Module) -> Iterator[Fault]:
    """In adapters an assertion states what our own code made sure of, never what a client sent."""
    if is_within(module.name, "collector.adapters"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assert) and node.msg is None:
                yield module.fault(node, "an assertion in an adapter must say which of our own ...")


# --- building and naming

# Built by the composition root, which passes them on.
BUILT_IN_SERVICE: Final = frozenset(
    {
        "collector.access.Access",
        "collector.addresses.AddressReader",
        "collector.admission.Admission",
        "collector.asgi.AsgiApp",
        "collector.edge.Edge",
        "collector.facts.Facts",
        "collector.bookkeeper.BookKeeper",
        "collector.http.BodyReader",
        "collector.inside.Inside",
        "collector.lakeorders.LakeOrders",
        "collector.marks.Marker",
        "collector.metrics.Metrics",
        "collector.normalise.Clock",
        "collector.pace.Pace",
        "collector.periodic.Periodic",
        "collector.orders.OrderDesk",
        "collector.pipeline.Pipeline",
        "collector.privacy.AddressHasher",
        "collector.quarantine.Quarantine",
        "collector.ratelimit.Limiter",
        "collector.reload.Reload",
        "collector.requestlog.LoggingEdge",
        "collector.rsgi.RsgiApp",
        "collector.salt.DailySalt",
        "collector.service.Service",
        "collector.replay.Replay",
        "collector.sites.Sites",
        "collector.sources.Sources",
        "collector.tally.Counts",
        "collector.turns.Turns",
        "collector.usage.UsageKeeper",
        "storage.aside.Aside",
        "storage.Store.open",
        "storage.store.Store.open",
    }
)


# What has a service, and what a service is put into.
BUILT_IN_RUNNING: Final = frozenset(
    {"collector.asgi.AsgiApp", "collector.rsgi.RsgiApp", "collector.service.Service"}
)


def one_composition_root(module: Module) -> Iterator[Fault]:
    """`collector/service.py` builds; everybody else is handed what he needs."""
    # What is for operators is built in a module of its own, which only the former calls. Advice
    # asks a registry of its own, by the rules that requests are judged by.
    builders = ("service", "inside", "origin_advice")
    if module.path in {f"collector/{name}.py" for name in builders}:
        return
    own = BUILT_IN_RUNNING if module.path == "collector/running.py" else frozenset()
    for call, name in module.calls():
        if not name or name.startswith("."):
            continue
        if module.meant(name) in BUILT_IN_SERVICE - own:
            yield module.fault(call, f"{name}(...): built in collector/service.py")


NAMES_NO_PROTOCOL: Final = frozenset(
    f"collector/{name}.py"
    for name in (
        *("access", "addresses", "agents", "asgi", "audit", "book", "bookkeeper", "buckets"),
        *("dedup", "edge", "event", "facts", "flight", "geo", "headers", "hints", "http", "ids"),
        *("marks", "masking", "metrics", "normalise", "origin", "periodic", "pipeline", "privacy"),
        *("quarantine", "rawbody", "refusal", "replay", "rsgi", "salt", "sources", "tally"),
        *("tokens", "turns", "usage", "watched"),
    )
)


def names_no_protocol(
    module: Module, protocols: Iterable[str], settings: Iterable[str]
) -> Iterator[Fault]:
    """The way of an event is the same for all: no identifier or text names a protocol.

    Settings are named for the protocol they belong to (`croct_suspended`); to read one is allowed.
    Docstrings and comments may tell where a rule comes from.
    """
    if module.path not in NAMES_NO_PROTOCOL:
        return
    pattern = re.compile("|".join(protocols), re.IGNORECASE)
    allowed = set(settings)
    docstrings = {id(node) for node in _docstrings(module.tree)}
    for node in ast.walk(module.tree):
        for word in _words(node):
            if id(node) not in docstrings and pattern.search(word) and word not in allowed:
                yield module.fault(node, f"names a protocol: {word[:60]}")


def _words(node: ast.AST) -> Iterator[str]:
    """The identifiers and texts of one node."""
    for field in ("id", "attr", "name", "arg", "asname", "module"):
        value = getattr(node, field, None)
        if isinstance(value, str):
            yield value
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
        elif isinstance(node.value, bytes):
            yield node.value.decode("latin-1")


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


_LEFT_OVER: Final = frozenset({"print", "breakpoint", "eval", "exec", "__import__", "input"})


def nothing_left_over(module: Module) -> Iterator[Fault]:
    """No prints, break points or run-time code in the product."""
    for call, name in module.calls():
        if name in _LEFT_OVER or name in {"importlib.import_module", "os.system"}:
            yield module.fault(call, f"{name} has no place in the product")
