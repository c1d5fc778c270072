"""What everybody may ask of the header fields of a request, whichever server gave them."""

from collections.abc import Iterable
from typing import Any, Protocol


class Headers(Protocol):
    """Header fields by lower-case name; of one that is repeated, `get` gives the first value.

    Under RSGI a value with a byte outside of ASCII cannot be had: the field is there (`in`), its
    value is not. A `dict` will do.
    """

    def get(self, key: str, default: Any = None, /) -> Any:
        """The value as text, `default` when there is none."""

    def __contains__(self, key: Any, /) -> bool:
        """Whether the field was sent."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Every field with its value, repeated ones as often as they were sent."""
