"""What the rules look at: modules with their syntax trees, faults, and the tables of exceptions."""

import ast
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
_NEVER_OURS: Final = frozenset({"node_modules", "__pycache__", "data", "dist", "build"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Fault(NamedTuple):
    """One broken rule, and where."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class Import(NamedTuple):
    """One imported name: `from a.b import c as d` binds `d` to the target `a.b.c` of `a.b`."""

    line: int
    module: str
    target: str
    bound: str


class Module:
    """One Python file; `path` is relative to the repository, with slashes."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        parts = PurePosixPath(path).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; every node has a `parent`, the tree itself None."""
        tree = ast.parse(self.text)
        _set_parents(tree)
        return tree

    @cached_property
    def imports(self) -> list[Import]:
        """Every import, wherever it stands; relative ones made absolute."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [
                    Import(node.lineno, alias.name, alias.name, alias.asname or alias.name)
                    for alias in node.names
                ]
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node)
                found += [
                    Import(
                        node.lineno, module, f"{module}.{alias.name}", alias.asname or alias.name
                    )
                    for alias in node.names
                ]
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = self.name.split(".")
        above = above[: len(above) - node.level + self.is_package]
        return ".".join([*above, node.module] if node.module else above)

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call with the dotted name of what is called: `.name` when that is an expression."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, dotted(node.func)

    def meant(self, name: str) -> str:
        """What a dotted name stands for: imported names by where they come from, others as ours."""
        first, _, rest = name.partition(".")
        targets = [one.target for one in self.imports if one.bound == first]
        found = targets[0] if targets else f"{self.name}.{first}"
        return f"{found}.{rest}" if rest else found

    def fault(self, node: ast.AST | int, message: str) -> Fault:
        """A fault at `node`, or in that line."""
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Fault(self.path, line, message)


def _set_parents(tree: ast.Module) -> None:
    tree.parent = None  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # type: ignore[attr-defined]


def parents(node: ast.AST) -> Iterator[ast.AST]:
    """What `node` stands in, inmost first."""
    while (node := getattr(node, "parent", None)) is not None:  # type: ignore[assignment]
        yield node


def dotted(node: ast.AST) -> str:
    """`a.b.c` for names and attributes; an expression in front is left empty: `.c`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def is_within(name: str, package: str) -> bool:
    """Whether a dotted name is `package` or in it."""
    return name == package or name.startswith(f"{package}.")


def tracked() -> list[str]:
    """Paths of all files that belong to the repository, new ones too, whether committed or not."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        paths = [path for path in listing.split("\0") if path]
    except (OSError, subprocess.CalledProcessError):
        # An unpacked archive: everything but what is installed or made.
        files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        paths = [path.as_posix() for path in files if not _is_made(path)]
    return sorted(path for path in paths if (ROOT / path).is_file())


def _is_made(path: Path) -> bool:
    folders = path.parts[:-1]
    return any(
        folder in _NEVER_OURS or (folder[0] == "." and folder != ".ci") for folder in folders
    )


def modules(*folders: str) -> list[Module]:
    """The Python files of the repository in these folders."""
    return [
        Module(path, (ROOT / path).read_text(encoding="utf-8"))
        for path in tracked()
        if path.endswith(".py") and path.split("/")[0] in folders
    ]


def stale(table: Mapping[str, object], used: Iterable[str]) -> list[str]:
    """The exceptions of `table` that nothing needs any more."""
    return sorted(table.keys() - set(used))
