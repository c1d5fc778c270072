"""The whole collector in this process, without sockets: requests in, answers and rows out."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from collector import config_file
from collector import service as service_module
from collector.config import Config, Tier
from collector.service import Service
from storage import Files
from storage.query import Lake
from tests.support import fronts

ORIGIN = {"Origin": "http://localhost"}
service_module._LINGER_S = 0.0  # there are no sockets here to wait for


@dataclass
class Answer:
    """What came back; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


def example(directory: Path, **sections: Any) -> Config:
    """The example configuration, without limits, in `directory`; `sections` are replaced."""
    config = config_file.load(Path(__file__).parents[2] / "config.example.toml")
    plenty = Tier(requests_per_minute=1_000_000, requests_per_month=10_000_000)
    without_limits = {
        # See `process`.
        "server": msgspec.structs.replace(config.server, dashboard_priority="low"),
        "storage": msgspec.structs.replace(
            config.storage,
            directory=directory / "data",
            durability="os",
            disk_free_bytes_min=0,
            publish_interval_ms=3_600_000,
        ),
        "limits": msgspec.structs.replace(
            config.limits,
            browser_requests_per_minute=0,
            server_requests_per_minute=0,
            failed_auth_per_minute=0,
        ),
        "tiers": dict.fromkeys(config.tiers, plenty),
    }
    # A collector of these settings has no file to look at again.
    return msgspec.structs.replace(config, **({"path": None} | without_limits | sections))


def with_site(config: Config, **members: Any) -> Config:
    """`config` with members of its site changed."""
    return msgspec.structs.replace(
        config, sites=(msgspec.structs.replace(config.sites[0], **members),)
    )


def with_storage(config: Config, **members: Any) -> Config:
    """`config` with members of its storage section changed."""
    return msgspec.structs.replace(
        config, storage=msgspec.structs.replace(config.storage, **members)
    )


def with_limits(config: Config, **members: int) -> Config:
    """`config` with members of its limits section changed."""
    return msgspec.structs.replace(config, limits=msgspec.structs.replace(config.limits, **members))


def with_tier(config: Config, **members: int) -> Config:
    """`config` with the tier of its key replaced."""
    return msgspec.structs.replace(config, tiers={config.keys[0].tier: Tier(**members)})


class Collector:
    """A running service, asked through one of its fronts."""

    # The one that is served by default; some tests go through both (`each_front`).
    front: ClassVar[fronts.Front] = "rsgi"

    def __init__(self, config: Config, files: Files | None = None) -> None:
        self.config = config
        self.service = Service(config, files)

    async def __aenter__(self) -> Self:
        self.edge = await self.service.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.service.stop()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: object = b"",
        address: str = "203.0.113.9",
        chunks: int = 1,
    ) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        given = headers.items() if isinstance(headers, Mapping) else headers
        pairs = [(name.lower(), value.encode("latin-1")) for name, value in given]
        step = max(1, -(-len(data) // chunks))
        pieces = [data[i : i + step] for i in range(0, len(data), step)] or [b""]
        if chunks > 1:
            pairs.append(("transfer-encoding", b"chunked"))
        elif data and "content-length" not in dict(pairs):
            pairs.append(("content-length", b"%d" % len(data)))
        asked = fronts.Asked(method, path, pairs, pieces, address)
        found = await fronts.ask(self.front, self.edge, asked)
        return Answer(found.status, found.headers, found.body)

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        """POST with headers given as keywords (`x_api_key=...`)."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.request("POST", path, headers=named, body=body)

    def rows(
        self, sql: str = "SELECT * FROM events ORDER BY received_time"
    ) -> list[dict[str, Any]]:
        """Everything acknowledged, as `collector query` sees it."""
        with Lake(self.config.storage.directory, Files()) as lake:
            result = lake.run(sql)
            names = [column.name for column in result.columns]
            return [dict(zip(names, row, strict=True)) for row in result.rows()]


@asynccontextmanager
async def running(
    directory: Path, config: Config | None = None, files: Files | None = None
) -> AsyncIterator[Collector]:
    """A collector on an empty directory."""
    async with Collector(config or example(directory), files) as collector:
        yield collector


def run(coroutine: Any) -> Any:
    """Run a coroutine to its end."""
    return asyncio.run(coroutine)


def gzipped(data: bytes) -> bytes:
    """`data` as gzip."""
    stream = zlib.compressobj(wbits=31)
    return stream.compress(data) + stream.flush()


__all__ = [
    "ORIGIN",
    "Answer",
    "Collector",
    "example",
    "gzipped",
    "run",
    "running",
    "with_limits",
    "with_site",
    "with_storage",
    "with_tier",
]
