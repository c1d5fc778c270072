"""Fills the structs of `config` from plain values as a TOML parser makes them; collects all faults.

Knows types, ranges, kinds and names, taken from the structs themselves, so that a new setting needs
no line here. Knows neither files in TOML nor relations between settings. A value at fault is
reported and replaced by its default (or by something blank of its type), so that reading goes on.
"""

import datetime as dt
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import msgspec.inspect as mi

from collector import config_values
from collector.config_values import BadValue, shown

Report = Callable[[str, str], None]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_INT_MAX: Final = 2**63 - 1
_FAULTY: Final = object()
_TYPE_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "a truth value"),
    (str, "text"),
    (int, "a whole number"),
    (float, "a fraction"),
    (list, "a list"),
    (dict, "a table"),
    (dt.date, "a date"),
    (dt.time, "a time"),
)


def dotted(parent: str, name: str) -> str:
    """The key of member `name` of `parent`, quoted where TOML would need quotes."""
    text = name if _BARE_KEY.fullmatch(name) else shown(name)
    return f"{parent}.{text}" if parent else text


def close_to(word: str, words: Iterable[str]) -> str:
    """`; did you mean ...?` when one of `words` is spelled much like `word`, else nothing."""
    found = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {found[0]}?" if found else ""


class Reader:
    """Reads values into structs; every fault goes to `report` as (key, message).

    `folder` is where relative paths start. `homes` maps the names of settings to their full keys,
    to tell where a setting found in the wrong section belongs.
    """

    def __init__(self, folder: Path, report: Report, homes: Mapping[str, str]) -> None:
        self._folder = folder
        self._report = report
        self._homes = homes

    def members(
        self, fields: Sequence[mi.Field], table: Mapping[str, object], key: str, base: Any = None
    ) -> dict[str, Any]:
        """Values of `fields` read from `table`, whose own key is `key`, by name.

        Absent ones are taken from the struct `base` when there is one, else left to the defaults.
        """
        known = {field.name: field for field in fields}
        for name in table:
            if name not in known:
                self._report(dotted(key, name), f"is not a setting{self._hint(name, known)}")
        out: dict[str, Any] = {}
        for name, field in known.items():
            if name in table:
                value = table[name]
                # The default is allowed whatever its kind asks: "" is how text is switched off.
                plain = isinstance(value, str) and value == field.default
                out[name] = value if plain else self._value(field, value, dotted(key, name))
            elif base is not None:
                out[name] = getattr(base, name)
            elif field.required:
                self._report(dotted(key, name), "is missing")
                out[name] = _blank(field.type)
            elif isinstance(field.type, mi.StructType):
                out[name] = self._struct(field.type, {}, dotted(key, name))
            elif isinstance(field.default, Path):
                out[name] = self._value(field, str(field.default), dotted(key, name))
        return out

    def _value(self, field: mi.Field, value: object, key: str) -> Any:
        """`value` as the type of `field`; its default when it is at fault as a whole."""
        if isinstance(field.type, mi.DictType):
            return self._named(field.type.value_type, value, key, _default(field))
        found = self._read(field.type, value, key)
        return _default(field) if found is _FAULTY else found

    def _read(self, kind: mi.Type, value: object, key: str) -> Any:
        match kind:
            case mi.Metadata(type=inner, extra=extra) if extra is not None:
                return self._of_kind(inner, extra["kind"], value, key)
            case mi.CustomType():
                return self._text(config_values.directory, value, key)
            case mi.StructType():
                return self._struct(kind, value, key)
            case mi.VarTupleType(item_type=item):
                return self._items(item, value, key, tuple)
            case mi.FrozenSetType(item_type=item):
                return self._items(item, value, key, frozenset)
            case mi.IntType():
                return self._whole_number(kind, value, key)
            case mi.BoolType():
                if isinstance(value, bool):
                    return value
                return self._fault(key, f"must be true or false, not {_type_name(value)}")
            case mi.LiteralType(values=choices):
                return self._choice([str(choice) for choice in choices], value, key)
            case mi.StrType():
                return value if isinstance(value, str) else self._wrong(key, "text", value)
        raise NotImplementedError(f"{key}: the reader knows no settings of type {kind}")

    def _of_kind(self, inner: mi.Type, kind: str, value: object, key: str) -> Any:
        if kind == "public_key":
            # A key without an id may be written as its text or path alone.
            if not isinstance(value, str | dict):
                return self._wrong(key, "text or a table", value)
            return self._read(inner, {"pem": value} if isinstance(value, str) else value, key)
        return self._text(config_values.KINDS[kind], value, key)

    def _text(self, read: Callable[[str, Path], Any], value: object, key: str) -> Any:
        if not isinstance(value, str):
            return self._wrong(key, "text", value)
        try:
            return read(value, self._folder)
        except BadValue as error:
            return self._fault(key, str(error))

    def _struct(self, kind: mi.Type, value: object, key: str, base: Any = None) -> Any:
        if not isinstance(value, dict):
            return self._wrong(key, "a table", value)
        assert isinstance(kind, mi.StructType), "settings are grouped in structs only"
        return kind.cls(**self.members(kind.fields, value, key, base))

    def _named(self, item: mi.Type, value: object, key: str, default: dict[str, Any]) -> Any:
        """A table of named tables: it adds to the default ones and overrides their members."""
        if not isinstance(value, dict):
            self._wrong(key, "a table", value)
            return default
        named = dict(default)
        for name, table in value.items():
            found = self._struct(item, table, dotted(key, name), default.get(name))
            named[name] = _blank(item) if found is _FAULTY else found
        return named

    def _items(
        self, item: mi.Type, value: object, key: str, collect: Callable[[Iterable[Any]], Any]
    ) -> Any:
        """Items of a list; one at fault stays in its place, blank: the others keep their index."""
        if not isinstance(value, list):
            tables = isinstance(item, mi.StructType)
            return self._wrong(key, f"a list (write [[{key}]])" if tables else "a list", value)
        found = [self._read(item, each, f"{key}[{index}]") for index, each in enumerate(value)]
        return collect(_blank(item) if each is _FAULTY else each for each in found)

    def _whole_number(self, kind: mi.IntType, value: object, key: str) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            return self._wrong(key, "a whole number", value)
        low, high = kind.ge, kind.le if kind.le is not None else _INT_MAX
        if (low is None or value >= low) and value <= high:
            return value
        wanted = f"between {low} and {high}" if kind.le is not None else f"at least {low}"
        if kind.le is None and value > high:
            wanted = f"at most {high}"
        return self._fault(key, f"must be {wanted}, not {_shown_number(value)}")

    def _choice(self, choices: list[str], value: object, key: str) -> Any:
        if value in choices:
            return value
        said = shown(value) if isinstance(value, str) else _type_name(value)
        wanted = " or ".join(shown(choice) for choice in choices)
        return self._fault(key, f"must be {wanted}, not {said}")

    def _wrong(self, key: str, wanted: str, value: object) -> Any:
        return self._fault(key, f"must be {wanted}, not {_type_name(value)}")

    def _fault(self, key: str, message: str) -> Any:
        self._report(key, message)
        return _FAULTY

    def _hint(self, name: str, known: Iterable[str]) -> str:
        if (home := self._homes.get(name)) is not None:
            return f" here; did you mean {home}?"
        return close_to(name, known)


def _default(field: mi.Field) -> Any:
    """What stands for a setting at fault, so that reading goes on."""
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return _blank(field.type) if field.required else field.default


def _blank(kind: mi.Type) -> Any:
    match kind:
        case mi.Metadata(type=inner):
            return _blank(inner)
        case mi.StructType(cls=cls, fields=fields):
            return cls(**{field.name: _blank(field.type) for field in fields if field.required})
        case mi.IntType():
            return 0
    return ""


def _type_name(value: object) -> str:
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "that")


def _shown_number(value: int) -> str:
    # str() refuses numbers of thousands of digits.
    return str(value) if value.bit_length() <= 128 else "a number of so many digits"
