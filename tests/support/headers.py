"""Header fields the way RSGI hands them over."""

from collections.abc import Iterable
from typing import Any


class Fields:
    """Fields in the order in which they came, repeated ones too; see `collector.headers`."""

    def __init__(self, pairs: Iterable[tuple[str, str]], unreadable: Iterable[str] = ()) -> None:
        self._pairs = list(pairs)
        self._first = dict(reversed(self._pairs))
        self._names = {*self._first, *unreadable}

    def get(self, key: str, default: Any = None) -> Any:
        """The first value; `default` also where it cannot be read."""
        return self._first.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def items(self) -> list[tuple[str, str]]:
        """Those that can be read."""
        return self._pairs


class Unreadable(dict[str, str]):
    """Readable fields, and names of others that were sent with bytes outside of ASCII.

    Those are there (`in`), and `get` gives its default for them.
    """

    def __init__(self, names: set[str], readable: dict[str, str]) -> None:
        super().__init__(readable)
        self._names = names

    def __contains__(self, name: object, /) -> bool:
        return name in self._names or super().__contains__(name)
