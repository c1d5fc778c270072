"""Orders that work on published rows: join, apply retention, remove a person.

Arguments and values are plain JSON, because they travel in files (`orders`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from collector.orders import Arguments, Handler, OrderFailed, Tell
from storage import Erased, Person, Store, byhand, erasure

# The person, whether only to count, and further values that mean the person; events by file.
EraseAside = Callable[[Person, bool, Sequence[str]], Awaitable[Mapping[str, int]]]


class ErasureReceipt(msgspec.Struct):
    """What an erasure did: files and the rows removed from each, and how to see that none is left.

    `query` counts the rows that are left, in `collector query`; `until_us`: rows received later
    (Unix time in microseconds) were not looked for.
    """

    erased: Erased
    until_us: int
    query: str
    is_dry_run: bool
    quarantine: dict[str, int]


class LakeOrders:
    """The handlers. `erase_aside` does for the quarantine what an erasure does for the rows.

    `forget` has nobody told from memory what was removed.
    """

    def __init__(
        self,
        store: Store,
        now_us: Callable[[], int],
        erase_aside: EraseAside,
        forget: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._now_us = now_us
        self._erase_aside = erase_aside
        self._forget = forget

    @property
    def handlers(self) -> dict[str, Handler]:
        """By the name of the command."""
        return {"compact": self.compact, "retention": self.expire, "erase": self.erase}

    async def compact(self, _arguments: Arguments, tell: Tell) -> Any:
        """Join what can be joined; a list of `Joined`."""
        tell(0, 1, "joining")
        return await byhand.compact(self._store)

    async def expire(self, arguments: Arguments, tell: Tell) -> Any:
        """Remove rows that are kept no longer; a list of `Expired`."""
        tell(0, 1, "looking for rows that are kept no longer")
        return await byhand.expire(
            self._store, self._now_us(), dry_run=bool(arguments.get("dry_run"))
        )

    async def erase(self, arguments: Arguments, tell: Tell) -> Any:
        """Remove a person; a `ErasureReceipt`."""
        try:
            person = msgspec.convert(arguments["person"], Person)
        except (KeyError, msgspec.ValidationError) as error:
            raise OrderFailed(f"not a person to erase: {error}") from error
        until_us = self._now_us()
        is_dry_run = bool(arguments.get("dry_run"))
        try:
            erased = await byhand.erase(
                self._store, person, until_us, dry_run=is_dry_run, tell=tell
            )
        finally:
            # Also where it failed halfway: of some dates the rows are gone.
            if not is_dry_run:
                await self._forget()
        proven = erasure.condition(
            msgspec.structs.replace(person, until_us=until_us), erased.visitors
        )
        return ErasureReceipt(
            erased=erased,
            until_us=until_us,
            query=f"SELECT count(*) FROM events WHERE {proven}",  # noqa: S608
            is_dry_run=is_dry_run,
            quarantine=dict(await self._erase_aside(person, is_dry_run, erased.visitors)),
        )
