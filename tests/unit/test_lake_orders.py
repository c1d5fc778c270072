"""Orders that remove a person, and what pages still have in memory."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from collector.lakeorders import LakeOrders
from storage import Erased, StorageError, byhand

_ARGUMENTS: dict[str, Any] = {"person": {"site": "demo", "who": "visitor", "value": "v"}}


async def _nothing_aside(*_: object) -> Mapping[str, int]:
    return {}


@pytest.mark.parametrize(("is_dry_run", "forgotten"), [(False, 1), (True, 0)])
@pytest.mark.parametrize("fails", [False, True])
def test_what_was_removed_is_forgotten_also_when_the_rest_failed(
    monkeypatch: pytest.MonkeyPatch, *, is_dry_run: bool, forgotten: int, fails: bool
) -> None:
    """Of some dates the rows are gone then; nothing is removed by looking only."""
    calls = []

    async def erase(*_: object, **__: object) -> Erased:
        if fails:
            raise StorageError("the disk is full")
        return Erased("true", 0, [], [])

    async def forget() -> None:
        calls.append("forget")

    monkeypatch.setattr(byhand, "erase", erase)
    orders = LakeOrders(None, lambda: 1, _nothing_aside, forget)  # type: ignore[arg-type]
    erasing = orders.erase({**_ARGUMENTS, "dry_run": is_dry_run}, lambda *_: None)
    if fails:
        with pytest.raises(StorageError):
            asyncio.run(erasing)
    else:
        asyncio.run(erasing)
    assert len(calls) == forgotten
