"""Types as JSON schema (2020-12, which OpenAPI 3.1 uses), read off the structs that decode bodies.

msgspec has such a function; it gives up where a member has a `Raw` for its default, and hands
Python's regular expressions on as they are. Must not know endpoints.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec.inspect as mi

Schema = dict[str, Any]
Rules = Mapping[str, Mapping[str, Any]]

_SIMPLE: Final[Mapping[type[mi.Type], Schema]] = {
    mi.AnyType: {},
    mi.RawType: {},
    mi.NoneType: {"type": "null"},
    mi.BoolType: {"type": "boolean"},
    mi.IntType: {"type": "integer"},
    mi.FloatType: {"type": "number"},
    mi.StrType: {"type": "string"},
}
_BOUNDS: Final[Mapping[str, str]] = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
# Of these the meaning of a length depends on what has it.
_LENGTHS: Final[Mapping[type[mi.Type], tuple[str, str]]] = {
    mi.StrType: ("minLength", "maxLength"),
    mi.ListType: ("minItems", "maxItems"),
    mi.VarTupleType: ("minItems", "maxItems"),
    mi.DictType: ("minProperties", "maxProperties"),
}
_LIST_TYPES: Final = (mi.ListType, mi.VarTupleType)
_POSSESSIVE: Final = re.compile(r"(?<!\\)([*+?}])\+")
_ANY_CASE: Final = re.compile(r"\(\?i:([a-z?]+)\)")


def ecma(pattern: str) -> str:
    r"""A pattern of ours as ECMA-262 has it, which is what a schema's `pattern` means.

    Our patterns are possessive to be quick, end in `\Z`, and spell any case as `(?i:...)` around
    letters; each of these means the same in the longer spelling.
    """
    pattern = _POSSESSIVE.sub(r"\1", pattern).replace(r"\Z", "$")
    return _ANY_CASE.sub(
        lambda match: "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in match[1]), pattern
    )


class Schemas:
    """Collects the schemas of structs, each once; `components` is what `$ref` leads to."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._done: dict[type, Schema] = {}

    def of(self, kind: type, rules: Rules | None = None) -> Schema:
        """The schema of a type.

        `rules` are laid over what the types say: see `contract.Described`.
        """
        found = self._done.get(kind)
        if found is None:
            found = self._done[kind] = self._of(mi.type_info(kind), rules or {})
        return found

    def _of(self, kind: mi.Type, rules: Rules) -> Schema:
        if isinstance(kind, mi.Metadata):
            return {**self._of(kind.type, rules), **(kind.extra_json_schema or {})}
        if isinstance(kind, mi.StructType):
            return self._struct(kind, rules)
        if isinstance(kind, mi.UnionType):
            return self._union(kind, rules)
        if isinstance(kind, mi.LiteralType):
            return {"enum": list(kind.values)}
        if isinstance(kind, _LIST_TYPES):
            return {"type": "array", "items": self._of(kind.item_type, rules), **_limits(kind)}
        if isinstance(kind, mi.CustomType):
            return {}  # `object`: anything
        if isinstance(kind, mi.DictType):
            keys = self._of(kind.key_type, rules)
            return {
                "type": "object",
                "additionalProperties": self._of(kind.value_type, rules),
                **({"propertyNames": keys} if len(keys) > 1 else {}),
                **_limits(kind),
            }
        return {**_SIMPLE[type(kind)], **_limits(kind)}

    def _union(self, kind: mi.UnionType, rules: Rules) -> Schema:
        found = [self._of(one, rules) for one in kind.types if not isinstance(one, mi.NoneType)]
        if len(found) < len(kind.types):
            if len(found) == 1 and isinstance(found[0].get("type"), str):
                return {**found[0], "type": [found[0]["type"], "null"]}
            found.append({"type": "null"})
        return {"anyOf": found}

    def _struct(self, kind: mi.StructType, rules: Rules) -> Schema:
        name = component_name(kind.cls)
        if name not in self.components:
            self.components[name] = {}  # a struct may hold itself
            self.components[name] = self._members(kind, rules)
        return {"$ref": f"#/components/schemas/{name}"}

    def _members(self, kind: mi.StructType, rules: Rules) -> Schema:
        properties: Schema = {}
        required = []
        if kind.tag_field is not None:
            properties[kind.tag_field] = {"const": kind.tag}
            required.append(kind.tag_field)
        for field in kind.fields:
            rule = rules.get(f"{kind.cls.__name__.lstrip('_')}.{field.encode_name}", {})
            # A rule that says what a member is stands for what its type says.
            is_whole = "type" in rule or "enum" in rule
            schema = dict(rule) if is_whole else {**self._of(field.type, rules), **rule}
            properties[field.encode_name] = schema
            if field.required or (is_whole and not _takes_null(rule)):
                required.append(field.encode_name)
        described = (kind.cls.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ")
        return {
            "type": "object",
            **({"description": described} if described else {}),
            "properties": properties,
            **({"required": required} if required else {}),
        }


def _takes_null(rule: Mapping[str, Any]) -> bool:
    return "null" in rule.get("type", ()) or None in rule.get("enum", ())


def component_name(struct: type) -> str:
    """The name of a struct in the document: whose it is, then what it is."""
    module = struct.__module__.rpartition(".")[2].partition("_")[0]
    return module.capitalize() + struct.__name__.lstrip("_")


def _limits(kind: mi.Type) -> Schema:
    limits: Schema = {}
    for ours, name in _BOUNDS.items():
        value = getattr(kind, ours, None)
        if value is not None:
            limits[name] = value
    for ours, name in zip(("min_length", "max_length"), _LENGTHS.get(type(kind), ()), strict=False):
        value = getattr(kind, ours, None)
        if value is not None:
            limits[name] = value
    pattern = getattr(kind, "pattern", None)
    if pattern is not None:
        limits["pattern"] = ecma(pattern)
    return limits
