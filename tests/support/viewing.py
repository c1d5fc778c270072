"""Rows as the three adapters make them, and what a view shows of them."""

from typing import Any

import msgspec

from storage import Files, Row
from storage.query import Lake
from tests.support.lake import DataDirectory
from tests.support.rows import make_row


def select(data: DataDirectory, sql: str) -> list[dict[str, Any]]:
    """Rows of a query as dictionaries; JSON decoded."""
    with Lake(data.path, Files()) as lake:
        result = lake.run(sql)
        columns = [column.name for column in result.columns]
        return [
            {
                name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
                for name, value in zip(columns, row, strict=True)
            }
            for row in result.rows()
        ]


def scanova(event_type: str, **members: object) -> Row:
    """A Scanova browser event."""
    return make_row(protocol="scanova", source="browser", event_type=event_type, **members)


def scanova_server(event_name: str, **members: object) -> Row:
    """A Scanova server event."""
    return make_row(protocol="scanova", source="server", event_name=event_name, **members)


def croct(event_type: str, payload: dict[str, object] | None = None, **members: object) -> Row:
    """A Croct event with the columns its adapter fills."""
    return make_row(
        protocol="croct",
        source="browser",
        event_type=event_type,
        metadata={"type": event_type, **(payload or {})},
        **members,
    )


def zenovay(event_type: str, props: dict[str, object] | None = None, **members: object) -> Row:
    """A Zenovay event with the columns its adapter fills."""
    return make_row(
        protocol="zenovay", source="server", event_type=event_type, metadata=props or {}, **members
    )
