"""Sizes, docstrings and annotations."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from tests.house.source import Fault, Function, Module, dotted, parents

FUNCTION_LINES_MAX: Final = 60
PARAMETERS_MAX: Final = 6  # that may be given by position, without self
LINE_CHARS_MAX: Final = 100  # without the pragmas of tools at its end
_PRAGMA: Final = re.compile(r"  # (?:noqa|type: ignore).*$")
FILE_LINES_MAX: Final[Mapping[str, int]] = {
    "collector": 400,
    "storage": 400,
    "bench": 400,
    "binary": 400,
    # Cases stand one below the other; to split them by number would scatter what belongs together.
    "tests": 600,
}


class Sizes(NamedTuple):
    """What may be how large."""

    file_lines: int
    function_lines: int = FUNCTION_LINES_MAX
    parameters: int = PARAMETERS_MAX
    line_chars: int = LINE_CHARS_MAX


def not_too_large(module: Module, sizes: Sizes | None = None) -> Iterator[Fault]:
    """Files, functions, lines and lists of parameters keep to a size that fits a head."""
    limit = sizes or Sizes(FILE_LINES_MAX[module.path.split("/")[0]])
    lines = module.text.splitlines()
    if len(lines) > limit.file_lines:
        yield module.fault(len(lines), f"{len(lines)} lines, at most {limit.file_lines}")
    for number, line in enumerate(lines, 1):
        length = len(_PRAGMA.sub("", line))
        if length > limit.line_chars:
            yield module.fault(number, f"{length} characters, at most {limit.line_chars}")
    for function in module.functions():
        size = (function.end_lineno or function.lineno) - function.lineno + 1
        if size > limit.function_lines:
            yield module.fault(
                function, f"{function.name}: {size} lines, at most {limit.function_lines}"
            )
        count = len(_positional(function))
        if count > limit.parameters:
            yield module.fault(
                function, f"{function.name}: {count} parameters, at most {limit.parameters}"
            )


def _positional(function: Function) -> list[ast.arg]:
    named = [*function.args.posonlyargs, *function.args.args]
    is_method = isinstance(getattr(function, "parent", None), ast.ClassDef)
    return named[1:] if is_method and named and named[0].arg in {"self", "cls"} else named


def modules_are_explained(module: Module) -> Iterator[Fault]:
    """Every module says what it owns."""
    if not ast.get_docstring(module.tree):
        yield module.fault(1, "no module docstring")


def public_things_are_explained(module: Module) -> Iterator[Fault]:
    """Every public class, function and method of the product has a docstring."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        outer = list(parents(node))
        is_hidden = any(
            isinstance(one, Function) or (isinstance(one, ast.ClassDef) and one.name[0] == "_")
            for one in outer
        )
        is_variant = any(dotted(one) == "overload" for one in node.decorator_list)
        if not is_hidden and not is_variant and not ast.get_docstring(node):
            yield module.fault(node, f"{node.name}: no docstring")


def tests_state_their_promise(module: Module) -> Iterator[Fault]:
    """Every test has a docstring, which is a sentence."""
    for function in module.functions():
        outer = getattr(function, "parent", None)
        if function.name.startswith("test") and isinstance(outer, ast.Module | ast.ClassDef):
            promise = ast.get_docstring(function)
            if not promise:
                yield module.fault(function, f"{function.name}: no docstring")
            elif not promise.rstrip().endswith("."):
                yield module.fault(function, f"{function.name}: the docstring is no sentence")


def annotations_are_complete(module: Module) -> Iterator[Fault]:
    """Every parameter and every result has a type, also where no type checker is installed."""
    for function in module.functions():
        arguments = function.args
        named = [*_positional(function), *arguments.kwonlyargs]
        named += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        for argument in named:
            if argument.annotation is None:
                yield module.fault(function, f"{function.name}: {argument.arg} has no type")
        if function.returns is None:
            yield module.fault(function, f"{function.name}: no type of its result")


def names_are_not_repeated(modules: Iterable[Module]) -> Iterator[Fault]:
    """No test hides another of the same name in its file: the first would never run."""
    for module in modules:
        seen: set[tuple[int, str]] = set()
        for function in module.functions():
            key = (id(getattr(function, "parent", None)), function.name)
            if function.name.startswith("test") and key in seen:
                yield module.fault(function, f"{function.name}: hides another test")
            seen.add(key)
