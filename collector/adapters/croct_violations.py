"""Tells every rule that a refused beacon breaks, each with a JSON pointer.

The fast typed decode stops at its first error and its messages may repeat what the client sent.
This walk runs only after it failed: it goes through the same types, so that the limits stand in
one place, and words every reason itself. Must not decide whether a beacon is good.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from collector.refusal import Violation

# Enough to mend a beacon by; an answer must not grow with what a client makes up.
VIOLATIONS_MAX: Final = 50

_JSON_NAMES: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "NoneType": "null",
    "dict": "object",
    "list": "array",
}
_QUOTED: Final = re.compile(r"`([a-zA-Z |]+)`")
# Keys of free-form maps go into a pointer only when they are plain names.
_PLAIN_KEY: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,49}")
_STEP: Final = re.compile(r"\.([a-zA-Z0-9_]+)|\[(\d+)\]")


def violations(document: object, kind: Any) -> tuple[Violation, ...]:
    """Every rule of the type `kind` that the decoded JSON `document` breaks, members in type order.

    At most `VIOLATIONS_MAX`. Empty when `document` is of that type after all.
    """
    return tuple(islice(_walk(document, kind, ""), VIOLATIONS_MAX))


def violation(error: msgspec.ValidationError) -> Violation:
    """The single rule that a failed decode names, for what even an untyped decode refuses."""
    message, _, place = str(error).partition(" - at `$")
    path = ""
    position = 0
    while step := _STEP.match(place, position):
        path += f"/{step[1] or step[2]}"
        position = step.end()
    return Violation(_in_json_terms(message), path)


def _walk(value: object, kind: Any, path: str) -> Iterator[Violation]:
    options = options_of(kind)
    if isinstance(value, dict):
        structs = [option for option in options if isinstance(option, type(msgspec.Struct))]
        if structs:
            yield from _walk_struct(value, structs, path)
            return
        option = container(options, dict)
        if option is not None:
            yield from _walk_map(value, option, path)
            return
    if isinstance(value, list):
        option = container(options, list)
        if option is not None:
            yield from _walk_list(value, option, path)
            return
    yield from _mismatch(value, kind, path)


def _walk_struct(value: dict[str, object], structs: list[Any], path: str) -> Iterator[Violation]:
    struct = structs[0]
    if len(structs) > 1:
        tag = value.get("type")
        by_tag = {option.__struct_config__.tag: option for option in structs}
        if not isinstance(tag, str) or tag not in by_tag:
            reason = "Missing required member" if "type" not in value else "Not a known type"
            yield Violation(reason, f"{path}/type")
            return
        struct = by_tag[tag]
    if _is(value, struct):
        # Fast, because msgspec remembers what it knows of a struct: a long cart with one bad item
        # must not cost a conversion for every member of every good one.
        return
    for field in fields(struct):
        pointer = f"{path}/{field.encode_name}"
        if field.encode_name in value:
            yield from _walk(value[field.encode_name], field.type, pointer)
        elif field.required:
            yield Violation("Missing required member", pointer)


def _walk_list(value: list[object], option: Any, path: str) -> Iterator[Violation]:
    yield from (faults := list(_mismatch(value, _shallow(option, list[object]), path)))
    if faults:
        return  # of a list or map of the wrong size the members do not matter
    (item_kind,) = get_args(bare(option))
    for index, item in enumerate(value):
        yield from _walk(item, item_kind, f"{path}/{index}")


def _walk_map(value: dict[str, object], option: Any, path: str) -> Iterator[Violation]:
    yield from (faults := list(_mismatch(value, _shallow(option, dict[str, object]), path)))
    if faults:
        return
    key_kind, item_kind = get_args(bare(option))
    bad_key = next((key for key in value if not _is(key, key_kind)), None)
    if bad_key is not None:
        yield from _mismatch(bad_key, key_kind, path)
    for key, item in value.items():
        yield from _walk(item, item_kind, pointer_to(path, key))


def pointer_to(path: str, key: str) -> str:
    """The pointer to member `key` of what is at `path`; that of the whole for a made-up key."""
    return f"{path}/{key}" if _PLAIN_KEY.fullmatch(key) else path


def _is(value: object, kind: Any) -> bool:
    return not any(_mismatch(value, kind, ""))


def _mismatch(value: object, kind: Any, path: str) -> Iterator[Violation]:
    """Yield why `value` is not of `kind`, if it is not: told as a whole, not member by member."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield Violation(_wish(kind) or _in_json_terms(str(error)), path)


def _wish(kind: Any) -> str:
    """What the schema says in words, "" where the library's own words do."""
    for option in options_of(kind):
        if get_origin(option) is Literal:
            return "Expected one of " + ", ".join(map(str, get_args(option)))
        for rule in getattr(option, "__metadata__", ()):
            if rule.description:
                return f"Expected {rule.description}"
    return ""


def _in_json_terms(message: str) -> str:
    message = message.partition(" - at `")[0]
    if message.startswith("Invalid"):  # it would repeat the value
        return "Not one of the values allowed"
    return _QUOTED.sub(_json_names, message)


def _json_names(match: re.Match[str]) -> str:
    return " or ".join(_JSON_NAMES.get(name, name) for name in match[1].split(" | "))


def options_of(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def bare(kind: Any) -> Any:
    """A type without its limits."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def container(options: tuple[Any, ...], origin: type) -> Any:
    """The list or map among `options`, None when there is none."""
    return next((option for option in options if get_origin(bare(option)) is origin), None)


def _shallow(option: Any, kind: Any) -> Any:
    """`kind` under the rules of `option`: its size is checked, its members are not."""
    for rule in getattr(option, "__metadata__", ()):
        kind = Annotated[kind, rule]
    return kind


@lru_cache(maxsize=128)
def fields(struct: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The members of a struct."""
    return msgspec.structs.fields(struct)
