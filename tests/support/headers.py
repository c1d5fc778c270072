"""Header fields the way RSGI hands them over."""


class Unreadable(dict[str, str]):
    """Readable fields, and names of others that were sent with bytes outside of ASCII.

    Those are there (`in`), and `get` gives its default for them.
    """

    def __init__(self, names: set[str], readable: dict[str, str]) -> None:
        super().__init__(readable)
        self._names = names

    def __contains__(self, name: object, /) -> bool:
        return name in self._names or super().__contains__(name)
