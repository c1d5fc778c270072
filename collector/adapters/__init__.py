"""The adapters, one module per wire protocol, and the one table of their endpoints."""

from typing import Final

from collector.adapters import croct, scanova, zenovay
from collector.adapters.contract import Endpoint, PlainEndpoint

ENDPOINTS: Final[tuple[Endpoint | PlainEndpoint, ...]] = (
    *scanova.ENDPOINTS,
    *croct.ENDPOINTS,
    *zenovay.ENDPOINTS,
)
