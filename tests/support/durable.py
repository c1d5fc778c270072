"""What of files and names may be on disk: the model behind `files`, without any disk.

A file has sectors, a folder has names; of each the model knows what the process sees and every
content that a loss of power might leave. `files` says which faults are meant by that, and why.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, product

SECTOR = 512
PAGE = 4096
# From relative path to bytes, or to None for a folder.
State = dict[str, bytes | None]


class FileNode:
    """A file. `data`: as the process sees it; `maybe`: sectors that may be otherwise on disk.

    Each content of a sector, and each size, stands with the number of the operation that made it,
    oldest first; number 0 is what was there before.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.maybe: dict[int, list[tuple[int, bytes]]] = {}
        self.sizes: list[tuple[int, int]] = [(0, len(data))]
        self._dirty: set[int] = set()
        # For whoever looks whether somebody else wrote here.
        self.stamp: tuple[int, ...] = ()

    def write(self, number: int, offset: int, data: bytes) -> None:
        """Bytes are written, and not forced to disk."""
        old = self.data.ljust(offset, b"\0")
        self.become(number, old[:offset] + data + old[offset + len(data) :])
        for index in range(offset // SECTOR, -(-(offset + len(data)) // SECTOR)):
            if index in self.maybe:
                self._dirty.add(index)  # also where it was written over itself

    def truncate(self, number: int, size: int) -> None:
        """The file is cut, or lengthened; not forced to disk."""
        self.become(number, self.data[:size].ljust(size, b"\0"))

    def become(self, number: int, data: bytes) -> None:
        """Whatever is different now was written."""
        for index in range(max(_sectors(self.data), _sectors(data))):
            before, after = _sector(self.data, index), _sector(data, index)
            if before != after:
                self._touch(number, index, before, after)
        if len(data) != len(self.data):
            self.sizes.append((number, len(data)))
        self.data = data

    def _touch(self, number: int, index: int, before: bytes, after: bytes) -> None:
        self.maybe.setdefault(index, [(0, before)]).append((number, after))
        self._dirty.add(index)

    def sync(self) -> None:
        """What is dirty is on disk. What a failed sync lost is not dirty, and stays in doubt."""
        for index in self._dirty:
            del self.maybe[index]
        self._dirty.clear()
        del self.sizes[:-1]

    def fail_sync(self) -> None:
        """Nobody knows what was written, and the system thinks that all of it was."""
        self._dirty.clear()

    def count(self, limit: int) -> int:
        """How many contents there may be, `limit` at most."""
        total = len(self.sizes)
        for contents in self.maybe.values():
            total *= len(contents)
            if total >= limit:
                return limit
        return total

    def every(self) -> Iterator[bytes]:
        """Each content that may be on disk, some more than once."""
        indexes = sorted(self.maybe)
        for _, size in self.sizes:
            for chosen in product(*(self.maybe[index] for index in indexes)):
                picked = {i: data for i, (_, data) in zip(indexes, chosen, strict=True)}
                yield self._with(size, picked)

    def oldest(self) -> bytes:
        """Nothing that is in doubt was written."""
        return self._with(self.sizes[0][1], {i: c[0][1] for i, c in self.maybe.items()})

    def largest(self) -> bytes:
        """The file as it was when it was largest: what was cut off since is there again."""
        number, size = max(self.sizes, key=lambda one: (one[1], one[0]))
        picked = {
            index: [data for n, data in contents if n <= number or n == 0][-1]
            for index, contents in self.maybe.items()
        }
        return self._with(size, picked)

    def any(self, chance: random.Random) -> bytes:
        """One of the contents: each sector, or page, or the whole file, as old as it happens."""
        sizes = [size for _, size in self.sizes]
        # Where sizes are written apart from data, a size between two of them can be met.
        size = chance.choice([*sizes, chance.randint(min(sizes), max(sizes))])
        grain = chance.choice([SECTOR, PAGE, 1 << 40])
        numbers = sorted({n for contents in self.maybe.values() for n, _ in contents})
        until: dict[int, int] = {}
        picked = {}
        for index, contents in self.maybe.items():
            place = index * SECTOR // grain
            limit = until.setdefault(place, chance.choice(numbers))
            picked[index] = [data for n, data in contents if n <= limit or n == 0][-1]
        if grain > PAGE:
            limit = until.get(0, 0)
            size = [size for n, size in self.sizes if n <= limit or n == self.sizes[0][0]][-1]
        return self._with(size, picked)

    def _with(self, size: int, picked: dict[int, bytes]) -> bytes:
        whole = bytearray(self.data.ljust(size, b"\0"))
        for index, data in picked.items():
            start = index * SECTOR
            if start < size:
                whole[start : start + SECTOR] = data
        return bytes(whole[:size])


class FolderNode:
    """A folder: the names in it as the process sees them, and those that are on disk."""

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}


Node = FileNode | FolderNode
# Folder, name, and what the name means from then on.
Change = tuple[FolderNode, str, Node | None]


class NameOperation:
    """Names that change in one step; on disk once all folders in `needs` were forced there."""

    def __init__(self, changes: tuple[Change, ...], needs: Iterable[FolderNode]) -> None:
        self.changes = changes
        self.needs = list(needs)
        self.places = {(id(folder), name) for folder, name, _ in changes}

    def shares_a_name_with(self, other: "NameOperation") -> bool:
        """Whether the later of the two cannot be on disk without the other."""
        return not self.places.isdisjoint(other.places)


class DurableTree:
    """Everything below one folder."""

    def __init__(self) -> None:
        self.top = FolderNode()
        self.pending: list[NameOperation] = []

    def change(self, *changes: Change, needs: Iterable[FolderNode]) -> None:
        """Names change, and this is not forced to disk."""
        for folder, name, node in changes:
            if node is None:
                folder.names.pop(name, None)
            else:
                folder.names[name] = node
        self.pending.append(NameOperation(changes, needs))

    def sync(self, folder: FolderNode) -> None:
        """The names in `folder` are on disk, and with them what they build upon."""
        done = []
        for operation in self.pending:
            operation.needs = [one for one in operation.needs if one is not folder]
            if not operation.needs:
                done.append(operation)
        for operation in self._closed(done):
            for at, name, node in operation.changes:
                _set(at.durable, name, node)
            self.pending.remove(operation)

    def _closed(self, chosen: Iterable[NameOperation]) -> list[NameOperation]:
        """`chosen` and what went before under the same names, in their order."""
        kept = list(chosen)
        for operation in reversed(self.pending):
            if operation not in kept and any(
                operation.shares_a_name_with(one) and self._is_before(operation, one)
                for one in kept
            ):
                kept.append(operation)
        return [one for one in self.pending if one in kept]

    def _is_before(self, one: NameOperation, other: NameOperation) -> bool:
        return self.pending.index(one) < self.pending.index(other)

    # --- what a loss of power may leave

    def states(self, limit: int, chance: random.Random) -> Iterator[State]:
        """Different ones: all if there are no more than `limit`, else the extremes and a sample."""
        seen = set()
        for state in islice(self._drawn(limit, chance), 4 * limit):
            print_ = frozenset(state.items())
            if print_ not in seen:
                seen.add(print_)
                yield state
            if len(seen) >= limit:
                return

    def _drawn(self, limit: int, chance: random.Random) -> Iterator[State]:
        every = self.pending
        yield self.state((), FileNode.oldest)
        yield self.state(every, lambda file: file.data)
        yield self.state(every, FileNode.largest)
        if self._count(limit) <= limit:
            yield from self._all()
            return
        yield self.state((), lambda file: file.data)
        yield self.state(every, FileNode.oldest)
        singles = list(every)
        chance.shuffle(singles)
        for one in singles:
            yield self.state(self._closed([one]), lambda file: file.data)
            without = [o for o in every if o is not one and one not in self._closed([o])]
            yield self.state(without, lambda file: file.data)
            yield self.state(self._closed([one]), FileNode.oldest)
        while True:
            yield self.any(chance)

    def any(self, chance: random.Random) -> State:
        """One state, at random: each operation on names by itself, each file as it happens."""
        share = chance.choice([0.15, 0.5, 0.85])
        chosen = [one for one in self.pending if chance.random() < share]
        return self.state(self._closed(chosen), lambda file: file.any(chance))

    def _count(self, limit: int) -> int:
        total = 1 << min(len(self.pending), 30)
        for file in self._files_in_doubt():
            total *= file.count(limit + 1)
            if total > limit:
                break
        return total

    def _all(self) -> Iterator[State]:
        files = self._files_in_doubt()
        for bits in range(1 << len(self.pending)):
            chosen = [one for at, one in enumerate(self.pending) if bits >> at & 1]
            if len(self._closed(chosen)) > len(chosen):
                continue
            for contents in product(*(list(file.every()) for file in files)):
                of = {id(file): data for file, data in zip(files, contents, strict=True)}
                yield self.state(chosen, lambda file, of=of: of.get(id(file), file.data))  # type: ignore[misc]

    def _files_in_doubt(self) -> list[FileNode]:
        found: dict[int, FileNode] = {}
        for folder in self._folders():
            for node in (*folder.names.values(), *folder.durable.values()):
                if isinstance(node, FileNode) and (node.maybe or len(node.sizes) > 1):
                    found[id(node)] = node
        return list(found.values())

    def _folders(self) -> list[FolderNode]:
        found = [self.top]
        seen = {id(self.top)}
        for folder in found:
            for node in (*folder.names.values(), *folder.durable.values()):
                if isinstance(node, FolderNode) and id(node) not in seen:
                    seen.add(id(node))
                    found.append(node)
        return found

    def state(self, chosen: Iterable[NameOperation], content: Callable[[FileNode], bytes]) -> State:
        """What is on disk when of the pending operations `chosen` got there."""
        names: dict[int, dict[str, Node]] = {}
        for operation in chosen:
            for folder, name, node in operation.changes:
                _set(names.setdefault(id(folder), dict(folder.durable)), name, node)
        state: State = {}
        contents: dict[int, bytes] = {}

        def walk(folder: FolderNode, path: str) -> None:
            for name, node in names.get(id(folder), folder.durable).items():
                inner = f"{path}{name}"
                if isinstance(node, FolderNode):
                    state[inner] = None
                    walk(node, f"{inner}/")
                else:
                    if id(node) not in contents:
                        contents[id(node)] = content(node)
                    state[inner] = contents[id(node)]

        walk(self.top, "")
        return state


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _sectors(data: bytes) -> int:
    return -(-len(data) // SECTOR)


def _sector(data: bytes, index: int) -> bytes:
    return data[index * SECTOR : (index + 1) * SECTOR].ljust(SECTOR, b"\0")
