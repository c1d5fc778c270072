"""What an operator asks of an open store: join now, apply retention now, remove a person.

Each first has everything acknowledged so far put into parts, so that the log need not be changed,
and then works on parts beside whatever goes on.
"""

import asyncio
from functools import partial

import msgspec

from storage import erasure, layout
from storage.erasure import Erased, Person
from storage.partwork import Joined, PartWork, Tell, raise_for, tell_nobody
from storage.retention import Expired
from storage.store import Store


async def compact(store: Store) -> list[Joined]:
    """Join whatever can be joined, the open date too. Raises `StorageError` or OSError."""
    limit = await store.flushed()
    keeper = store.part_keeper
    joined, failures = await store.on_parts(partial(keeper.compact, limit=limit))
    keeper.account_for(joined)
    keeper.rewritten([one.date for one in joined])
    raise_for(failures)
    return joined


async def expire(store: Store, now_us: int, *, dry_run: bool) -> list[Expired]:
    """Remove the rows that are kept no longer; raises as `compact` does."""
    limit = await store.flushed()
    keeper, today = store.part_keeper, layout.day_of(now_us)
    job = partial(keeper.expire, today=today, limit=limit, dry_run=dry_run)
    expired, failures = await store.on_parts(job)
    if not dry_run:
        keeper.account_for((), expired)
        keeper.rewritten([one.date for one in expired])
        # What an earlier try removed, and could not force to disk, is not gone before it lasts.
        await store.on_parts(lambda work: work.clear())
    raise_for(failures)
    return expired


async def erase(
    store: Store, person: Person, now_us: int, *, dry_run: bool, tell: Tell = tell_nobody
) -> Erased:
    """Remove a person's rows that were acknowledged before; raises as `compact` does.

    Everything that is stored now goes, whatever time it says it was received at; and then what was
    received until `now_us` and not stored yet. When it returns no file of the data directory holds
    them: those that were replaced are gone, too. (Blocks that a file system gave free may keep
    bytes until they are written again.)
    """
    erased = await _erase(store, person, dry_run=dry_run, tell=tell)
    if dry_run:
        return erased
    rest = msgspec.structs.replace(person, until_us=now_us)
    while (more := await _erase(store, rest, dry_run=False, tell=tell)).rows:
        erased = erased.plus(more)
    while left_s := await store.on_parts(lambda work: work.clear()):
        tell(0, 1, "waiting until no reader needs the former files")
        await asyncio.sleep(left_s)
    return erased


async def _erase(store: Store, person: Person, *, dry_run: bool, tell: Tell) -> Erased:
    limit = await store.flushed()

    def job(work: PartWork) -> Erased:
        return erasure.erase(work, person, limit, dry_run=dry_run, tell=tell)

    erased = await store.on_parts(job)
    days = {part.date for one in erased.files if (part := layout.maybe_part(one.part))}
    store.part_keeper.rewritten(sorted(days))
    return erased
