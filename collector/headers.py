"""What everybody may ask of the header fields of a request, whoever gave them."""

from collections.abc import Iterable
from typing import Any, Protocol, overload


class Headers(Protocol):
    """Header fields by lower-case name; of one that is repeated, `get` gives the first value.

    Under RSGI a value with a byte outside of ASCII cannot be had: the field is there (`in`), its
    value is not. A `dict` will do.
    """

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, default: str, /) -> str: ...

    def __contains__(self, key: Any, /) -> bool:
        """Whether the field was sent."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Every field with its value, repeated ones as often as they were sent."""
