"""What a query gives: columns, and rows that are read once, with JSON left as it was kept."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

Values = tuple[Any, ...]


class ResultColumn(msgspec.Struct, frozen=True):
    """Name and DuckDB type of one column of a result."""

    name: str
    type: str


class Result:
    """Rows of a query, read once, in chunks.

    Values are what DuckDB's Python API gives, except that JSON is `msgspec.Raw`, also inside lists,
    structs and maps.
    """

    def __init__(
        self,
        columns: tuple[ResultColumn, ...],
        converters: list["_Converter | None"],
        first: list[Values],
        fetch: Callable[[], list[Values]],
    ) -> None:
        self.columns = columns
        self._converters = converters
        self._first = first
        self._fetch = fetch

    def chunks(self) -> Iterator[list[Values]]:
        """The rows, at most a few thousand at a time. Raises `QueryError`."""
        chunk = self._first
        while chunk:
            yield self._converted(chunk)
            chunk = self._fetch()

    def rows(self) -> list[Values]:
        """All rows that were not read yet; for results known to be small."""
        return [row for chunk in self.chunks() for row in chunk]

    def _converted(self, chunk: list[Values]) -> list[Values]:
        if not any(self._converters):
            return chunk
        return [
            tuple(
                convert(value) if convert and value is not None else value
                for convert, value in zip(self._converters, row, strict=True)
            )
            for row in chunk
        ]


_Converter = Callable[[Any], Any]
_NESTED: Final = frozenset({"list", "array", "struct", "map", "union"})


def maybe_converter(kind: Any) -> _Converter | None:
    """What turns values of a DuckDB type into ours, None when they are as we want them."""
    if str(kind) == "JSON":
        return msgspec.Raw
    if kind.id in {"list", "array"}:
        inner = maybe_converter(kind.children[0][1])
        return _of_list(inner) if inner else None
    if kind.id == "map":
        (_, key), (_, value) = kind.children
        inner = maybe_converter(value)
        # A map whose keys Python cannot hash comes as two lists.
        return _of_members(lambda _name: inner) if inner and key.id not in _NESTED else None
    if kind.id == "struct":
        members = {name: maybe_converter(child) for name, child in kind.children}
        return _of_members(members.get) if any(members.values()) else None
    return None


def _of_list(inner: _Converter) -> _Converter:
    return lambda values: [None if value is None else inner(value) for value in values]


def _of_members(choose: Callable[[Any], _Converter | None]) -> _Converter:
    def convert_member(name: Any, value: Any) -> Any:
        inner = choose(name)
        return value if value is None or inner is None else inner(value)

    return lambda members: {name: convert_member(name, value) for name, value in members.items()}
